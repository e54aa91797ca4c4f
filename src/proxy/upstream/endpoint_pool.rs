//! What one worker keeps of one endpoint: idle connections, TLS sessions, how it takes the client identity, and its
//! recent responses. All of it outlives a reload that leaves the endpoint as it is.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::proxy::client_binding::{ClientId, HoldsDedicated};
use crate::proxy::upstream::config::{Endpoint, Upstream};
use crate::proxy::upstream::connect::Dialer;
use crate::proxy::upstream::connection::UpstreamConnection;
use crate::proxy::upstream::dedicated::DedicatedIdle;
use crate::proxy::upstream::http2_connection::{Http2Connection, Keeper};
use crate::proxy::upstream::http2_pool::Http2Pool;
use crate::proxy::upstream::identity::EndpointIdentity;
use crate::proxy::upstream::idle_limit::IdleLimit;
use crate::proxy::upstream::load::WorkerUse;
use crate::proxy::upstream::recent_responses::RecentResponses;

/// One worker's part of an endpoint.
#[derive(Debug)]
pub(crate) struct EndpointPool {
    /// Idle connections, the last used at the end. Boxed: they come and go with each request, and are large.
    #[allow(clippy::vec_box)]
    pub(crate) idle: RefCell<Vec<Box<UpstreamConnection>>>,
    /// The same where each has its client.
    pub(crate) kept: DedicatedIdle,
    /// Connections that carry many exchanges at a time.
    pub(crate) http2: Http2Pool,
    /// Makes its connections, and keeps its TLS sessions.
    pub(crate) dialer: Dialer,
    /// Which generation of the client identity it gets.
    pub(crate) identity_state: EndpointIdentity,
    /// How long it keeps idle connections.
    pub(crate) idle_limit: IdleLimit,
    /// Its responses, as far as they tell whether it is an outlier.
    pub(crate) recent: RecentResponses,
    /// Its exchanges and requests.
    pub(crate) used: Rc<WorkerUse>,
    /// Idle connections that are being made for `pool.min_idle`.
    pub(crate) prewarming: Cell<usize>,
    /// `pool.idle_per_worker` of the latest snapshot. 0 while the endpoint is drained, and once no snapshot has it: then no
    /// connection is kept.
    idle_per_worker: Cell<usize>,
}

impl EndpointPool {
    /// One without connections.
    pub(crate) fn of(endpoint: &Endpoint, upstream: &Upstream) -> Rc<Self> {
        Rc::new(Self {
            idle: RefCell::default(),
            kept: DedicatedIdle::default(),
            http2: Http2Pool::default(),
            dialer: Dialer::default(),
            identity_state: EndpointIdentity::default(),
            idle_limit: IdleLimit::default(),
            recent: RecentResponses::default(),
            used: Rc::new(endpoint.state.used.join()),
            prewarming: Cell::new(0),
            idle_per_worker: Cell::new(most(endpoint, upstream)),
        })
    }

    /// The endpoint was `last`, and is `endpoint` of a newer snapshot's `upstream`: its connections serve that, too. One
    /// that was drained, and is not any more, is back: its weight rises slowly.
    pub(crate) fn follow(&self, last: &Endpoint, endpoint: &Endpoint, upstream: &Upstream) {
        self.keep_at_most(most(endpoint, upstream));
        if endpoint.drain {
            // The last worker to follow leaves none: after that no worker puts one there.
            endpoint.state.shared_idle.clear();
        }
        if last.drain && !endpoint.drain {
            endpoint.state.begin_warm_up();
        }
        if last.label != endpoint.label {
            // From now on the uses of the client identity are noted under the new label.
            self.identity_state.places.take();
        }
    }

    /// No newer snapshot has the endpoint: idle connections end now, those in use after their exchanges.
    pub(crate) fn close(&self) {
        self.keep_at_most(0);
    }

    /// The idle connections that are kept at most.
    pub(crate) fn most(&self) -> usize {
        self.idle_per_worker.get()
    }

    fn keep_at_most(&self, most: usize) {
        self.idle_per_worker.set(most);
        let mut idle = self.idle.borrow_mut();
        let over = idle.len().saturating_sub(most);
        let oldest: Vec<_> = idle.drain(..over).collect();
        drop(idle);
        drop(oldest);
        self.kept.keep_at_most(most);
        if most == 0 {
            self.http2.retire(|_| true);
        }
    }
}

/// The idle connections that are kept at most.
fn most(endpoint: &Endpoint, upstream: &Upstream) -> usize {
    if endpoint.drain { 0 } else { upstream.idle_per_worker }
}

impl HoldsDedicated for EndpointPool {
    fn release(&self, client: ClientId) {
        drop(self.kept.take(client));
        self.http2.retire(|connection| connection.client() == Some(client));
    }
}

impl Keeper for EndpointPool {
    fn is_full(&self) -> bool {
        self.http2.idle() > self.most()
    }

    fn ended(&self, connection: &Rc<Http2Connection>) {
        self.http2.remove(connection);
    }
}
