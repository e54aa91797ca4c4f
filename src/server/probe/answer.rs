//! After the handshake: the server's verdict on our certificate, and its response.

use std::net::TcpStream;
use std::time::Instant;

use super::http2::{self, Fault, Request, Response};
use super::report::{HttpAnswer, Report, Verdict};
use super::wire::{Connection, Event, MOST, WireError};
use super::{Http, QUIET, Target};
use crate::base::limits::Limits;
use crate::http::RequestContext;
use crate::http1::{self, HeadLimits, Parsed};
use crate::http2::RequestLine;
use crate::tls::RecordError;
use crate::tls::error::{alert_text, concerns_our_certificate};

/// The statuses that nginx has for certificates it refuses, if its config lets them out.
const CERTIFICATE_STATUSES: [u16; 2] = [495, 496];
/// The ALPN name of HTTP/1.1.
const HTTP11: &str = "http/1.1";

/// A backend without TLS: connecting is all there is to see, but for the answer.
pub(super) fn plain(
    target: &Target,
    tcp: TcpStream,
    until: Instant,
    report: &mut Report,
) -> Result<(), String> {
    let mut connection = Connection::plain(tcp, until);
    match &target.http {
        Some(http) if target.takes_http2(None) => ask_http2(target, http, &mut connection, report),
        Some(http) => ask(http, &mut connection, report),
        None => Ok(()),
    }
}

/// Reads until the server has judged.
pub(super) fn over_tls(
    target: &Target,
    connection: &mut Connection,
    report: &mut Report,
) -> Result<(), String> {
    let alpn = report.tls.as_ref().and_then(|tls| tls.alpn.as_deref());
    let outcome = match &target.http {
        Some(http) if target.takes_http2(alpn) => ask_http2(target, http, connection, report),
        Some(http) if alpn.is_none_or(|name| name == HTTP11) => ask(http, connection, report),
        _ => listen(connection, report),
    };
    if connection.heard() { outcome } else { unheard(report, outcome) }
}

/// A TLS 1.3 server has yet to verify our certificate when the handshake is over for us (RFC 8446 §4.4.2): its verdict is
/// unknown for as long as it sends nothing. A TLS 1.2 server verified it before.
fn unheard(report: &mut Report, outcome: Result<(), String>) -> Result<(), String> {
    let judged = report.tls.as_ref().is_none_or(|tls| tls.version != "TLS 1.3");
    if judged || !matches!(report.client_certificate, Verdict::Accepted | Verdict::NothingPresented) {
        return outcome;
    }
    report.client_certificate = Verdict::Unknown;
    let what = match &report.identity {
        Some(identity) => format!("the certificate {identity}"),
        None => "a connection without a client certificate".to_owned(),
    };
    let said = outcome.err().unwrap_or_else(|| "the backend sent nothing after the handshake".to_owned());
    Err(format!("{said}; with TLS 1.3 it is then unknown whether it accepts {what}"))
}

/// Waits for a sign of life, or a while in vain.
fn listen(connection: &mut Connection, report: &mut Report) -> Result<(), String> {
    let until = Instant::now() + QUIET;
    match connection.next(until) {
        // Silence: the server waits for us to speak. What that is worth, the version decides.
        Ok(Event::Data | Event::Control) | Err(WireError::Timeout) => Ok(()),
        Ok(Event::End) => Err(ended(report, &WireError::Closed)),
        Err(error) => Err(ended(report, &error)),
    }
}

/// Makes a request and reads the head of its answer.
fn ask(http: &Http, connection: &mut Connection, report: &mut Report) -> Result<(), String> {
    let Http { host, path } = http;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ringate-probe/{}\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    // A server that has refused us may have closed already: its reason is still there to read.
    let sent = connection.send(request.as_bytes());
    let far = Instant::now() + super::PATIENCE;
    loop {
        match status(&connection.plaintext) {
            Ok(Some(status)) => {
                report.http = Some(HttpAnswer { request: format!("GET {path}"), status });
                return refused_in_http(status, connection, report);
            }
            Ok(None) => {}
            Err(reason) => return Err(format!("the backend does not speak HTTP/1.1: {reason}")),
        }
        match connection.next(far) {
            Ok(Event::Data | Event::Control) => {}
            Ok(Event::End) => return Err(ended(report, sent.as_ref().err().unwrap_or(&WireError::Closed))),
            Err(WireError::Timeout) => {
                // It accepted the certificate, or an alert would have arrived by now; but it does not respond.
                return Err(format!("no answer to GET {path} in time"));
            }
            Err(error) => return Err(ended(report, &error)),
        }
    }
}

/// The same by HTTP/2.
fn ask_http2(
    target: &Target,
    http: &Http,
    connection: &mut Connection,
    report: &mut Report,
) -> Result<(), String> {
    let Http { host, path } = http;
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let request = Request {
        line: RequestLine {
            method: "GET",
            scheme: Some(target.scheme()),
            authority: host,
            path: Some(path),
            protocol: None,
        },
        fields: vec![
            field("user-agent", concat!("ringate-probe/", env!("CARGO_PKG_VERSION"))),
            field("accept", "*/*"),
        ],
        content: &[],
    };
    let enough = |response: &Response| response.status > 0 && !may_refuse(response.status, report);
    match http2::ask(connection, &request, enough, Instant::now() + super::PATIENCE) {
        Ok(Response { status, content, .. }) => {
            report.http = Some(HttpAnswer { request: format!("GET {path}"), status });
            refused_by_text(status, &content, report)
        }
        Err(Fault::Wire(WireError::Timeout)) => Err(format!("no answer to GET {path} in time")),
        Err(Fault::Wire(error)) => Err(ended(report, &error)),
        Err(Fault::Http2(reason)) => Err(reason),
    }
}

/// The status of the final response at the front of `bytes`, once its head is whole.
fn status(mut bytes: &[u8]) -> Result<Option<u16>, String> {
    let limits = HeadLimits::from(&Limits::default());
    loop {
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut slots = http1::header_slots();
        match http1::parse_response(bytes, &mut slots, &limits, &RequestContext::default()) {
            Ok(Parsed::Complete(found)) if found.is_interim() => bytes = &bytes[found.len..],
            Ok(Parsed::Complete(found)) => return Ok(Some(found.status)),
            Ok(Parsed::Partial) => return Ok(None),
            Err(error) => return Err(error.reason().to_owned()),
        }
    }
}

/// The connection ended before anything was answered: whose doing that is.
pub(super) fn ended(report: &mut Report, error: &WireError) -> String {
    let asked = report.was_asked();
    let what = match report.identity.clone() {
        Some(identity) if report.client_certificate == Verdict::Accepted => {
            format!("the certificate {identity}")
        }
        _ => "a connection without a client certificate".to_owned(),
    };
    match error {
        WireError::Record(RecordError::PeerAlert(alert)) if asked || concerns_our_certificate(*alert) => {
            let reason =
                format!("{what} was refused after the handshake: the backend sent {}", alert_text(*alert));
            report.refused(Some(*alert), reason)
        }
        error if asked && error.is_end() => {
            let reason = format!("{what} was refused without an alert: {error} after the handshake");
            report.refused(None, reason)
        }
        WireError::Closed => "the backend closed the connection after the handshake".to_owned(),
        error => format!("after the handshake: {error}"),
    }
}

/// Whether an answer of this status may be about our certificate: nginx takes any in TLS, and refuses in HTTP.
fn may_refuse(status: u16, report: &Report) -> bool {
    report.was_asked() && (CERTIFICATE_STATUSES.contains(&status) || status == 400)
}

/// Reads on where the answer may be about our certificate.
fn refused_in_http(status: u16, connection: &mut Connection, report: &mut Report) -> Result<(), String> {
    if !may_refuse(status, report) {
        return Ok(());
    }
    let until = Instant::now() + QUIET;
    while connection.plaintext.len() < MOST
        && let Ok(Event::Data | Event::Control) = connection.next(until)
    {}
    refused_by_text(status, &connection.plaintext, report)
}

/// Whether an answer refuses our certificate, by its status and its text.
fn refused_by_text(status: u16, text: &[u8], report: &mut Report) -> Result<(), String> {
    if !may_refuse(status, report) {
        return Ok(());
    }
    let certain = CERTIFICATE_STATUSES.contains(&status);
    let text = String::from_utf8_lossy(text).into_owned();
    let reason = match text.lines().find(|line| line.contains("SSL certificate")).map(without_tags) {
        Some(text) => text,
        None if certain => format!("status {status}"),
        // Another reason for a 400: the backend did read the request.
        None => return Ok(()),
    };
    Err(report.refused(None, format!("the backend refused the client certificate in HTTP: {reason}")))
}

fn without_tags(line: &str) -> String {
    let mut inside = false;
    let text = line.chars().filter(|&c| {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                return false;
            }
            _ => {}
        }
        !inside
    });
    text.collect::<String>().trim().to_owned()
}
