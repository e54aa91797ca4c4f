//! The thread that writes: it alone waits for the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rtrb::{Consumer, RingBuffer};

use super::shared::Shared;
use super::syslog::{Receiver, Syslog};
use super::{Channel, Sink};
use crate::base::counters::Counters;
use crate::base::limits::ACCESS_RING_BYTES;
use crate::config::access::Format;
use crate::io::standard::Standard;
use crate::io::{fault, vital};

/// How long a line may wait in its ring.
const REST: Duration = Duration::from_millis(100);
/// How often the end is checked for.
const POLL: Duration = Duration::from_millis(5);

/// Where lines go.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
    /// A syslog receiver, a message a line.
    Syslog(Receiver),
}

impl Target {
    fn open(&self, shared: &Arc<Shared>) -> io::Result<Box<dyn Write + Send>> {
        let path = match self {
            Self::Stdout => return Ok(Box::new(Standard::Output)),
            Self::Syslog(receiver) => return Ok(Box::new(Syslog::open(receiver, shared)?)),
            Self::File(path) => path,
        };
        // Opened for reading as well, so that opening a FIFO without a reader does not block.
        let fifo = std::fs::metadata(path).is_ok_and(|facts| facts.file_type().is_fifo());
        let file: File = OpenOptions::new().create(!fifo).append(true).read(fifo).mode(0o640).open(path)?;
        Ok(Box::new(file))
    }
}

/// The logs in the making: give [`Logs::seed`] to each worker, then [`Logs::start`].
pub(crate) struct Logs {
    tcp_format: Format,
    udp_format: Format,
    /// The main log, which may be off, and those that routes name.
    logs: Vec<Log>,
}

struct Log {
    format: Format,
    /// `None`: it is off.
    target: Option<(Target, Box<dyn Write + Send>)>,
    shared: Arc<Shared>,
    rings: Vec<Consumer<u8>>,
}

/// A worker's end, on its way to the worker's thread.
pub struct Seed {
    tcp_format: Format,
    udp_format: Format,
    channels: Vec<(Format, Option<rtrb::Producer<u8>>, Arc<Shared>)>,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seed").field("channels", &self.channels.len()).finish_non_exhaustive()
    }
}

impl Seed {
    /// The end itself. Called on the worker's thread.
    pub fn sink(self) -> Sink {
        let channels = self.channels.into_iter().map(|(format, ring, shared)| Channel {
            format: Rc::new(format),
            ring: ring.map(Into::into),
            shared,
        });
        Sink {
            channels: channels.collect(),
            tcp_format: Rc::new(self.tcp_format),
            udp_format: Rc::new(self.udp_format),
            line: Vec::with_capacity(1024).into(),
            free: Vec::new().into(),
            clock: Default::default(),
            counters: self.counters,
        }
    }
}

/// The writer's thread, seen from outside.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Logs {
    /// A main log of lines in these formats: of http, tcp and udp listeners. `None`: it is off.
    ///
    /// # Errors
    /// The target can't be opened.
    pub(crate) fn new(
        [format, tcp_format, udp_format]: [Format; 3],
        target: Option<Target>,
    ) -> io::Result<Self> {
        // What is not written need not be put together.
        let off = || Format { pieces: Vec::new(), ..Format::text() };
        let format = if target.is_some() { format } else { off() };
        let mut logs = Self { tcp_format, udp_format, logs: Vec::new() };
        logs.add(format, target)?;
        Ok(logs)
    }

    /// Adds a log that routes name.
    ///
    /// # Errors
    /// The target can't be opened.
    pub(crate) fn add(&mut self, format: Format, target: Option<Target>) -> io::Result<()> {
        let shared = Arc::default();
        let target = match target {
            None => None,
            Some(target) => {
                let out = target.open(&shared)?;
                Some((target, out))
            }
        };
        self.logs.push(Log { format, target, shared, rings: Vec::new() });
        Ok(())
    }

    /// A worker's end.
    pub(crate) fn seed(&mut self, counters: Arc<Counters>) -> Seed {
        let channel = |log: &mut Log| {
            let ring = log.target.is_some().then(|| {
                let (ring, end) = RingBuffer::new(ACCESS_RING_BYTES);
                log.rings.push(end);
                ring
            });
            (log.format.clone(), ring, Arc::clone(&log.shared))
        };
        let channels = self.logs.iter_mut().map(channel).collect();
        let (tcp_format, udp_format) = (self.tcp_format.clone(), self.udp_format.clone());
        Seed { tcp_format, udp_format, channels, counters }
    }

    /// Starts a thread for each.
    ///
    /// # Errors
    /// The system starts none.
    pub(crate) fn start(self) -> io::Result<Vec<Writer>> {
        self.logs.into_iter().filter_map(Log::start).collect()
    }
}

impl Log {
    fn start(self) -> Option<io::Result<Writer>> {
        let (target, out) = self.target?;
        let shared = Arc::clone(&self.shared);
        let run = Run {
            rings: self.rings,
            target,
            out,
            shared: self.shared,
            batch: Vec::new(),
            torn: false,
            lost: None,
        };
        let thread = std::thread::Builder::new().name("access-log".to_owned());
        let thread = thread.spawn(|| vital::guard("the access log's thread", || run.run()));
        Some(thread.map(|thread| {
            let _ = shared.thread.set(thread.thread().clone());
            Writer { shared, thread }
        }))
    }
}

impl Writer {
    /// Opens the file anew, after it was moved away.
    pub(crate) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.shared.wake();
    }

    /// Writes what workers have handed on until now, and ends. False: not all could be written until `deadline`.
    pub(crate) fn finish(&self, deadline: Instant) -> bool {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
        while !self.thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }
}

struct Run {
    rings: Vec<Consumer<u8>>,
    target: Target,
    out: Box<dyn Write + Send>,
    shared: Arc<Shared>,
    batch: Vec<u8>,
    /// The last write ended within a line.
    torn: bool,
    /// Lines lost since writing failed; `None` while it works.
    lost: Option<u64>,
}

impl Run {
    fn run(mut self) {
        loop {
            // Looked at first: what was handed on before it was set is written.
            let stop = self.shared.stop.load(Ordering::Acquire);
            fault::point("access-log");
            if self.shared.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            let mut most = 0;
            for at in 0..self.rings.len() {
                most = most.max(self.drain(at));
            }
            if stop {
                return;
            }
            if most < ACCESS_RING_BYTES / 4 {
                std::thread::park_timeout(REST);
            }
        }
    }

    fn reopen(&mut self) {
        match self.target.open(&self.shared) {
            Ok(out) => {
                self.out = out;
                self.torn = false;
                tracing::info!("access log: opened anew");
            }
            Err(error) => tracing::error!("access log: can't be opened anew: {error}; the old file stays"),
        }
    }

    /// Writes what one ring holds, which is always whole lines. Returns how much it was.
    fn drain(&mut self, at: usize) -> usize {
        let ring = &mut self.rings[at];
        let Ok(chunk) = ring.read_chunk(ring.slots()) else { return 0 };
        if chunk.is_empty() {
            return 0;
        }
        let (first, second) = chunk.as_slices();
        self.batch.clear();
        if self.torn {
            self.batch.push(b'\n');
        }
        // One write, so that lines of several processes do not mix in a file.
        self.batch.extend_from_slice(first);
        self.batch.extend_from_slice(second);
        chunk.commit_all();
        self.write();
        self.batch.len()
    }

    fn write(&mut self) {
        // The line feed that ends a torn line ends no line of the batch.
        let first = usize::from(self.torn);
        let mut written = 0;
        let result = loop {
            if written == self.batch.len() {
                break self.out.flush();
            }
            match self.out.write(&self.batch[written..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        if let Some(&last) = self.batch[..written].last() {
            self.torn = last != b'\n';
        }
        match (result, self.lost) {
            (Ok(()), None) => {}
            (Ok(()), Some(lost)) => {
                tracing::info!("access log: written again; {lost} lines were lost");
                self.lost = None;
            }
            (Err(error), lost) => {
                if lost.is_none() {
                    tracing::error!("access log: {error}; lines are dropped and counted");
                }
                let lines =
                    self.batch[written.max(first)..].iter().filter(|&&byte| byte == b'\n').count() as u64;
                self.lost = Some(lost.unwrap_or(0) + lines);
                self.shared.lost.fetch_add(lines, Ordering::Relaxed);
            }
        }
    }
}
