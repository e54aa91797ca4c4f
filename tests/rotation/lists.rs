//! Several revocation lists, at the start and while it runs: of each issuer, the newest in its time counts.

use std::fs;
use std::path::{Path, PathBuf};

use super::kit::*;
use crate::support::*;

/// Two authorities whose clients a listener admits, each with a revocation list of its own file.
struct Lists {
    server: Authority,
    authorities: [Crafted; 2],
    dir: tempfile::TempDir,
    backend: Backend,
}

impl Lists {
    fn new() -> Self {
        let lists = Self {
            server: Authority::new(),
            authorities: [Crafted::new(), Crafted::new()],
            dir: tempfile::tempdir().unwrap(),
            backend: Backend::replying(crate::http::OK),
        };
        for (index, authority) in lists.authorities.iter().enumerate() {
            lists.put(index, &authority.crl_of(&[], -5, 5));
        }
        lists
    }

    fn file(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("{index}.pem"))
    }

    /// Replaces a file, as tools that renew lists do.
    fn put(&self, index: usize, content: &str) {
        let next = self.dir.path().join("next");
        fs::write(&next, content).unwrap();
        fs::rename(next, self.file(index)).unwrap();
    }

    fn start(&self) -> Ringate {
        let server = self.server.issue("server", &Leaf::default());
        let [first, second] = &self.authorities;
        let lines = format!(
            "[listener.tls]\ncertificates = [{}]\nclient_auth = \"required\"\nclient_trust = [{:?}, {:?}]\nclient_crl = [{:?}, {:?}]",
            server.toml(),
            first.file(),
            second.file(),
            self.file(0),
            self.file(1)
        );
        Setup::to(self.backend.address()).section("[admin]").listener(&lines).start()
    }

    fn admits(&self, ringate: &Ringate, client: &Files) -> bool {
        admits(ringate, &self.server.file(), client)
    }
}

fn admits(ringate: &Ringate, roots: &Path, client: &Files) -> bool {
    let url = format!("https://localhost:{}/", ringate.address().port());
    let mut command = std::process::Command::new("curl");
    command.args(["-sS", "--max-time", "15", "-o", "/dev/null", "--cacert"]).arg(roots);
    run(command.arg("--cert").arg(&client.cert).arg("--key").arg(&client.key).arg(url)).status.success()
}

fn warnings(ringate: &Ringate) -> String {
    call(ringate, "GET", "/v1/status", "").1["warnings"].to_string()
}

fn status_text(ringate: &Ringate) -> String {
    let output = run(Ringate::command().args(["status", "-c"]).arg(ringate.dir().join("ringate.toml")));
    String::from_utf8(output.stdout).unwrap()
}

const FAILED: &str = "revocation_list_refreshes_failed";

#[test]
fn a_list_that_has_ended_or_is_older_replaces_none_in_its_time() {
    let lists = Lists::new();
    let [first, second] = &lists.authorities;
    let (one, other) = (first.client(11), second.client(22));
    let ringate = lists.start();
    let admitted = || (lists.admits(&ringate, &one), lists.admits(&ringate, &other));
    assert_eq!(admitted(), (true, true));
    assert_eq!((metric(&ringate, FAILED), &*warnings(&ringate)), (0, "[]"));

    // The second authority's new list comes into force beside it.
    lists.put(0, &first.crl_of(&[], -2, -1));
    lists.put(1, &second.crl_of(&[22], -1, 5));
    ringate.await_log("was due to be replaced at");
    ringate.await_log("are in force: listener web");
    assert_eq!(admitted(), (true, false));
    assert!(metric(&ringate, FAILED) >= 1);
    for said in [warnings(&ringate), status_text(&ringate), ringate.log()] {
        for word in ["listener web: ", "0.pem", "Crafted CA", "stays until", "put a newer list"] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    // An older one would lack the latest revocations.
    lists.put(1, &second.crl_of(&[], -4, 4));
    ringate.await_log("is an older one");
    assert_eq!(admitted(), (true, false));
    assert_eq!(ringate.log().matches("was due to be replaced at").count(), 1, "once: {}", ringate.log());

    // One of another key of that name is not its authority's.
    let namesake = Crafted::with(|params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = first.name();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
    });
    lists.put(0, &namesake.crl_of(&[], -1, 5));
    ringate.await_log("no file holds a revocation list of");
    assert_eq!(admitted(), (true, false));

    // A file with both, and the deleted one: what is missing stays, what is there counts.
    fs::remove_file(lists.file(0)).unwrap();
    ringate.await_log("No such file");
    assert_eq!(admitted(), (true, false));
    lists.put(1, &(second.crl_of(&[], -6, -3) + &second.crl_of(&[], 0, 5) + &second.crl_of(&[22], -1, 5)));
    eventually("the newest of three", || (admitted() == (true, true)).then_some(()));

    lists.put(0, &first.crl_of(&[11], 0, 5));
    ringate.await_log("are in order again");
    assert_eq!(admitted(), (false, true));
    assert_eq!(warnings(&ringate), "[]");
}

#[test]
fn a_reload_replaces_no_list_in_its_time_by_one_that_has_ended() {
    let lists = Lists::new();
    let [first, second] = &lists.authorities;
    let (one, other) = (first.client(11), second.client(22));
    let ringate = lists.start();
    lists.put(0, &first.crl_of(&[], -2, -1));
    let (status, answer) = call(&ringate, "POST", "/v1/reload", "");
    assert_eq!(status, 200, "{answer:#}");
    assert!(answer["warnings"].to_string().contains("stays until"), "{answer:#}");
    assert!(warnings(&ringate).contains("stays until"));
    assert!(lists.admits(&ringate, &one) && lists.admits(&ringate, &other));
}

#[test]
fn with_only_a_list_that_has_ended_it_starts_warns_and_refuses_its_issuers_certificates() {
    let lists = Lists::new();
    let [first, second] = &lists.authorities;
    let (one, other) = (first.client(11), second.client(22));
    lists.put(0, &first.crl_of(&[], -3, -1));
    let ringate = lists.start();
    for said in [warnings(&ringate), status_text(&ringate)] {
        assert!(said.contains("was due to be replaced at") && said.contains("refused"), "{said}");
    }
    assert!(!lists.admits(&ringate, &one), "fails closed");
    assert!(lists.admits(&ringate, &other));
    lists.put(0, &first.crl_of(&[], -1, 5));
    ringate.await_log("are in order again");
    assert!(lists.admits(&ringate, &one));
}

/// Whether one file holds both or each has its own, and in which order: the newer list revokes 11 and forgives 22.
#[test]
fn the_newer_of_two_lists_counts_in_any_order_and_in_both_directions() {
    let (authority, server) = (Crafted::new(), Authority::new());
    let clients = [11, 22].map(|serial| authority.client(serial));
    let backends = [11, 22].map(|serial| {
        let files = authority.issue(&format!("backend-{serial}"), |params| {
            params.serial_number = Some(rcgen::SerialNumber::from(serial));
        });
        SServer::bare(&["-www", "-cert", files.cert.to_str().unwrap(), "-key", files.key.to_str().unwrap()])
    });
    let (older, newer) = (authority.crl_of(&[22], -5, 5), authority.crl_of(&[11], -1, 3));
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let (first, second) = (file("older.pem", &older), file("newer.pem", &newer));
    let orders = [
        vec![file("one.pem", &(older.clone() + &newer))],
        vec![file("other.pem", &(newer + &older))],
        vec![first.clone(), second.clone()],
        vec![second, first],
    ];
    let own = server.issue("server", &Leaf::default());
    let plain = Backend::replying(crate::http::OK);
    for lists in orders {
        let lines = format!(
            "[listener.tls]\ncertificates = [{}]\nclient_auth = \"required\"\nclient_trust = [{:?}]\nclient_crl = {lists:?}",
            own.toml(),
            authority.file()
        );
        let ringate = Setup::to(plain.address()).listener(&lines).start();
        let verdicts = [0, 1].map(|index| admits(&ringate, &server.file(), &clients[index]));
        assert_eq!(verdicts, [false, true], "clients, {lists:?}");
        let trust = authority.file();
        let tls = format!(
            "[upstream.app.tls]\nserver_name = \"localhost\"\ntrust = [{trust:?}]\ncrl = {lists:?}\n"
        );
        let verdicts = [0, 1]
            .map(|index: usize| Setup::to(backends[index].address()).upstream(&tls).start().get("/").status);
        assert_eq!(verdicts, [502, 200], "backends, {lists:?}");
    }
}

#[test]
fn an_authority_out_of_its_time_vouches_for_nobody_and_status_says_so() {
    let aged = |from: i64, until: i64| {
        Crafted::with(|params| {
            let now = time::OffsetDateTime::now_utc();
            (params.not_before, params.not_after) =
                (now + time::Duration::days(from), now + time::Duration::days(until));
        })
    };
    let (expired, near, future) = (aged(-9, -1), aged(-99, 1), aged(1, 99));
    let server = Authority::new();
    let own = server.issue("server", &Leaf::default());
    let plain = Backend::replying(crate::http::OK);
    let trust = [&expired, &near, &future].map(Crafted::file);
    let lines = format!(
        "[listener.tls]\ncertificates = [{}]\nclient_auth = \"required\"\nclient_trust = {trust:?}",
        own.toml()
    );
    let ringate = Setup::to(plain.address()).section("[admin]").listener(&lines).start();
    let [gone, good, early] = [&expired, &near, &future].map(|authority| authority.client(7));
    assert!(admits(&ringate, &server.file(), &good));
    assert!(!admits(&ringate, &server.file(), &gone));
    ringate.await_log("that vouches for it has expired; replace that authority in `client_trust`");
    assert!(!admits(&ringate, &server.file(), &early));
    for said in [warnings(&ringate), status_text(&ringate)] {
        for (authority, what) in
            [(&expired, "has expired"), (&near, "ends in "), (&future, "is valid only from")]
        {
            let words = format!("CN={} in the trust of listener web {what}", authority.name());
            assert!(said.contains(&words), "{words}: {said}");
        }
    }
    let check = run(Ringate::command().args(["check", "-c"]).arg(ringate.dir().join("ringate.toml")));
    let said = String::from_utf8(check.stderr).unwrap() + &String::from_utf8(check.stdout).unwrap();
    assert!(said.contains(&format!("CN={} has expired", expired.name())), "{said}");
    assert!(said.contains(&format!("CN={} is not valid yet", future.name())), "{said}");
}

#[test]
fn a_folder_of_trusted_certificates_is_watched_like_a_file() {
    let [first, second] = [Crafted::new(), Crafted::new()];
    let server = Authority::new();
    let own = server.issue("server", &Leaf::default());
    let folder = tempfile::tempdir().unwrap();
    let put = |from: &Path, name: &str| fs::copy(from, folder.path().join(name)).unwrap();
    put(&first.file(), "first.crt");
    put(&second.file(), "second.bak");
    let plain = Backend::replying(crate::http::OK);
    let lines = format!(
        "[listener.tls]\ncertificates = [{}]\nclient_auth = \"required\"\nclient_trust = [{:?}]",
        own.toml(),
        folder.path()
    );
    let ringate = Setup::to(plain.address()).section("[admin]").listener(&lines).start();
    let (one, other) = (first.client(1), second.client(2));
    let admitted = || [&one, &other].map(|client| admits(&ringate, &server.file(), client));
    assert_eq!(admitted(), [true, false]);
    put(&second.file(), "second.CER");
    ringate.await_log("are in force: listener web");
    assert_eq!(admitted(), [true, true]);
    for name in ["first.crt", "second.CER"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    ringate.await_log("the folder has no certificate in a");
    assert_eq!(admitted(), [true, true]);
    assert!(warnings(&ringate).contains("the folder has no certificate in a"));
}

#[test]
fn a_session_ends_with_the_client_certificate_in_it() {
    let authority = Authority::new();
    let server = authority.issue("server", &Leaf::default());
    let clients = Crafted::new();
    let short = clients.issue("short", |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = time::OffsetDateTime::now_utc() + time::Duration::seconds(4);
    });
    let plain = Backend::replying(crate::http::OK);
    let lines = format!(
        "[listener.tls]\ncertificates = [{}]\nclient_auth = \"required\"\nclient_trust = [{:?}]",
        server.toml(),
        clients.file()
    );
    let ringate = Setup::to(plain.address()).listener(&lines).start();
    let config = authority.client_config_as(&short);
    let ask = || {
        let mut client = Client::tls(ringate.address(), std::sync::Arc::clone(&config), "localhost");
        let sent = client.try_send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        sent.and_then(|()| client.try_response()).map(|response| response.status)
    };
    assert_eq!(ask().unwrap(), 200);
    assert_eq!(ask().unwrap(), 200, "resumed");
    std::thread::sleep(std::time::Duration::from_secs(6));
    let error = ask().unwrap_err().to_string();
    assert!(error.contains("CertificateExpired"), "an alert, from a full handshake: {error}");
    ringate.await_log("the peer's certificate expired ");
}
