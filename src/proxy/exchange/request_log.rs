//! The line of a request in the access log: which log has it, and what of it is not in the request's head.

use crate::config::access::Variable;
use crate::proxy::access::{Choice, Record};
use crate::proxy::rules::RequestView;
use crate::proxy::snapshot::RouteLog;
use crate::proxy::view::View;
use crate::proxy::worker::Worker;

/// Notes the client that a trusted proxy names, and the values of maps.
pub(super) fn note(record: &mut Record, asked: &RequestView<'_, '_, '_>, view: &View) {
    if *asked.address != *asked.client.address {
        record.note(&Variable::ClientAddress, asked.address.as_bytes());
    }
    if record.has_maps() {
        asked.with_query(|query| record.note_maps(query, &view.config.maps));
    }
}

/// Begins the line anew for the log of the route. `point` is a fraction of 2⁶⁴, evenly spread over requests.
pub(super) fn choose(
    log: &RouteLog,
    (worker, view): (&Worker, &View),
    asked: &RequestView<'_, '_, '_>,
    point: u64,
    logged: &mut Option<Box<Record>>,
) {
    let (Some(sink), Some(record)) = (&worker.access, logged.as_mut()) else { return };
    let Some(channel) = log.channel else {
        return logged.take().into_iter().for_each(|record| sink.give_back(record));
    };
    let kept = log.share == u64::MAX || point < log.share;
    sink.choose(record, Choice { channel, kept }, (asked.listener, asked.client), (asked.head, asked.id));
    note(record, asked, view);
}
