//! Configs of nginx and HAProxy, translated by `ringate import`: they and Ringate serve the same requests alike.
//!
//! Each file of tests/data/import is a config of theirs. Its lines `#> METHOD TARGET HOST FIELD:VALUE …` are the requests.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::support::*;

/// Fields that both must have alike; others are of the programs themselves.
const COMPARED: [&str; 11] = [
    "cache-control",
    "www-authenticate",
    "location",
    "content-type",
    "content-encoding",
    "x-outer",
    "x-inner",
    "x-frame-options",
    "x-backend",
    "x-second",
    "allow",
];

/// A backend that responds with what it got, without what each proxy adds.
fn echo(name: &'static str) -> Backend {
    Backend::serving(move |request| {
        // As a service that is asked about requests.
        let asked_about = request.header("x-original-uri").unwrap_or_default();
        if asked_about.starts_with("/refused") {
            return b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
                .to_vec();
        }
        if request.head.lines().next().unwrap().contains("/missing") {
            return format!("HTTP/1.1 404 Not Found\r\nX-Backend: {name}\r\nContent-Length: 0\r\n\r\n")
                .into_bytes();
        }
        if request.head.starts_with("GET /slow") {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        // nginx asks its backends by HTTP/1.0.
        let line = request.head.lines().next().unwrap().rsplit_once(' ').unwrap().0;
        let mut lines = vec![format!("{name} {line}")];
        for field in [
            "host",
            "x-real-ip",
            "x-method",
            "x-drop",
            "x-keep",
            "x-copy",
            "x-from",
            "x-client",
            "x-to",
            "x-backend",
            "x-scheme",
            "authorization",
        ] {
            lines.extend(request.header(field).map(|value| format!("{field}: {value}")));
        }
        let body = format!("{}\n{}", lines.join("\n"), "filler ".repeat(20));
        let length = body.len();
        let body = if line.starts_with("HEAD ") { String::new() } else { body };
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Backend: {name}\r\nContent-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    })
}

/// The two backends, for all configs.
fn backends() -> &'static (Backend, Backend) {
    static BACKENDS: OnceLock<(Backend, Backend)> = OnceLock::new();
    BACKENDS.get_or_init(|| (echo("a"), echo("b")))
}

/// A request of a config's file.
struct Wanted {
    tls: bool,
    text: String,
    host: String,
    is_head: bool,
}

fn requests(config: &str) -> Vec<Wanted> {
    let lines = config.lines().filter_map(|line| line.strip_prefix("#> "));
    let found = lines.map(|line| {
        let (tls, line) = line.strip_prefix("TLS ").map_or((false, line), |rest| (true, rest));
        let mut words = line.split(' ');
        let (method, target, host) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        // `@12000@`: so many bytes.
        let target = match target.split('@').collect::<Vec<_>>()[..] {
            [before, count, after] => format!("{before}{}{after}", "y".repeat(count.parse().unwrap())),
            _ => target.to_owned(),
        };
        let (mut fields, mut body) = (String::new(), String::new());
        for word in words {
            let (name, value) = word.split_once(':').unwrap();
            match name {
                // A field of so many bytes, perhaps not the only one.
                "LONG" => {
                    let number = fields.matches("X-Long").count();
                    let value = "x".repeat(value.parse().unwrap());
                    fields.push_str(&format!("X-Long-{number}: {value}\r\n"));
                }
                "USER" => {
                    let credentials = data_encoding::BASE64.encode(value.as_bytes());
                    fields.push_str(&format!("Authorization: Basic {credentials}\r\n"));
                }
                "BODY" => body = "x".repeat(value.parse().unwrap()),
                _ => fields.push_str(&format!("{name}: {value}\r\n")),
            }
        }
        if !body.is_empty() || method == "POST" {
            fields.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        let text =
            format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n{body}");
        Wanted { tls, text, host: host.to_owned(), is_head: method == "HEAD" }
    });
    let found: Vec<Wanted> = found.collect();
    assert!(!found.is_empty());
    found
}

/// Status, compared fields, and the body where it comes from the backend or the config.
fn answer(plain: SocketAddr, tls: SocketAddr, wanted: &Wanted, pki: &Pki) -> String {
    let mut client = match wanted.tls {
        true => Client::tls(tls, pki.client_config(), "localhost"),
        false => Client::connect(plain),
    };
    client.send(&wanted.text);
    let response = if wanted.is_head { client.response_to_head() } else { client.response() };
    let mut shown = format!("{}\n", response.status);
    let served = (200..300).contains(&response.status);
    for name in COMPARED {
        // Both have a type of their own for pages of errors, and HAProxy forbids to keep them.
        if matches!(name, "content-type" | "cache-control") && !served {
            continue;
        }
        for value in response.headers(name) {
            // nginx writes the whole URL, also where it leads to the same host.
            let value =
                if wanted.tls { value } else { value.trim_start_matches(&format!("http://{}", wanted.host)) };
            shown.push_str(&format!("{name}: {value}\n"));
        }
    }
    let is_page = response.body.starts_with(b"page of ");
    if (served || is_page) && response.header("content-encoding").is_none() {
        shown.push_str(response.text());
    }
    shown
}

/// A config with its addresses.
fn filled(text: &str, dir: &Path, listen: [SocketAddr; 2], dead: SocketAddr) -> String {
    let (a, b) = backends();
    text.replace("@listen@", &listen[0].to_string())
        .replace("@listen2@", &listen[1].to_string())
        .replace("@a@", &a.address().to_string())
        .replace("@b@", &b.address().to_string())
        .replace("@dead@", &dead.to_string())
        .replace("@dir@", &dir.display().to_string())
}

fn start_theirs(kind: &str, text: &str, dir: &Path) -> Process {
    let path = dir.join("theirs.conf");
    let mut command = if kind == "nginx" {
        let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
        let at = dir.display();
        let head = format!("{user} daemon off; master_process off; pid {at}/pid; error_log stderr info;\n");
        fs::write(dir.join("mime.types"), "types { text/html html; }\n").unwrap();
        let text = text.replacen("http {", &format!("http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n"), 1);
        fs::write(&path, head + &text).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir).arg("-e").arg("stderr").arg("-c").arg(&path);
        command
    } else {
        fs::write(&path, text).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&path);
        command
    };
    Process::start(&mut command)
}

/// A root with some files.
fn files_of_all(dir: &Path) {
    for (name, content) in [
        ("index.html", "home"),
        ("app.bin", "plain"),
        ("app.bin.gz", "encoded"),
        ("img/start.bin", "start"),
        ("img/a.bin", "a picture"),
        ("spa/index.html", "one page"),
        ("404.html", "page of 404"),
    ] {
        let path = dir.join("www").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// Map files, and files of HAProxy for errors.
fn maps_and_pages(dir: &Path) {
    for (name, content) in [
        ("moved.map", "# moved\n/old /new?from=map\n/api/old /api/new\n/away https://away.example/\n"),
        ("begins.map", "/begins /begun\n/begins/long /longer\n"),
        ("ends.map", ".gif /pictures\na.gif /never\n"),
        ("regex.map", "^/z/[0-9]+$ /number\n"),
        ("hosts.map", "b.example b\ntenant.example c\n"),
        ("sites.map", "# sites\ndom.example one\nother.example nowhere\n"),
        ("bases.map", "a.example/api by_two\na.example/api/deep by_one\nwhole.example/ by_one\n"),
        ("paths.map", "/path two\n/path/one one\n/path/three nowhere\n"),
        ("names.map", "a.example one\nb.example two\nc.example nowhere\n"),
        ("paths.lst", &list("/listed", "")),
        ("bots.lst", &list("bot", "")),
        ("hosts.lst", &list("host", ".example")),
        (
            "403.http",
            "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 11\r\n\r\npage of 403",
        ),
        ("504.http", "HTTP/1.1 504 Late\r\nContent-Type: text/html\r\nContent-Length: 11\r\n\r\npage of 504"),
    ] {
        fs::write(dir.join(name), content).unwrap();
    }
}

/// 300 patterns.
fn list(before: &str, after: &str) -> String {
    (0..300).map(|number| format!("{before}{number}{after}\n")).collect()
}

/// Runs a config in its own program and in Ringate, and compares.
fn compare(kind: &str, path: &Path) {
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let text = fs::read_to_string(path).unwrap();
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    for file in ["server.pem", "server.key"] {
        fs::copy(pki.file(file), dir.path().join(file)).unwrap();
    }
    fs::create_dir(dir.path().join("html")).unwrap();
    for page in ["404.html", "50x.html"] {
        fs::write(dir.path().join("html").join(page), format!("page of {page}")).unwrap();
    }
    let both = [
        fs::read_to_string(pki.file("server.pem")).unwrap(),
        fs::read_to_string(pki.file("server.key")).unwrap(),
    ];
    fs::write(dir.path().join("both.pem"), both.concat()).unwrap();
    files_of_all(dir.path());
    maps_and_pages(dir.path());
    let (theirs, ours, dead) =
        ([free_address(), free_address()], [free_address(), free_address()], free_address());
    let mut process = start_theirs(kind, &filled(&text, dir.path(), theirs, dead), dir.path());

    let source = dir.path().join("source.conf");
    fs::write(&source, filled(&text, dir.path(), ours, dead)).unwrap();
    let out = dir.path().join("ringate.toml");
    let imported =
        run(Ringate::command().args(["import", kind]).arg(&source).arg("--out").arg(&out).arg("--json"));
    let summary: serde_json::Value = serde_json::from_slice(&imported.stdout).unwrap();
    assert_eq!(imported.status.code(), Some(0), "{name}: {summary:#}");
    assert_eq!(summary["untranslated"], serde_json::json!([]), "{name}: {summary:#}");
    let config = fs::read_to_string(&out).unwrap();
    let checked = run(Ringate::command().arg("check").arg("-c").arg(&out));
    assert_eq!(
        checked.status.code(),
        Some(0),
        "{name}: {}\n{config}",
        String::from_utf8_lossy(&checked.stderr)
    );

    let wanted = requests(&text);
    let ringate = start_ours(&config, dir.path());
    eventually("the other program to listen", || {
        assert!(process.ended().is_none(), "{name}: {}", process.log());
        TcpStream::connect(theirs[0]).ok()
    });
    for one in &wanted {
        let (expected, found) =
            (answer(theirs[0], theirs[1], one, &pki), answer(ours[0], ours[1], one, &pki));
        let (expected, found) = (without_port(&expected, theirs), without_port(&found, ours));
        assert_eq!(found, expected, "{name}: {}\n{config}\n{}", one.text, ringate.log());
    }
}

/// Ringate with a config and the files that stand beside it.
fn start_ours(config: &str, dir: &Path) -> Ringate {
    let own = tempfile::tempdir().unwrap();
    fs::write(own.path().join("ringate.toml"), format!("{config}\n[runtime]\nworkers = 1\n")).unwrap();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        if entry.path().extension().is_some_and(|extension| extension == "htpasswd") {
            fs::copy(entry.path(), own.path().join(entry.file_name())).unwrap();
        }
    }
    Ringate::start_in(own, config.matches("[[listener]]").count())
}

/// A redirect to the same host may name the port that the request came to.
fn without_port(text: &str, listen: [SocketAddr; 2]) -> String {
    listen.iter().fold(text.to_owned(), |text, address| text.replace(&format!(":{}", address.port()), ""))
}

fn compare_all(kind: &str, least: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import").join(kind);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= least, "{paths:?}");
    paths.iter().for_each(|path| compare(kind, path));
}

#[test]
fn nginx_and_ringate_serve_imported_configs_alike() {
    compare_all("nginx", 19);
}

#[test]
fn haproxy_and_ringate_serve_imported_configs_alike() {
    compare_all("haproxy", 11);
}

#[test]
fn what_is_not_translated_is_listed_with_file_and_line_and_the_nearest_key() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("nginx.conf");
    fs::write(&source, "http {\n server {\n  listen 8080;\n  sub_filter a b;\n  location / { proxy_pass http://127.0.0.1:1; }\n  location /x { root /srv/$host; }\n }\n}\n").unwrap();
    let output = run(Ringate::command().args(["import", "nginx"]).arg(&source));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stdout.contains("[[listener]]") && stdout.contains("respond = { status = 503"), "{stdout}");
    assert!(stderr.contains("nginx.conf:4: sub_filter a b\n    bodies are not changed"), "{stderr}");
    assert!(
        stderr.contains("nginx.conf:6: root /srv/$host\n") && stderr.contains("[nearest: route"),
        "{stderr}"
    );
    fs::write(&source, "nothing of nginx\n").unwrap();
    let output = run(Ringate::command().args(["import", "nginx"]).arg(&source));
    assert_eq!(output.status.code(), Some(1));
    let output = run(Ringate::command().args(["import", "apache"]).arg(&source));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn users_of_haproxy_are_written_beside_the_config_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("haproxy.cfg"), dir.path().join("ringate.toml"));
    let users = dir.path().join("team.htpasswd");
    fs::write(
        &source,
        "userlist team\n user a insecure-password secret\n user b password rqXexS6ZhobKA\nfrontend web\n mode http\n bind 127.0.0.1:8080\n \
         http-request auth unless { http_auth(team) }\n default_backend app\nbackend app\n mode http\n server s 127.0.0.1:1\n",
    )
    .unwrap();
    let import = |to_file: bool| {
        let mut command = Ringate::command();
        command.args(["import", "haproxy"]).arg(&source);
        if to_file {
            command.arg("--out").arg(&out);
        }
        run(&mut command)
    };
    for _ in 0..2 {
        let output = import(true);
        let listed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{listed}");
        // The user whose hash is none stays out.
        assert!(
            listed.contains("haproxy.cfg:3:") && listed.contains("[nearest: route.auth.basic.file]"),
            "{listed}"
        );
        let text = fs::read_to_string(&users).unwrap();
        assert!(text.contains("\na:$2") && !text.contains("\nb:") && !text.contains("secret"), "{text}");
        assert_eq!(fs::metadata(&users).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(run(Ringate::command().arg("check").arg("-c").arg(&out)).status.code(), Some(0));
    }
    let output = import(false);
    assert!(String::from_utf8_lossy(&output.stderr).contains("save this as team.htpasswd"));
    fs::write(&users, "another's\n").unwrap();
    let output = import(true);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is there already"));
    assert_eq!(fs::read_to_string(&users).unwrap(), "another's\n");
}

#[test]
fn completions_and_man_pages_are_made_of_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(Ringate::command().args(["completions", shell]));
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains("quickstart"), "{shell}");
    }
    let dir = tempfile::tempdir().unwrap();
    let output = run(Ringate::command().arg("man").arg(dir.path().join("man")));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for page in ["ringate.1", "ringate-check.1", "ringate-cert-generate.1"] {
        let text = fs::read_to_string(dir.path().join("man").join(page))
            .unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".TH") && text.contains(".SH NAME"), "{page}");
    }
}
