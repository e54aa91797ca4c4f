//! The published snapshot as one worker follows it: the config that it serves from, and its pools for it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::snapshot::RuntimeConfig;
use super::upstream::admission;
use super::upstream::config::Upstream;
use super::upstream::pool::Pool;
use super::worker::Worker;
use crate::base::published::{Published, Reader};

/// A snapshot and this worker's pools for it.
#[derive(Debug)]
pub struct View {
    /// The snapshot.
    pub config: Arc<RuntimeConfig>,
    /// In the order of its upstreams.
    pub pools: Vec<Rc<Pool>>,
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
        let open = |upstream: &Arc<Upstream>| open(upstream, start, &worker);
        let pools = config.upstreams.iter().map(open).collect();
        let view = RefCell::new(Rc::new(View { config, pools }));
        Self { reader: RefCell::new(snapshot.reader()), view, start, worker }
    }

    /// The view of this moment, loaded once an exchange. Pools of upstreams that a new snapshot keeps are kept.
    pub(crate) fn current(&self) -> Rc<View> {
        let mut reader = self.reader.borrow_mut();
        let config = reader.load();
        let mut view = self.view.borrow_mut();
        if !Arc::ptr_eq(config, &view.config) {
            let pools = config.upstreams.iter().map(|upstream| {
                let kept = view.pools.iter().find(|pool| Arc::ptr_eq(&pool.upstream, upstream));
                kept.cloned().unwrap_or_else(|| open(upstream, self.start, &self.worker))
            });
            let pools = pools.collect();
            let last = std::mem::replace(&mut *view, Rc::new(View { config: Arc::clone(config), pools }));
            for pool in &last.pools {
                if !view.pools.iter().any(|kept| Rc::ptr_eq(kept, pool)) {
                    pool.retire();
                }
            }
        }
        Rc::clone(&view)
    }

    /// The view that was current last, without a look at what is published.
    pub(crate) fn last(&self) -> Rc<View> {
        Rc::clone(&self.view.borrow())
    }
}

fn open(upstream: &Arc<Upstream>, start: usize, worker: &Worker) -> Rc<Pool> {
    Pool::open(Arc::clone(upstream), start, &worker.wheel, |pool| admission::join(upstream, pool))
}
