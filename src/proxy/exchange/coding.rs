//! Response bodies that are encoded on their way. What arrives is encoded, flushed and sent before more is read.

use crate::base::limits::ENCODERS_PER_WORKER;
use crate::http::{Coding, Encoder};
use crate::http1::{self, BodyError};
use crate::io::Buffer;
use crate::io::stream::Closed;
use crate::proxy::exchange::body::{Relay, RelayError};
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

/// Moves a body to its end, encoded and in chunks, behind `lead`, which is an encoded head. `skip` bytes of the
/// buffer are given up first. Returns the buffer with what arrived behind the body. `begins` is called when something is
/// about to be written: until then a faulty body can still be answered with a 502.
///
/// # Errors
/// As with a body that is not encoded; both connections are unusable then.
pub(crate) async fn run(
    worker: &Worker,
    coding: Coding,
    lead: Vec<u8>,
    relay: Relay<'_>,
    mut buffer: Buffer,
    mut skip: usize,
    begins: &dyn Fn(),
) -> Result<Buffer, RelayError> {
    let failed = |_| RelayError::Body(BodyError::Truncated);
    let mut counted = Counted::new(worker, coding).map_err(failed)?;
    let mut wire = lead;
    let mut encoded = Vec::new();
    loop {
        let taken = relay.body.take(&mut buffer.data_mut()[skip..]).map_err(RelayError::Body)?;
        let data = &buffer.data()[skip..][taken.data.clone()];
        encoded.clear();
        if let Some(encoder) = counted.encoder.as_mut().filter(|_| !data.is_empty()) {
            worker.counters.encoding_bytes_in.add(data.len() as u64);
            encoder.encode(data, &mut encoded).map_err(failed)?;
        }
        if taken.done {
            finish(&mut counted, &mut encoded).map_err(failed)?;
        }
        worker.counters.encoding_bytes_out.add(encoded.len() as u64);
        chunk(&encoded, &mut wire);
        if taken.done {
            relay.filter.end(relay.body.trailers(), &mut wire);
        }
        buffer.consume(skip + taken.consumed);
        skip = 0;
        if !wire.is_empty() {
            begins();
            relay.wait(relay.waits[1]);
            relay.writer.write_bytes(&wire).await.map_err(RelayError::To)?;
            relay.count(wire.len());
            wire.clear();
        }
        if taken.done {
            return Ok(buffer);
        }
        relay.wait(relay.waits[0]);
        let (result, filled) = relay.reader.fill(buffer).await;
        buffer = filled;
        if result.map_err(RelayError::From)? == 0 {
            if relay.reader.closed() == Closed::Truncated && matches!(relay.body, http1::Body::UntilClose) {
                return Err(RelayError::Body(BodyError::Truncated));
            }
            relay.body.eof().map_err(RelayError::Body)?;
            encoded.clear();
            finish(&mut counted, &mut encoded).map_err(failed)?;
            chunk(&encoded, &mut wire);
            wire.extend_from_slice(http1::LAST_CHUNK);
            relay.wait(relay.waits[1]);
            relay.writer.write_bytes(&wire).await.map_err(RelayError::To)?;
            relay.count(wire.len());
            return Ok(buffer);
        }
    }
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
