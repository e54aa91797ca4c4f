//! Sessions: used again only where name, policy and identity are the same, once each, and gone when retired.

use std::time::Duration;

use rustls::NamedGroup;
use rustls::client::ClientSessionStore;

use super::*;
use crate::base::limits::{MAX_SESSION_AGE, MAX_SESSION_NAMES, MAX_TICKETS_GROWTH};

const EACH: [Versions; 2] = [Versions { tls12: true, tls13: false }, Versions { tls12: false, tls13: true }];

fn base(versions: Versions) -> Arc<ClientConfig> {
    client_config(&ClientPolicy { versions, ..client_policy() }).unwrap()
}

fn server() -> Arc<ServerConfig> {
    server_config(&demanding(&PKI.authority)).unwrap()
}

fn store(tickets: usize) -> Arc<Sessions> {
    Arc::new(Sessions::new(name(NAME), tickets))
}

/// A client with the test's identity.
fn with(base: &ClientConfig, store: &Arc<Sessions>) -> Arc<ClientConfig> {
    bind(base, Some(PKI.client.load()), Arc::clone(store))
}

/// A handshake after which the client has read what the server sent; answers whether it was resumed.
fn visit(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> bool {
    let (mut client, server) = shake(client, server);
    client.receive(&[]).unwrap();
    assert_eq!(client.facts.resumed, server.facts.resumed);
    assert!(client.facts.peer_certificates.is_some() && server.facts.peer_certificates.is_some());
    client.facts.resumed
}

#[test]
fn sessions_resume_in_both_versions_with_mutual_tls() {
    for versions in EACH {
        let (base, server, store) = (base(versions), server(), store(4));
        let client = with(&base, &store);
        assert!(!visit(&client, &server));
        for _ in 0..3 {
            assert!(visit(&client, &server));
        }
        let open = server_config(&server_policy()).unwrap();
        assert!(
            (0..2).all(|_| !shake(&base, &open).0.facts.resumed),
            "a config without a store never resumes"
        );
    }
}

#[test]
fn tickets_are_bounded_and_used_once() {
    let (server, store) = (server(), store(3));
    let client = with(&base(EACH[1]), &store);
    for _ in 0..4 {
        visit(&client, &server);
    }
    assert_eq!(store.tickets(), 4, "three, and one for the handshake that found none");
    // Handshakes whose tickets are never read use the store up.
    for left in [3, 2, 1, 0] {
        let (line, _) = shake(&client, &server);
        assert!(line.facts.resumed);
        assert_eq!(store.tickets(), left);
    }
    assert!(!shake(&client, &server).0.facts.resumed);
}

#[test]
fn tickets_of_many_handshakes_at_once_are_kept_within_a_bound() {
    let (server, store) = (server(), store(1));
    let client = with(&base(EACH[1]), &store);
    let together = |count: usize| {
        let mut begun: Vec<_> = (0..count).map(|_| shake(&client, &server).0).collect();
        begun.iter_mut().for_each(|line| drop(line.receive(&[]).unwrap()));
        begun.iter().filter(|line| line.facts.resumed).count()
    };
    assert_eq!(together(10), 0);
    assert_eq!(together(10), 10, "each brought the next one");
    together(100);
    together(100);
    assert_eq!(store.tickets(), MAX_TICKETS_GROWTH);
}

#[test]
fn a_retired_store_takes_nothing_and_gives_nothing() {
    for versions in EACH {
        let (server, store) = (server(), store(4));
        let client = with(&base(versions), &store);
        visit(&client, &server);
        let (mut late, _) = shake(&client, &server);
        store.retire();
        late.receive(&[]).unwrap(); // tickets of the old generation
        assert!(store.is_empty());
        assert!(!visit(&client, &server));
        assert!(!visit(&client, &server));
    }
}

#[test]
fn zero_tickets_turn_resumption_off() {
    for versions in EACH {
        let (client, server) = (with(&base(versions), &store(0)), server());
        assert!(!visit(&client, &server) && !visit(&client, &server));
    }
}

#[test]
fn a_ticket_resumes_on_another_worker_with_the_same_ticketer() {
    let policy = server_policy();
    let (first, second) = (server_config(&policy).unwrap(), server_config(&policy).unwrap());
    let client = with(&base(Versions::default()), &store(4));
    let (mut line, _) = shake(&client, &first);
    line.receive(&[]).unwrap();
    // Resumption needs no more than the ticketer.
    assert!(shake(&client, &second).0.facts.resumed);
}

#[test]
fn a_store_serves_its_own_name_only() {
    let store = Sessions::new(name(NAME), 4);
    store.set_kx_hint(name("other.test"), NamedGroup::X25519);
    assert_eq!((store.kx_hint(&name("other.test")), store.kx_hint(&name(NAME))), (None, None));
    store.set_kx_hint(name(NAME), NamedGroup::X25519);
    assert_eq!(store.kx_hint(&name(NAME)), Some(NamedGroup::X25519));
}

/// A pool with what a worker would pass to it.
struct Worker {
    pool: SessionPool,
    base: Arc<ClientConfig>,
    identity: Arc<Identity>,
    now: Duration,
}

impl Worker {
    fn new(versions: Versions) -> Self {
        let (base, identity) = (base(versions), PKI.client.load());
        Self { pool: SessionPool::default(), base, identity, now: Duration::ZERO }
    }

    fn config(&mut self, server_name: &str) -> Arc<ClientConfig> {
        self.pool.config(&self.base, &name(server_name), Some(&self.identity), 4, self.now)
    }

    fn visit(&mut self, server: &Arc<ServerConfig>) -> bool {
        visit(&self.config(NAME), server)
    }
}

#[test]
fn a_session_of_one_identity_is_never_offered_by_another() {
    for versions in EACH {
        let (mut worker, server) = (Worker::new(versions), server());
        assert!(!worker.visit(&server) && worker.visit(&server));
        let old = Arc::clone(&worker.identity);
        worker.identity = Arc::new(PKI.authority.identity("client", 8, &["client.test"]));
        assert!(!worker.visit(&server), "the next generation begins anew");
        assert!(worker.visit(&server));
        worker.identity = old;
        assert!(!worker.visit(&server), "going back begins anew, too");
    }
}

#[test]
fn a_late_ticket_of_an_old_generation_goes_nowhere() {
    let (mut worker, server) = (Worker::new(EACH[1]), server());
    let (mut late, _) = shake(&worker.config(NAME), &server);
    worker.identity = Arc::new(PKI.authority.identity("client", 8, &["client.test"]));
    worker.pool.sweep(Some(&worker.identity), worker.now);
    late.receive(&[]).unwrap();
    assert!(!worker.pool.holds(&name(NAME)));
    assert!(!worker.visit(&server));
}

#[test]
fn a_session_of_one_policy_is_never_offered_by_another() {
    for versions in EACH {
        let (mut worker, server) = (Worker::new(versions), server());
        assert!(!worker.visit(&server) && worker.visit(&server));
        worker.base = base(versions); // the same words, but another verifier
        assert!(!worker.visit(&server));
        let alpn = vec![b"http/1.1".to_vec()];
        worker.base = client_config(&ClientPolicy { versions, alpn, ..client_policy() }).unwrap();
        assert!(!worker.visit(&server));
    }
}

#[test]
fn a_stolen_store_gives_nothing_to_another_identity_or_trust() {
    // Even if a store were handed to the wrong handshake, rustls would not resume from it.
    for versions in EACH {
        let (server, store) = (server(), store(4));
        assert!(!visit(&with(&base(versions), &store), &server));
        assert!(!store.is_empty());
        assert!(!visit(&with(&base(versions), &store), &server));
    }
}

#[test]
fn sessions_end_with_their_age_on_lookup_and_on_sweep() {
    for versions in EACH {
        let (mut worker, server) = (Worker::new(versions), server());
        worker.visit(&server);
        worker.now = MAX_SESSION_AGE;
        assert!(worker.visit(&server));
        worker.now = MAX_SESSION_AGE + Duration::from_secs(1);
        assert!(!worker.visit(&server), "no lineage of tickets outlives it");
        worker.now += MAX_SESSION_AGE;
        worker.pool.sweep(Some(&worker.identity), worker.now);
        assert!(worker.pool.holds(&name(NAME)), "not over yet");
        worker.now += Duration::from_secs(1);
        worker.pool.sweep(Some(&worker.identity), worker.now);
        assert!(!worker.pool.holds(&name(NAME)));
    }
}

#[test]
fn a_session_that_failed_is_forgotten() {
    for versions in EACH {
        let (mut worker, server) = (Worker::new(versions), server());
        worker.visit(&server);
        assert!(worker.pool.holds(&name(NAME)));
        worker.pool.forget(&name(NAME));
        assert!(!worker.pool.holds(&name(NAME)) && !worker.visit(&server));
    }
}

#[test]
fn a_ticket_that_the_server_cannot_open_leads_to_a_full_handshake() {
    for versions in EACH {
        let mut worker = Worker::new(versions);
        assert!(!worker.visit(&server()));
        let restarted = server();
        assert!(!worker.visit(&restarted) && worker.visit(&restarted));
    }
}

#[test]
fn names_are_bounded_and_the_one_used_last_stays() {
    let (mut worker, server) = (Worker::new(EACH[1]), server());
    worker.visit(&server);
    for other in 0..2 * MAX_SESSION_NAMES {
        worker.config(&format!("n{other}.test"));
        worker.config(NAME);
    }
    assert!(worker.visit(&server));
    for other in 0..MAX_SESSION_NAMES {
        worker.config(&format!("n{other}.test"));
    }
    assert!(!worker.visit(&server));
}

#[test]
fn names_that_are_used_once_do_not_push_out_one_that_is_used_again() {
    let (mut worker, server) = (Worker::new(EACH[1]), server());
    worker.visit(&server);
    assert!(worker.visit(&server));
    for other in 0..10 * MAX_SESSION_NAMES {
        worker.config(&format!("made-up-{other}.test"));
    }
    assert!(worker.visit(&server));
    // A new name that is used again finds its place among them.
    let new = worker.config("new.test");
    for other in 0..MAX_SESSION_NAMES {
        worker.config(&format!("made-up-again-{other}.test"));
        assert!(Arc::ptr_eq(&worker.config("new.test"), &new));
    }
}
