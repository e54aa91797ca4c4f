//! Bytes both ways between a client and a backend, with half-close, over plain or TLS on either side.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use super::tunnel_end::{Read, TunnelEnd, TunnelReader, TunnelWriter};
use crate::base::counters::Count;
use crate::io::stream::StreamError;
use crate::io::{Buffer, Deadline, Pipe, ReadCancel, Reader, WakeGated, Writer};
use crate::proxy::access::{End, Relayed};
use crate::proxy::stream_peer::StreamPeer;
use crate::proxy::worker::Worker;

/// Reads that fill a small buffer in a row before a direction gets a large one.
const BUSY: u32 = 2;

/// Relays both ways until both sides have ended, one has broken, or neither has sent anything for `idle`.
/// The buffers hold what has been read already.
pub(crate) async fn tunnel(
    worker: &Worker,
    deadline: &Deadline,
    idle: Duration,
    (mut client, mut backend): (TunnelEnd<'_>, TunnelEnd<'_>),
    from_client: Buffer,
    from_backend: Buffer,
) -> Relayed {
    let shared = Shared { worker, deadline, idle };
    let counters = &worker.counters;
    let (bytes_up, bytes_down) = (Cell::new(0), Cell::new(0));
    deadline.set(idle);
    deadline.interruptible(false);
    let count_up = Counts { relay: &bytes_up, worker: &counters.relay_bytes_up };
    let count_down = Counts { relay: &bytes_down, worker: &counters.relay_bytes_down };
    let (client_reader, client_writer, client_peer) = client.split();
    let (backend_reader, backend_writer, backend_peer) = backend.split();
    let peers = [client_peer, backend_peer];
    let up = pin!(shared.one_way(client_reader, backend_writer, from_client, count_up));
    let down = pin!(shared.one_way(backend_reader, client_writer, from_backend, count_down));
    let mut relaying = pin!(until_both_end(up, down));
    let mut taken = [None; 2];
    let end = loop {
        if let Ok(end) = deadline.race(relaying.as_mut()).await {
            break end;
        }
        let now = peers.each_ref().map(still_to_take);
        // A slow peer that still takes bytes is not silent. Its progress is read only when time is up, not with each write.
        if now.iter().zip(taken).all(|(now, then)| now.is_none() || *now == then) {
            counters.timeouts.add(1);
            break End::Idle;
        }
        taken = now;
        deadline.set(idle);
    };
    Relayed { up: bytes_up.get(), down: bytes_down.get(), datagrams: None, end }
}

/// How much a peer has taken so far, if there is more for it that it has not.
fn still_to_take(peer: &StreamPeer) -> Option<u64> {
    peer.flow().filter(|flow| flow.held_up).map(|flow| flow.taken)
}

/// How one direction ended.
enum Way {
    /// Its reader came to its end.
    Whole,
    /// Its writer's peer takes no more. The other direction ends by itself.
    Deaf,
    /// Its reader's peer is lost, and with it the relay.
    ReaderLost,
    /// Its writer's peer is.
    WriterLost,
}

/// Runs both directions; a broken one ends the other.
async fn until_both_end(
    up: Pin<&mut impl Future<Output = Way>>,
    down: Pin<&mut impl Future<Output = Way>>,
) -> End {
    let (mut up, mut down) = (WakeGated::new(up), WakeGated::new(down));
    let (mut up_ended, mut down_ended) = (false, false);
    let mut first = None;
    poll_fn(|cx| {
        if !up_ended && let Poll::Ready(way) = Pin::new(&mut up).poll(cx) {
            first.get_or_insert(match way {
                Way::Whole => End::Client,
                Way::Deaf => End::Backend,
                Way::ReaderLost => return Poll::Ready(End::ClientLost),
                Way::WriterLost => return Poll::Ready(End::BackendLost),
            });
            up_ended = true;
        }
        if !down_ended && let Poll::Ready(way) = Pin::new(&mut down).poll(cx) {
            first.get_or_insert(match way {
                Way::Whole => End::Backend,
                Way::Deaf => End::Client,
                Way::ReaderLost => return Poll::Ready(End::BackendLost),
                Way::WriterLost => return Poll::Ready(End::ClientLost),
            });
            down_ended = true;
        }
        match first {
            Some(first) if up_ended && down_ended => Poll::Ready(first),
            _ => Poll::Pending,
        }
    })
    .await
}

/// Where bytes are counted.
struct Counts<'a> {
    relay: &'a Cell<u64>,
    worker: &'a Count,
}

impl Counts<'_> {
    fn add(&self, n: usize) {
        self.worker.add(n as u64);
        self.relay.set(self.relay.get() + n as u64);
    }
}

struct Shared<'a> {
    worker: &'a Worker,
    deadline: &'a Deadline,
    idle: Duration,
}

impl Shared<'_> {
    /// Moves the bytes for a plain peer through pipes, for as long as many arrive at once.
    async fn pass_unseen(
        &self,
        reader: &mut Reader,
        writer: &mut Writer,
        count: &Counts<'_>,
    ) -> Result<(), Way> {
        loop {
            reader.readable().await.map_err(|_| Way::ReaderLost)?;
            let Some(mut pipe) = reader.take_unseen(u64::MAX).map_err(|_| Way::ReaderLost)? else {
                return Ok(());
            };
            while pipe.len() > 0 {
                self.deadline.set(self.idle);
                // As of what was read.
                count.add(writer.write_unseen(&mut pipe).await.map_err(|_| Way::Deaf)?);
            }
            self.deadline.set(self.idle);
        }
    }

    /// One direction, to its end, or until its writer's peer takes no more.
    async fn one_way(
        &self,
        mut reader: TunnelReader<'_>,
        mut writer: TunnelWriter<'_>,
        mut buffer: Buffer,
        count: Counts<'_>,
    ) -> Way {
        let lull = self.worker.wheel.deadline();
        let mut off = ReadCancel::default();
        let mut busy = 0;
        loop {
            if buffer.is_empty() {
                buffer = match reader.read(&lull, &mut off, buffer).await {
                    Read::Data(filled) => filled,
                    Read::End => {
                        // What the writer's peer had sent before it was lost may still lie here: that direction
                        // ends by itself.
                        let ended = writer.shutdown().await.is_ok();
                        return if ended { Way::Whole } else { Way::Deaf };
                    }
                    Read::Lost => return Way::ReaderLost,
                };
            }
            self.deadline.set(self.idle);
            let n = buffer.len();
            busy = if buffer.spare() == 0 { busy + 1 } else { 0 };
            let (result, mut written) = pin!(writer.write(buffer)).await;
            match result {
                Ok(()) => {}
                // No more can be encrypted for a peer that is there and waits.
                Err(StreamError::Tls(_)) => return Way::WriterLost,
                // A peer that takes no more may have sent the reason: the other direction ends by itself, when that has been relayed.
                Err(_) => return Way::Deaf,
            }
            count.add(n);
            written.consume(n);
            buffer = written;
            if busy < BUSY || !buffer.is_idle() {
                continue;
            }
            if let (TunnelReader::H1(reader), TunnelWriter::H1(writer)) = (&mut reader, &mut writer)
                && reader.is_as_plain_as(writer)
                && Pipe::is_to_be_had()
            {
                // A direction that waits holds no large buffer.
                drop(buffer);
                if let Err(way) = self.pass_unseen(reader, writer, &count).await {
                    return way;
                }
                (buffer, busy) = (Buffer::small(), 0);
            } else if !buffer.is_large() {
                buffer = Buffer::streaming();
            }
        }
    }
}
