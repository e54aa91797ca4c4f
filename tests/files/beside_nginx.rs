//! nginx and Ringate with the same root: the same requests have the same answers, but for the listed differences.

use super::*;

/// Fields that are compared, where a response has a file or leads to one.
const COMPARED: [&str; 8] = [
    "Content-Type",
    "Content-Length",
    "Content-Range",
    "Content-Encoding",
    "Last-Modified",
    "Accept-Ranges",
    "Location",
    "Cache-Control",
];

/// Requests, each with the reason why the answers differ, if they do.
const REQUESTS: &[(&str, &str, &str, Option<&str>)] = &[
    ("GET", "/", "", None),
    ("HEAD", "/", "", None),
    ("GET", "/index.html", "", None),
    ("GET", "/digits.txt", "", None),
    ("GET", "/empty.txt", "", None),
    ("GET", "/a%20b/%C3%A4.bin", "", None),
    ("GET", "/docs", "", None),
    ("GET", "/docs?a=b", "", None),
    ("GET", "/docs/", "", None),
    ("GET", "/docs/?a=b", "", None),
    ("GET", "/bare/", "", None),
    ("GET", "/bare", "", None),
    ("GET", "/none", "", None),
    ("GET", "/digits.txt/", "", None),
    ("GET", "/digits.txt/x", "", None),
    ("GET", "/inside.txt", "", None),
    ("POST", "/digits.txt", "Content-Length: 0\r\n", None),
    ("GET", "/digits.txt", "Range: bytes=0-3\r\n", None),
    ("GET", "/digits.txt", "Range: bytes=5-\r\n", None),
    ("GET", "/digits.txt", "Range: bytes=-3\r\n", None),
    ("GET", "/digits.txt", "Range: bytes=-30\r\n", None),
    ("GET", "/digits.txt", "Range: bytes=0-0,2-2\r\n", None),
    ("GET", "/digits.txt", "Range: bytes=0-0,20-\r\n", None),
    ("GET", "/digits.txt", "Range: bytes=0-9,0-9\r\n", None),
    ("GET", "/digits.txt", "Range: bytes=10-\r\n", None),
    ("GET", "/digits.txt", "Range: bytes=-0\r\n", None),
    ("GET", "/digits.txt", "Range: items=0-0\r\n", None),
    ("GET", "/empty.txt", "Range: bytes=0-\r\n", None),
    ("GET", "/empty.txt", "Range: bytes=-5\r\n", None),
    ("GET", "/digits.txt", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", None),
    ("GET", "/digits.txt", "If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", None),
    ("GET", "/digits.txt", "If-Modified-Since: now\r\n", None),
    ("GET", "/digits.txt", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", None),
    ("GET", "/digits.txt", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:38 GMT\r\n", None),
    ("GET", "/digits.txt", "If-Match: \"x\"\r\n", None),
    ("GET", "/digits.txt", "If-Match: *\r\n", None),
    ("GET", "/digits.txt", "If-None-Match: \"x\"\r\n", None),
    ("GET", "/digits.txt", "If-None-Match: *\r\n", None),
    ("GET", "/digits.txt", "If-None-Match: TAG\r\n", None),
    ("HEAD", "/digits.txt", "If-None-Match: TAG\r\n", None),
    ("GET", "/digits.txt", "If-None-Match: \"x\", W/TAG\r\n", None),
    ("GET", "/digits.txt", "If-Match: TAG\r\n", None),
    ("GET", "/digits.txt", "Range: bytes=0-0\r\nIf-Range: TAG\r\n", None),
    ("GET", "/digits.txt", "Range: bytes=0-0\r\nIf-Range: \"x\"\r\n", None),
    ("GET", "/digits.txt", "Range: bytes=0-0\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n", None),
    ("GET", "/digits.txt", "Range: bytes=0-0\r\nIf-Range: Sun, 06 Nov 1994 08:49:38 GMT\r\n", None),
    ("GET", "/app.js", "Accept-Encoding: gzip\r\n", None),
    ("GET", "/app.js", "Accept-Encoding: gzip;q=0\r\n", None),
    (
        "GET",
        "/app.js",
        "Accept-Encoding: gzip\r\nRange: bytes=0-2\r\n",
        Some("gzip_static of nginx 1.22 takes no ranges"),
    ),
    ("GET", "/app.js", "", None),
    ("GET", "/spa/x/y", "", None),
    ("GET", "/strict/none", "", None),
    ("HEAD", "/digits.txt", "Range: bytes=0-0\r\n", Some("Range is for GET alone (RFC 9110 §14.2)")),
    (
        "GET",
        "/digits.txt",
        "If-Modified-Since: Sun, 06 Nov 1994 08:49:38 GMT\r\n",
        Some("nginx compares for equality; a later date is as good (RFC 9110 §13.1.3)"),
    ),
    ("GET", "/.env", "", Some("names with a dot are refused unless `dot_files` is set")),
    ("GET", "/out.txt", "", Some("nginx follows links out of the root")),
    ("GET", "/bare%2Fnote.txt", "", Some("an encoded slash is refused by every route (encoded_slashes)")),
    ("GET", "/digits.txt", "Range: bytes=0-5,3-9\r\n", None),
];

fn shown(address: std::net::SocketAddr, (method, target, fields): (&str, &str, &str), tag: &str) -> String {
    let mut client = Client::connect(address);
    let response = ask(&mut client, method, target, &fields.replace("TAG", tag));
    let mut shown = format!("{}\n", response.status);
    // Bodies of errors are the programs' own.
    if response.status >= 400 {
        return shown + response.header("Content-Range").unwrap_or_default();
    }
    let kind = response.header("Content-Type").unwrap_or_default().to_owned();
    let boundary = kind.split_once("boundary=").map_or("-no-boundary-", |(_, boundary)| boundary);
    for name in COMPARED {
        // The page of a redirect is the programs' own, as is the length of a boundary.
        // add_header of nginx holds for redirects as well, and it says that it takes ranges where a 200 has the file itself.
        let own = name.starts_with("Content-") && response.status == 301
            || name == "Content-Length" && kind.contains("boundary=")
            || name == "Cache-Control" && response.status == 301
            || name == "Accept-Ranges"
                && (response.status == 206 || response.header("Content-Encoding").is_some());
        for value in response.headers(name).into_iter().filter(|_| !own) {
            shown.push_str(&format!("{name}: {}\n", value.replace(boundary, "BOUNDARY")));
        }
    }
    if response.status < 300 && method != "HEAD" {
        shown.push_str(&response.text().replace(boundary, "BOUNDARY"));
    }
    shown
}

#[test]
fn files_are_served_as_nginx_serves_them() {
    let dir = site();
    let root = dir.path().join("site");
    let root = root.display();
    let nginx = Nginx::plain(&format!(
        "absolute_redirect off; gzip_static on; charset utf-8; charset_types text/plain text/javascript text/css;\n\
         types {{ text/html html; text/plain txt; text/javascript js; }} default_type application/octet-stream;\n\
         add_header Cache-Control max-age=60;\n\
         location / {{ root {root}; }}\n\
         location /spa/ {{ root {root}; try_files $uri $uri/ /index.html; }} location /strict/ {{ root {root}; try_files $uri =404; }}"
    ));
    let lines = format!("root = \"{root}\"\nprecompressed = [\"gzip\"]\ncache_control = \"max-age=60\"");
    let routes = format!(
        "[[route]]\n{lines}\n\
         [[route]]\npath = \"/spa\"\n{lines}\ntry_files = [\"{{path}}\", \"{{path}}/\", \"/index.html\"]\n\
         [[route]]\npath = \"/strict\"\n{lines}\ntry_files = [\"{{path}}\", \"=404\"]"
    );
    let ringate = Setup::to(free_address()).routes(&routes).start();
    let tag = |address| {
        let response = ask(&mut Client::connect(address), "GET", "/digits.txt", "");
        response.header("ETag").unwrap().to_owned()
    };
    let (ours, theirs) = (ringate.address(), nginx.address());
    let (our_tag, their_tag) = (tag(ours), tag(theirs));
    let mut faults = Vec::new();
    for &(method, target, fields, differs) in REQUESTS {
        let request = (method, target, fields);
        let (own, other) = (shown(ours, request, &our_tag), shown(theirs, request, &their_tag));
        if (own == other) == differs.is_some() {
            faults.push(format!("{method} {target} {fields:?} ({differs:?})\n{own}\n--- nginx:\n{other}\n"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
