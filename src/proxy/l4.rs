//! TCP: bytes both ways, with half-close, over plain or TLS on either side.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::gate::{self, Permit};
use super::lull::{self, Woken};
use super::pool::Pool;
use super::{Client, Local};
use crate::base::counters::Count;
use crate::io::stream::{Closed, Keep};
use crate::io::{Buffer, Deadline, Reader, Stream, Writer};
use crate::tls::Reason;

/// Reads that fill a small buffer in a row before a direction gets a large one.
const BUSY: u32 = 2;

/// Relays one client connection to an upstream.
pub(super) async fn serve(local: &Rc<Local>, pool: &Rc<Pool>, mut client: Box<Client>) {
    let fd = client.stream.reader.fd();
    // Held for as long as the relay lasts.
    let permit = match gate::admit(local, pool, &client.deadline, fd, &mut None, 0..0).await {
        Ok(permit) => permit,
        Err(failure) => {
            local.count_bound(&failure);
            tracing::warn!(upstream = pool.upstream.name, client = %client.peer, "{failure}");
            return;
        }
    };
    let first = permit.as_ref().map_or_else(|| pool.pick(local), Permit::endpoint);
    let connecting = Box::pin(pool.connect(local, &client.deadline, None, first, false, permit.as_ref()));
    let mut backend = match connecting.await {
        Ok(backend) => backend,
        // Said in the log by the pool; a TCP client can only be told by closing.
        Err(_) => return,
    };
    let idle = pool.upstream.idle_timeout;
    let from_client = client.early.take().unwrap_or_else(Buffer::small);
    let from_backend = backend.early.take().unwrap_or_else(Buffer::small);
    let relay = tunnel(
        local,
        &client.deadline,
        idle,
        &mut client.stream,
        &mut backend.stream,
        from_client,
        from_backend,
    );
    Box::pin(relay).await;
    if let Some(alert) = backend.stream.reader.peer_alert() {
        pool.take_down(&backend, Reason::of_alert(alert));
    }
}

/// Relays both ways until both sides have ended, one has broken, or neither has sent anything for `idle`.
/// The buffers hold what has been read already.
pub(super) async fn tunnel(
    local: &Local,
    deadline: &Deadline,
    idle: Duration,
    client: &mut Stream,
    backend: &mut Stream,
    from_client: Buffer,
    from_backend: Buffer,
) {
    let shared = Shared { local, deadline, idle };
    let counters = &local.counters;
    deadline.set(idle);
    deadline.interruptible(false);
    let up =
        pin!(shared.one_way(&mut client.reader, &mut backend.writer, from_client, &counters.relay_bytes_up));
    let down = pin!(shared.one_way(
        &mut backend.reader,
        &mut client.writer,
        from_backend,
        &counters.relay_bytes_down
    ));
    let relaying = pin!(until_both_end(up, down));
    if deadline.race(relaying).await.is_err() {
        counters.timeouts.add(1);
    }
}

/// Runs both directions; a broken one ends the other.
async fn until_both_end(
    mut up: Pin<&mut impl Future<Output = bool>>,
    mut down: Pin<&mut impl Future<Output = bool>>,
) {
    let (mut up_ended, mut down_ended) = (false, false);
    poll_fn(|cx| {
        if !up_ended && let Poll::Ready(whole) = up.as_mut().poll(cx) {
            if !whole {
                return Poll::Ready(());
            }
            up_ended = true;
        }
        if !down_ended && let Poll::Ready(whole) = down.as_mut().poll(cx) {
            if !whole {
                return Poll::Ready(());
            }
            down_ended = true;
        }
        if up_ended && down_ended { Poll::Ready(()) } else { Poll::Pending }
    })
    .await
}

struct Shared<'a> {
    local: &'a Local,
    deadline: &'a Deadline,
    idle: Duration,
}

impl Shared<'_> {
    /// One direction, to its end, or until its reader takes no more. False: it broke, and so has the relay.
    async fn one_way(
        &self,
        reader: &mut Reader,
        writer: &mut Writer,
        mut buffer: Buffer,
        count: &Count,
    ) -> bool {
        let lull = self.local.wheel.deadline();
        let mut canceller = None;
        let mut busy = 0;
        loop {
            if buffer.is_empty() {
                match lull::hot(reader, &lull, &mut canceller, buffer).await {
                    // Half a TLS record is no word yet: it moves no deadline, nor anything else.
                    Woken::Data(filled) if filled.is_empty() => {
                        buffer = filled;
                        continue;
                    }
                    Woken::Data(filled) => buffer = filled,
                    Woken::Lull | Woken::Interrupted => {
                        if reader.readable().await.is_err() {
                            return false;
                        }
                        buffer = Buffer::small();
                        continue;
                    }
                    Woken::End(closed) => {
                        // A cut TLS stream must not end as if it were whole.
                        return closed == Closed::Clean && writer.shutdown().await.is_ok();
                    }
                    Woken::Failed(_) => return false,
                }
            }
            self.deadline.set(self.idle);
            let n = buffer.len();
            busy = if buffer.spare() == 0 { busy + 1 } else { 0 };
            let (result, mut written) = writer.write_data(buffer, Keep::Nothing).await;
            if result.is_err() {
                // Whoever takes no more may have said why: the other direction ends by itself, when that is through.
                return true;
            }
            count.add(n as u64);
            written.consume(n);
            buffer = if busy >= BUSY && written.is_idle() && !written.is_large() {
                Buffer::streaming()
            } else {
                written
            };
        }
    }
}
