//! One health check of an endpoint: connect, handshake, request, as far as its type goes.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use super::http1::final_response;
use super::http2::{self, Fault, Request, Response};
use super::wire::{Connection, Event, MOST, WireError};
use super::{QUIET, Target, connect, wire};
use crate::base::address::endpoint_authority;
use crate::config::plan::{CheckKind, HealthCheck, HttpCheck};
use crate::http::{ALPN_HTTP2, BackendHttp};
use crate::http1::Body;
use crate::http2::RequestLine;
use crate::proxy::failure::ConnectError;
use crate::tls::error::alert_text;
use crate::tls::handshake::ClientAuth;
use crate::tls::{RecordError, Sessions, bind};

/// Checks a target, for `check.timeout` at most.
///
/// # Errors
/// Why the check failed, in words.
pub(crate) fn check(target: &Target, check: &HealthCheck) -> Result<(), String> {
    let until = Instant::now() + check.timeout;
    let tcp = connect(target, until)?;
    match &check.kind {
        CheckKind::Tcp => Ok(()),
        CheckKind::Tls => {
            let (mut connection, _) = open(target, tcp, until, BackendHttp::Http11)?;
            let judged = verdict(&mut connection, until);
            connection.close();
            judged
        }
        CheckKind::Http(http) => {
            let (mut connection, http2) = open(target, tcp, until, target.versions)?;
            let judged = match http2 {
                true => ask_http2(target, http, &mut connection, until),
                false => ask(target, http, &mut connection, until),
            };
            connection.close();
            judged
        }
        CheckKind::Grpc(grpc) => {
            let (mut connection, _) = open(target, tcp, until, BackendHttp::Http2)?;
            let to = (target.scheme(), endpoint_authority(&target.endpoint));
            let judged = super::grpc::check(&mut connection, grpc, to, until);
            connection.close();
            judged.unwrap_or_else(|fault| Err(words(&fault)))
        }
    }
}

/// The connection, over TLS if the target speaks that, and whether it is one of HTTP/2.
fn open(
    target: &Target,
    mut tcp: TcpStream,
    until: Instant,
    http: BackendHttp,
) -> Result<(Connection, bool), String> {
    let Some(tls) = &target.tls else {
        return Ok((Connection::plain(tcp, until), http == BackendHttp::Http2));
    };
    let name = tls.server_name.clone()?;
    let sessions = Arc::new(Sessions::new(name.clone(), 0));
    let config = bind(tls.config_for(http), tls.identity.clone(), sessions);
    let shaken = wire::handshake(&mut tcp, &config, name, until);
    let (established, rest) = shaken.map_err(|failed| format!("TLS: {}", failed.error))?;
    let asked = !matches!(established.facts.client_auth, ClientAuth::NotAsked);
    if tls.require_client_auth && !asked {
        return Err(ConnectError::NotAsked.to_string());
    }
    let http2 = established.facts.alpn.as_deref() == Some(ALPN_HTTP2);
    if http == BackendHttp::Http2 && !http2 {
        return Err(ConnectError::NoHttp2.to_string());
    }
    Ok((Connection::new(tcp, established, rest, until), http2))
}

/// What the server says after the handshake: an alert or a close is a refusal, silence is none.
fn verdict(connection: &mut Connection, until: Instant) -> Result<(), String> {
    match connection.next(until.min(Instant::now() + QUIET)) {
        Ok(Event::Data | Event::Control) | Err(WireError::Timeout) => Ok(()),
        Ok(Event::End) => Err("the backend closed the connection after the handshake".to_owned()),
        Err(error) => Err(ended(&error)),
    }
}

fn ended(error: &WireError) -> String {
    match error {
        WireError::Record(RecordError::PeerAlert(alert)) => {
            format!("TLS: the backend sent the alert {}", alert_text(*alert))
        }
        WireError::Closed => "the backend closed the connection without a response".to_owned(),
        WireError::Timeout => "no response in time".to_owned(),
        WireError::Io(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            "the backend reset the connection".to_owned()
        }
        error => error.to_string(),
    }
}

/// Makes the request, and judges its response.
fn ask(target: &Target, http: &HttpCheck, connection: &mut Connection, until: Instant) -> Result<(), String> {
    let host = http.host.as_deref().unwrap_or_else(|| endpoint_authority(&target.endpoint));
    let mut request = format!(
        "{} {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ringate-health/{}\r\nConnection: close\r\n",
        http.method,
        http.path,
        env!("CARGO_PKG_VERSION")
    );
    for (name, value) in &http.headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let sent = connection.send(request.as_bytes());
    let mut is_over = false;
    loop {
        if let Some(verdict) = judge(&connection.plaintext, http, is_over)? {
            return verdict;
        }
        if is_over {
            return Err(ended(sent.as_ref().err().unwrap_or(&WireError::Closed)));
        }
        match connection.next(until) {
            Ok(Event::Data | Event::Control) => is_over = connection.plaintext.len() >= MOST,
            Ok(Event::End) => is_over = true,
            Err(error) => return Err(ended(&error)),
        }
    }
}

/// The same by HTTP/2.
fn ask_http2(
    target: &Target,
    http: &HttpCheck,
    connection: &mut Connection,
    until: Instant,
) -> Result<(), String> {
    let agent = ("user-agent".to_owned(), format!("ringate-health/{}", env!("CARGO_PKG_VERSION")));
    let request = Request {
        line: RequestLine {
            method: &http.method,
            scheme: Some(target.scheme()),
            authority: http.host.as_deref().unwrap_or_else(|| endpoint_authority(&target.endpoint)),
            path: Some(&http.path),
            protocol: None,
        },
        fields: std::iter::once(agent).chain(http.headers.iter().cloned()).collect(),
        content: &[],
    };
    let enough = |response: &Response| {
        response.status > 0 && http.body.as_ref().is_none_or(|text| contains(&response.content, text))
    };
    let response = http2::ask(connection, &request, enough, until).map_err(|fault| words(&fault))?;
    expected(http, response.status)?;
    match &http.body {
        Some(text) if !contains(&response.content, text) => Err(without(response.status, text)),
        _ => Ok(()),
    }
}

fn words(fault: &Fault) -> String {
    match fault {
        Fault::Wire(error) => ended(error),
        Fault::Http2(words) => words.clone(),
    }
}

/// The verdict on a response of which so much is here; `None`: more of it is needed, and comes unless it `is_over`.
///
/// # Errors
/// It is no response of HTTP/1.1.
fn judge(bytes: &[u8], http: &HttpCheck, is_over: bool) -> Result<Option<Result<(), String>>, String> {
    let verdict = final_response(bytes, &http.method, |head, rest| {
        if let Err(why) = expected(http, head.status) {
            return Ok(Some(Err(why)));
        }
        let Some(text) = &http.body else { return Ok(Some(Ok(()))) };
        let mut content = rest.to_vec();
        let mut body = Body::new(head.framing);
        let taken = body.take(&mut content).map_err(|error| format!("response body: {error}"))?;
        if contains(&content[taken.data], text) {
            return Ok(Some(Ok(())));
        }
        Ok((taken.done || is_over).then(|| Err(without(head.status, text))))
    })?;
    verdict.unwrap_or(Ok(None))
}

/// # Errors
/// The status is none of those that are expected.
fn expected(http: &HttpCheck, status: u16) -> Result<(), String> {
    let is_expected = http.expect.iter().any(|(first, last)| (*first..=*last).contains(&status));
    if is_expected { Ok(()) } else { Err(format!("status {status}")) }
}

fn contains(content: &[u8], text: &str) -> bool {
    content.windows(text.len()).any(|part| part == text.as_bytes())
}

fn without(status: u16, text: &str) -> String {
    format!("status {status}, and a body without {text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(response: &str, body: Option<&str>, is_over: bool) -> Option<Result<(), String>> {
        let http = HttpCheck {
            method: "GET".into(),
            path: "/".into(),
            host: None,
            headers: Vec::new(),
            expect: vec![(200, 204), (301, 301)],
            body: body.map(str::to_owned),
        };
        judge(response.as_bytes(), &http, is_over).unwrap_or_else(|reason| Some(Err(reason)))
    }

    #[test]
    fn a_response_passes_by_its_status_and_body() {
        let ok = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n";
        assert_eq!(verdict("HTTP/1.1 20", None, false), None);
        assert_eq!(verdict(ok, None, false), Some(Ok(())));
        assert_eq!(verdict("HTTP/1.1 301 M\r\n\r\n", None, false), Some(Ok(())));
        let failed = verdict("HTTP/1.1 503 S\r\n\r\n", None, false);
        assert_eq!(failed, Some(Err("status 503".into())));
        assert_eq!(verdict(&format!("{ok}al"), Some("alive"), false), None);
        assert_eq!(verdict(&format!("{ok}alive!"), Some("alive"), false), Some(Ok(())));
        assert!(verdict(&format!("{ok}dead!!"), Some("alive"), false).unwrap().is_err());
        assert!(verdict(&format!("{ok}al"), Some("alive"), true).unwrap().is_err());
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nal\r\n3\r\nive\r\n0\r\n\r\n";
        assert_eq!(verdict(chunked, Some("alive"), false), Some(Ok(())));
        assert!(verdict("220 smtp ready\r\n", None, false).unwrap().is_err());
    }
}
