//! Datagrams in batches: received with one recvmmsg(2), sent on with one sendmmsg(2), from the same memory.
//!
//! With UDP_GRO the kernel hands over datagrams of one sender and one size as one piece; with UDP_SEGMENT it takes them as
//! one (Linux 5.0 and 4.18). What was received one by one is put together here, if it goes to the same peer. Where the
//! kernel refuses a piece, its datagrams are sent one by one.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd as _};
use std::ptr;

use crate::base::limits::UDP_BATCH;

/// `UDP_GRO` of Linux's udp.h.
pub(super) const UDP_GRO: libc::c_int = 104;
/// `UDP_SEGMENT` of Linux's udp.h.
const UDP_SEGMENT: libc::c_int = 103;
/// Bytes of a place for received datagrams: the kernel hands over no longer piece.
const PLACE_BYTES: usize = 64 * 1024;
/// Datagrams in a piece that is sent (`UDP_MAX_SEGMENTS` of Linux before 6.10).
const MAX_SEGMENTS: usize = 64;
/// Bytes of a piece that is sent: an IPv6 datagram's payload, without the room for its header.
const MAX_PIECE_BYTES: usize = 65_487;
/// Bytes for the control messages of one piece: an address, a size and a count.
const CONTROL_BYTES: usize = 128;

thread_local! {
    /// The batch of this worker's listeners, which use it in turn.
    static BATCH: RefCell<Option<Box<Batch>>> = const { RefCell::new(None) };
}

/// Lends this worker's batch, which is empty.
pub(crate) fn with_batch<R>(work: impl FnOnce(&mut Batch) -> R) -> R {
    let mut batch = BATCH.with_borrow_mut(Option::take).unwrap_or_else(|| Box::new(Batch::new()));
    let result = work(&mut batch);
    batch.clear();
    BATCH.with_borrow_mut(|kept| *kept = Some(batch));
    result
}

/// Datagrams of one peer that were received as one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Bytes of all.
    pub(crate) len: usize,
    /// Bytes of each datagram; the last one may have fewer. 0: one datagram without payload.
    pub(crate) size: usize,
    /// The sender; `None` on a connected socket.
    pub(crate) peer: Option<SocketAddr>,
    /// The address that it was sent to, where the socket reports it.
    pub(crate) local: Option<IpAddr>,
    /// Datagrams that the socket has dropped since it was made, as its queue was full.
    pub(crate) overflows: u32,
}

impl Piece {
    /// Datagrams in it.
    pub(crate) fn count(&self) -> usize {
        self.len.div_ceil(self.size.max(1)).max(1)
    }
}

/// Where a piece is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// The peer; `None`: the one that the socket is connected to.
    pub(crate) to: Option<SocketAddr>,
    /// The address that it leaves from; `None`: the socket's.
    pub(crate) from: Option<IpAddr>,
    /// What the result is reported with. Pieces with one tag have one target.
    pub(crate) tag: u32,
    /// The largest datagram that may be sent together with others.
    pub(crate) most: usize,
    /// What each datagram begins with.
    pub(crate) header: &'a [u8],
}

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Sent {
    /// All of it was sent.
    Whole,
    /// The kernel refused to send datagrams of this size together. They were sent alone; so many of them were not.
    Apart {
        /// Bytes of each.
        size: usize,
        /// Those that could not be sent.
        lost: usize,
    },
    /// It was not sent.
    Failed(io::Error),
}

/// Whether to go on with the other messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// They are sent.
    Continue,
    /// They are dropped, and so is the message that was reported.
    Stop,
}

/// Control messages, aligned as `cmsghdr` wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Bytes of a message.
#[derive(Clone, Copy, Debug)]
enum Part {
    Received { place: usize, at: usize, len: usize },
    Header { at: usize, len: usize },
}

/// What is sent with one `msghdr`.
#[derive(Debug)]
struct Message {
    /// Its parts, as a range of `Batch::parts`.
    parts: (usize, usize),
    len: usize,
    /// Of these the bytes that were received.
    payload: usize,
    /// Bytes of each datagram.
    size: usize,
    count: usize,
    /// The last datagram is a shorter one: none may follow.
    closed: bool,
    to: Option<SocketAddr>,
    from: Option<IpAddr>,
    tag: u32,
    /// The first received piece in it.
    first: usize,
}

/// Memory for [`UDP_BATCH`] pieces, and what is sent of them.
pub(crate) struct Batch {
    memory: Vec<u8>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    pieces: Vec<Piece>,
    parts: Vec<Part>,
    messages: Vec<Message>,
    /// Bytes that datagrams begin with.
    prefixes: Vec<u8>,
}

impl Batch {
    fn new() -> Self {
        Self {
            memory: vec![0; UDP_BATCH * PLACE_BYTES],
            names: Vec::new(),
            controls: Vec::new(),
            vectors: Vec::new(),
            headers: Vec::new(),
            pieces: Vec::with_capacity(UDP_BATCH),
            parts: Vec::new(),
            messages: Vec::new(),
            prefixes: Vec::new(),
        }
    }

    /// What was received.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Whether no more can be received before a [`clear`](Self::clear).
    pub(crate) fn is_full(&self) -> bool {
        self.pieces.len() == UDP_BATCH
    }

    /// Forgets what was received and what was to be sent.
    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.forget_messages();
    }

    fn forget_messages(&mut self) {
        self.parts.clear();
        self.messages.clear();
        self.prefixes.clear();
    }

    /// Takes what has arrived, as far as there is room, without waiting. Returns whether the socket is empty.
    ///
    /// # Errors
    /// Those of the socket; on a connected one an ICMP message of its peer.
    pub(crate) fn receive(&mut self, socket: &impl AsFd, named: bool) -> io::Result<bool> {
        let first = self.pieces.len();
        let room = UDP_BATCH - first;
        self.prepare(first, room, named);
        let fd = socket.as_fd().as_raw_fd();
        let count = loop {
            // SAFETY: `prepare` made `room` headers, whose pointers lead into vectors of `self` that are not touched
            // until the call returns; the socket is open for the call.
            let count = unsafe {
                libc::recvmmsg(
                    fd,
                    self.headers.as_mut_ptr(),
                    room as u32,
                    libc::MSG_DONTWAIT as _,
                    ptr::null_mut(),
                )
            };
            match usize::try_from(count) {
                Ok(count) => break count,
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return Err(error),
                },
            }
        };
        for index in 0..count {
            let header = &self.headers[index];
            let mut piece = controls(&header.msg_hdr);
            piece.len = header.msg_len as usize;
            if piece.size == 0 || piece.size > piece.len {
                piece.size = piece.len;
            }
            piece.peer = if named { address(&self.names[index]) } else { None };
            self.pieces.push(piece);
        }
        Ok(count < room)
    }

    /// Makes `room` headers that lead to the places from `first` on.
    fn prepare(&mut self, first: usize, room: usize, named: bool) {
        // SAFETY: all of these are plain data, of which zeroes are a value.
        let (name, header) = unsafe { (zeroed(), zeroed()) };
        self.names.resize(self.names.len().max(room), name);
        self.controls.resize(self.controls.len().max(room), Control([0; CONTROL_BYTES]));
        self.vectors.clear();
        let place = |at: usize| libc::iovec { iov_base: at as *mut _, iov_len: PLACE_BYTES };
        let memory = self.memory.as_mut_ptr() as usize;
        self.vectors.extend((first..first + room).map(|index| place(memory + index * PLACE_BYTES)));
        self.headers.clear();
        self.headers.resize(room, header);
        for (index, header) in self.headers.iter_mut().enumerate() {
            let message = &mut header.msg_hdr;
            if named {
                message.msg_name = (&raw mut self.names[index]).cast();
                message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            }
            message.msg_iov = &raw mut self.vectors[index];
            message.msg_iovlen = 1;
            message.msg_control = (&raw mut self.controls[index]).cast();
            message.msg_controllen = CONTROL_BYTES as _;
        }
    }

    /// Adds a received piece to what is to be sent: to the last message, if it has room for it and the same target.
    pub(crate) fn push(&mut self, index: usize, target: Target<'_>) {
        let piece = self.pieces[index];
        let header = target.header.len();
        let size = piece.size + header;
        let len = piece.len + header * piece.count();
        // A shorter datagram may end a message; a piece of several datagrams may not be a shorter one.
        let fits = |last: &Message| {
            last.tag == target.tag
                && !last.closed
                && piece.len > 0
                && (last.size == size || last.size > size && piece.count() == 1)
                && last.size <= target.most
                && last.len + len <= MAX_PIECE_BYTES
                && last.count + piece.count() <= MAX_SEGMENTS
        };
        let joins = self.messages.last().is_some_and(fits);
        if joins {
            self.append(index, target.header);
            return;
        }
        // With its headers, or by its size, it may not be sent as one.
        let alone = piece.count() > 1
            && (len > MAX_PIECE_BYTES || piece.count() > MAX_SEGMENTS || size > target.most);
        if !alone {
            self.begin(index, target, size);
            self.append(index, target.header);
            return;
        }
        for at in (0..piece.len).step_by(piece.size) {
            let len = piece.size.min(piece.len - at);
            self.begin(index, target, len + header);
            self.add_header(target.header);
            self.add(Part::Received { place: index, at, len }, len);
            if let Some(last) = self.messages.last_mut() {
                (last.count, last.closed) = (1, true);
            }
        }
    }

    fn begin(&mut self, first: usize, target: Target<'_>, size: usize) {
        let at = self.parts.len();
        let Target { to, from, tag, .. } = target;
        let (parts, len, payload, count, closed) = ((at, at), 0, 0, 0, false);
        self.messages.push(Message { parts, len, payload, size, count, closed, to, from, tag, first });
    }

    /// Adds the whole piece to the last message.
    fn append(&mut self, place: usize, header: &[u8]) {
        let piece = self.pieces[place];
        if header.is_empty() {
            self.add(Part::Received { place, at: 0, len: piece.len }, piece.len);
        } else {
            for at in (0..piece.len.max(1)).step_by(piece.size.max(1)) {
                let len = piece.size.min(piece.len - at);
                self.add_header(header);
                self.add(Part::Received { place, at, len }, len);
            }
        }
        let Some(last) = self.messages.last_mut() else { return };
        last.count += piece.count();
        last.closed = last.len != last.count * last.size || piece.len == 0;
    }

    fn add_header(&mut self, header: &[u8]) {
        if !header.is_empty() {
            let at = self.prefixes.len();
            self.prefixes.extend_from_slice(header);
            self.add(Part::Header { at, len: header.len() }, header.len());
        }
    }

    fn add(&mut self, part: Part, len: usize) {
        self.parts.push(part);
        if let Some(last) = self.messages.last_mut() {
            last.parts.1 = self.parts.len();
            last.len += len;
            if matches!(part, Part::Received { .. }) {
                last.payload += len;
            }
        }
    }

    /// Sends all messages without waiting, and reports each by its tag, with its first piece and the count of its
    /// datagrams. What was received stays.
    pub(crate) fn flush(&mut self, socket: &impl AsFd, mut report: impl FnMut(Report) -> Next) {
        if self.messages.is_empty() {
            return;
        }
        let fd = socket.as_fd().as_raw_fd();
        self.address_messages();
        let mut next = 0;
        while next < self.messages.len() {
            let rest = &mut self.headers[next..];
            // SAFETY: `address_messages` made a header for each message, whose pointers lead into vectors of `self` that
            // are not touched until the call returns; the socket is open for the call.
            let sent = unsafe {
                let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                libc::sendmmsg(fd, rest.as_mut_ptr(), rest.len() as u32, flags as _)
            };
            let Ok(sent) = usize::try_from(sent) else {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                let result = self.send_apart(fd, next, error);
                if report(self.messages[next].report(result)) == Next::Stop {
                    break;
                }
                next += 1;
                continue;
            };
            for message in &self.messages[next..next + sent] {
                report(message.report(Sent::Whole));
            }
            next += sent;
        }
        self.forget_messages();
    }

    /// Sends the datagrams of a message one by one, if it has several and `error` may be due to that.
    fn send_apart(&mut self, fd: libc::c_int, index: usize, error: io::Error) -> Sent {
        let message = &self.messages[index];
        let together = [libc::EINVAL, libc::EMSGSIZE, libc::EIO, libc::ENOPROTOOPT, libc::EOPNOTSUPP];
        if message.count < 2 || !error.raw_os_error().is_some_and(|errno| together.contains(&errno)) {
            return Sent::Failed(error);
        }
        let (size, mut left, mut lost) = (message.size, message.len, 0);
        let mut control = Control([0; CONTROL_BYTES]);
        let controls = write_controls(&mut control, message.from, None);
        let mut parts = message.parts.0;
        let mut header = self.headers[index].msg_hdr;
        let mut at = 0;
        while left > 0 {
            let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; 2];
            let (mut wanted, mut used) = (size.min(left), 0);
            while wanted > 0 && used < 2 {
                let vector = &self.vectors[parts];
                let len = wanted.min(vector.iov_len - at);
                vectors[used] = libc::iovec { iov_base: vector.iov_base.wrapping_byte_add(at), iov_len: len };
                (used, wanted, at, left) = (used + 1, wanted - len, at + len, left - len);
                if at == vector.iov_len {
                    (parts, at) = (parts + 1, 0);
                }
            }
            header.msg_iov = vectors.as_mut_ptr();
            header.msg_iovlen = used as _;
            header.msg_control = if controls == 0 { ptr::null_mut() } else { (&raw mut control).cast() };
            header.msg_controllen = controls as _;
            // SAFETY: the header's name and bytes are in vectors of `self`, the rest in variables above; all of it
            // lives for the call.
            let sent =
                unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
            lost += usize::from(sent < 0);
        }
        Sent::Apart { size, lost }
    }

    /// Makes a header for each message.
    fn address_messages(&mut self) {
        let (memory, prefixes) = (self.memory.as_mut_ptr() as usize, self.prefixes.as_mut_ptr() as usize);
        self.vectors.clear();
        self.vectors.extend(self.parts.iter().map(|part| {
            let (start, len) = match *part {
                Part::Received { place, at, len } => (memory + place * PLACE_BYTES + at, len),
                Part::Header { at, len } => (prefixes + at, len),
            };
            libc::iovec { iov_base: start as *mut _, iov_len: len }
        }));
        let count = self.messages.len();
        // SAFETY: both are plain data, of which zeroes are a value.
        let (name, header) = unsafe { (zeroed(), zeroed()) };
        self.names.resize(self.names.len().max(count), name);
        self.controls.resize(self.controls.len().max(count), Control([0; CONTROL_BYTES]));
        self.headers.clear();
        self.headers.resize(count, header);
        for (index, message) in self.messages.iter().enumerate() {
            let header = &mut self.headers[index].msg_hdr;
            if let Some(to) = message.to {
                header.msg_namelen = write_address(&mut self.names[index], to);
                header.msg_name = (&raw mut self.names[index]).cast();
            }
            header.msg_iov = self.vectors[message.parts.0..].as_mut_ptr();
            header.msg_iovlen = (message.parts.1 - message.parts.0) as _;
            let size = (message.count > 1).then_some(message.size as u16);
            let controls = write_controls(&mut self.controls[index], message.from, size);
            if controls > 0 {
                header.msg_control = (&raw mut self.controls[index]).cast();
                header.msg_controllen = controls as _;
            }
        }
    }
}

/// What became of one message.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) tag: u32,
    /// The first received piece in it.
    pub(crate) first: usize,
    /// Its datagrams.
    pub(crate) count: usize,
    /// Bytes of their payload, as they were received.
    pub(crate) bytes: usize,
    pub(crate) sent: Sent,
}

impl Message {
    fn report(&self, sent: Sent) -> Report {
        Report { tag: self.tag, first: self.first, count: self.count, bytes: self.payload, sent }
    }
}

/// What the control messages of a received header say.
fn controls(header: &libc::msghdr) -> Piece {
    let mut piece = Piece { len: 0, size: 0, peer: None, local: None, overflows: 0 };
    // SAFETY: the kernel wrote `msg_controllen` bytes of control messages, which these macros walk; values are read
    // without the need of an alignment, by the types that the kernel documents for them.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            let data = libc::CMSG_DATA(message);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_UDP, UDP_GRO) => {
                    let size: libc::c_int = ptr::read_unaligned(data.cast());
                    piece.size = usize::try_from(size).unwrap_or_default();
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => piece.overflows = ptr::read_unaligned(data.cast()),
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                    piece.local = Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                    piece.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    piece
}

/// Writes control messages: the address that a message leaves from, and the size of its datagrams. Returns their bytes.
fn write_controls(control: &mut Control, from: Option<IpAddr>, size: Option<u16>) -> usize {
    let mut used = 0;
    let mut put = |level: libc::c_int, kind: libc::c_int, value: &[u8]| {
        let len = value.len() as u32;
        // SAFETY: these only compute; the space of both messages together is less than CONTROL_BYTES.
        let (space, header_len) = unsafe { (libc::CMSG_SPACE(len) as usize, libc::CMSG_LEN(len)) };
        let slot = &mut control.0[used..used + space];
        slot.fill(0);
        // SAFETY: `slot` is aligned for a `cmsghdr`, as `Control` is and each space is a multiple of that, and has
        // room for it and its value.
        unsafe {
            let message: *mut libc::cmsghdr = slot.as_mut_ptr().cast();
            (*message).cmsg_level = level;
            (*message).cmsg_type = kind;
            (*message).cmsg_len = header_len as _;
            ptr::copy_nonoverlapping(value.as_ptr(), libc::CMSG_DATA(message), value.len());
        }
        used += space;
    };
    match from {
        // `in_pktinfo`: the interface, the source, and the destination, which is not looked at.
        Some(IpAddr::V4(from)) => {
            let mut info = [0; 12];
            info[4..8].copy_from_slice(&from.octets());
            put(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        // `in6_pktinfo`: the source and the interface, which a peer of link-local scope names itself.
        Some(IpAddr::V6(from)) => {
            let mut info = [0; 20];
            info[..16].copy_from_slice(&from.octets());
            put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        None => {}
    }
    if let Some(size) = size {
        put(libc::SOL_UDP, UDP_SEGMENT, &size.to_ne_bytes());
    }
    used
}

/// An address as the kernel wrote it.
fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which type it is, and a `sockaddr_storage` is large enough and aligned for it.
            let name: libc::sockaddr_in = unsafe { ptr::read(ptr::from_ref(name).cast()) };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let name: libc::sockaddr_in6 = unsafe { ptr::read(ptr::from_ref(name).cast()) };
            let (ip, port) = (Ipv6Addr::from(name.sin6_addr.s6_addr), u16::from_be(name.sin6_port));
            Some(SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Writes an address as the kernel reads it. Returns its length.
fn write_address(name: &mut libc::sockaddr_storage, address: SocketAddr) -> libc::socklen_t {
    let address = socket2::SockAddr::from(address);
    let len = address.len();
    // SAFETY: an address of IPv4 or IPv6 fits a `sockaddr_storage`, and `len` are its bytes.
    unsafe {
        ptr::copy_nonoverlapping(address.as_ptr().cast::<u8>(), ptr::from_mut(name).cast(), len as usize)
    };
    len
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::io::udp;

    const PLAIN: Target<'static> = Target { to: None, from: None, tag: 0, most: usize::MAX, header: &[] };

    /// A socket that receives, and one that is connected to it.
    fn pair() -> (UdpSocket, UdpSocket) {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let sender = udp::connect(receiver.local_addr().unwrap(), None).unwrap();
        (receiver, sender)
    }

    fn next(receiver: &UdpSocket) -> Vec<u8> {
        let mut bytes = vec![0; 65_536];
        let count = receiver.recv(&mut bytes).unwrap();
        bytes.truncate(count);
        bytes
    }

    /// Receives datagrams of these sizes in a batch, each filled with its number.
    fn received(batch: &mut Batch, sizes: &[usize]) {
        let (receiver, sender) = pair();
        for (number, size) in sizes.iter().enumerate() {
            sender.send(&vec![number as u8; *size]).unwrap();
        }
        while batch.pieces().len() < sizes.len() {
            batch.receive(&receiver, true).unwrap();
        }
        let own = sender.local_addr().unwrap();
        assert!(
            batch
                .pieces()
                .iter()
                .zip(sizes)
                .all(|(piece, size)| piece.len == *size && piece.peer == Some(own))
        );
    }

    #[test]
    fn datagrams_of_a_size_are_sent_as_one_and_a_shorter_one_ends_it() {
        let mut batch = Batch::new();
        let sizes = [1200, 1200, 700, 1200, 0, 5, 9];
        received(&mut batch, &sizes);
        (0..sizes.len()).for_each(|index| batch.push(index, PLAIN));
        let (receiver, sender) = pair();
        let mut counts = Vec::new();
        batch.flush(&sender, |report| {
            assert!(matches!(report.sent, Sent::Whole), "{report:?}");
            counts.push((report.first, report.count, report.bytes));
            Next::Continue
        });
        assert_eq!(counts, [(0, 3, 3100), (3, 1, 1200), (4, 1, 0), (5, 1, 5), (6, 1, 9)]);
        for (number, size) in sizes.iter().enumerate() {
            assert_eq!(next(&receiver), vec![number as u8; *size]);
        }
    }

    #[test]
    fn each_datagram_of_a_piece_gets_the_header() {
        let (receiver, sender) = pair();
        udp::expect_many(&receiver);
        let mut batch = Batch::new();
        // Sent as one, received as one: a piece of three datagrams.
        received(&mut batch, &[100, 100, 40]);
        (0..3).for_each(|index| batch.push(index, PLAIN));
        batch.flush(&sender, |_| Next::Continue);
        batch.clear();
        while batch.pieces().is_empty() {
            batch.receive(&receiver, false).unwrap();
        }
        let piece = batch.pieces()[0];
        assert_eq!((piece.len, piece.size, piece.count()), (240, 100, 3));
        for most in [usize::MAX, 90] {
            let (receiver, sender) = pair();
            batch.push(0, Target { header: b"head", most, ..PLAIN });
            let mut count = 0;
            batch.flush(&sender, |report| {
                count += report.count;
                assert_eq!(report.bytes, if most == 90 { [100, 100, 40][count - 1] } else { 240 });
                Next::Continue
            });
            assert_eq!(count, 3);
            for (number, size) in [100, 100, 40].into_iter().enumerate() {
                assert_eq!(next(&receiver), [b"head".to_vec(), vec![number as u8; size]].concat(), "{most}");
            }
        }
    }

    /// Larger datagrams than the way takes can't be sent together: EINVAL.
    #[test]
    fn what_the_kernel_refuses_together_is_sent_alone() {
        let mut batch = Batch::new();
        received(&mut batch, &[1200, 1200, 1200, 300]);
        let (receiver, sender) = pair();
        (0..4).for_each(|index| batch.push(index, PLAIN));
        batch.address_messages();
        let sent = batch.send_apart(sender.as_raw_fd(), 0, io::Error::from_raw_os_error(libc::EINVAL));
        assert!(matches!(sent, Sent::Apart { size: 1200, lost: 0 }), "{sent:?}");
        for (number, size) in [1200, 1200, 1200, 300].into_iter().enumerate() {
            assert_eq!(next(&receiver), vec![number as u8; size]);
        }
        let other = batch.send_apart(sender.as_raw_fd(), 0, io::Error::from_raw_os_error(libc::EAGAIN));
        assert!(matches!(other, Sent::Failed(_)), "{other:?}");
    }

    #[test]
    fn a_peer_that_does_not_receive_stops_the_rest() {
        let (receiver, sender) = pair();
        drop(receiver);
        let mut batch = Batch::new();
        received(&mut batch, &[10, 20, 30]);
        sender.send(b"finds out").unwrap();
        (0..3).for_each(|index| batch.push(index, PLAIN));
        let mut stopped = None;
        batch.flush(&sender, |report| match report.sent {
            Sent::Failed(error) if udp::is_unreachable(&error) => {
                stopped = Some(report.first);
                Next::Stop
            }
            _ => Next::Continue,
        });
        assert_eq!(stopped, Some(0));
        assert_eq!(batch.pieces().len(), 3, "what was received can be sent elsewhere");
    }
}
