//! Response bodies that are encoded on their way. What arrives is encoded, flushed and sent before more is read.

use crate::base::limits::ENCODERS_PER_WORKER;
use crate::http::{Coding, Encoder};
use crate::http1::{self, BodyError};
use crate::http2::FieldLines;
use crate::io::{Buffer, StreamError};
use crate::proxy::exchange::body_writer::BodyWriter;
use crate::proxy::exchange::relay::{Relay, RelayError};
use crate::proxy::worker::Worker;

/// Whether one more body may be encoded: an encoder holds up to a MiB.
pub(crate) fn has_room(worker: &Worker) -> bool {
    worker.counters.encodings_open.get() < ENCODERS_PER_WORKER
}

/// An encoder that is counted for as long as it lives.
#[derive(Debug)]
struct Counted<'a> {
    worker: &'a Worker,
    encoder: Option<Encoder>,
}

impl<'a> Counted<'a> {
    fn new(worker: &'a Worker, coding: Coding) -> std::io::Result<Self> {
        let encoder = Encoder::new(coding)?;
        worker.counters.encodings_open.add(1);
        worker.counters.responses_encoded.add(1);
        Ok(Self { worker, encoder: Some(encoder) })
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.worker.counters.encodings_open.sub(1);
    }
}

/// What goes in front of an encoded body.
#[derive(Debug)]
pub(crate) struct Lead {
    /// The response's.
    pub(crate) status: u16,
    /// Its head, encoded for the client.
    pub(crate) encoded: Vec<u8>,
    /// Bytes of its head as it was received, in front of the body.
    pub(crate) received: usize,
}

/// Moves a body to its end, encoded. Returns the buffer with what arrived behind the body. `begins` is called when something
/// is about to be written: until then a faulty body can still be answered with a 502.
///
/// # Errors
/// As with a body that is not encoded; both connections are unusable then.
pub(crate) async fn run(
    worker: &Worker,
    coding: Coding,
    lead: Lead,
    mut relay: Relay<'_>,
    mut buffer: Buffer,
    begins: &dyn Fn(),
) -> Result<Buffer, RelayError> {
    let failed = |_| RelayError::Body(BodyError::Truncated);
    let mut counted = Counted::new(worker, coding).map_err(failed)?;
    let Lead { status, encoded: mut wire, received: mut skip } = lead;
    let mut is_begun = false;
    let mut encoded = Vec::new();
    loop {
        let part = relay.reader.take(&mut buffer, skip).map_err(RelayError::Body)?;
        let data = buffer.part(part.range());
        encoded.clear();
        if let Some(encoder) = counted.encoder.as_mut().filter(|_| !data.is_empty()) {
            worker.counters.encoding_bytes_in.add(data.len() as u64);
            encoder.encode(data, &mut encoded).map_err(failed)?;
        }
        let mut done = part.done;
        buffer.consume(part.consumed);
        skip = 0;
        loop {
            if done {
                finish(&mut counted, &mut encoded).map_err(failed)?;
            }
            worker.counters.encoding_bytes_out.add(encoded.len() as u64);
            if !encoded.is_empty() || done {
                if !std::mem::replace(&mut is_begun, true) {
                    begins();
                    relay.begin(status, &mut wire).map_err(RelayError::To)?;
                }
                relay.wait(relay.waits[1]);
                write(&mut relay, &encoded, done, &mut wire).await.map_err(RelayError::To)?;
            }
            if done {
                return Ok(buffer);
            }
            relay.wait(relay.waits[0]);
            let (result, filled) = relay.reader.fill(buffer).await;
            buffer = filled;
            if result.map_err(RelayError::From)? > 0 {
                break;
            }
            relay.reader.eof().map_err(RelayError::Body)?;
            encoded.clear();
            done = true;
        }
    }
}

/// Writes encoded content, behind what `wire` has, and the end of the body if it is `done`.
async fn write(
    relay: &mut Relay<'_>,
    encoded: &[u8],
    done: bool,
    wire: &mut Vec<u8>,
) -> Result<(), StreamError> {
    match &mut relay.writer {
        BodyWriter::H1(writer) => {
            chunk(encoded, wire);
            if done {
                relay.filter.end(relay.reader.trailers(), wire);
            }
            writer.write_bytes(wire).await?;
        }
        BodyWriter::H2 { stream, .. } => {
            let mut trailers = Vec::new();
            if done {
                relay.filter.keep(relay.reader.trailers(), &mut trailers);
            }
            stream.write_bytes(encoded, done && trailers.is_empty()).await?;
            if !trailers.is_empty() {
                stream.send_trailers(FieldLines::of(&trailers))?;
            }
            wire.extend_from_slice(encoded);
        }
    }
    relay.count(wire.len());
    wire.clear();
    Ok(())
}

fn finish(counted: &mut Counted<'_>, encoded: &mut Vec<u8>) -> std::io::Result<()> {
    counted.encoder.take().map_or(Ok(()), |encoder| encoder.finish(encoded))
}

/// A chunk of these bytes; none where there are none, as that would be the last one.
fn chunk(bytes: &[u8], wire: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let mut line = [0; 20];
    wire.extend_from_slice(http1::chunk_header(bytes.len(), &mut line));
    wire.extend_from_slice(bytes);
    wire.extend_from_slice(b"\r\n");
}
