//! Long files, by each way that bytes go: they arrive whole, or visibly cut.

use std::io::Read as _;

use super::*;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 24 * MIB;

fn large() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("site/large.bin"), Pattern::bytes(SIZE));
    put(&dir.path().join("site/large.txt"), "text and text. ".repeat(100_000));
    dir
}

fn over_tls(pki: &Pki) -> String {
    format!("protocol = \"http\"\n{}", pki.listener_tls())
}

#[test]
fn a_long_file_arrives_whole_on_either_driver() {
    let dir = large();
    for driver in ["io_uring", "epoll"] {
        let ringate = serving(dir.path(), "").driver(driver).section("[admin]").start();
        let mut client = ringate.client();
        for _ in 0..2 {
            assert!(ask(&mut client, "GET", "/large.bin", "").body == Pattern::bytes(SIZE), "{driver}");
        }
        let part = ask(&mut client, "GET", "/large.bin", &format!("Range: bytes=1000-{}\r\n", 20 * MIB));
        assert!(part.body == Pattern::bytes(SIZE)[1000..=20 * MIB as usize], "{driver}");
        let several =
            ask(&mut client, "GET", "/large.bin", &format!("Range: bytes=0-99999,{}-\r\n", SIZE - 300_000));
        assert_eq!(several.status, 206);
        let whole = Pattern::bytes(SIZE);
        for end in [&whole[..100_000], &whole[(SIZE - 300_000) as usize..]] {
            assert!(several.body.windows(end.len()).any(|window| window == end), "{driver}");
        }
        // The connection is as good as before.
        assert_eq!(ask(&mut client, "GET", "/no", "").status, 404);
        eventually("bytes moved without a copy", || {
            (ringate.metric("spliced_bytes_total") >= SIZE).then_some(())
        });
    }
}

/// What curl gets, and the version that it got it by.
fn curled(ringate: &Ringate, dir: &Path, target: &str, options: &[&str]) -> (Vec<u8>, String) {
    let (out, url) = (dir.join("out"), format!("{}{target}", ringate.url()));
    let format = "%{http_version} %{http_code}";
    let mut args = vec!["-sS", "-o", out.to_str().unwrap(), "-w", format];
    args.extend(options);
    args.push(&url);
    let said = curl(&args);
    (std::fs::read(&out).unwrap(), said)
}

#[test]
fn a_long_file_arrives_whole_by_http2_and_compressed() {
    let dir = large();
    let ringate = serving(dir.path(), "compression = true").start();
    let h2 = "--http2-prior-knowledge";
    let (body, said) = curled(&ringate, dir.path(), "/large.bin", &[h2]);
    assert!(body == Pattern::bytes(SIZE) && said == "2 200", "{said}");
    let (body, said) = curled(&ringate, dir.path(), "/large.bin", &[h2, "-r", "5-9999999"]);
    assert!(body == Pattern::bytes(SIZE)[5..10_000_000] && said == "2 206", "{said}");
    for options in [&[h2, "--compressed"][..], &["--compressed"]] {
        let (body, _) = curled(&ringate, dir.path(), "/large.txt", options);
        assert!(body == "text and text. ".repeat(100_000).as_bytes(), "{options:?}");
    }
    // A head without content.
    let (_, said) = curled(&ringate, dir.path(), "/large.bin", &[h2, "-I"]);
    assert_eq!(said, "2 200");
}

#[test]
fn a_long_file_arrives_whole_over_tls() {
    let (dir, pki) = (large(), Pki::new());
    for driver in ["io_uring", "epoll"] {
        let ringate = serving(dir.path(), "").driver(driver).listener(&over_tls(&pki)).start();
        let mut client = ringate.tls_client(pki.client_config());
        assert!(ask(&mut client, "GET", "/large.bin", "").body == Pattern::bytes(SIZE), "{driver}");
        assert_eq!(ask(&mut client, "GET", "/no", "").status, 404);
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_is_cut() {
    for (driver, tls) in [("io_uring", false), ("epoll", false), ("io_uring", true)] {
        let (dir, pki) = (large(), Pki::new());
        let setup =
            serving(dir.path(), "").driver(driver).section("[log]\naccess = \"stdout\"\nformat = \"json\"");
        let setup = if tls { setup.listener(&over_tls(&pki)) } else { setup };
        let ringate = setup.start();
        let mut client = if tls { ringate.tls_client(pki.client_config()) } else { ringate.client() };
        client.send("GET /large.bin HTTP/1.1\r\nHost: h\r\n\r\n");
        let head = client.until("\r\n\r\n");
        assert!(head.contains(&format!("Content-Length: {SIZE}\r\n")), "{head}");
        // The sockets are full long before the end.
        std::thread::sleep(Duration::from_millis(300));
        let path = dir.path().join("site/large.bin");
        fs::File::options().write(true).open(&path).unwrap().set_len(20 * MIB).unwrap();
        let got = client.try_rest().map(|rest| rest.len() as u64);
        assert!(got.as_ref().is_err() || *got.as_ref().unwrap() <= 20 * MIB, "{driver} {got:?}");
        let line = ringate.await_log("\"target\":\"/large.bin\"");
        assert!(line.contains("became shorter"), "{line}");
    }
}

#[test]
fn a_file_that_is_replaced_is_sent_as_it_was() {
    let dir = large();
    let ringate = serving(dir.path(), "").start();
    let mut client = ringate.client();
    client.send("GET /large.bin HTTP/1.1\r\nHost: h\r\n\r\n");
    client.until("\r\n\r\n");
    put(&dir.path().join("site/new"), "new");
    fs::rename(dir.path().join("site/new"), dir.path().join("site/large.bin")).unwrap();
    assert!(client.bytes(SIZE as usize) == Pattern::bytes(SIZE));
    assert_eq!(ask(&mut client, "GET", "/large.bin", "").text(), "new");
}

#[test]
fn a_root_that_is_a_link_may_lead_elsewhere_at_any_time() {
    let dir = tempfile::tempdir().unwrap();
    for release in ["1", "2"] {
        put(&dir.path().join("releases").join(release).join("version"), release);
    }
    let link = |to: &str| {
        symlink(format!("releases/{to}"), dir.path().join("next")).unwrap();
        fs::rename(dir.path().join("next"), dir.path().join("site")).unwrap();
    };
    link("1");
    let ringate = serving(dir.path(), "").section("[process]\nlandlock = \"on\"\nseccomp = \"on\"").start();
    assert_eq!(ringate.get("/version").text(), "1");
    link("2");
    assert_eq!(ringate.get("/version").text(), "2");
    assert_eq!(ringate.get("/none").status, 404);
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let dir = large();
    let ringate = serving(dir.path(), "")
        .limits("body_timeout = \"500ms\"")
        .section("[log]\naccess = \"stdout\"\nformat = \"json\"")
        .start();
    let mut client = ringate.client();
    client.send("GET /large.bin HTTP/1.1\r\nHost: h\r\n\r\n");
    let line = ringate.await_log("\"target\":\"/large.bin\"");
    assert!(line.contains("silent for limits.body_timeout"), "{line}");
    let mut rest = Vec::new();
    let mut tcp = client.tcp();
    let _ = tcp.read_to_end(&mut rest);
    assert!((rest.len() as u64) < SIZE);
}
