//! Requests of strangers by the page for consumers: from the form to the collected credential, and what is refused.

use std::fs;
use std::process::Command;

use data_encoding::BASE64;

use super::*;

/// Fields of a form, in the encoding that browsers send files in.
fn multipart(fields: &[(&str, &str)]) -> String {
    let part = |(name, value): &(&str, &str)| {
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    fields.iter().map(part).collect::<String>() + "--B--\r\n"
}

/// A form as the page's own browser sends it, or with other lines.
fn send(office: &Office, action: &str, lines: &str, fields: &[(&str, &str)]) -> Response {
    let body = multipart(fields);
    let length = body.len();
    let head = format!(
        "POST /ask?{action} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=B\r\n\
         Content-Length: {length}\r\n{lines}\r\n"
    );
    office.client(None).send(head + &body).response()
}

const OWN: &str = "Origin: https://localhost\r\n";

fn post(office: &Office, action: &str, fields: &[(&str, &str)]) -> Response {
    send(office, action, OWN, fields)
}

/// The text between two others.
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before}: {text}"));
    rest.split_once(after).unwrap_or_else(|| panic!("{after}: {text}")).0
}

/// Sends a request, and returns its code and the name of its credential.
fn requested(office: &Office, fields: &[(&str, &str)]) -> (String, String) {
    let response = post(office, "request", fields);
    let text = response.text();
    assert_eq!(response.status, 201, "{text}");
    (between(text, "<pre>", "</pre>").to_owned(), between(text, "Credential <b>", "</b>").to_owned())
}

fn state(office: &Office, code: &str) -> String {
    let response = post(office, "state", &[("code", code)]);
    assert_eq!(response.status, 200, "{}", response.text());
    response.text().to_owned()
}

#[test]
fn a_stranger_requests_a_credential_and_collects_it_once() {
    let office = Office::new();
    let dir = office.ringate.dir();
    let page = office.client(None).send(get("/ask", "")).response();
    let policy = page.header("Content-Security-Policy").unwrap();
    assert!(policy.contains("form-action 'self'") && policy.contains("script-src 'sha256-"), "{policy}");
    assert!(
        policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert_eq!(page.header("Referrer-Policy"), Some("no-referrer"));
    for part in [
        "Ask &lt;us&gt;",
        "action=\"?request\"",
        "action=\"?state\"",
        "<option value=\"both\">API Key and mTLS",
    ] {
        assert!(page.text().contains(part), "{part}: {}", page.text());
    }
    let csr = openssl(dir, "acme", "-new");
    let pem = fs::read_to_string(&csr.cert).unwrap();
    let name = "<b>Acme</b> & \"Söhne\"";
    let fields = [("definition", "both"), ("name", name), ("contact", "a@acme.example"), ("pem", &pem)];
    let (code, credential) = requested(&office, &fields);
    let secret = code.strip_prefix(&format!("{credential}.")).unwrap();
    assert!(secret.len() >= 32, "{code}");
    assert!(state(&office, &code).contains("<b>requested</b>"));

    // The operator's queue has it, with the stranger's words as they were typed.
    let waiting = office.json("credential list --state requested");
    let it = &waiting["credentials"][0];
    assert_eq!(
        (&it["name"], &it["portal"], &it["csr"]),
        (&credential.as_str().into(), &true.into(), &true.into())
    );
    let consumer = it["consumer"].as_str().unwrap();
    assert!(consumer.starts_with("b-acme-b-") && !consumer.contains('<'), "{consumer}");
    let shown = office.json(&format!("consumer show {consumer}"));
    assert_eq!((&shown["title"], &shown["contact"]), (&name.into(), &"a@acme.example".into()));
    let early = post(&office, "collect", &[("code", &code)]);
    assert_eq!(early.status, 409, "{}", early.text());

    office.json(&format!("credential approve {credential}"));
    let approved = state(&office, &code);
    assert!(approved.contains("<b>approved</b>") && approved.contains("action=\"?collect\""), "{approved}");
    let collected = post(&office, "collect", &[("code", &code)]);
    let text = collected.text();
    assert_eq!((collected.status, collected.header("Cache-Control")), (200, Some("no-store")), "{text}");
    let key = between(text, "<pre id=\"key\">", "</pre>").to_owned();
    assert_eq!(key.len(), 68, "{key}");
    let encoded = between(text, "data:application/x-pem-file;base64,", "\"");
    fs::write(dir.join("acme.crt"), BASE64.decode(encoded.as_bytes()).unwrap()).unwrap();
    let files = Files { cert: dir.join("acme.crt"), key: csr.key };
    let answer = office.client(Some(&files)).send(get("/both", &format!("X-Api-Key: {key}\r\n"))).response();
    assert_eq!(answer.text(), format!("{consumer}|{credential}|key=|auth=|xfcc="));

    // The key is shown once; the certificate is no secret.
    let again = post(&office, "collect", &[("code", &code)]);
    assert_eq!(again.status, 409);
    let later = state(&office, &code);
    assert!(later.contains("It was collected at") && later.contains("BEGIN CERTIFICATE"), "{later}");
    assert!(!later.contains(&key) && !again.text().contains(&key));
    office.json(&format!("credential suspend {credential}"));
    assert!(state(&office, &code).contains("<b>suspended</b>"));

    // One that is refused, with a reason that is text.
    let (other, second) = requested(&office, &[("definition", "key"), ("name", "Beta"), ("contact", "b")]);
    // `key` is approved by its definition.
    assert!(state(&office, &other).contains("<b>approved</b>"));
    office.json(&format!("credential deny {second} --reason <i>no</i>"));
    let denied = state(&office, &other);
    assert!(
        denied.contains("The request was refused") && denied.contains("&lt;i&gt;no&lt;/i&gt;"),
        "{denied}"
    );

    let audit = fs::read_to_string(dir.join("audit.log")).unwrap();
    assert!(audit.contains("portal: requested") && audit.contains("portal: collected"), "{audit}");
    let metrics = office.ringate.admin("/metrics");
    let log = office.ringate.terminate_and_log();
    for (place, text) in [("audit log", &audit), ("metrics", &metrics), ("log and access log", &log)] {
        assert!(!text.contains(secret) && !text.contains(&key), "a secret is in the {place}");
    }
    assert!(log.contains("/ask?collect"), "{log}");
}

#[test]
fn a_key_is_made_here_only_on_wish_and_forgotten() {
    let office = Office::new();
    let dir = office.ringate.dir();
    let (code, name) = requested(&office, &[("definition", "cert"), ("name", "Gamma"), ("contact", "g")]);
    let page = state(&office, &code);
    assert!(page.contains("still missing") && page.contains("name=\"make_key\""), "{page}");
    let without = post(&office, "collect", &[("code", &code)]);
    assert_eq!(without.status, 422, "{}", without.text());
    let collected = post(&office, "collect", &[("code", &code), ("make_key", "yes")]);
    let text = collected.text();
    assert_eq!(collected.status, 200, "{text}");
    let encoded = between(text, "data:application/x-pkcs12;base64,", "\"");
    let passphrase = between(text, "<pre id=\"passphrase\">", "</pre>");
    let container = BASE64.decode(encoded.as_bytes()).unwrap();
    fs::write(dir.join("gamma.p12"), &container).unwrap();
    let opened = run(Command::new("openssl")
        .args(["pkcs12", "-nodes", "-in"])
        .arg(dir.join("gamma.p12"))
        .args(["-passin", &format!("pass:{passphrase}"), "-out"])
        .arg(dir.join("gamma.pem")));
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    let files = Files { cert: dir.join("gamma.pem"), key: dir.join("gamma.pem") };
    let answer = office.client(Some(&files)).send(get("/cert", "")).response();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains(&name), "{}", answer.text());
    let pem = fs::read_to_string(dir.join("gamma.pem")).unwrap();
    let secret = between(&pem, "-----BEGIN PRIVATE KEY-----\n", "\n");
    let kept = fs::read_to_string(dir.join(format!("certs/_credentials/{name}.toml"))).unwrap();
    assert!(kept.contains("collected") && !kept.contains(secret) && !kept.contains(passphrase), "{kept}");
    let passphrase = passphrase.to_owned();
    let log = office.ringate.terminate_and_log();
    assert!(!log.contains(&passphrase) && !log.contains(secret));
}

#[test]
fn forms_of_other_pages_and_floods_are_refused() {
    let office = Office::new();
    for (lines, expected) in [
        ("Origin: https://evil.example\r\n", 403),
        ("Origin: http://localhost\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\nOrigin: https://localhost\r\n", 403),
        ("Sec-Fetch-Site: same-origin\r\nOrigin: null\r\n", 404),
        ("Origin: https://LOCALHOST\r\n", 404),
        ("", 404),
    ] {
        let response = send(&office, "state", lines, &[("code", "acme.none")]);
        assert_eq!(response.status, expected, "{lines}");
    }
    assert_eq!(post(&office, "other", &[]).status, 404);
    let long = "x".repeat(200_000);
    assert_eq!(post(&office, "state", &[("code", &long)]).status, 413);
    let broken = office
        .client(None)
        .send("POST /ask?state HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ncode")
        .response();
    assert_eq!(broken.status, 422);
    // In chunks, and after a 100.
    let mut client = office.client(None);
    client.send(
        "POST /ask?state HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    assert_eq!(client.response().status, 100);
    assert_eq!(client.send("7\r\ncode=a.\r\n1\r\nb\r\n0\r\n\r\n").response().status, 404);
    assert_eq!(client.send(get("/ask", "")).response().status, 200, "the connection lives on");

    // By HTTP/2, with a file, as curl sends it.
    let csr = openssl(office.ringate.dir(), "delta", "-new");
    let url = format!("https://localhost:{}/ask?request", office.ringate.address().port());
    let curl = run(Command::new("curl")
        .args(["-sS", "--http2", "--max-time", "15", "-w", " %{http_code} %{http_version}", "--cacert"])
        .arg(office.authority.file())
        .args(["-F", "definition=both", "-F", "name=Delta", "-F", "contact=d", "-F"])
        .arg(format!("file=@{}", csr.cert.display()))
        .arg(url));
    let said = String::from_utf8_lossy(&curl.stdout);
    assert!(said.ends_with(" 201 2"), "{said} {}", String::from_utf8_lossy(&curl.stderr));

    let base = [("definition", "key"), ("name", "A"), ("contact", "a")];
    let csr = fs::read_to_string(&csr.cert).unwrap();
    let with = |more: &[(&'static str, &str)]| {
        let mut fields: Vec<(&str, &str)> = base.to_vec();
        for (name, value) in more {
            fields.retain(|(known, _)| known != name);
            fields.push((name, value));
        }
        post(&office, "request", &fields.iter().map(|(name, value)| (*name, *value)).collect::<Vec<_>>())
            .status
    };
    for wrong in [
        ("definition", "nope"),
        ("name", " "),
        ("contact", ""),
        ("name", "a\u{7}b"),
        ("description", &long[..300]),
        ("origins", "https://a.example/path"),
        ("pem", &csr),
    ] {
        assert_eq!(with(&[wrong]), 422, "{wrong:?}");
    }
    // As many as may wait, then as many as a client may send in an hour.
    let statuses: Vec<u16> = (0..25).map(|_| with(&[])).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 7, "{statuses:?}");
    assert!(statuses.contains(&503) && statuses.last() == Some(&429), "{statuses:?}");
    let refused = post(&office, "request", &base);
    assert_eq!(refused.status, 429);
    assert!(refused.header("Retry-After").is_some());
    assert!(office.ringate.metric("portal_limited_total") > 0);
    // A reload does not begin the hour anew.
    done(office.ringate.dir(), "reload");
    assert_eq!(post(&office, "request", &base).status, 429);
    assert_eq!(post(&office, "state", &[("code", "a.b")]).status, 404);
    // Each refusal has one record, with the page's route and nothing that was typed.
    let listed = crate::admin_changes::unix(office.ringate.dir(), "GET", "/v1/failures", &[], None);
    let failures = listed.json().as_array().unwrap().clone();
    let of = |status: u64| {
        let found = failures.iter().filter(|it| it["status"] == status).inspect(|it| {
            assert!(it["route"].is_string() && it["listener"].is_string(), "{it}");
            assert_eq!(it["request_id"].as_str().map(str::len), Some(32), "{it}");
            assert_eq!(it["fault"], if status < 500 { "client" } else { "backend" }, "{it}");
        });
        found.count()
    };
    let limited = statuses.iter().filter(|status| **status == 429).count() + 2;
    assert_eq!((of(403), of(404), of(413), of(422), of(429)), (5, 6, 1, 8, limited), "{}", listed.text);
    assert_eq!(of(503), statuses.iter().filter(|status| **status == 503).count(), "{}", listed.text);
    assert!(!listed.text.contains("Delta"), "{}", listed.text);
}
