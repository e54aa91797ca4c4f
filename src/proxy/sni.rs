//! TLS that is relayed unopened, to the upstream of the server name that its client asks for.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::access::Outcome;
use super::failure::Failure;
use super::l4::Entry;
use super::running::Traffic;
use super::{Client, Local, View, l4};
use crate::base::sample::sampled;
use crate::io::{Buffer, Fired};
use crate::route::{Asked, Match};
use crate::tls::{Hello, HelloReader};

/// A fatal alert, unrecognized_name (RFC 8446 §6.2), as a record.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 1, 0, 2, 2, 112];

/// Reads the ClientHello and relays it, and all that follows, as they came.
pub(super) async fn serve(local: &Rc<Local>, view: &View, listener: usize, mut client: Box<Client>) {
    let listener = &view.running.listeners[listener];
    let Traffic::TcpByName { table } = &listener.traffic else { return };
    client.deadline.set(listener.limits.head_timeout);
    let read = {
        let reading = pin!(hello(&mut client.stream.reader));
        client.deadline.race(reading).await
    };
    let (hello, buffer) = match read {
        Ok(Some(read)) => read,
        Ok(None) | Err(Fired::Interrupted) => return,
        Err(Fired::Expired) => {
            local.counters.timeouts.add(1);
            local.counters.limit_head_timeout.add(1);
            return;
        }
    };
    let name = match &hello {
        Hello::Whole(name) => name.as_deref(),
        Hello::Partial | Hello::Other => None,
    };
    let asked = Asked { host: name, path: "/", query: None, method: "", headers: &[], announced: None };
    if let Match::Route(upstream) = table.find(&asked) {
        client.early = Some(buffer);
        let entry = Entry { listener: &listener.name, sni: name };
        return l4::serve(local, entry, &view.pools[upstream], client).await;
    }
    if let Some(access) = &local.access {
        let failure: &dyn std::fmt::Display = &Failure::NoRoute;
        let outcome = Outcome { failure: Some(failure), ..Outcome::unrelayed(Duration::ZERO) };
        access.relay(&listener.name, &l4::facts(&mut client), name, &outcome);
    }
    local.counters.requests_refused.add(1);
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
