//! A listener's TLS: what is presented, what may be negotiated, and how clients are checked.

use std::sync::Arc;

use super::{Builder, Digest, Policy, http};
use crate::base::published::Published;
use crate::certs::command::Role;
use crate::config::plan;
use crate::tls::{self, CIPHER_SUITES, Identity, ServerPolicy, ServerResolver, cipher_suite_name};

impl Builder<'_> {
    /// A listener's TLS config, the one that runs if nothing of it has changed: with it the key of its tickets stays. A changed
    /// policy gets a new key, since a ticket must not bypass the new policy.
    pub(super) fn listener_policy(
        &mut self,
        listener: &plan::Listener,
        tls: &plan::ListenerTls,
    ) -> Option<Policy> {
        let made = self.listener_tls(listener, tls);
        if made.is_none() {
            self.lists.remove(&format!("listener {}", listener.name.value));
        }
        let read = self.noted();
        if let Some(previous) = self.previous
            && let Some(index) = previous.plan.listeners.iter().position(|old| old.name == listener.name)
            && previous.plan.listeners[index].protocol == listener.protocol
            && previous.plan.listeners[index].tls.as_ref() == Some(tls)
            && previous.plan.listeners[index].http == listener.http
            && let Some(kept) = &previous.made.listeners[index]
            && (kept.read == read && made.is_some() || self.refreshes && made.is_none())
        {
            return Some(kept.clone());
        }
        Some(Policy { read, ..made? })
    }

    fn listener_tls(&mut self, listener: &plan::Listener, tls: &plan::ListenerTls) -> Option<Policy> {
        let by = format!("listener {:?}", listener.name.value);
        let bundles: Vec<_> =
            tls.certificates.iter().map(|at| self.presented(at, Role::Server, by.clone())).collect();
        let bundles = bundles.into_iter().collect::<Option<Vec<_>>>()?;
        self.suites_suit_a_key(tls, &bundles)?;
        let span = &listener.name.span;
        let tickets = self.good(span, tls::ticketer())?;
        let clients = self.clients(&listener.name, tls)?;
        let suites = tls.cipher_suites.as_ref();
        let groups = tls.groups.as_ref();
        let policy = ServerPolicy {
            versions: tls.versions,
            cipher_suites: suites.map(|suites| suites.iter().map(|at| at.value).collect()),
            cipher_order: tls.cipher_order,
            groups: groups.map(|groups| groups.iter().map(|at| at.value).collect()),
            resolver: Arc::new(match tls.ocsp {
                Some(_) => ServerResolver::stapling(bundles),
                None => ServerResolver::new(bundles),
            }),
            client_verifier: clients.verifier,
            alpn: match listener.protocol {
                plan::Protocol::Http => http::alpn(&listener.http),
                plan::Protocol::Tcp | plan::Protocol::Udp => Vec::new(),
            },
            ticketer: Arc::clone(&tickets) as Arc<_>,
        };
        let config = self.good(span, tls::server_config(&policy))?;
        Some(Policy { config, any_client: clients.any, tickets, read: Digest::default() })
    }

    /// Refuses suites of TLS 1.2 of which none is for the key of any certificate: no handshake could succeed.
    fn suites_suit_a_key(&mut self, tls: &plan::ListenerTls, bundles: &[Published<Identity>]) -> Option<()> {
        let Some(suites) = tls.cipher_suites.as_ref().filter(|_| tls.versions.tls12 && !self.refreshes)
        else {
            return Some(());
        };
        // New content of a known certificate is in its cell only later.
        let next = tls.certificates.iter().filter_map(|at| self.next_identity(&at.value));
        let identities: Vec<_> = next.chain(bundles.iter().map(Published::load)).collect();
        let suits = |suite| identities.iter().any(|identity: &Arc<Identity>| identity.suits(suite));
        if suites.iter().any(|suite| suits(suite.value)) {
            return Some(());
        }
        let fitting: Vec<&str> =
            CIPHER_SUITES.into_iter().filter(|suite| suits(*suite)).map(cipher_suite_name).collect();
        let span = suites.first().map_or(0..0, |first| first.span.clone());
        let title =
            "`cipher_suites`: no certificate of the listener has a key for one of the suites of TLS 1.2";
        let help = format!("add one of {}, or write `versions = [\"1.3\"]`", fitting.join(", "));
        self.wrong(&span, title.to_owned(), Some(&help));
        None
    }
}
