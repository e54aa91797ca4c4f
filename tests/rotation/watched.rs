//! Files that peers are checked against change while it runs: the next handshake is checked against what they say now.

use std::fs;
use std::path::Path;

use super::kit::*;
use crate::support::*;

const IN_FORCE: &str = "changed trust or revocation lists are in force: ";

/// Puts a file in the place of another, as tools that renew them do.
fn put(from: &Path, to: &Path) {
    let next = to.with_extension("next");
    fs::copy(from, &next).unwrap();
    fs::rename(next, to).unwrap();
}

fn await_times(ringate: &Ringate, text: &str, times: usize) {
    eventually(text, || (ringate.log().matches(text).count() >= times).then_some(()));
}

#[test]
fn a_client_that_a_new_list_revokes_is_refused_at_its_next_handshake() {
    let authority = Authority::new();
    let server = authority.issue("server", &Leaf::default());
    let [lost, kept] = ["lost", "kept"].map(|name| authority.issue(name, &leaf(name)));
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("list.pem");
    put(&authority.revoke(&[]), &list);
    let backend = Backend::replying(crate::http::OK);
    let ringate = Setup::to(backend.address())
        .listener(&format!(
            "[listener.tls]\ncertificates = [{}]\nclient_auth = \"required\"\nclient_trust = [{:?}]\nclient_crl = {list:?}",
            server.toml(),
            authority.file()
        ))
        .start();
    let roots = authority.file();
    let ask = |files: &Files| {
        let url = format!("https://localhost:{}/", ringate.address().port());
        let mut command = std::process::Command::new("curl");
        command.args(["-sS", "--max-time", "15", "-o", "/dev/null", "--cacert"]).arg(&roots);
        run(command.arg("--cert").arg(&files.cert).arg("--key").arg(&files.key).arg(url)).status.success()
    };
    assert!(ask(&lost) && ask(&kept));
    put(&authority.revoke(&[&lost]), &list);
    ringate.await_log(&format!("{IN_FORCE}listener web"));
    assert!(!ask(&lost) && ask(&kept));
    // An invalid one changes nothing, and is logged.
    fs::write(&list, "-----BEGIN X509 CRL-----\nAAAA").unwrap();
    ringate.await_log("trust or revocation lists: ");
    assert!(!ask(&lost) && ask(&kept));
    put(&authority.revoke(&[]), &list);
    await_times(&ringate, IN_FORCE, 2);
    assert!(ask(&lost));
}

#[test]
fn a_client_that_a_new_list_revokes_sends_no_more_on_the_connection_it_has() {
    let authority = Authority::new();
    let server = authority.issue("server", &Leaf::default());
    let lost = authority.issue("lost", &leaf("lost"));
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("list.pem");
    put(&authority.revoke(&[]), &list);
    let (tell, asked) = std::sync::mpsc::channel();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let shared = std::sync::Mutex::new((tell, wait));
    let backend = Backend::serving(move |request| {
        if request.head.contains("/slow") {
            let (tell, wait) = &*shared.lock().unwrap();
            tell.send(()).unwrap();
            let _ = wait.recv_timeout(PATIENCE);
        }
        crate::http::ok("done")
    });
    let tls = format!(
        "[listener.tls]\ncertificates = [{}]\nclient_auth = \"required\"\nclient_trust = [{:?}]\nclient_crl = {list:?}",
        server.toml(),
        authority.file()
    );
    let page = dir.path().join("503.html");
    fs::write(&page, "sorry").unwrap();
    let pages = format!("[error_pages]\n503 = {{ file = {page:?} }}");
    let own = "[[route]]\nupstream = \"app\"\n[[route]]\npath = \"/own\"\nrespond = { body = \"own\" }";
    let ringate = Setup::to(backend.address()).listener(&tls).routes(own).section(&pages).start();
    let client = || Client::tls(ringate.address(), authority.client_config_as(&lost), "localhost");
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (mut idle, mut long_idle, mut busy, mut asking) = (client(), client(), client(), client());
    assert_eq!(long_idle.send(get("/")).response().status, 200);
    std::thread::sleep(std::time::Duration::from_millis(900));
    assert_eq!(idle.send(get("/")).response().status, 200);
    busy.send(get("/slow"));
    asked.recv_timeout(PATIENCE).unwrap();
    asking.send("GET /own HTTP/1.1\r\n");
    // What else has become of the config's files is a reload's matter.
    fs::remove_file(&page).unwrap();
    put(&authority.revoke(&[&lost]), &list);
    ringate.await_log(&format!("{IN_FORCE}listener web"));
    let response = asking.send("Host: localhost\r\n\r\n").response();
    assert_eq!((response.text(), response.header("Connection")), ("own", Some("close")));
    idle.closes();
    long_idle.closes();
    release.send(()).unwrap();
    let response = busy.response();
    assert_eq!((response.text(), response.header("Connection")), ("done", Some("close")));
    busy.closes();
}

#[test]
fn backends_are_checked_against_what_a_trust_file_says_now() {
    let pki = Pki::new();
    let stranger = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let trust = dir.path().join("trust.pem");
    put(&pki.file("ca.pem"), &trust);
    let (asked, release) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    let (tell, wait) = (std::sync::Mutex::new(asked.0), std::sync::Mutex::new(release.1));
    let slow = Backend::serving(move |request| {
        if request.head.contains("/slow") {
            tell.lock().unwrap().send(()).unwrap();
            let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
        }
        crate::http::ok("done")
    });
    let nginx = Nginx::tls(&pki, &format!("location / {{ proxy_pass http://{}; }}", slow.address()));
    let tls = format!("[upstream.app.tls]\nserver_name = \"localhost\"\ntrust = [{trust:?}]\n");
    let ringate = Setup::to(nginx.address()).upstream(&tls).start();
    assert_eq!(ringate.get("/").status, 200);
    // A request that is under way ends as it began.
    let mut under_way = ringate.client();
    under_way.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
    asked.1.recv_timeout(PATIENCE).unwrap();
    put(&stranger.file(), &trust);
    ringate.await_log(&format!("{IN_FORCE}upstream app"));
    assert_eq!(ringate.get("/").status, 502, "no pooled connection is used any more either");
    release.0.send(()).unwrap();
    assert_eq!(under_way.response().text(), "done");
    put(&pki.file("ca.pem"), &trust);
    await_times(&ringate, IN_FORCE, 2);
    assert_eq!(ringate.get("/").status, 200);
}

#[test]
fn a_trusted_certificate_of_the_store_is_rotated_like_any_other() {
    let kit = Kit::new();
    let store = ringate::internals::certs::Store::open(kit.store()).unwrap();
    let bundle =
        |file: &Path| ringate::internals::certs::Bundle::from_parts(&fs::read(file).unwrap(), None).unwrap();
    let meta = ringate::internals::certs::Meta {
        description: None,
        origin: ringate::internals::certs::Origin::Imported,
        now: std::time::SystemTime::now(),
    };
    store.create("backend-ca", &bundle(&kit.other.file()), &meta).unwrap();
    let nginx = Nginx::tls(&kit.pki, "location / { return 200 ok; }");
    let section = format!("[admin]\n[store]\npath = {:?}", kit.store());
    let tls = "[upstream.app.tls]\nserver_name = \"localhost\"\ntrust = [\"backend-ca\"]\n";
    let ringate = Setup::to(nginx.address()).section(&section).upstream(tls).start();
    assert_eq!(ringate.get("/").status, 502);
    store.stage("backend-ca", &bundle(&kit.pki.file("ca.pem")), &meta).unwrap();
    let (status, answer) = call(&ringate, "POST", "/v1/certificates/backend-ca/activate", "");
    assert_eq!(status, 200, "{answer:#}");
    assert_eq!(ringate.get("/").status, 200, "at once");
    assert_eq!(call(&ringate, "POST", "/v1/certificates/backend-ca/rollback", "").0, 200);
    assert_eq!(ringate.get("/").status, 502);
}
