//! TLS that is relayed unopened, to the upstream of the server name in the ClientHello.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use crate::base::failures::Failed;
use crate::base::sample::sampled;
use crate::io::{Buffer, Fired};
use crate::proxy::access::Outcome;
use crate::proxy::downstream::accepted::Accepted;
use crate::proxy::downstream::tcp;
use crate::proxy::downstream::tcp::Entry;
use crate::proxy::failure::Failure;
use crate::proxy::snapshot::Traffic;
use crate::proxy::view::View;
use crate::proxy::worker::Worker;
use crate::route::{Match, RouteQuery};
use crate::tls::{Hello, HelloReader};

/// A fatal alert, unrecognized_name (RFC 8446 §6.2), as a record.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 1, 0, 2, 2, 112];

/// Reads the ClientHello and relays it, and all that follows, as they came.
pub(crate) async fn serve(worker: &Rc<Worker>, view: &View, listener: usize, mut client: Box<Accepted>) {
    let listener = &view.config.listeners[listener];
    let Traffic::TcpByName { table } = &listener.traffic else { return };
    client.deadline.set(listener.limits.head_timeout);
    let read = {
        let reading = pin!(hello(&mut client.stream.reader));
        client.deadline.race(reading).await
    };
    let (hello, buffer) = match read {
        Ok(Some(read)) => read,
        Ok(None) | Err(Fired::Interrupted | Fired::Displaced) => return,
        Err(Fired::Expired) => {
            worker.counters.timeouts.add(1);
            worker.counters.limit_head_timeout.add(1);
            return;
        }
    };
    let name = match &hello {
        Hello::Whole(name) => name.as_deref(),
        Hello::Partial | Hello::Other => None,
    };
    let asked = RouteQuery {
        host: name,
        path: "/",
        query: None,
        method: "",
        client: "",
        headers: &[],
        announced: None,
    };
    if let Match::Route(upstream) = table.find(&asked) {
        client.early = Some(buffer);
        let entry = Entry { listener: &listener.name, sni: name };
        return tcp::serve(worker, entry, &view.pools[upstream], client).await;
    }
    if let Some(access) = &worker.access {
        let failure: &dyn std::fmt::Display = &Failure::NoRoute;
        let outcome = Outcome {
            failure: Some(failure),
            error: Failure::NoRoute.proxy_error(),
            ..Outcome::unrelayed(Duration::ZERO)
        };
        access.relay(&listener.name, &tcp::facts(&mut client), name, &outcome);
    }
    worker.counters.requests_refused.add(1);
    note(worker, &listener.name, &Failure::NoRoute);
    let name = name.unwrap_or("none");
    sampled!(
        info,
        ServerName of &listener.name,
        { listener = listener.name, client = %client.origin.peer, },
        "no route for the server name asked for: {name}"
    );
    if matches!(hello, Hello::Whole(_)) {
        let telling = pin!(client.stream.writer.write_bytes(&UNRECOGNIZED_NAME));
        let _ = client.deadline.race(telling).await;
    }
}

/// Keeps a record of a connection that is refused before it has an upstream.
pub(super) fn note(worker: &Worker, listener: &str, failure: &Failure) {
    let clients = failure.is_clients();
    worker.counters.failures.note(&Failed { clients, ..Failed::at(listener, failure.kind(), failure) });
}

/// All that was received, once it is clear what it begins with. `None`: the client left.
async fn hello(reader: &mut crate::io::Reader) -> Option<(Hello, Buffer)> {
    let mut buffer = Buffer::small();
    let mut hello = HelloReader::default();
    loop {
        let (result, filled) = reader.fill(buffer).await;
        buffer = filled;
        if !matches!(result, Ok(1..)) {
            return None;
        }
        match hello.read(buffer.data()) {
            Hello::Partial => {}
            hello => return Some((hello, buffer)),
        }
    }
}
