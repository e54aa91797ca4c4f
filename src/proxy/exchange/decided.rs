//! The decisions on a response's head: how its body is sent on, and which connections are kept.

use crate::http::ResponseHead;
use crate::http1::{Envelope, Framing};
use crate::proxy::exchange::body::Frame;
use crate::proxy::exchange::coding::BodyCoding;

/// A response's head, decided upon.
pub(crate) struct Decided {
    /// The head as the client gets it.
    pub(crate) head: Vec<u8>,
    pub(crate) head_len: usize,
    pub(crate) status: u16,
    pub(crate) interim: bool,
    pub(crate) framing: Framing,
    pub(crate) out: Frame,
    pub(crate) backend_keeps: bool,
    pub(crate) unframed: bool,
    pub(crate) client_keeps: bool,
    /// What its Connection lists, if its trailers have to mind that.
    pub(crate) named: Option<Box<[u8]>>,
    /// How its body is encoded on its way.
    pub(crate) coding: Option<BodyCoding>,
}

impl Decided {
    pub(crate) fn of(
        (head, envelope): (&ResponseHead<'_, '_>, Envelope),
        encoded: Vec<u8>,
        (to_client, out): (Framing, Frame),
        keep: bool,
    ) -> Self {
        Self {
            head: encoded,
            head_len: envelope.len,
            status: head.status,
            interim: head.is_interim(),
            framing: envelope.framing,
            out,
            backend_keeps: envelope.keep_alive && envelope.framing != Framing::UntilClose,
            unframed: to_client == Framing::UntilClose,
            client_keeps: keep && to_client != Framing::UntilClose,
            named: head.named_trailers(),
            coding: None,
        }
    }

    /// The same with a body that is encoded on its way, its length unknown whatever it was.
    pub(crate) fn encoded(self, coding: BodyCoding, out: Frame) -> Self {
        Self { coding: Some(coding), out, ..self }
    }
}
