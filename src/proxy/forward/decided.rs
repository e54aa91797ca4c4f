//! What a response's head comes to: how its body goes on, and which connections live on.

use crate::http1::{Coding, Framing, ResponseHead};
use crate::proxy::body::Frame;

/// A response's head, decided upon.
pub(super) struct Decided {
    pub(super) head_len: usize,
    pub(super) status: u16,
    pub(super) interim: bool,
    pub(super) framing: Framing,
    pub(super) out: Frame,
    pub(super) backend_keeps: bool,
    pub(super) unframed: bool,
    pub(super) client_keeps: bool,
    /// What its Connection lists, if its trailers have to mind that.
    pub(super) named: Option<Box<[u8]>>,
    /// How its body is encoded on its way.
    pub(super) coding: Option<Coding>,
}

impl Decided {
    pub(super) fn of(head: &ResponseHead<'_, '_>, to_client: Framing, keep: bool) -> Self {
        Self {
            head_len: head.len,
            status: head.status,
            interim: head.is_interim(),
            framing: head.framing,
            out: Frame::of(to_client),
            backend_keeps: head.keep_alive && head.framing != Framing::UntilClose,
            unframed: to_client == Framing::UntilClose,
            client_keeps: keep && to_client != Framing::UntilClose,
            named: head.named_trailers(),
            coding: None,
        }
    }

    /// The same with a body that is encoded on its way, in chunks whatever it came in.
    pub(super) fn encoded(self, coding: Coding) -> Self {
        Self { coding: Some(coding), out: Frame::Chunked, ..self }
    }
}
