//! A request that is not served, with what was found out about it.

use crate::proxy::access::Record;
use crate::proxy::client::ClientFacts;
use crate::proxy::error_pages::ErrorContext;
use crate::proxy::failure::Failure;
use crate::proxy::rules::{ResponseRules, Source};
use crate::proxy::snapshot::Listener;
use crate::proxy::trace::Trace;

/// Why a request is not served, and what is known of it all the same.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Why.
    pub(crate) failure: Failure,
    /// The form of the error response; `None` if its head could not be understood.
    pub(crate) context: Option<ErrorContext>,
    /// Its line in the access log, if one was begun.
    pub(crate) logged: Option<Box<Record>>,
    /// Its id, if it was given one.
    pub(crate) id: Option<Box<str>>,
    /// What rules do with the reply: the listener's, and the route's if one was found.
    pub(crate) rules: Option<Box<ResponseRules>>,
    /// Its route by its index, if one was found, and the bytes of its head.
    pub(crate) route: Option<u32>,
    /// See `route`.
    pub(crate) head_bytes: u32,
    /// What is recorded of it, if it is.
    pub(crate) trace: Option<Box<Trace>>,
}

impl Refused {
    /// A request of which nothing is known but the failure.
    pub(crate) fn unknown(failure: Failure, listener: &Listener, client: &ClientFacts) -> Box<Self> {
        let source = Source::Unknown { listener: &listener.name, client };
        let rules = listener.rules.as_ref().and_then(|rules| rules.edits(&source, None));
        Box::new(Self {
            failure,
            context: None,
            logged: None,
            id: None,
            rules,
            route: None,
            head_bytes: 0,
            trace: None,
        })
    }
}
