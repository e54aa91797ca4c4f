//! What the choice of an endpoint takes from a request: a few numbers, so that its head is not needed any more.

/// See the module. The default is a request without a key: any endpoint serves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestKey {
    /// The hash of what `hash.by` names, if the request has that.
    pub(crate) hash: Option<u64>,
    /// The endpoint of its session, if it has one.
    pub(crate) session: Option<Session>,
    /// Whether it may be the trial of an endpoint that was ejected.
    pub(crate) repeat: Repeat,
}

/// Whether a request can be sent again where the endpoint that it was sent to fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It is idempotent, and all of it is at hand.
    Held,
    /// It is lost with its endpoint.
    #[default]
    Never,
}

/// A session at an endpoint, as the client has proven it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// The endpoint, by its index in the upstream.
    pub(crate) endpoint: u32,
    /// Half of its time is over: the client gets a new token.
    pub(crate) ages: bool,
}

impl RequestKey {
    /// The key of a request that goes from one upstream to another one: what it is hashed by may not be what that asks for,
    /// and its session is at the first.
    /// `same`: both hash the same part of a request.
    pub(crate) fn moved(&self, same: bool) -> Self {
        Self { hash: self.hash.filter(|_| same), session: None, ..*self }
    }

    /// The endpoint of its session.
    pub(crate) fn endpoint(&self) -> Option<usize> {
        self.session.map(|session| session.endpoint as usize)
    }
}
