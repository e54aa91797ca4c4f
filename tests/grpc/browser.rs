//! A page in Chromium: it loads by HTTP/2, and calls a service of gRPC at another origin by gRPC-Web.

use std::process::Command;

use data_encoding::BASE64;

use super::*;
use crate::http2_backend::kit::*;

/// Loads many things at the same time, calls the service in both forms, and shows what it got as its text.
const PAGE: &str = "<!doctype html><body><script>
(async () => {
  const out = [];
  try {
    await Promise.all([...Array(30).keys()].map(number => fetch('/part' + number).then(part => part.text())));
    out.push([...new Set(performance.getEntriesByType('resource').map(entry => entry.nextHopProtocol))].join());
    const message = new Uint8Array([0, 0, 0, 0, 2, 104, 105]);
    for (const [kind, body] of [['application/grpc-web+proto', message], ['application/grpc-web-text', 'AAAAAAJoaQ==']]) {
      const headers = { 'content-type': kind, 'x-grpc-web': '1' };
      const response = await fetch('@service@/a.B/C', { method: 'POST', headers, body });
      const bytes = new Uint8Array(await response.arrayBuffer());
      out.push(response.status + ' ' + kind + ' ' + String.fromCharCode(...bytes.slice(kind.endsWith('text') ? 0 : 5)));
    }
    const failed = await fetch('@service@/fails', { method: 'POST', headers: { 'content-type': 'application/grpc-web' }, body: message });
    out.push(failed.headers.get('grpc-status') + ' ' + failed.headers.get('grpc-message'));
  } catch (error) {
    out.push(String(error));
  }
  document.body.textContent = out.join('|');
})();
</script>";

#[test]
fn a_page_loads_by_http2_and_calls_grpc_at_another_origin() {
    let service = backend(&[], |frames, head| {
        let (body, _) = frames.body(&head)?;
        if head.get(":path") == Some("/fails") {
            let fields = [
                (":status", "200"),
                ("content-type", "application/grpc"),
                ("grpc-status", "9"),
                ("grpc-message", "no"),
            ];
            return frames.send(headers(head.stream, END_STREAM, &fields));
        }
        frames.send(headers(head.stream, 0, &[(":status", "200"), ("content-type", "application/grpc")]))?;
        frames.send(frame(DATA, 0, head.stream, &body))?;
        frames.send(headers(head.stream, END_STREAM, &[("grpc-status", "0")]))
    });
    let pages = Backend::serving(|request| {
        if !request.line().starts_with("GET /page") {
            return crate::http::ok("part");
        }
        let (_, address) = request.line().split_once("?").unwrap();
        let page = PAGE.replace("@service@", &format!("https://{address}"));
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{page}", page.len()).into_bytes()
    });
    let pki = Pki::with_names(&["127.0.0.1"]);
    let tls = pki.listener_tls();
    let cors = "cors = { origins = [\"*\"], headers = [\"content-type\", \"x-grpc-web\"], expose = [\"grpc-status\", \"grpc-message\"] }";
    let ringate = Setup::to(pages.address())
        .section("[admin]")
        .listener(&format!("{tls}\n[[listener]]\nname = \"calls\"\naddress = \"127.0.0.1:0\"\n{tls}"))
        .routes(&format!(
            "[[route]]\nlistener = \"web\"\nupstream = \"app\"\n\
             [[route]]\nlistener = \"calls\"\nupstream = \"service\"\ngrpc_web = true\n{cors}\n\
             [upstream.service]\nendpoints = [\"{}\"]\nhttp = \"2\"",
            service.address()
        ))
        .start();
    let home = tempfile::tempdir().unwrap();
    let mut chromium = Command::new("chromium");
    chromium.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    chromium.args([
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
    ]);
    chromium.args(["--ignore-certificate-errors", "--virtual-time-budget=15000", "--dump-dom"]);
    chromium.arg(format!("--user-data-dir={}", home.path().display())).env("HOME", home.path());
    chromium.arg(format!("https://{}/page?{}", ringate.address_of("web"), ringate.address_of("calls")));
    let output = run_within(LONG, &mut chromium);
    let text = String::from_utf8_lossy(&output.stdout);
    let shown = text
        .split_once("<body>")
        .and_then(|(_, rest)| rest.split_once("</body>"))
        .map(|(text, _)| text.trim());
    let binary = "200 application/grpc-web+proto hi\u{80}";
    let shown = shown.unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)));
    let parts: Vec<&str> = shown.split('|').collect();
    assert_eq!(parts[0], "h2", "{shown}");
    assert!(parts[1].starts_with(binary) && parts[1].contains("grpc-status:0"), "{shown}");
    let text = parts[2].strip_prefix("200 application/grpc-web-text ").unwrap_or_else(|| panic!("{shown}"));
    let content = BASE64.decode(text.as_bytes()).unwrap();
    assert_eq!(content, b"\0\0\0\0\x02hi\x80\0\0\0\x0fgrpc-status:0\r\n");
    assert_eq!(parts[3], "9 no", "{shown}");
    assert_eq!(ringate.metric("http2_connection_errors_total"), 0);
}
