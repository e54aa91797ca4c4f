//! Response bodies that are encoded on their way. What arrives is encoded, flushed and sent before more is read.

use std::cell::Cell;

use crate::base::limits::ENCODERS_PER_WORKER;
use crate::http::grpc::Messages;
use crate::http::grpc_web::GrpcWeb;
use crate::http::{Coding, Encoder, Trailers};
use crate::http1::{self, BodyError};
use crate::http2::FieldLines;
use crate::io::{Buffer, StreamError};
use crate::proxy::exchange::body_writer::BodyWriter;
use crate::proxy::exchange::relay::{Relay, RelayError};
use crate::proxy::exchange::trailer_filter::TrailerFilter;
use crate::proxy::worker::Worker;

/// Whether one more body may be encoded: an encoder holds up to a MiB.
pub(crate) fn has_room(worker: &Worker) -> bool {
    worker.counters.encodings_open.get() < ENCODERS_PER_WORKER
}

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyCoding {
    /// Compressed.
    Compressed(Coding),
    /// As gRPC-Web has it: trailers are part of the content.
    GrpcWeb(GrpcWeb),
    /// An error page takes its place. The head of that has so many bytes; the page follows it.
    Page(u32),
}

/// What encodes one body.
#[derive(Debug)]
enum BodyEncoder<'a> {
    Compressor(Counted<'a>),
    /// How far it is among the messages is kept.
    GrpcWeb(GrpcWeb, &'a Cell<Option<Messages>>),
}

impl<'a> BodyEncoder<'a> {
    fn new(
        (worker, messages): (&'a Worker, &'a Cell<Option<Messages>>),
        coding: BodyCoding,
    ) -> std::io::Result<Self> {
        Ok(match coding {
            BodyCoding::Compressed(coding) => Self::Compressor(Counted::new(worker, coding)?),
            BodyCoding::GrpcWeb(web) => Self::GrpcWeb(web, messages),
            // No such body is encoded.
            BodyCoding::Page(_) => return Err(std::io::ErrorKind::InvalidInput.into()),
        })
    }

    fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        match self {
            Self::Compressor(counted) => counted.encode(data, out),
            Self::GrpcWeb(web, messages) => {
                let mut place = messages.get().unwrap_or_default();
                place.pass(data);
                messages.set(Some(place));
                web.put(data, out);
                Ok(())
            }
        }
    }

    /// Ends the body.
    fn finish(
        &mut self,
        (trailers, filter): (Trailers<'_>, TrailerFilter<'_>),
        out: &mut Vec<u8>,
    ) -> std::io::Result<TrailersGo> {
        match self {
            Self::Compressor(counted) => counted.finish(out).map(|()| TrailersGo::Behind),
            // A response without any has no status: its client is to see that.
            Self::GrpcWeb(..) if trailers.is_empty() => Ok(TrailersGo::Behind),
            Self::GrpcWeb(web, _) => {
                let mut kept = Vec::new();
                filter.keep(trailers, &mut kept);
                web.put_trailers(Trailers::of(&kept), out);
                Ok(TrailersGo::Nowhere)
            }
        }
    }

    /// Whether the head goes ahead of the content: that of a compressed body leaves with its first part.
    fn sends_head_first(&self) -> bool {
        matches!(self, Self::GrpcWeb(..))
    }
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

    fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        let before = out.len();
        self.worker.counters.encoding_bytes_in.add(data.len() as u64);
        self.encoder.as_mut().map_or(Ok(()), |encoder| encoder.encode(data, out))?;
        self.worker.counters.encoding_bytes_out.add((out.len() - before) as u64);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> std::io::Result<()> {
        let before = out.len();
        self.encoder.take().map_or(Ok(()), |encoder| encoder.finish(out))?;
        self.worker.counters.encoding_bytes_out.add((out.len() - before) as u64);
        Ok(())
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
/// is about to be written: until then a faulty body can still be answered with a 502. `of`: whose it is, and how far one of
/// gRPC-Web is among its messages.
///
/// # Errors
/// As with a body that is not encoded; both connections are unusable then.
pub(crate) async fn run(
    of: (&Worker, &Cell<Option<Messages>>),
    coding: BodyCoding,
    lead: Lead,
    mut relay: Relay<'_>,
    mut buffer: Buffer,
    begins: &dyn Fn(),
) -> Result<Buffer, RelayError> {
    let failed = |_| RelayError::Body(BodyError::Truncated);
    let mut encoder = BodyEncoder::new(of, coding).map_err(failed)?;
    let Lead { status, encoded: mut wire, received: mut skip } = lead;
    let mut is_begun = false;
    let mut encoded = Vec::new();
    loop {
        let part = relay.reader.take(&mut buffer, skip).map_err(RelayError::Body)?;
        let data = buffer.part(part.range());
        encoded.clear();
        if !data.is_empty() {
            encoder.encode(data, &mut encoded).map_err(failed)?;
        }
        let mut done = part.done;
        buffer.consume(part.consumed);
        skip = 0;
        loop {
            let mut trailers = TrailersGo::Nowhere;
            if done {
                let ends = (relay.reader.trailers(), relay.filter);
                trailers = encoder.finish(ends, &mut encoded).map_err(failed)?;
            }
            if !encoded.is_empty() || done || !is_begun && encoder.sends_head_first() {
                if !std::mem::replace(&mut is_begun, true) {
                    begins();
                    relay.begin(status, &mut wire).map_err(RelayError::To)?;
                }
                relay.wait(relay.waits[1]);
                write(&mut relay, &encoded, (done, trailers), &mut wire).await.map_err(RelayError::To)?;
            }
            if done {
                return Ok(buffer);
            }
            relay.keep_pace().await;
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

/// Whether a body's trailers are sent behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TrailersGo {
    Behind,
    /// They are in the content.
    Nowhere,
}

/// Writes encoded content, behind what `wire` has, and the end of the body if it is `done`.
async fn write(
    relay: &mut Relay<'_>,
    encoded: &[u8],
    (done, go): (bool, TrailersGo),
    wire: &mut Vec<u8>,
) -> Result<(), StreamError> {
    let trailers = match go {
        TrailersGo::Behind => relay.reader.trailers(),
        TrailersGo::Nowhere => Trailers::default(),
    };
    match &mut relay.writer {
        BodyWriter::H1(writer) => {
            chunk(encoded, wire);
            if done {
                relay.filter.end(trailers, wire);
            }
            writer.write_bytes(wire).await?;
        }
        BodyWriter::H2 { stream, .. } => {
            let mut kept = Vec::new();
            if done {
                relay.filter.keep(trailers, &mut kept);
            }
            stream.write_bytes(encoded, done && kept.is_empty()).await?;
            if !kept.is_empty() {
                stream.send_trailers(FieldLines::of(&kept))?;
            }
            wire.extend_from_slice(encoded);
        }
    }
    relay.count(wire.len());
    wire.clear();
    Ok(())
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
