//! Fields that a listener or a route sets, adds or removes, of requests and of responses.
//!
//! What frames a message can't be named here, and is not touched.

use crate::config::access::{Piece, Variable};
use crate::config::plan::{HeaderEdits, Template};
use crate::http::is_same_name;
use crate::proxy::client::ClientFacts;
use crate::proxy::rules::RequestView;
use crate::route::{cookie, parameter};

/// The changes of one route, or of a listener.
#[derive(Debug)]
pub struct Headers {
    request: Edits,
    response: Edits,
    /// The Host that backends see instead of the request's.
    pub host: Option<Box<str>>,
}

/// Where the values of variables are from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'s, 'a, 'h, 'b> {
    /// A request.
    Request(&'s RequestView<'a, 'h, 'b>),
    /// A request that was not understood: its variables have no value.
    Unknown {
        /// The listener's name.
        listener: &'s str,
        /// The client.
        client: &'s ClientFacts,
    },
}

#[derive(Debug, Default)]
struct Edits {
    /// Fields of these names are removed, from whichever side.
    gone: Box<[Box<str>]>,
    /// These are added.
    lines: Box<[(Box<str>, Template)]>,
}

/// The added fields, with their values of one request.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
}

impl Headers {
    /// `None`: nothing is changed.
    pub fn new(request: &HeaderEdits, response: &HeaderEdits) -> Option<Box<Self>> {
        let nothing = HeaderEdits::default();
        (*request != nothing || *response != nothing).then(|| {
            let host = request.host.as_deref().map(Into::into);
            Box::new(Self { request: Edits::new(request), response: Edits::new(response), host })
        })
    }

    pub(crate) fn lines(&self, source: &Source<'_, '_, '_, '_>) -> Lines {
        Lines { request: self.request.lines(source), response: self.response.lines(source) }
    }

    pub(crate) fn drops_from_request(&self, name: &[u8]) -> bool {
        self.request.takes_out(name)
    }

    pub(crate) fn drops_from_response(&self, name: &[u8]) -> bool {
        self.response.takes_out(name)
    }
}

impl Edits {
    fn new(edits: &HeaderEdits) -> Self {
        let set = edits.set.iter().map(|(name, _)| name);
        let gone = edits.remove.iter().chain(set).map(|name| name.as_str().into()).collect();
        let lines = edits.set.iter().chain(&edits.add);
        Self { gone, lines: lines.map(|(name, value)| (name.as_str().into(), value.clone())).collect() }
    }

    fn takes_out(&self, name: &[u8]) -> bool {
        self.gone.iter().any(|gone| is_same_name(gone.as_bytes(), name))
    }

    /// A field whose value is empty is not added.
    fn lines(&self, source: &Source<'_, '_, '_, '_>) -> Vec<u8> {
        let mut lines = Vec::new();
        for (name, value) in &self.lines {
            let before = lines.len();
            lines.extend_from_slice(name.as_bytes());
            lines.extend_from_slice(b": ");
            let start = lines.len();
            for piece in value {
                match piece {
                    Piece::Literal(text) => lines.extend_from_slice(text.as_bytes()),
                    Piece::Value(variable) => push(&mut lines, variable, source),
                }
            }
            if lines.len() == start {
                lines.truncate(before);
            } else {
                lines.extend_from_slice(b"\r\n");
            }
        }
        lines
    }
}

/// Appends a variable's value; nothing where it has none.
fn push(out: &mut Vec<u8>, variable: &Variable, source: &Source<'_, '_, '_, '_>) {
    let (listener, client, asked) = match *source {
        Source::Request(asked) => (asked.listener, asked.client, Some(asked)),
        Source::Unknown { listener, client } => (listener, client, None),
    };
    match (variable, asked) {
        (Variable::Listener, _) => put(out, listener.as_bytes()),
        (Variable::ClientAddress, None) => put(out, client.address.as_bytes()),
        (Variable::ClientAddress, Some(asked)) => put(out, asked.address.as_bytes()),
        (Variable::ClientScheme, _) => put(out, client.proto().as_bytes()),
        (variable, Some(asked)) if push_of_head(out, variable, asked) => {}
        // Of the handshake; the config's check lets no others through.
        (variable, _) => put(out, client.tls_value(variable).unwrap_or_default().as_bytes()),
    }
}

/// Appends the value of a variable of the request. False: it is none of the request.
fn push_of_head(out: &mut Vec<u8>, variable: &Variable, asked: &RequestView<'_, '_, '_>) -> bool {
    let head = asked.head;
    match variable {
        Variable::Method => put(out, head.method.as_str().as_bytes()),
        Variable::Path => put(out, head.target.path.as_bytes()),
        Variable::Query => put(out, head.target.query.unwrap_or_default().as_bytes()),
        Variable::Target => {
            put(out, head.target.path.as_bytes());
            if let Some(query) = head.target.query {
                put(out, b"?");
                put(out, query.as_bytes());
            }
        }
        Variable::Host => put(out, head.host.unwrap_or_default().as_bytes()),
        Variable::Version => put(out, head.version.as_str().as_bytes()),
        Variable::RequestId => put(out, asked.id.as_bytes()),
        Variable::RequestHeader(name) => put(out, head.fields.get(name).unwrap_or_default()),
        Variable::RequestCookie(name) => put(out, cookie(&head.fields, name).unwrap_or_default()),
        Variable::RequestParameter(name) => {
            put(out, &parameter(head.target.query, name).unwrap_or_default());
        }
        Variable::Map(map) => asked.with_query(|query| map.with(query, |value| put(out, value.as_bytes()))),
        _ => return false,
    }
    true
}

/// Appends bytes of a field's value. Every source was checked where it was read; still, no control byte passes here.
fn put(out: &mut Vec<u8>, value: &[u8]) {
    out.extend(value.iter().filter(|&&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)));
}
