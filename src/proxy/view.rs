//! The published snapshot as one worker follows it: the config that it serves from, and its pools for it.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::snapshot::{Listener, RuntimeConfig, Traffic};
use super::upstream::admission;
use super::upstream::config::Upstream;
use super::upstream::pool::Pool;
use super::worker::Worker;
use crate::base::meter::{ListenerCells, RouteCells};
use crate::base::published::{Published, Reader};

/// A snapshot and this worker's pools for it.
#[derive(Debug)]
pub struct View {
    /// The snapshot.
    pub config: Arc<RuntimeConfig>,
    /// In the order of its upstreams.
    pub pools: Vec<Rc<Pool>>,
    /// What the worker counts of its listeners and their routes, in their order.
    pub(crate) meters: Vec<ListenerMeter>,
}

/// What the worker counts of a listener.
#[derive(Debug)]
pub(crate) struct ListenerMeter {
    /// Of the listener itself.
    pub(crate) cells: Arc<ListenerCells>,
    /// In the order of its routes; none but those of http listeners.
    routes: Vec<Arc<RouteCells>>,
    unrouted: Arc<RouteCells>,
}

impl ListenerMeter {
    fn of(listener: &Listener, worker: usize) -> Self {
        let routes = match &listener.traffic {
            Traffic::Http { routes, .. } => routes.as_slice(),
            Traffic::Tcp { .. } | Traffic::Udp(_) | Traffic::TcpByName { .. } => &[],
        };
        Self {
            cells: listener.meter.of(worker),
            routes: routes.iter().map(|route| route.meter.cells.of(worker)).collect(),
            unrouted: listener.unrouted.of(worker),
        }
    }

    /// The counts of a route by its index; without one, those of requests that no route is known for.
    pub(crate) fn route(&self, route: Option<u32>) -> &RouteCells {
        route.and_then(|route| self.routes.get(route as usize)).unwrap_or(&self.unrouted)
    }
}

/// Follows the snapshot that is published.
#[derive(Debug)]
pub(crate) struct Views {
    worker: Rc<Worker>,
    reader: RefCell<Reader<RuntimeConfig>>,
    view: RefCell<Rc<View>>,
    /// Where its round-robins begin, so that workers do not all begin with the same endpoint.
    start: usize,
}

impl Views {
    /// Follows `snapshot`. `start` moves the round-robins' first pick.
    pub(crate) fn new(worker: Rc<Worker>, snapshot: &Published<RuntimeConfig>, start: usize) -> Self {
        let config = snapshot.load();
        let open = |upstream: &Arc<Upstream>| open(upstream, start, &worker, None);
        let pools = config.upstreams.iter().map(open).collect();
        let meters = meters(&config, &worker);
        let view = RefCell::new(Rc::new(View { config, pools, meters }));
        Self { reader: RefCell::new(snapshot.reader()), view, start, worker }
    }

    /// The view of this moment, loaded once an exchange. Pools of upstreams that a new snapshot keeps are kept; of those
    /// that it changes, the connections and sessions of the endpoints that it keeps.
    pub(crate) fn current(&self) -> Rc<View> {
        let mut reader = self.reader.borrow_mut();
        let config = reader.load();
        let mut view = self.view.borrow_mut();
        if !Arc::ptr_eq(config, &view.config) {
            let pools = config.upstreams.iter().map(|upstream| match view.pool_named(&upstream.name) {
                Some(kept) if Arc::ptr_eq(&kept.upstream, upstream) => Rc::clone(kept),
                last => open(upstream, self.start, &self.worker, last),
            });
            let pools = pools.collect();
            let meters = meters(config, &self.worker);
            let next = View { config: Arc::clone(config), pools, meters };
            let last = std::mem::replace(&mut *view, Rc::new(next));
            for pool in &last.pools {
                if !view.pools.iter().any(|kept| Rc::ptr_eq(kept, pool)) {
                    pool.retire(view.pool_named(&pool.upstream.name).map(|next| &**next));
                }
            }
        }
        Rc::clone(&view)
    }

    /// The view that was current last, without a load of the published snapshot.
    pub(crate) fn last(&self) -> Rc<View> {
        Rc::clone(&self.view.borrow())
    }
}

impl View {
    /// The pool of the upstream of this name.
    pub(crate) fn pool_named(&self, upstream: &str) -> Option<&Rc<Pool>> {
        self.pools.iter().find(|pool| pool.upstream.name == upstream)
    }
}

fn meters(config: &RuntimeConfig, worker: &Worker) -> Vec<ListenerMeter> {
    config.listeners.iter().map(|listener| ListenerMeter::of(listener, worker.number)).collect()
}

/// The pool of an upstream that replaces `last`, if the snapshot before has one.
fn open(upstream: &Arc<Upstream>, start: usize, worker: &Worker, last: Option<&Rc<Pool>>) -> Rc<Pool> {
    let queue = |pool: &Weak<Pool>| admission::join(upstream, pool);
    Pool::open(Arc::clone(upstream), start, worker, last.map(|last| &**last), queue)
}
