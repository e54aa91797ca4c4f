//! Traces on their way to a collector: OTLP over HTTP, from a thread of its own.
//!
//! ```text
//! worker ─► ring ─┐
//! worker ─► ring ─┴─► batch: 512 spans, or what a second brought ─► POST /v1/traces ─┬─► sent
//!                        ▲                                                           ├─► 429, 5xx, no connection: twice more
//!                        └─ while one is under way rings fill up, and drop           └─► dropped and counted
//! ```
//!
//! When a batch is sent again is in [`pacing`].

mod otlp;
mod pacing;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rtrb::{Consumer, RingBuffer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use self::pacing::{Pacing, Tries};
use crate::base::counters::Counters;
use crate::base::limits::{TRACE_BATCH_SPANS, TRACE_RING};
use crate::base::sample::sampled;
use crate::config::plan::Otlp;
use crate::io::vital;
use crate::proxy::trace::{Seed, Trace};

/// How often the rings are looked at.
const POLL: Duration = Duration::from_millis(100);
/// How long a span waits for others at most.
const REST: Duration = Duration::from_secs(1);
/// How long the last batch may take at the process's end.
const LAST: Duration = Duration::from_millis(800);
/// How often the end is checked for.
const END_POLL: Duration = Duration::from_millis(5);
/// Bytes of a collector's answer that are read.
const ANSWER_BYTES: usize = 64 * 1024;

/// What became of spans.
#[derive(Debug, Default)]
pub(crate) struct ExportCounts {
    /// Spans that the collector has taken.
    pub(crate) sent: AtomicU64,
    /// Spans that it did not take.
    pub(crate) failed: AtomicU64,
}

/// An exporter in the making: give [`Exporter::seed`] to each worker, then [`Exporter::start`].
pub(crate) struct Exporter {
    settings: Otlp,
    tls: Option<Arc<ClientConfig>>,
    rings: Vec<Consumer<Box<Trace>>>,
}

/// The exporter's thread, seen from outside.
#[derive(Debug)]
pub(crate) struct Export {
    /// What became of spans.
    pub(crate) counts: Arc<ExportCounts>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Exporter {
    /// `tls`: how the collector is checked, if it is reached over TLS.
    pub(crate) fn new(settings: Otlp, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { settings, tls, rings: Vec::new() }
    }

    /// A worker's end. `ids`: what its span ids begin with.
    pub(crate) fn seed(&mut self, counters: Arc<Counters>, ids: u64) -> Seed {
        let (ring, end) = RingBuffer::new(TRACE_RING);
        self.rings.push(end);
        Seed { ring, millionths: self.settings.millionths, ids, counters }
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// The system starts none.
    pub(crate) fn start(self) -> io::Result<Export> {
        let (counts, stop) = (Arc::<ExportCounts>::default(), Arc::<AtomicBool>::default());
        let run = Run {
            collector: Collector { settings: self.settings, tls: self.tls, connection: None },
            rings: self.rings,
            batch: Vec::new(),
            spans: 0,
            since: Instant::now(),
            pacing: Pacing::new(u64::from(std::process::id())),
            instance: instance(),
            counts: Arc::clone(&counts),
            stop: Arc::clone(&stop),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || vital::guard("the traces' thread", || runtime.block_on(run.run()));
        let thread = std::thread::Builder::new().name("traces".to_owned()).spawn(work)?;
        Ok(Export { counts, stop, thread })
    }
}

/// What tells this process from others of the same service: `service.instance.id`.
fn instance() -> String {
    let machine = rustix::system::uname();
    format!("{}:{}", machine.nodename().to_string_lossy(), std::process::id())
}

impl Export {
    /// Sends what is left, and ends. False: that took longer than until `deadline`.
    pub(crate) fn finish(&self, deadline: Instant) -> bool {
        self.stop.store(true, Ordering::Release);
        while !self.thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(END_POLL);
        }
        true
    }
}

struct Run {
    collector: Collector,
    rings: Vec<Consumer<Box<Trace>>>,
    #[allow(clippy::vec_box)] // they move in their boxes
    batch: Vec<Box<Trace>>,
    /// Spans of the batch.
    spans: u64,
    /// When the batch began.
    since: Instant,
    pacing: Pacing,
    instance: String,
    counts: Arc<ExportCounts>,
    stop: Arc<AtomicBool>,
}

impl Run {
    async fn run(mut self) {
        loop {
            // Looked at first: what was handed on before it was set is sent.
            let stop = self.stop.load(Ordering::Acquire);
            let rests = self.pacing.rests(Instant::now());
            if rests && !stop {
                sleep(POLL).await;
                continue;
            }
            self.collect();
            let is_due = self.spans >= TRACE_BATCH_SPANS || self.since.elapsed() >= REST || stop;
            if !self.batch.is_empty() && is_due {
                if rests {
                    self.give_up(&"the process ends while the collector is given time");
                } else {
                    self.send(stop).await;
                }
                continue;
            }
            if stop {
                return;
            }
            sleep(POLL).await;
        }
    }

    /// Takes from the rings what the batch has room for.
    fn collect(&mut self) {
        for ring in &mut self.rings {
            while self.spans < TRACE_BATCH_SPANS
                && let Ok(trace) = ring.pop()
            {
                if self.batch.is_empty() {
                    self.since = Instant::now();
                }
                self.spans += otlp::span_count(&trace);
                self.batch.push(trace);
            }
        }
    }

    /// Sends the batch, some times if need be, and gives it up then.
    async fn send(&mut self, last: bool) {
        let settings = &self.collector.settings;
        let body = otlp::request(&self.batch, &settings.service, &self.instance);
        self.batch.clear();
        let (body, mut tries) = (Bytes::from(body), Tries::default());
        let patience = if last { LAST } else { settings.timeout };
        let error = loop {
            let error = match self.collector.post(body.clone(), patience).await {
                Ok(()) => {
                    let spans = std::mem::take(&mut self.spans);
                    self.counts.sent.fetch_add(spans, Ordering::Relaxed);
                    return self.pacing.taken();
                }
                Err(error) => error,
            };
            if last || !error.is_passing() {
                break error;
            }
            let pause = self.pacing.failed(&mut tries, error.retry_after(), Instant::now());
            let Some(pause) = pause else { break error };
            if !self.wait(pause).await {
                break error;
            }
        };
        self.give_up(&error);
    }

    /// Waits. False: the process ends meanwhile.
    async fn wait(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            if self.stop.load(Ordering::Acquire) {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            sleep(left.min(POLL)).await;
        }
    }

    /// Drops the batch.
    fn give_up(&mut self, error: &dyn fmt::Display) {
        self.batch.clear();
        let spans = std::mem::take(&mut self.spans);
        self.counts.failed.fetch_add(spans, Ordering::Relaxed);
        let endpoint = &self.collector.settings.endpoint.endpoint;
        sampled!(
            warn,
            Traces of "telemetry.otlp",
            { collector = endpoint, },
            "traces: {spans} spans are dropped: {error}"
        );
    }
}

/// Why the collector has not taken a batch.
#[derive(Debug)]
enum ExportError {
    Io(io::Error),
    Http(hyper::Error),
    Timeout,
    Refused {
        status: StatusCode,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
}

impl ExportError {
    /// Whether it may take it later.
    fn is_passing(&self) -> bool {
        match self {
            Self::Io(_) | Self::Http(_) | Self::Timeout => true,
            Self::Refused { status, .. } => matches!(status.as_u16(), 429 | 502..=504),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Io(_) | Self::Http(_) | Self::Timeout => None,
        }
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "no connection to the collector: {error}"),
            Self::Http(error) => write!(f, "the collector's connection failed: {error}"),
            Self::Timeout => f.write_str("the collector did not answer within `telemetry.otlp.timeout`"),
            Self::Refused { status, .. } if self.is_passing() => {
                write!(f, "the collector answered {status}: it has too much to do, or is not ready")
            }
            Self::Refused { status, .. } => {
                write!(f, "the collector answered {status}: compare `telemetry.otlp.endpoint` and `headers`")
            }
        }
    }
}

/// The collector, and the connection to it while that lasts.
struct Collector {
    settings: Otlp,
    tls: Option<Arc<ClientConfig>>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Collector {
    async fn post(&mut self, body: Bytes, patience: Duration) -> Result<(), ExportError> {
        let result = timeout(patience, self.exchange(body)).await.unwrap_or(Err(ExportError::Timeout));
        if result.is_err() {
            self.connection = None;
        }
        result
    }

    async fn exchange(&mut self, body: Bytes) -> Result<(), ExportError> {
        let mut kept = self.connection.take();
        let is_open = match &mut kept {
            Some(kept) => kept.ready().await.is_ok(),
            None => false,
        };
        let mut connection = match kept.filter(|_| is_open) {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        let response = connection.send_request(self.request(body)?).await.map_err(ExportError::Http)?;
        let status = response.status();
        let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = asked.and_then(|value| pacing::retry_after(value, SystemTime::now()));
        // Read to its end, so that the connection can be used again.
        let rest = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
        if rest.is_ok() {
            self.connection = Some(connection);
        }
        if status.is_success() { Ok(()) } else { Err(ExportError::Refused { status, retry_after }) }
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, ExportError> {
        let Otlp { endpoint, headers, .. } = &self.settings;
        let base = endpoint.base.trim_end_matches('/');
        let path = if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, &endpoint.endpoint)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("ringate/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        // The config's check lets no others through.
        request.body(Full::new(body)).map_err(|error| ExportError::Io(io::Error::other(error)))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ExportError> {
        let endpoint = &self.settings.endpoint;
        let tcp = TcpStream::connect(&*endpoint.endpoint).await.map_err(ExportError::Io)?;
        let _ = tcp.set_nodelay(true);
        let Some(config) = &self.tls else { return speak(TokioIo::new(tcp)).await };
        let name = ServerName::try_from(endpoint.host().to_owned());
        let name = name.map_err(|error| ExportError::Io(io::Error::other(error)))?;
        let tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.map_err(ExportError::Io)?;
        speak(TokioIo::new(tls)).await
    }
}

/// HTTP/1.1 on a connection, whose work is a task of the thread.
async fn speak<T>(stream: TokioIo<T>) -> Result<SendRequest<Full<Bytes>>, ExportError>
where
    TokioIo<T>: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(stream).await.map_err(ExportError::Http)?;
    let work: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        let _ = connection.await;
    });
    tokio::spawn(work);
    Ok(sender)
}
