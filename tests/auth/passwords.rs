//! `auth.basic`: users of a file, whose hashes are slow to make.

use std::fs;

use data_encoding::BASE64;

use crate::http::OK;
use crate::support::*;

/// `secret`, with a cost of 4.
fn bcrypt(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}

/// Ringate with a file of users, which the route's `auth.basic` names with further keys.
fn guarded(users: &str, keys: &str, sections: &str) -> (Backend, Ringate, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users.htpasswd");
    fs::write(&file, users).unwrap();
    let backend = Backend::replying(OK);
    let route = format!("[[route]]\nupstream = \"app\"\nauth.basic = {{ file = {file:?}, {keys} }}");
    let ringate = Setup::to(backend.address()).routes(&route).section("[admin]").section(sections).start();
    (backend, ringate, dir)
}

fn get(user: &str, password: &str) -> String {
    let given = BASE64.encode(format!("{user}:{password}").as_bytes());
    format!("GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Basic {given}\r\n\r\n")
}

#[test]
fn a_user_passes_and_others_are_challenged() {
    let users = format!("# people\nalice:{}\nbob:{{SHA}}5en6G6MezRroT3XKqkdPOmY/BfQ=\n", bcrypt("secret"));
    let log = "[log]\naccess = \"access.log\"\naccess_format = \"{auth.user} {response.status}\"";
    let (backend, ringate, _dir) = guarded(&users, "realm = \"the \\\"shop\\\"\", forward = \"X-User\"", log);
    let mut client = ringate.client();
    let without = client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
    assert_eq!(without.status, 401);
    assert_eq!(without.header("WWW-Authenticate"), Some("Basic realm=\"the \\\"shop\\\"\""));
    for (user, password, status) in [
        ("alice", "secret", 200),
        ("alice", "secret", 200), // known by now
        ("bob", "secret", 200),
        ("alice", "Secret", 401),
        ("alice", "Secret", 401),
        ("alice", "", 401),
        ("carol", "secret", 401),
        ("", "", 401),
    ] {
        assert_eq!(client.send(get(user, password)).response().status, status, "{user}:{password}");
    }
    assert_eq!(backend.requests(), 3);
    for value in ["Bearer x", "Basic", "Basic !", "Basic YQ==", "Basic YTpi\r\nAuthorization: Basic YTpi"] {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nAuthorization: {value}\r\n\r\n");
        assert_eq!(client.send(request).response().status, 401, "{value}");
    }
    assert_eq!(ringate.metric("auth_passwords_wrong_total"), 5);
    assert_eq!(ringate.metric("requests_unauthorized_total"), 11);
    let path = ringate.dir().join("access.log");
    let lines = eventually("the log", || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        (text.lines().count() == 14).then_some(text)
    });
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[..5], ["- 401", "alice 200", "alice 200", "bob 200", "- 401"]);
}

#[test]
fn the_backend_gets_the_name_and_not_the_password() {
    let users = format!("alice:{}\n", bcrypt("secret"));
    for (keys, password) in
        [("forward = \"X-User\"", false), ("forward = \"X-User\", forward_authorization = true", true)]
    {
        let (backend, ringate, _dir) = guarded(&users, keys, "");
        let request =
            get("alice", "secret").replacen("\r\n\r\n", "\r\nX_User: root\r\nx-user: root\r\n\r\n", 1);
        assert_eq!(ringate.client().send(request).response().status, 200);
        let got = backend.request();
        assert_eq!(got.header("Authorization").is_some(), password, "{}", got.head);
        assert_eq!(got.headers("X-User"), ["alice"], "{}", got.head);
        assert_eq!(got.header("X_User"), None, "{}", got.head);
    }
}

#[test]
fn a_body_and_what_follows_it_wait_for_the_verdict() {
    let users = format!("alice:{}\n", bcrypt("secret"));
    let (backend, ringate, _dir) = guarded(&users, "", "");
    let post = get("alice", "secret").replacen("GET", "POST", 1).replacen(
        "\r\n\r\n",
        "\r\nContent-Length: 4\r\n\r\nbody",
        1,
    );
    let mut client = ringate.client();
    client.send(format!("{post}{}", get("alice", "wrong")));
    assert_eq!((client.response().status, client.response().status), (200, 401));
    assert_eq!(backend.request().body, b"body");
    // Over HTTP/2 as well.
    if have("curl") {
        let url = format!("http://{}/", ringate.address());
        let curl = |user: &str| {
            let mut command = std::process::Command::new("curl");
            command.args([
                "-s",
                "--http2-prior-knowledge",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} %{http_version}",
            ]);
            String::from_utf8(run(command.args(["-u", user, &url])).stdout).unwrap()
        };
        assert_eq!((&*curl("alice:secret"), &*curl("alice:other")), ("200 2", "401 2"));
    }
}

#[test]
fn a_changed_file_is_in_force_soon_and_a_broken_one_is_not() {
    let users = format!("alice:{}\n", bcrypt("secret"));
    let (_backend, ringate, dir) = guarded(&users, "", "");
    let mut client = ringate.client();
    let mut status = |user: &str, password: &str| client.send(get(user, password)).response().status;
    assert_eq!((status("alice", "secret"), status("bob", "other")), (200, 401));
    let file = dir.path().join("users.htpasswd");
    fs::write(&file, "bob:plain text\n").unwrap();
    let said = ringate.await_log("line 1");
    assert!(!said.contains("plain text"), "{said}");
    assert_eq!(status("alice", "secret"), 200, "what is in force stays");
    fs::write(&file, format!("bob:{}\n", bcrypt("other"))).unwrap();
    eventually("the new file", || (status("bob", "other") == 200).then_some(()));
    assert_eq!(status("alice", "secret"), 401, "what was verified before does not count any more");
    // One that goes is warned of once, and so is its return.
    let text = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    ringate.await_log("users.htpasswd: No such file");
    assert_eq!(status("bob", "other"), 200, "what is in force stays");
    fs::write(&file, text).unwrap();
    ringate.await_log("users.htpasswd: the file is in order again");
    let log = ringate.log();
    assert_eq!(log.matches("No such file").count(), 1, "{log}");
}

#[test]
fn a_file_without_users_is_a_warning() {
    let (_backend, ringate, dir) = guarded("# none yet\n", "", "");
    ringate.await_log("there is no user in it: every request is refused");
    assert_eq!(ringate.client().send(get("alice", "secret")).response().status, 401);
    fs::write(dir.path().join("users.htpasswd"), format!("alice:{}\n", bcrypt("secret"))).unwrap();
    ringate.await_log("1 users are in force");
}

#[test]
fn a_flood_of_wrong_passwords_is_bounded_and_known_users_are_served() {
    let slow = bcrypt::hash("secret", 12).unwrap();
    let users = format!("alice:{}\nslow:{slow}\n", bcrypt("secret"));
    let (_backend, ringate, _dir) = guarded(&users, "", "");
    assert_eq!(ringate.client().send(get("alice", "secret")).response().status, 200);
    let mut clients: Vec<Client> = (0..120)
        .map(|number| {
            let mut client = ringate.client();
            client.send(get("slow", &format!("guess {number}")));
            client
        })
        .collect();
    let busy = || ringate.metric("auth_passwords_busy_total");
    eventually("a full queue", || (busy() >= 20).then_some(()));
    assert_eq!(ringate.client().send(get("alice", "secret")).response().status, 200);
    let refused = clients.last_mut().unwrap().response();
    assert_eq!((refused.status, refused.header("Retry-After")), (503, Some("1")));
}
