//! The line of a relay: a connection of a tcp listener or a session of a udp listener, made and written at its end.

use std::time::Duration;

use super::{Outcome, Record, Sink};
use crate::config::access::Variable;
use crate::proxy::client::ClientFacts;

/// What a relay, or a tunnel behind a 101, came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// Bytes from the client to the backend, as they were without TLS.
    pub up: u64,
    /// Bytes from the backend to the client.
    pub down: u64,
    /// The same in datagrams, to the backend and to the client, of a udp session.
    pub datagrams: Option<(u64, u64)>,
    /// How it ended.
    pub end: End,
}

/// Which side ended a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides, the client first.
    Client,
    /// Both sides, the backend first.
    Backend,
    /// The client's side broke: a reset, or TLS without an end.
    ClientLost,
    /// The backend's side broke.
    BackendLost,
    /// Neither sent anything for `timeouts.idle`.
    Idle,
    /// Each datagram has had its responses (`udp.responses`).
    Answered,
    /// The session made room for another one (`limits.udp_sessions`).
    Displaced,
}

impl End {
    /// As logs have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
            Self::ClientLost => "client_lost",
            Self::BackendLost => "backend_lost",
            Self::Idle => "idle",
            Self::Answered => "answered",
            Self::Displaced => "displaced",
        }
    }
}

impl Outcome<'_> {
    /// Of a connection that was never relayed, with no values but its duration.
    pub fn unrelayed(duration: Duration) -> Self {
        Outcome {
            status: 0,
            bytes: 0,
            duration,
            first_byte: None,
            upstream: None,
            endpoint: None,
            tries: 0,
            relay: None,
            failure: None,
            error: None,
            grpc_status: None,
        }
    }
}

impl Sink {
    /// Writes the line of a relay. `sni`: the name in a hello that was not opened.
    pub fn relay(&self, listener: &str, client: &ClientFacts, sni: Option<&str>, outcome: &Outcome<'_>) {
        let mut record = Box::new(Record::new(&self.tcp_format));
        record.begin(listener, client, None, None);
        let scheme = if client.tls().is_some() { "tls" } else { "tcp" };
        record.note(&Variable::ClientScheme, scheme.as_bytes());
        if let Some(name) = sni {
            record.note(&Variable::TlsSni, name.as_bytes());
        }
        self.write(&record, outcome);
    }

    /// Writes the line of a udp session.
    pub fn session(&self, listener: &str, client: &ClientFacts, outcome: &Outcome<'_>) {
        let mut record = Box::new(Record::new(&self.udp_format));
        record.begin(listener, client, None, None);
        record.note(&Variable::ClientScheme, b"udp");
        self.write(&record, outcome);
    }
}
