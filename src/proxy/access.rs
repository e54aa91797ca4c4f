//! The access log: lines are made by the worker that served, and written by a thread that may be slow.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::exchange::Logged;
use crate::base::counters::Counters;
use crate::config::plan::LogFormat;

/// Bytes that a worker gathers before it hands them on.
const BATCH: usize = 32 * 1024;
/// Batches that may wait for the writer. Beyond that lines are dropped and counted, never waited for.
const QUEUE: usize = 256;

/// A worker's end of the log.
#[derive(Debug)]
pub struct Sink {
    batches: SyncSender<Vec<u8>>,
    batch: RefCell<Vec<u8>>,
    format: LogFormat,
    counters: Arc<Counters>,
}

/// The writer's end: give [`Log::sink`] to each worker, then [`Log::write`] on a thread of its own.
#[derive(Debug)]
pub struct Log {
    sender: SyncSender<Vec<u8>>,
    receiver: Receiver<Vec<u8>>,
    /// Sinks given out and not closed.
    open: Cell<usize>,
    format: LogFormat,
}

/// What is said of an exchange.
#[derive(Debug)]
pub struct Line<'a> {
    /// The client's address.
    pub client: &'a str,
    /// The request; `None` if it could not be understood.
    pub request: Option<&'a Logged>,
    /// What the client was answered; 0 for nothing.
    pub status: u16,
    /// Bytes of the response, its head included.
    pub bytes: u64,
    /// From the request's head to the response's end.
    pub duration: Duration,
    /// Where it went.
    pub upstream: Option<&'a str>,
    /// And there.
    pub endpoint: Option<&'a str>,
    /// Why it was not served as asked.
    pub failure: Option<String>,
}

#[derive(Serialize)]
struct JsonLine<'a> {
    time: &'a str,
    client: &'a str,
    method: Option<&'a str>,
    target: Option<&'a str>,
    host: Option<&'a str>,
    request_id: Option<&'a str>,
    status: u16,
    bytes: u64,
    duration_us: u128,
    upstream: Option<&'a str>,
    endpoint: Option<&'a str>,
    failure: Option<&'a str>,
}

impl Log {
    /// A log in this format.
    pub fn new(format: LogFormat) -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        Self { sender, receiver, open: Cell::new(0), format }
    }

    /// A worker's end.
    pub fn sink(&self, counters: Arc<Counters>) -> Sink {
        self.open.set(self.open.get() + 1);
        Sink {
            batches: self.sender.clone(),
            batch: RefCell::new(Vec::with_capacity(BATCH + 1024)),
            format: self.format,
            counters,
        }
    }

    /// Writes until every sink is closed.
    pub fn write(self, mut target: impl Write) {
        drop(self.sender);
        let mut open = self.open.get();
        while open > 0
            && let Ok(batch) = self.receiver.recv()
        {
            if batch.is_empty() {
                open -= 1;
                continue;
            }
            let written: io::Result<()> = target.write_all(&batch).and_then(|()| target.flush());
            if let Err(error) = written {
                tracing::error!("access log: {error}");
            }
        }
    }
}

impl Sink {
    /// Adds a line.
    pub fn write(&self, line: &Line<'_>) {
        let mut batch = self.batch.borrow_mut();
        let time = OffsetDateTime::now_utc();
        let time = time.replace_millisecond(time.millisecond()).unwrap_or(time);
        let time = time.format(&Rfc3339).unwrap_or_default();
        match self.format {
            LogFormat::Json => line.json(&time, &mut batch),
            LogFormat::Text => line.text(&time, &mut batch),
        }
        batch.push(b'\n');
        if batch.len() >= BATCH {
            self.hand_on(&mut batch);
        }
    }

    /// Hands on what was gathered.
    pub fn flush(&self) {
        let mut batch = self.batch.borrow_mut();
        if !batch.is_empty() {
            self.hand_on(&mut batch);
        }
    }

    /// Hands on what was gathered, as the last of this worker. A runtime that ends does not drop its tasks,
    /// and so not what they hold: the writer must be told.
    pub fn close(&self) {
        self.flush();
        // The writer takes empty batches for this. It may be gone already.
        let _ = self.batches.send(Vec::new());
    }

    fn hand_on(&self, batch: &mut Vec<u8>) {
        let full = std::mem::replace(batch, Vec::with_capacity(BATCH + 1024));
        if let Err(refused) = self.batches.try_send(full) {
            let lost = match refused {
                std::sync::mpsc::TrySendError::Full(lost)
                | std::sync::mpsc::TrySendError::Disconnected(lost) => lost,
            };
            let lines = lost.iter().filter(|&&byte| byte == b'\n').count();
            self.counters.access_lines_dropped.add(lines as u64);
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Line<'_> {
    fn json(&self, time: &str, out: &mut Vec<u8>) {
        let request = self.request;
        let line = JsonLine {
            time,
            client: self.client,
            method: request.map(|request| request.method.as_str()),
            target: request.map(|request| request.target.as_str()),
            host: request.map(|request| request.host.as_str()),
            request_id: request.map(|request| request.id.as_str()),
            status: self.status,
            bytes: self.bytes,
            duration_us: self.duration.as_micros(),
            upstream: self.upstream,
            endpoint: self.endpoint,
            failure: self.failure.as_deref(),
        };
        // Into memory, from plain strings and numbers: it can't fail.
        let _ = serde_json::to_writer(out, &line);
    }

    fn text(&self, time: &str, out: &mut Vec<u8>) {
        let dash = "-";
        let (method, target, host, id) = match self.request {
            Some(request) => (&*request.method, &*request.target, &*request.host, &*request.id),
            None => (dash, dash, dash, dash),
        };
        let _ = write!(
            out,
            "{time} {} {host} \"{method} {target}\" {} {} {:.3}ms {} {} {id}",
            self.client,
            self.status,
            self.bytes,
            self.duration.as_secs_f64() * 1e3,
            self.upstream.unwrap_or(dash),
            self.endpoint.unwrap_or(dash),
        );
        if let Some(failure) = &self.failure {
            let _ = write!(out, " \"{failure}\"");
        }
    }
}
