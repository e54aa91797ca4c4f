//! Backends that do not speak HTTP are asked in TLS alone, and one that says nothing has taken nothing.

use std::io::{Read, Write};
use std::sync::Arc;

use ringate::internals::certs::store::{load_pair, load_trust};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::kit::*;
use crate::support::*;

/// Demands a certificate of our authority, and gives so many tickets.
fn demanding(kit: &Kit, version: &'static SupportedProtocolVersion, tickets: usize) -> Arc<ServerConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in load_trust(&kit.ours.file()).unwrap() {
        roots.add(certificate).unwrap();
    }
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let own = load_pair(&kit.pki.file("server.pem"), &kit.pki.file("server.key")).unwrap().bundle;
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let builder = builder.with_client_cert_verifier(verifier.build().unwrap());
    let mut config = builder.with_single_cert(own.chain().to_vec(), own.key().unwrap().clone_key()).unwrap();
    config.send_tls13_tickets = tickets;
    Arc::new(config)
}

/// Hangs up on clients of any protocol but its own.
fn strict(kit: &Kit, version: &'static SupportedProtocolVersion) -> Server {
    Server::start(Some(demanding(kit, version, 1)), |stream| {
        stream.get_mut().flush()?;
        stream.read_exact(&mut [0])
    })
}

#[test]
fn an_upstream_that_has_tcp_in_one_environment_is_sent_no_http_in_any() {
    for version in VERSIONS {
        let kit = Kit::new();
        let (base, overlay) = (strict(&kit, version), strict(&kit, version));
        let setup = kit.setup(&[base.address()]);
        let text = setup.listener("protocol = \"tcp\"\nenvironment = \"production\"").text();
        let address = overlay.address();
        let ringate = Ringate::start(&format!(
            "{text}[upstream.app.environment.production]\nendpoints = [\"{address}\"]\n"
        ));
        kit.stage("new");
        let trial = order(&ringate, "trial", "");
        assert_eq!(trial["endpoints"].as_array().unwrap().len(), 2, "{trial:#}");
        assert_eq!(trial["passed"], true, "{trial:#}");
    }
}

#[test]
fn an_upstream_that_is_chosen_by_a_server_name_is_sent_no_http() {
    let kit = Kit::new();
    let backend = strict(&kit, &rustls::version::TLS13);
    let route = "[[route]]\nsni = \"db.example\"\nupstream = \"app\"";
    let setup = kit.setup(&[backend.address()]).listener("protocol = \"tcp\"").routes(route);
    let ringate = setup.start();
    kit.stage("new");
    let trial = order(&ringate, "trial", "");
    assert_eq!(trial["passed"], true, "{trial:#}");
}

#[test]
fn a_backend_that_says_nothing_has_accepted_where_it_had_to_judge_before() {
    for (version, tickets, outcome) in [
        (&rustls::version::TLS12, 0, "accepted"),
        (&rustls::version::TLS13, 1, "accepted"),
        (&rustls::version::TLS13, 0, "failed"),
    ] {
        let kit = Kit::new();
        let silent = Server::start(Some(demanding(&kit, version, tickets)), |stream| {
            std::io::copy(stream, &mut std::io::sink()).map(drop)
        });
        let ringate = kit.setup(&[silent.address()]).listener("protocol = \"tcp\"").start();
        kit.stage("new");
        let trial = order(&ringate, "trial", "");
        let endpoint = &trial["endpoints"][0];
        assert_eq!(endpoint["outcome"], outcome, "{trial:#}");
        assert_eq!(trial["passed"], outcome == "accepted");
        if outcome == "failed" {
            assert_eq!(endpoint["client_certificate"]["verdict"], "unknown", "{trial:#}");
            let problem = endpoint["problem"].as_str().unwrap();
            assert!(problem.contains("sent nothing after the handshake"), "{problem}");
        }
    }
}
