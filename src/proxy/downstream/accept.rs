//! From an accepted connection to the protocol that is spoken on it.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use super::accepted::Accepted;
use super::listener::ListenerSocket;
use super::proxy_header::{self, Origin};
use super::{http1, http2, passthrough, tcp};
use crate::base::address::Peer;
use crate::base::sample::sampled;
use crate::io::{Fired, Stream, TcpStream, tls};
use crate::proxy::client;
use crate::proxy::client_binding::ProxiedOrigin;
use crate::proxy::idle;
use crate::proxy::snapshot::Traffic;
use crate::proxy::worker::Worker;
use crate::tls::{Handshake, HandshakeError, client_help};

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
    let (view, listener) = listening.enter(&worker);
    let (listener, policy) = (&view.config.listeners[listener], listening.policy());
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
        return None;
    }
    let Some(config) = &listener.tls else {
        let (stream, early, tls, http2) = (Stream::plain(tcp), None, None, false);
        return Some(Box::new(Accepted { worker, listening, stream, early, deadline, origin, tls, http2 }));
    };
    if listener.proxy_protocol.is_none() {
        deadline.set(listener.limits.head_timeout);
    }
    let peer = origin.peer;
    let mut tcp = tcp;
    let handshaked = {
        let shake = async {
            let mut handshake = Handshake::server(Arc::clone(config))?;
            let rest = tls::shake(&mut tcp, &mut handshake).await?;
            Ok::<_, tls::TlsError>((handshake, rest))
        };
        deadline.race(pin!(shake)).await
    };
    let (handshake, rest) = match handshaked {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => {
            let help = match &error {
                tls::TlsError::Handshake(error) => client_help(error),
                _ => "",
            };
            refused(&worker, &listener.name, peer, &format!("{error}{help}"));
            if let tls::TlsError::Handshake(error) = error {
                let http = matches!(listener.traffic, Traffic::Http { .. });
                idle::part(tcp, &deadline, if http { last_words(&error) } else { b"" }).await;
            }
            return None;
        }
        Err(Fired::Expired) => {
            worker.counters.timeouts.add(1);
            worker.counters.limit_head_timeout.add(1);
            refused(&worker, &listener.name, peer, "not finished within `limits.head_timeout`");
            return None;
        }
        Err(Fired::Interrupted | Fired::Displaced) => return None,
    };
    let finished = tls::finish(tcp, handshake, rest).map_err(|error| error.to_string());
    let client = finished.and_then(|(stream, facts, early)| {
        let (whole, any) = (listener.forward_certificate, listener.any_client.as_deref());
        let tls = client::ClientTls::new(&facts, whole, policy, any);
        let http2 = facts.alpn.as_deref() == Some(b"h2");
        tls.map(|tls| (stream, early, tls, http2)).map_err(|error| error.to_string())
    });
    match client {
        Ok((stream, early, tls, http2)) => {
            worker.counters.client_handshakes.add(1);
            let tls = Some(tls);
            Some(Box::new(Accepted { worker, listening, stream, early, deadline, origin, tls, http2 }))
        }
        Err(reason) => {
            refused(&worker, &listener.name, peer, &reason);
            None
        }
    }
}

/// Counts a failed handshake and logs why.
fn refused(worker: &Worker, listener: &str, client: Peer, reason: &str) {
    worker.counters.client_handshake_failures.add(1);
    sampled!(
        info,
        ClientHandshake of listener,
        { listener, client = %client, },
        "TLS handshake with a client failed: {reason}"
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
