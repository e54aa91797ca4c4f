//! A backend that is told of its clients by a PROXY header is tried with one, and no client keeps an old generation.

use super::kit::*;
use crate::support::*;

#[test]
fn a_connection_that_is_kept_for_a_client_changes_its_generation_too() {
    let kit = Kit::new();
    let (cert, key) = (kit.pki.file("server.pem"), kit.pki.file("server.key"));
    let (cert, key, ca) = (cert.display(), key.display(), kit.ours.file());
    let nginx = Nginx::several(
        " ssl proxy_protocol",
        &[format!(
            "ssl_certificate {cert};\nssl_certificate_key {key};\nssl_client_certificate {};\n\
             ssl_verify_client on;\nlocation / {{ return 200 \"$proxy_protocol_addr $connection $ssl_client_s_dn\"; }}",
            ca.display()
        )],
    );
    let text = kit.setup(&[nginx.address()]).workers(1).text();
    let ringate =
        Ringate::start(&text.replace("[upstream.app]\n", "[upstream.app]\nproxy_protocol = \"v2\"\n"));
    let mut client = ringate.client();
    let mut ask = || {
        let said = client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
        let words: Vec<String> = said.text().splitn(3, ' ').map(str::to_owned).collect();
        assert_eq!(words[0], "127.0.0.1", "{}", said.text());
        (words[1].clone(), words[2].clone())
    };
    let (first, old) = ask();
    assert_eq!(old, "CN=old");
    assert_eq!(ask(), (first.clone(), old));
    kit.stage("new");
    let trial = order(&ringate, "trial", "");
    assert_eq!(trial["passed"], true, "{trial:#}");
    order(&ringate, "activate", "");
    let (second, new) = ask();
    assert_eq!(new, "CN=new");
    assert_ne!(first, second);
    assert_eq!(ask(), (second, new));
}
