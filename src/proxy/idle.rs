//! Waiting for a peer without keeping a buffer for it.
//!
//! A connection in use is read straight into a buffer: one ring operation a request. One that has
//! been silent for [`HOT`] gives its buffer back and waits for readiness alone, so that idle
//! connections cost their socket and a few hundred bytes.

use std::pin::pin;
use std::time::{Duration, Instant};

use crate::io::stream::{Reader, Stream, StreamError};
use crate::io::{Buffer, Deadline, Fired, ReadCancel, TcpStream, is_canceled, tls};

/// How long a silent connection keeps its buffer.
pub(crate) const HOT: Duration = Duration::from_millis(500);

/// How long a connection is read on after our last word, in silence, so that what its peer still sends does not reset it
/// before that word is read. However much that is: many clients send the whole of their body first.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// The same while its peer keeps sending.
pub(crate) const LINGER_LONGEST: Duration = Duration::from_secs(30);

/// What a wait ended with.
#[derive(Debug)]
pub(crate) enum Woken {
    /// There is plaintext in this buffer.
    Data(Buffer),
    /// Nothing came within [`HOT`]; the buffer went back to the pool.
    Lull,
    /// The peer ended its side, or it was ended: see [`Reader::closed`].
    End,
    /// The worker drains.
    Interrupted,
    /// The stream broke.
    Failed,
}

/// Waits with a buffer. `deadline` is this wait's own and is left set to whatever [`HOT`] made it.
pub(crate) async fn hot(
    reader: &mut Reader,
    deadline: &Deadline,
    off: &mut ReadCancel,
    buffer: Buffer,
) -> Woken {
    let (handle, peer) = (off.handle(), reader.peer());
    deadline.set(HOT);
    let (result, buffer) = {
        let filling = pin!(reader.fill_cancelable(buffer, handle));
        deadline.watch(filling, || off.call_off(&peer)).await
    };
    match result {
        Ok(0) => Woken::End,
        Ok(_) => Woken::Data(buffer),
        Err(StreamError::Io(error)) if is_canceled(&error) => match deadline.fired() {
            // Half a TLS record may have come: it can't be given back, nor can its buffer.
            _ if !buffer.is_idle() => Woken::Data(buffer),
            Some(Fired::Interrupted) => Woken::Interrupted,
            _ => Woken::Lull,
        },
        Err(_) => Woken::Failed,
    }
}

/// Ends our side and reads on for a moment (RFC 9112 §9.6).
pub(crate) async fn linger(stream: &mut Stream, deadline: &Deadline) {
    deadline.set(LINGER);
    let begun = Instant::now();
    let drain = async {
        if stream.writer.shutdown().await.is_err() {
            return;
        }
        let mut buffer = Buffer::small();
        loop {
            let (result, mut filled) = stream.reader.fill(buffer).await;
            if result.unwrap_or(0) == 0 {
                return;
            }
            filled.consume(filled.len());
            buffer = filled;
            deadline.set(LINGER.min(LINGER_LONGEST.saturating_sub(begun.elapsed())));
        }
    };
    let _ = deadline.race(pin!(drain)).await;
}

/// Ends a connection whose TLS handshake failed, after `last`, and reads on for a moment.
pub(crate) async fn part(tcp: TcpStream, deadline: &Deadline, last: &'static [u8]) {
    deadline.set(LINGER);
    let _ = deadline.race(pin!(tls::part(tcp, last))).await;
}
