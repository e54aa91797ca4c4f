//! Connected UDP sockets of an upstream, and what their failures say of its endpoints.

use std::io;
use std::net::UdpSocket;

use crate::base::address::Address;
use crate::base::clock;
use crate::base::sample::sampled;
use crate::io::udp;
use crate::proxy::upstream::load::InFlight;
use crate::proxy::upstream::pool::Pool;
use crate::proxy::upstream::request_key::RequestKey;
use crate::proxy::worker::Worker;

impl Pool {
    /// A socket connected to the endpoint for a session with this key or, where that can't be reached, to the next one, and
    /// the session's place among its exchanges. Nothing is sent by that.
    ///
    /// # Errors
    /// No endpoint has an address that this host can send to, or no descriptor or port is left.
    pub(crate) fn open_datagrams(
        &self,
        worker: &Worker,
        key: RequestKey,
    ) -> io::Result<(usize, UdpSocket, InFlight)> {
        let mut failed = io::Error::other("no endpoint has an address");
        for _ in 0..self.upstream.endpoints.len() {
            let Some(endpoint) = self.pick(key) else { break };
            let address = self.upstream.endpoints[endpoint].address.as_ref();
            let Some(&address) = address.and_then(Address::ip) else { continue };
            self.begin_trial(endpoint);
            match udp::connect(address, self.upstream.bind_address) {
                Ok(socket) => {
                    let in_flight = InFlight::begin(&self.endpoints[endpoint].used).connected();
                    return Ok((endpoint, socket, in_flight));
                }
                Err(error) if udp::is_shortage(&error) => return Err(error),
                Err(error) => {
                    self.shun(worker, endpoint, &error);
                    failed = error;
                }
            }
        }
        Err(failed)
    }

    /// A socket of the endpoint reported that the endpoint can't be reached: it is tried last for a while, as after a
    /// connection that could not be made.
    pub(crate) fn shun(&self, worker: &Worker, endpoint: usize, error: &io::Error) {
        worker.counters.udp_unreachable.add(1);
        let of = &self.upstream.endpoints[endpoint];
        of.state.outlier.connection_failed(clock::millis());
        of.state.health.down(error);
        sampled!(
            warn,
            Connect of &self.upstream.name,
            { upstream = self.upstream.name, endpoint = of.label, },
            "datagrams are not received there: {error}"
        );
    }

    /// The endpoint has sent a datagram.
    pub(crate) fn heard(&self, endpoint: usize) {
        let state = &self.upstream.endpoints[endpoint].state;
        state.outlier.connected();
        state.answered();
    }
}
