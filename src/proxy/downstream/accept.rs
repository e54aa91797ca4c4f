//! From an accepted connection to the protocol that is spoken on it.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::accepted::Accepted;
use super::listener::ListenerSocket;
use super::proxy_header::{self, Origin};
use super::{http1, http2, passthrough, tcp};
use crate::base::address::Peer;
use crate::base::sample::sampled;
use crate::io::{Deadline, Fired, Stream, TcpStream, tls};
use crate::proxy::client;
use crate::proxy::client_binding::ProxiedOrigin;
use crate::proxy::client_failures::{ClientFailure, Details};
use crate::proxy::failure::Failure;
use crate::proxy::idle;
use crate::proxy::snapshot::{Listener, Traffic};
use crate::proxy::view::View;
use crate::proxy::worker::Worker;
use crate::tls::{Handshake, HandshakeError, Reason, client_help};

/// Serves one connection that came through `listening` until it ends.
///
/// What an idle connection does not need is boxed, here and in `l7`: its task must be small.
pub(crate) fn serve(
    worker: Rc<Worker>,
    listening: Rc<ListenerSocket>,
    tcp: TcpStream,
    peer: Peer,
) -> impl Future<Output = ()> {
    let greeting = Box::pin(greet(worker, listening, tcp, peer));
    async move {
        let Some(client) = greeting.await else {
            return;
        };
        let (view, listener) = client.listening.enter(&client.worker);
        match view.config.listeners[listener].traffic {
            Traffic::Http { .. } => {
                let only = !view.config.listeners[listener].http.http1;
                drop(view);
                match client.http2 || only {
                    true => Box::pin(http2::accept(client)).await,
                    false => http1::serve(client).await,
                }
            }
            Traffic::Tcp { upstream } => {
                let worker = Rc::clone(&client.worker);
                let entry = tcp::Entry { listener: &view.config.listeners[listener].name, sni: None };
                Box::pin(tcp::serve(&worker, entry, &view.pools[upstream], client)).await;
            }
            // Its socket accepts no connections.
            Traffic::Udp(_) => {}
            Traffic::TcpByName { .. } => {
                let worker = Rc::clone(&client.worker);
                Box::pin(passthrough::serve(&worker, &view, listener, client)).await;
            }
        }
    }
}

/// The PROXY header and the TLS handshake, where the listener has them, both within `limits.head_timeout`. The client is
/// boxed: it is large, and soon unpacked.
async fn greet(
    worker: Rc<Worker>,
    listening: Rc<ListenerSocket>,
    tcp: TcpStream,
    peer: Peer,
) -> Option<Box<Accepted>> {
    let deadline = listening.deadline(&worker.wheel);
    let (view, index) = listening.enter(&worker);
    let listener = &view.config.listeners[index];
    let origin = match listener.proxy_protocol {
        None => Origin { peer, said: ProxiedOrigin::default() },
        Some(accept) => {
            deadline.set(listener.limits.head_timeout);
            Box::pin(proxy_header::read(&worker, listener, accept, &tcp, peer, &deadline)).await?
        }
    };
    let tcp_only = !matches!(listener.traffic, Traffic::Http { .. });
    if tcp_only && !listener.permitted.permits_client(&origin.peer.name()) {
        // Requests of http listeners are answered with 403.
        tracing::debug!(listener = listener.name, client = %origin.peer, "the client's address is not permitted");
        passthrough::note(&worker, &listener.name, &Failure::NotPermitted);
        return None;
    }
    if listener.tls.is_none() {
        let (stream, early, tls, http2) = (Stream::plain(tcp), None, None, false);
        return Some(Box::new(Accepted { worker, listening, stream, early, deadline, origin, tls, http2 }));
    }
    if listener.proxy_protocol.is_none() {
        deadline.set(listener.limits.head_timeout);
    }
    encrypt((worker, listening), (&view, index), (tcp, deadline, origin)).await
}

/// The TLS handshake of a listener that has TLS.
async fn encrypt(
    (worker, listening): (Rc<Worker>, Rc<ListenerSocket>),
    (view, index): (&View, usize),
    (mut tcp, deadline, origin): (TcpStream, Deadline, Origin),
) -> Option<Box<Accepted>> {
    let (listener, policy, begun) = (&view.config.listeners[index], listening.policy(), Instant::now());
    let config = listener.tls.as_ref()?;
    let refused = |failure: ClientFailure| refused(&worker, listener, failure);
    let of = |reason, text: String| ClientFailure::now(origin.peer, reason, text);
    let mut handshake = match Handshake::server(Arc::clone(config)) {
        Ok(handshake) => handshake,
        Err(error) => {
            refused(of(error.reason(), error.to_string()));
            return None;
        }
    };
    let shaken = deadline.race(pin!(tls::shake(&mut tcp, &mut handshake))).await;
    let mut seen = |failure: ClientFailure| {
        let (offered, (chain, _)) = (handshake.offered().cloned(), handshake.presented());
        refused(failure.seen(offered, chain));
    };
    let rest = match shaken {
        Ok(Ok(rest)) => rest,
        Ok(Err(error)) => {
            let alert_sent = error.alert_to_client();
            let help = match &error {
                tls::TlsError::Handshake(error) => client_help(error),
                _ => "",
            };
            seen(ClientFailure { alert_sent, ..of(error.reason(), format!("{error}{help}")) });
            if let tls::TlsError::Handshake(error) = error {
                let http = matches!(listener.traffic, Traffic::Http { .. });
                idle::part(tcp, &deadline, if http { last_words(&error) } else { b"" }).await;
            }
            return None;
        }
        Err(Fired::Expired) => {
            worker.counters.timeouts.add(1);
            worker.counters.limit_head_timeout.add(1);
            seen(of(Reason::Timeout, "not finished within `limits.head_timeout`".to_owned()));
            return None;
        }
        Err(Fired::Interrupted | Fired::Displaced) => return None,
    };
    let offered = handshake.offered().cloned();
    let (stream, facts, early) = match tls::finish(tcp, handshake, rest) {
        Ok(finished) => finished,
        Err(error) => {
            refused(of(error.reason(), error.to_string()).seen(offered, Vec::new()));
            return None;
        }
    };
    let (whole, any) = (listener.forward_certificate, listener.any_client.as_deref());
    match client::ClientTls::new(&facts, whole, policy, any) {
        Ok(tls) => {
            worker.counters.client_handshakes.add(1);
            view.meters[index].cells.handshake.add(begun.elapsed());
            let (tls, http2) = (Some(tls), facts.alpn.as_deref() == Some(b"h2"));
            Some(Box::new(Accepted { worker, listening, stream, early, deadline, origin, tls, http2 }))
        }
        Err(error) => {
            let chain = facts.peer_certificates.unwrap_or_default();
            refused(of(error.reason(), error.to_string()).seen(offered, chain));
            None
        }
    }
}

/// Counts a failed handshake, keeps its record, and logs why.
fn refused(worker: &Worker, listener: &Listener, failure: ClientFailure) {
    worker.counters.client_handshake_failures.add(1);
    let failure = listener.failures.add(failure);
    let (name, ClientFailure { client, text, .. }) = (&listener.name, &*failure);
    sampled!(
        info,
        ClientHandshake of name,
        { listener = name, client = %client, },
        "TLS handshake with a client failed: {text} ({})",
        Details(&failure)
    );
}

/// What a client reads that sent plain HTTP to a TLS port. Other clients have been sent an alert.
fn last_words(error: &HandshakeError) -> &'static [u8] {
    match error {
        HandshakeError::NotTls(start) if start.looks_like_http() => {
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 47\r\nConnection: close\r\n\r\n\
              The plain HTTP request was sent to HTTPS port.\n"
        }
        _ => b"",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what a function answers.
    fn answered<A, B, C, D, R>(_: fn(A, B, C, D) -> R) -> usize {
        size_of::<R>()
    }

    /// An idle connection holds these two, each in a block of the allocator's size classes (112, 128, …, 256, 320, …).
    /// A byte more costs a class more: `scripts/idle-memory` measures the whole.
    #[test]
    fn an_idle_connection_is_small() {
        assert!(answered(serve) <= 256, "{}", answered(serve));
        assert!(size_of::<http1::Connection>() <= 112, "{}", size_of::<http1::Connection>());
    }
}
