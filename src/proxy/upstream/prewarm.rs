//! Idle connections that are made before a request needs them: `pool.min_idle`.

use std::rc::Rc;

use super::connect::{DialOptions, Spoken};
use super::connection::UpstreamConnection;
use super::pool::Pool;
use super::request_key::Repeat;
use crate::io::runtime;
use crate::proxy::worker::Worker;

/// Most connections that one worker makes at a time for this, at each endpoint.
const MOST_AT_A_TIME: usize = 4;

impl Pool {
    /// Makes idle connections to endpoints that have fewer than `pool.min_idle`. Each worker sees to its part, so that an
    /// endpoint may have up to one more for each worker. Endpoints that are ejected, held off or
    /// drained are left alone.
    pub(crate) fn prewarm(self: &Rc<Self>, worker: &Rc<Worker>) {
        if self.upstream.min_idle == 0 || worker.draining.get() {
            return;
        }
        for endpoint in 0..self.endpoints.len() {
            let pool = &self.endpoints[endpoint];
            if !self.is_usable(endpoint, Repeat::Held) || self.upstream.endpoints[endpoint].drain {
                continue;
            }
            let workers = pool.used.workers().max(1);
            let shared = self.upstream.endpoints[endpoint].state.shared_idle.len() / workers;
            let wanted = self.upstream.min_idle.div_ceil(workers);
            let has = pool.idle.borrow().len() + pool.http2.len() + shared + pool.prewarming.get();
            let room = MOST_AT_A_TIME.saturating_sub(pool.prewarming.get());
            for _ in 0..wanted.saturating_sub(has).min(room) {
                pool.prewarming.set(pool.prewarming.get() + 1);
                runtime::spawn(prewarm_one(Rc::clone(self), Rc::clone(worker), endpoint));
            }
        }
    }
}

async fn prewarm_one(pool: Rc<Pool>, worker: Rc<Worker>, endpoint: usize) {
    let at = Rc::clone(&pool.endpoints[endpoint]);
    let deadline = worker.wheel.deadline();
    // Only upstreams whose server name does not depend on a request have this.
    if let (Ok(server_name), Ok(counted)) =
        (pool.server_name(endpoint, None), pool.count_connection(endpoint))
    {
        let wanted =
            DialOptions { name: server_name.as_ref(), whole: true, header: None, http: pool.upstream.http };
        match pool.present(&worker, &deadline, endpoint, wanted).await {
            Ok(dialed) if at.idle.borrow().len() < at.most() => {
                worker.counters.backend_connections_prewarmed.add(1);
                let connection =
                    UpstreamConnection::fresh(&worker, (endpoint, counted), server_name, None, dialed);
                if connection.spoken == Spoken::Http2 {
                    pool.start(&worker, connection);
                } else {
                    // Behind those that were used: a request takes one of these only where there is no other.
                    at.idle.borrow_mut().insert(0, connection);
                }
            }
            Ok(_) => {}
            Err(error) => pool.report_failure(&worker, endpoint, &error),
        }
    }
    at.prewarming.set(at.prewarming.get() - 1);
}
