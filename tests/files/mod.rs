//! Routes that serve files (`root`): what is found, what of it is sent, and that it is sent whole or visibly cut.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::*;

mod beside_nginx;
mod bodies;
mod conditions;

/// 1994-11-06 08:49:37 UTC, the date of the examples in RFC 9110.
const THEN: u64 = 784_111_777;
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// Writes a file of that date.
fn put(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(THEN)).unwrap();
}

/// A root with some of everything.
fn site() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("site");
    for (name, content) in [
        ("index.html", "<p>home"),
        ("digits.txt", "0123456789"),
        ("empty.txt", ""),
        ("a b/ä.bin", "x"),
        ("docs/index.html", "<p>docs"),
        ("bare/note.txt", "note"),
        ("app.js", "console.log('plain')"),
        ("app.js.gz", "gzipped"),
        ("app.js.br", "brotlied!"),
        (".env", "SECRET=1"),
        (".well-known/security.txt", "Contact: x"),
        ("docs/.htpasswd", "x"),
    ] {
        put(&root.join(name), content);
    }
    put(&dir.path().join("outside.txt"), "outside");
    symlink("digits.txt", root.join("inside.txt")).unwrap();
    symlink("../outside.txt", root.join("out.txt")).unwrap();
    symlink("/etc", root.join("etc")).unwrap();
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), kind, mode, 0).unwrap();
    dir
}

/// One route with these lines beside `root`.
fn serving(dir: &Path, lines: &str) -> Setup {
    let route = format!("[[route]]\nroot = \"{}\"\n{lines}", dir.join("site").display());
    Setup::to(free_address()).routes(&route)
}

fn ask(client: &mut Client, method: &str, target: &str, fields: &str) -> Response {
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
    if method == "HEAD" { client.response_to_head() } else { client.response() }
}

#[test]
fn a_path_names_a_file_and_nothing_beside_the_root() {
    let dir = site();
    let ringate = serving(dir.path(), "").start();
    let mut client = ringate.client();
    for (target, status, body) in [
        ("/", 200, "<p>home"),
        ("/index.html", 200, "<p>home"),
        ("/digits.txt?v=1", 200, "0123456789"),
        ("/empty.txt", 200, ""),
        ("/a%20b/%C3%A4.bin", 200, "x"),
        ("/a%20b//./%C3%A4.bin", 200, "x"),
        ("/docs/", 200, "<p>docs"),
        ("/inside.txt", 200, "0123456789"),
        ("/.well-known/security.txt", 200, "Contact: x"),
    ] {
        let response = ask(&mut client, "GET", target, "");
        assert_eq!((response.status, response.text()), (status, body), "{target}");
    }
    let long = format!("/{}", "a".repeat(300));
    for (target, status) in [
        ("/no.txt", 404),
        ("/digits.txt/", 404),
        ("/digits.txt/x", 404),
        ("/bare/", 403),
        ("/.env", 404),
        ("/%2Eenv", 404),
        ("/docs/.htpasswd", 404),
        ("/out.txt", 403),
        ("/etc/passwd", 403),
        ("/pipe", 404),
        ("/%252e%252e/outside.txt", 404),
        ("/docs/../../outside.txt", 400),
        ("/..%2foutside.txt", 400),
        ("/digits.txt%00", 400),
        ("/%c0%ae%c0%ae/outside.txt", 400),
        (&long, 404),
    ] {
        // A path that is refused ends the connection.
        let mut client = ringate.client();
        assert_eq!(ask(&mut client, "GET", target, "").status, status, "{target}");
    }
    let moved = ask(&mut client, "GET", "/docs?a=b&c", "");
    assert_eq!((moved.status, moved.header("Location")), (301, Some("/docs/?a=b&c")));
    assert_eq!(ask(&mut client, "GET", "//docs", "").header("Location"), Some("/docs/"));
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let refused = ask(&mut client, method, "/digits.txt", "");
        assert_eq!((refused.status, refused.header("Allow")), (405, Some("GET, HEAD")), "{method}");
    }
}

#[test]
fn a_response_says_what_the_file_is() {
    let dir = site();
    let ringate = serving(dir.path(), "cache_control = \"max-age=60\"").start();
    let mut client = ringate.client();
    let whole = ask(&mut client, "GET", "/digits.txt", "");
    let tag = whole.header("ETag").unwrap().to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    for (name, value) in [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Last-Modified", DATE),
        ("Accept-Ranges", "bytes"),
        ("Cache-Control", "max-age=60"),
    ] {
        assert_eq!(whole.header(name), Some(value));
    }
    assert!(whole.header("Date").is_some() && whole.header("Vary").is_none());
    let head = ask(&mut client, "HEAD", "/digits.txt", "Range: bytes=0-0\r\n");
    assert_eq!((head.status, head.header("Content-Length")), (200, Some("10")));
    assert_eq!(
        ask(&mut client, "GET", "/app.js", "").header("Content-Type"),
        Some("text/javascript; charset=utf-8")
    );
    assert_eq!(
        ask(&mut client, "GET", "/a%20b/%C3%A4.bin", "").header("Content-Type"),
        Some("application/octet-stream")
    );
    let none = ask(&mut client, "GET", "/digits.txt", &format!("If-None-Match: \"x\", W/{tag}\r\n"));
    assert_eq!(
        (none.status, none.header("ETag"), none.header("Cache-Control")),
        (304, Some(&*tag), Some("max-age=60"))
    );
    assert_eq!((none.header("Content-Type"), none.header("Content-Length")), (None, None));
    for (fields, status) in [
        (format!("If-Modified-Since: {DATE}\r\n"), 304),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n".to_owned(), 200),
        (format!("If-Match: {tag}\r\n"), 200),
        ("If-Match: \"x\"\r\n".to_owned(), 412),
        ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n".to_owned(), 412),
        (format!("If-Match: \"x\"\r\nIf-None-Match: {tag}\r\n"), 412),
        (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {DATE}\r\n"), 200),
    ] {
        assert_eq!(ask(&mut client, "GET", "/digits.txt", &fields).status, status, "{fields}");
    }
    // A file that was replaced is another one.
    fs::write(dir.path().join("site/digits.txt"), "9876543210").unwrap();
    let changed = ask(&mut client, "GET", "/digits.txt", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((changed.status, changed.text()), (200, "9876543210"));
}

#[test]
fn ranges_are_parts_of_the_file() {
    let dir = site();
    let ringate = serving(dir.path(), "").start();
    let mut client = ringate.client();
    for (range, status, body, content_range) in [
        ("bytes=0-3", 206, "0123", Some("bytes 0-3/10")),
        ("bytes=8-", 206, "89", Some("bytes 8-9/10")),
        ("bytes=-3", 206, "789", Some("bytes 7-9/10")),
        ("bytes=0-,-1", 200, "0123456789", None),
        ("items=0-1", 200, "0123456789", None),
    ] {
        let part = ask(&mut client, "GET", "/digits.txt", &format!("Range: {range}\r\n"));
        assert_eq!((part.status, part.text()), (status, body), "{range}");
        assert_eq!(part.header("Content-Range"), content_range, "{range}");
    }
    let beyond = ask(&mut client, "GET", "/digits.txt", "Range: bytes=10-\r\n");
    assert_eq!((beyond.status, beyond.header("Content-Range")), (416, Some("bytes */10")));
    let several = ask(&mut client, "GET", "/digits.txt", "Range: bytes=0-1, 5-5, -2\r\n");
    let kind = several.header("Content-Type").unwrap().to_owned();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let part = |range: &str, bytes: &str| {
        format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes {range}/10\r\n\r\n{bytes}"
        )
    };
    let expected =
        [part("0-1", "01"), part("5-5", "5"), part("8-9", "89"), format!("\r\n--{boundary}--\r\n")].concat();
    assert_eq!((several.status, several.text()), (206, &*expected));
    let tag = several.header("ETag").unwrap();
    for (condition, status) in
        [(tag, 206), (DATE, 206), ("\"x\"", 200), ("Sun, 06 Nov 1994 08:49:38 GMT", 200)]
    {
        let part =
            ask(&mut client, "GET", "/digits.txt", &format!("Range: bytes=0-0\r\nIf-Range: {condition}\r\n"));
        assert_eq!(part.status, status, "{condition}");
    }
}

#[test]
fn an_encoded_file_is_sent_where_the_client_takes_it() {
    let dir = site();
    let lines = "precompressed = [\"br\", \"gzip\"]\ncompression = { min_size = 1 }";
    let ringate = serving(dir.path(), lines).start();
    let mut client = ringate.client();
    for (accept, coding, body) in [
        ("gzip, br", Some("br"), "brotlied!"),
        ("gzip, br;q=0.5", Some("gzip"), "gzipped"),
        ("br;q=0, *", Some("gzip"), "gzipped"),
        ("identity", None, "console.log('plain')"),
    ] {
        let response = ask(&mut client, "GET", "/app.js", &format!("Accept-Encoding: {accept}\r\n"));
        assert_eq!((response.header("Content-Encoding"), response.text()), (coding, body), "{accept}");
        assert_eq!(response.header("Content-Type"), Some("text/javascript; charset=utf-8"));
        assert!(response.headers("Vary").contains(&"Accept-Encoding"));
    }
    let part = ask(&mut client, "GET", "/app.js", "Accept-Encoding: br\r\nRange: bytes=0-2\r\n");
    assert_eq!((part.status, part.text(), part.header("Content-Range")), (206, "bro", Some("bytes 0-2/9")));
    // Where there is no such file the rule compresses, and the tag is a weak one.
    let response = ask(&mut client, "GET", "/digits.txt", "Accept-Encoding: gzip\r\n");
    assert_eq!(response.header("Content-Encoding"), Some("gzip"));
    let tag = response.header("ETag").unwrap();
    assert!(tag.starts_with("W/"), "{tag}");
    let again =
        ask(&mut client, "GET", "/digits.txt", &format!("Accept-Encoding: gzip\r\nIf-None-Match: {tag}\r\n"));
    assert_eq!((again.status, again.header("ETag")), (304, Some(tag)));
}

#[test]
fn an_application_of_one_page_has_its_paths() {
    let dir = site();
    put(&dir.path().join("site/v2/about.html"), "about");
    let routes = |root: &Path| {
        let root = root.display();
        format!(
            "[[route]]\nroot = \"{root}\"\ntry_files = [\"{{path}}\", \"{{path}}/\", \"/index.html\"]\n\
             [[route]]\npath = \"/pages\"\nrewrite_prefix = \"/v2\"\nroot = \"{root}\"\ntry_files = [\"{{path}}.html\", \"=410\"]\n\
             [[route]]\npath = \"/static\"\nstrip_prefix = true\nroot = \"{root}\"\nindex = [\"none\", \"note.txt\"]\nsymlinks = \"none\"\ndot_files = true"
        )
    };
    let ringate = Setup::to(free_address()).routes(&routes(&dir.path().join("site"))).start();
    let mut client = ringate.client();
    for (target, status, body) in [
        ("/digits.txt", 200, "0123456789"),
        ("/docs/", 200, "<p>docs"),
        ("/orders/17", 200, "<p>home"),
        ("/orders/17/", 200, "<p>home"),
        ("/pages/about", 200, "about"),
        ("/static/digits.txt", 200, "0123456789"),
        ("/static/bare/", 200, "note"),
        ("/static/.env", 200, "SECRET=1"),
    ] {
        let response = ask(&mut client, "GET", target, "");
        assert_eq!((response.status, response.text()), (status, body), "{target}");
    }
    assert_eq!(ask(&mut client, "GET", "/pages/none", "").status, 410);
    assert_eq!(ask(&mut client, "GET", "/static/inside.txt", "").status, 403);
    // The client's own path is the one that it is sent on with.
    for target in ["/static/docs", "/static", "/docs"] {
        let moved = ask(&mut client, "GET", target, "");
        assert_eq!((moved.status, moved.header("Location")), (301, Some(&*format!("{target}/"))));
    }
}

#[test]
fn the_rules_of_a_route_hold_for_files() {
    let dir = site();
    let lines = "headers.response.set = { X-Frame-Options = \"DENY\", Cache-Control = \"no-store\" }\n\
                 cors = { origins = [\"https://a.example\"] }\ncache_control = \"max-age=60\"";
    let ringate = serving(dir.path(), lines)
        .section("[error_pages]\n404 = { text = \"lost\", content_type = \"text/html\" }")
        .section("[admin]\n[log]\naccess = \"stdout\"\nformat = \"json\"")
        .start();
    let mut client = ringate.client();
    let response = ask(&mut client, "GET", "/digits.txt", "Origin: https://a.example\r\n");
    assert_eq!(response.headers("Cache-Control"), ["no-store"]);
    assert_eq!(response.header("X-Frame-Options"), Some("DENY"));
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some("https://a.example"));
    let line = ringate.await_log("\"target\":\"/digits.txt\"");
    let bytes = response.head.len() + 10;
    assert!(
        line.contains("\"status\":200") && line.contains(&format!("\"bytes\":{bytes}")),
        "{line} {bytes}"
    );
    let lost = ask(&mut client, "GET", "/no", "Accept: text/html\r\n");
    assert_eq!((lost.status, lost.text(), lost.header("X-Frame-Options")), (404, "lost", Some("DENY")));
    let preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n";
    assert_eq!(ask(&mut client, "OPTIONS", "/digits.txt", preflight).status, 204);
    assert!(ringate.admin("/metrics").contains("ringate_route_requests_total"));
    ringate.await_metric("requests_answered_total", 3);
}

#[test]
fn what_can_not_be_served_is_refused_by_the_check() {
    let dir = site();
    let check = |lines: &str| {
        let text = Setup::to(free_address()).routes(&format!("[[route]]\n{lines}")).text();
        let file = dir.path().join("ringate.toml");
        fs::write(&file, text).unwrap();
        let output = run(Ringate::command().arg("check").arg("-c").arg(&file));
        (
            output.status.success(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    };
    assert!(check("root = \"site\"").0, "a path is relative to the config file");
    for (lines, said) in [
        ("root = \"none\"", "No such file or directory"),
        ("root = \"site/digits.txt\"", "Not a directory"),
        ("root = \"site\"\nupstream = \"app\"", "the route already has `route.root`"),
        ("upstream = \"app\"\nindex = [\"a\"]", "the route serves no files"),
        ("root = \"site\"\nindex = [\"a/b\"]", "is a path"),
        ("root = \"site\"\ntry_files = [\"/../x\"]", "has no `.` or `..`"),
        ("root = \"site\"\ntry_files = [\"$uri\"]", "begins with `/` or `{path}`"),
        ("root = \"site\"\ntry_files = [\"=404\", \"/x\"]", "nothing behind it would be tried"),
        ("root = \"site\"\ntry_files = [\"=200\"]", "no status of an error"),
        ("root = \"site\"\nprecompressed = [\"gzip\", \"gzip\"]", "named twice"),
        ("root = \"site\"\nsymlinks = \"all\"", "is not"),
    ] {
        let (good, text) = check(lines);
        assert!(!good && text.contains(said), "{lines}\n{text}");
    }
}

#[test]
fn text_has_the_charset_that_its_route_says() {
    let dir = site();
    for (lines, text, other) in [
        ("", "text/plain; charset=utf-8", "text/html; charset=utf-8"),
        ("charset = \"iso-8859-1\"", "text/plain; charset=iso-8859-1", "text/html; charset=iso-8859-1"),
        ("charset = \"none\"", "text/plain", "text/html"),
    ] {
        let ringate = serving(dir.path(), lines).start();
        let mut client = ringate.client();
        assert_eq!(ask(&mut client, "GET", "/digits.txt", "").header("Content-Type"), Some(text), "{lines}");
        let home = ask(&mut client, "HEAD", "/", "");
        assert_eq!(home.header("Content-Type"), Some(other), "{lines}");
        let binary = ask(&mut client, "GET", "/a%20b/%C3%A4.bin", "");
        assert_eq!(binary.header("Content-Type"), Some("application/octet-stream"));
    }
}
