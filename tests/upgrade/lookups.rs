//! What a process has looked up elsewhere serves its successor too.

use std::io::BufRead as _;

use super::*;
use crate::tls_ocsp::{GOOD, Scene, gets};

#[test]
fn what_name_servers_and_issuers_have_said_is_handed_over() {
    let (backend, names, pki) = (Backend::replying(OK), NameServer::start(), Pki::new());
    names.addresses("app.test", &[1], 300);
    let set = format!("{{\"keys\":[{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"{}\"}}]}}", "A".repeat(43));
    let issuer = Server::start(Some(pki.server_config()), move |stream| {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line)?;
        }
        let length = set.len();
        write!(stream.get_mut(), "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{set}")?;
        stream.get_mut().flush()?;
        stream.get_mut().finish()
    });
    let jwt = format!(
        "[[route]]\npath = \"/guarded\"\nupstream = \"app\"\nauth.jwt = {{ issuer = \"i\", jwks = \"https://localhost:{}/keys\", trust = [{:?}] }}",
        issuer.address().port(),
        pki.file("ca.pem")
    );
    let config = Setup::to_all([])
        .section(&format!("[admin]\n[resolver]\nservers = [\"{}\"]", names.address()))
        .upstream(&format!("endpoints = [\"dns:app.test:{}\"]", backend.address().port()))
        .routes(&format!("[[route]]\nupstream = \"app\"\n{jwt}"))
        .text();
    let upgradable = Upgradable::start(&config);
    let ask = |path: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer a.b.c\r\nConnection: close\r\n\r\n"
        );
        upgradable.ringate.client().send(request).response().status
    };
    assert_eq!((ask("/"), ask("/guarded")), (200, 401));
    names.set("app.test", A, Zone::Fails);
    names.set("app.test", AAAA, Zone::Fails);
    drop(issuer);
    upgradable.upgrade();
    assert_eq!((ask("/"), ask("/guarded")), (200, 401), "503: there are no keys, 502: there is no address");
}

#[test]
fn a_fetched_ocsp_response_is_stapled_by_the_successor_without_its_responder() {
    let scene = Scene::new();
    let responder = scene.daily_responder();
    let tls = scene.listener_tls(&format!("{{ fetch = true, url = {:?} }}", responder.url));
    let upgradable = Upgradable::start(&Setup::to(free_address()).section("[admin]").listener(&tls).text());
    eventually("the fetch", || {
        let status: Value = serde_json::from_str(&upgradable.ringate.admin("/v1/status")).unwrap();
        status["certificates"][0]["ocsp"]["next_update"].is_string().then_some(())
    });
    gets(&upgradable.ringate, GOOD);
    drop(responder);
    for _ in 0..2 {
        upgradable.upgrade();
        gets(&upgradable.ringate, GOOD);
    }
}
