//! Streams of HTTP/2 connections, as a pool lends them.

use std::pin::pin;
use std::rc::Rc;

use rustls::pki_types::ServerName;

use super::admission::Permit;
use super::connect::Spoken;
use super::connection::UpstreamConnection;
use super::http2_connection::{Http2Connection, Keeper, LentStream};
use super::identity::serial;
use super::load::InFlight;
use super::pool::{ConnectRequest, Pool};
use super::stream::UpstreamStream;
use crate::base::limits::HTTP2_BACKEND_CONNECTIONS;
use crate::http::BackendHttp;
use crate::io::{Deadline, deadline, runtime};
use crate::proxy::client_binding::{ClientBinding, ClientId};
use crate::proxy::failure::{Bound, ConnectError, Stage};
use crate::proxy::worker::Worker;

/// How often a connection that another exchange makes is waited for.
const WAITS: usize = 3;

impl Pool {
    /// A stream of the connection to `endpoint` that has the fewest, if one has room.
    pub(crate) fn lend(
        &self,
        worker: &Worker,
        endpoint: usize,
        name: Option<&ServerName<'static>>,
        client: Option<&ClientBinding>,
    ) -> Option<UpstreamStream> {
        let client = self.client_of(client);
        let oldest = worker.wheel.now().saturating_sub(deadline::ticks(self.upstream.max_age));
        let fits = |connection: &Http2Connection| {
            connection.is_for(name, client)
                && connection.ages().0 >= oldest
                && self.suits(worker, endpoint, connection.identity())
                && !connection.has_left()
        };
        let connection = self.endpoints[endpoint].http2.least_loaded(fits)?;
        let (circuit, counts) = (&self.upstream.circuit, &self.upstream.endpoints[endpoint].state.circuit);
        let counted = circuit.take_at(counts, Bound::EndpointRequests).ok()?;
        let in_flight = InFlight::begin(&self.endpoints[endpoint].used).bounded(counted).connected();
        Some(UpstreamStream::H2(self.stream_of(&connection, endpoint, in_flight)))
    }

    fn stream_of(
        &self,
        connection: &Rc<Http2Connection>,
        endpoint: usize,
        in_flight: InFlight,
    ) -> LentStream {
        let at = &self.endpoints[endpoint];
        let scheme = if self.upstream.tls.is_some() { "https" } else { "http" };
        connection.lend(Rc::clone(at) as Rc<dyn Keeper>, endpoint, scheme, in_flight)
    }

    /// The client that a connection is for, where each is for one.
    fn client_of(&self, client: Option<&ClientBinding>) -> Option<ClientId> {
        client.filter(|_| self.upstream.proxy_protocol.is_some()).map(ClientBinding::id)
    }

    /// A stream of a new connection, or of one that another exchange is making.
    ///
    /// # Errors
    /// No endpoint can be reached.
    pub async fn open_stream(
        &self,
        worker: &Worker,
        deadline: &Deadline,
        call: ConnectRequest<'_>,
        first: usize,
        permit: Option<&Permit>,
    ) -> Result<UpstreamStream, ConnectError> {
        if call.http == BackendHttp::Http11 {
            return self.connect(worker, deadline, call, first, permit).await.map(UpstreamStream::H1);
        }
        // Boxed: a connection is made seldom, and each exchange carries this future's size.
        Box::pin(self.open_http2(worker, deadline, call, first, permit)).await
    }

    async fn open_http2(
        &self,
        worker: &Worker,
        deadline: &Deadline,
        call: ConnectRequest<'_>,
        first: usize,
        permit: Option<&Permit>,
    ) -> Result<UpstreamStream, ConnectError> {
        let at = &self.endpoints[first].http2;
        let name = self.server_name(first, call.host)?;
        let client = self.client_of(call.client);
        let identity = serial(self.current().as_ref());
        for _ in 0..WAITS {
            let expects = call.http == BackendHttp::Http2 || at.expects_http2();
            let under_way = at.under_way(name.as_ref(), client, identity).filter(|_| expects);
            let Some(dial) = under_way else { break };
            deadline.set(self.upstream.connect_timeout);
            let waited = deadline.race(pin!(dial.ended())).await;
            waited.map_err(|_| ConnectError::Timeout(Stage::Tcp))?;
            if let Some(stream) = self.lend(worker, first, name.as_ref(), call.client) {
                return Ok(stream);
            }
        }
        if at.len() >= HTTP2_BACKEND_CONNECTIONS {
            worker.counters.limit_http2_backend_connections.add(1);
            return Err(ConnectError::Streams);
        }
        let dialing = at.begin(name, client, identity);
        let mut made = self.connect(worker, deadline, call, first, permit).await?;
        let endpoint = made.endpoint;
        self.endpoints[endpoint].http2.choose(made.spoken);
        match made.spoken {
            Spoken::Http11 => Ok(UpstreamStream::H1(made)),
            // Its stream is lent before others that wait have theirs.
            Spoken::Http2 => {
                let begun = || InFlight::begin(&self.endpoints[endpoint].used).connected();
                let in_flight = made.in_flight.take().unwrap_or_else(begun);
                let connection = self.start(worker, made);
                let settling = Rc::clone(&connection);
                runtime::spawn(async move {
                    settling.settled().await;
                    drop((settling, dialing));
                });
                Ok(UpstreamStream::H2(self.stream_of(&connection, endpoint, in_flight)))
            }
        }
    }

    /// Takes note of a stream whose response was read whole.
    pub(crate) fn check_in_stream(&self, lent: &LentStream) {
        let endpoint = lent.endpoint();
        if lent.connection().answered() {
            self.accepted(endpoint, lent.connection().identity());
        }
        self.upstream.endpoints[endpoint].state.outlier.connected();
        self.upstream.endpoints[endpoint].state.answered();
    }

    /// Takes a connection of HTTP/2 into the pool.
    pub(crate) fn start(&self, worker: &Worker, mut made: Box<UpstreamConnection>) -> Rc<Http2Connection> {
        made.in_flight = None;
        let at = &self.endpoints[made.endpoint];
        let of = (self.upstream.name.as_str(), self.upstream.idle_timeout);
        let connection = Http2Connection::start(worker, Rc::clone(at) as Rc<dyn Keeper>, of, *made);
        at.http2.add(Rc::clone(&connection));
        connection
    }

    /// Ends the HTTP/2 connections to an endpoint that are over: too old, or of another generation of the client identity than
    /// requests are sent with. Each carries its exchanges to their end.
    pub(crate) fn sweep_http2(&self, worker: &Worker, endpoint: usize) {
        let (now, at) = (worker.wheel.now(), &self.endpoints[endpoint]);
        let oldest = now.saturating_sub(deadline::ticks(self.upstream.max_age));
        at.http2.each(|connection| connection.rests(now));
        at.http2.retire(|connection| {
            !self.keeps(endpoint, connection.identity()) || connection.ages().0 < oldest
        });
    }
}
