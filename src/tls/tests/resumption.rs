//! Sessions: kept per store, used once, gone when retired.

use super::*;

fn pair(tls12: bool, tls13: bool) -> (ClientPolicy, Arc<ServerConfig>) {
    let versions = Versions { tls12, tls13 };
    let resolver = Some(Arc::new(ClientResolver::new(PKI.client.clone())));
    let client = ClientPolicy { versions, resolver, ..client_policy() };
    (client, server_config(&demanding(&PKI.authority)).unwrap())
}

/// A handshake after which the client has read what the server sent; answers whether it was resumed.
fn visit(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> bool {
    let (mut client, server) = shake(client, server);
    client.receive(&[]).unwrap();
    assert_eq!(client.facts.resumed, server.facts.resumed);
    assert_eq!(server.facts.peer_certificates.as_deref(), Some(PKI.client.load().chain()));
    assert!(client.facts.peer_certificates.is_some());
    client.facts.resumed
}

#[test]
fn sessions_resume_in_both_versions_with_mutual_tls() {
    for (tls12, tls13) in [(true, false), (false, true)] {
        let (policy, server) = pair(tls12, tls13);
        let base = client_config(&policy).unwrap();
        let store = Arc::new(Sessions::new(policy.tickets_per_endpoint));
        let client = with_sessions(&base, Arc::clone(&store));
        assert!(!visit(&client, &server));
        for _ in 0..3 {
            assert!(visit(&client, &server));
        }
        // Another store of the same policy knows nothing; a config without one never resumes.
        let other = with_sessions(&base, Arc::new(Sessions::new(4)));
        assert!(!visit(&other, &server));
        assert!(!visit(&base, &server));
        assert!(!visit(&base, &server));
    }
}

#[test]
fn tickets_are_bounded_and_used_once() {
    let (policy, server) = pair(false, true);
    let store = Arc::new(Sessions::new(3));
    let client = with_sessions(&client_config(&policy).unwrap(), Arc::clone(&store));
    for _ in 0..4 {
        visit(&client, &server);
    }
    assert_eq!(store.tickets(), 3);
    // Handshakes whose tickets are never read use the store up.
    for left in [2, 1, 0] {
        let (line, _) = shake(&client, &server);
        assert!(line.facts.resumed);
        assert_eq!(store.tickets(), left);
    }
    assert!(!shake(&client, &server).0.facts.resumed);
}

#[test]
fn a_retired_store_takes_nothing_and_gives_nothing() {
    for (tls12, tls13) in [(true, false), (false, true)] {
        let (policy, server) = pair(tls12, tls13);
        let store = Arc::new(Sessions::new(4));
        let client = with_sessions(&client_config(&policy).unwrap(), Arc::clone(&store));
        visit(&client, &server);
        let (mut late, _) = shake(&client, &server);
        store.retire();
        late.receive(&[]).unwrap(); // tickets of the old generation
        assert_eq!(store.tickets(), 0);
        assert!(!visit(&client, &server));
        assert!(!visit(&client, &server));
    }
}

#[test]
fn zero_tickets_turn_resumption_off() {
    for (tls12, tls13) in [(true, false), (false, true)] {
        let (policy, server) = pair(tls12, tls13);
        let client = with_sessions(&client_config(&policy).unwrap(), Arc::new(Sessions::new(0)));
        assert!(!visit(&client, &server) && !visit(&client, &server));
    }
}

#[test]
fn a_ticket_resumes_on_another_worker_with_the_same_ticketer() {
    let policy = server_policy();
    let (first, second) = (server_config(&policy).unwrap(), server_config(&policy).unwrap());
    let client = with_sessions(&client_config(&client_policy()).unwrap(), Arc::new(Sessions::new(4)));
    let (mut line, _) = shake(&client, &first);
    line.receive(&[]).unwrap();
    // Resumption needs no more than the ticketer.
    assert!(shake(&client, &second).0.facts.resumed);
}

#[test]
fn names_are_bounded() {
    use rustls::NamedGroup;
    use rustls::client::ClientSessionStore;
    let store = Sessions::new(4);
    for i in 0..100 {
        store.set_kx_hint(name(&format!("n{i}.test")), NamedGroup::X25519);
    }
    assert_eq!(store.kx_hint(&name("n0.test")), None);
    assert_eq!(store.kx_hint(&name("n99.test")), Some(NamedGroup::X25519));
}
