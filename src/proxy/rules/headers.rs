//! Fields that a listener or a route sets, adds or removes, of requests and of responses.
//!
//! What frames a message can't be named here, and is not touched. What conditions ask of a request is decided once, when its
//! rules are applied; statuses of responses are asked when those are written ([`response_lines`](super::response_lines)).

use crate::config::access::{Piece, Variable};
use crate::config::plan::{ConditionalEdits, HeaderEdits, Template};
use crate::http::is_same_name;
use crate::proxy::client::ClientFacts;
use crate::proxy::rules::RequestView;
use crate::route::{Clause, cookie, parameter};

/// The changes of one route, or of a listener.
#[derive(Debug)]
pub struct Headers {
    request: Edits,
    response: Edits,
    /// The Host that backends see instead of the request's.
    host: Option<Box<str>>,
    /// Changes behind these, under conditions.
    when: Box<[Conditional]>,
}

/// One of `headers.when`.
#[derive(Debug)]
pub(super) struct Conditional {
    /// What must hold of the request, if anything.
    when: Option<Clause>,
    /// The ranges of which one must have the response's status; empty: any has it.
    statuses: Box<[(u16, u16)]>,
    request: Edits,
    response: Edits,
    host: Option<Box<str>>,
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

/// What is changed of one request and of its response: the added fields with their values.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
    /// The same of those conditional changes whose conditions on the request hold, each with its number.
    pub(super) chosen: Vec<(usize, Self)>,
}

impl Headers {
    /// `None`: nothing is changed.
    pub fn new(
        request: &HeaderEdits,
        response: &HeaderEdits,
        conditional: &[ConditionalEdits],
    ) -> Option<Box<Self>> {
        let nothing = HeaderEdits::default();
        (*request != nothing || *response != nothing || !conditional.is_empty()).then(|| {
            let host = request.host.as_deref().map(Into::into);
            let when = conditional.iter().map(Conditional::new).collect();
            Box::new(Self { request: Edits::new(request), response: Edits::new(response), host, when })
        })
    }

    /// What is changed of a request. `None`: nothing, as no condition holds.
    pub(crate) fn lines(&self, source: &Source<'_, '_, '_, '_>) -> Option<Lines> {
        let chosen = if self.when.is_empty() { Vec::new() } else { self.choose(source) };
        let is_plain = self.request.is_empty() && self.response.is_empty() && self.host.is_none();
        (!is_plain || !chosen.is_empty()).then(|| Lines {
            request: self.request.lines(source),
            response: self.response.lines(source),
            chosen,
        })
    }

    /// The conditional changes whose conditions on the request hold. Of one that was not understood none does.
    fn choose(&self, source: &Source<'_, '_, '_, '_>) -> Vec<(usize, Lines)> {
        let chosen = |holds: &dyn Fn(&Clause) -> bool| {
            let all = self.when.iter().enumerate();
            let held = all.filter(|(_, it)| it.when.as_ref().is_none_or(holds));
            let lines = |it: &Conditional| Lines {
                request: it.request.lines(source),
                response: it.response.lines(source),
                chosen: Vec::new(),
            };
            held.map(|(at, it)| (at, lines(it))).collect()
        };
        match source {
            Source::Request(asked) => asked.with_received(|query| chosen(&|clause| clause.holds(query))),
            Source::Unknown { .. } => chosen(&|_| false),
        }
    }

    /// The Host that backends see, where these conditional changes hold.
    pub(super) fn host(&self, chosen: &[usize]) -> Option<&str> {
        let conditional = chosen.iter().rev().find_map(|at| self.when[*at].host.as_deref());
        conditional.or(self.host.as_deref())
    }

    /// One of the conditional changes, by its number.
    pub(super) fn conditional(&self, at: usize) -> &Conditional {
        &self.when[at]
    }

    pub(crate) fn drops_from_request(&self, name: &[u8]) -> bool {
        self.request.takes_out(name)
    }

    pub(crate) fn drops_from_response(&self, name: &[u8]) -> bool {
        self.response.takes_out(name)
    }
}

impl Conditional {
    fn new(edits: &ConditionalEdits) -> Self {
        Self {
            when: edits.when.clone(),
            statuses: edits.statuses.as_slice().into(),
            request: Edits::new(&edits.request),
            response: Edits::new(&edits.response),
            host: edits.request.host.as_deref().map(Into::into),
        }
    }

    /// Whether the response's status decides, too.
    pub(super) fn asks_status(&self) -> bool {
        !self.statuses.is_empty()
    }

    /// Whether it is for responses of this status.
    pub(super) fn is_for(&self, status: u16) -> bool {
        self.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }

    pub(super) fn drops_from_request(&self, name: &[u8]) -> bool {
        self.request.takes_out(name)
    }

    pub(super) fn drops_from_response(&self, name: &[u8]) -> bool {
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

    fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.lines.is_empty()
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
