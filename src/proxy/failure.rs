//! Failures of an exchange: the side at fault, the response to the client, the counter.

use std::fmt::{self, Write as _};

use crate::base::counters::{Count, Counters};
use crate::http::grpc;
use crate::http1::{BodyError, RequestError, ResponseError};
use crate::http2::{ErrorCode, ResetCause, SendError, StreamEnd, Unserved, Violation};
use crate::io::StreamError;
use crate::io::tls::TlsError;
use crate::route::PathError;
use crate::tls::{Reason, alert_name};

/// Why an exchange did not go as asked.
#[derive(Debug)]
pub enum Failure {
    /// The client broke the rules, or a limit.
    Request(RequestError),
    /// The request-target can't be routed without ambiguity.
    AmbiguousPath(PathError),
    /// The listener does not permit the client's address.
    NotPermitted,
    /// No route matches.
    NoRoute,
    /// A route matches, but not with this method, only with these.
    MethodNotAllowed(String),
    /// A preflight for a route that has no policy for that, where only another one's would be there to answer.
    NoCors,
    /// An OPTIONS that must not be forwarded (Max-Forwards: 0): it ends here, with a 200.
    LastHop,
    /// The body is longer than `limits.body_bytes`.
    BodyTooLarge,
    /// The request body broke the rules.
    RequestBody(BodyError),
    /// The request's head took longer than `limits.head_timeout`.
    HeadTimeout,
    /// A well-formed request that is not served.
    Unserved(Unserved),
    /// The client was silent, or read nothing, for `limits.body_timeout`.
    ClientTimeout,
    /// The client sent or took a body at less than `limits.body_rate`.
    ClientTooSlow,
    /// The client has disconnected, or its stream broke.
    ClientGone,
    /// No connection to any endpoint could be made.
    Connect(ConnectError),
    /// The backend broke the rules of HTTP.
    Response(ResponseError),
    /// The backend's response body broke the rules.
    ResponseBody(BodyError),
    /// The backend closed, or its stream broke, before the response was whole.
    BackendGone(Option<StreamError>),
    /// The backend has not processed the request, and its body was passed on in parts that are not kept.
    NotHeld(StreamError),
    /// The backend broke the rules of HTTP/2.
    Http2(Violation),
    /// The request cannot be sent by HTTP/2: the backend does not permit it, or its fields.
    Unsendable(SendError),
    /// The backend ended the TLS connection with an alert, or closed it as soon as it had our certificate.
    Refused(Reason),
    /// The backend was too slow.
    BackendTimeout,
    /// The time that a call of gRPC gave itself is over (`grpc-timeout`).
    CallTimeout,
    /// The body of a call of gRPC-Web in the text form is no base64.
    NotBase64,
    /// The backend's answer had a status for which the request is tried again.
    Unwanted(u16),
    /// A file could not be read on, or became shorter, while it was sent.
    FileCut,
    /// Buffers take three quarters of `limits.buffer_memory`.
    MemoryShort,
    /// The health checks of every endpoint fail, and `health.all_down` is `"refuse"`.
    EndpointsDown,
    /// As many exchanges wait for the upstream as may.
    QueueFull,
    /// No endpoint had room for `queue.timeout`.
    QueueTimeout,
}

/// What an upstream's `limits` bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Requests under way, or tcp connections.
    Requests,
    /// Requests for which a connection is being made.
    Pending,
    /// Connections, idle ones included.
    Connections,
    /// The same at each endpoint.
    EndpointRequests,
    /// The same at each endpoint.
    EndpointPending,
    /// The same at each endpoint.
    EndpointConnections,
}

impl Bound {
    pub(crate) const ALL: [Self; 6] = [
        Self::Requests,
        Self::Pending,
        Self::Connections,
        Self::EndpointRequests,
        Self::EndpointPending,
        Self::EndpointConnections,
    ];

    /// Whether it holds for each endpoint.
    pub(crate) fn is_of_endpoint(self) -> bool {
        matches!(self, Self::EndpointRequests | Self::EndpointPending | Self::EndpointConnections)
    }

    /// Its key.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Pending => "pending",
            Self::Connections => "connections",
            Self::EndpointRequests => "per_endpoint.requests",
            Self::EndpointPending => "per_endpoint.pending",
            Self::EndpointConnections => "per_endpoint.connections",
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.is_of_endpoint() { "every endpoint that could be used" } else { "the upstream" };
        write!(f, "{who} is at its bound limits.{}", self.name())
    }
}

/// Why a backend connection could not be made.
#[derive(Debug)]
pub enum ConnectError {
    /// The endpoint's name does not resolve.
    Unresolved,
    /// No endpoint of the upstream takes requests.
    NoEndpoint,
    /// The socket's reason.
    Io(std::io::Error),
    /// This process had no descriptor for it within `timeouts.connect`.
    NoDescriptor,
    /// The TLS handshake's, and the reason by all that was seen of the handshake.
    Tls(TlsError, Reason),
    /// The backend refused our certificate after the handshake, before anything was sent; how it did.
    Refused(&'static str),
    /// `timeouts.connect` is over.
    Timeout(Stage),
    /// The backend did not request our certificate, and `tls.require_client_auth` is set.
    NotAsked,
    /// The request's host can't be a TLS server name, and the upstream sets none.
    ServerName,
    /// The upstream has as many of these as may be (`upstream.limits`).
    Limit(Bound),
    /// The backend does not take HTTP/2, and `http` is `"2"`.
    NoHttp2,
    /// Every HTTP/2 connection to the endpoint carries as many streams as the backend permits, and there are as many
    /// connections as may be.
    Streams,
}

impl ConnectError {
    /// Why TLS failed, if it was that.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Tls(_, reason) => Some(*reason),
            Self::Timeout(Stage::Tls) => Some(Reason::Timeout),
            Self::NotAsked => Some(Reason::NotAsked),
            Self::Unresolved
            | Self::NoEndpoint
            | Self::Io(_)
            | Self::NoDescriptor
            | Self::Timeout(Stage::Tcp)
            | Self::Refused(_)
            | Self::Limit(_)
            | Self::NoHttp2
            | Self::Streams
            | Self::ServerName => None,
        }
    }

    /// What follows the error in the log: which side ended the handshake, if that was ours, and what to do.
    pub fn advice(&self) -> String {
        let mut advice = String::new();
        if let Self::Tls(error, _) = self
            && let Some(alert) = error.alert_sent()
        {
            let _ = write!(advice, "; we closed with the alert {}", alert_name(alert));
        }
        if let Some(reason) = self.reason() {
            let _ = write!(advice, "; {}", reason.remedy());
        }
        advice
    }
}

impl ConnectError {
    fn proxy_error(&self) -> &'static str {
        use std::io::ErrorKind as K;
        match self {
            Self::Unresolved => "dns_error",
            Self::Io(error) => match error.kind() {
                K::NetworkUnreachable | K::HostUnreachable | K::AddrNotAvailable => {
                    "destination_ip_unroutable"
                }
                K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe => "connection_terminated",
                K::TimedOut => "connection_timeout",
                _ => "connection_refused",
            },
            Self::NoDescriptor => "proxy_internal_error",
            Self::Tls(_, reason) => tls_error(*reason),
            Self::Refused(_) => "tls_alert_received",
            Self::Timeout(_) => "connection_timeout",
            Self::NotAsked => "tls_protocol_error",
            Self::ServerName => "proxy_configuration_error",
            Self::NoEndpoint => "destination_unavailable",
            Self::Limit(_) | Self::Streams => "connection_limit_reached",
            Self::NoHttp2 => "tls_protocol_error",
        }
    }
}

/// The error type of RFC 9209 §2.3 for what went wrong in TLS with a backend.
fn tls_error(reason: Reason) -> &'static str {
    use Reason as R;
    match reason {
        R::CertificateRefused(_) | R::Alert(_) => "tls_alert_received",
        R::Expired
        | R::NotYetValid
        | R::UnknownIssuer
        | R::WrongName
        | R::Revoked
        | R::RevocationUnknown
        | R::WrongUsage
        | R::Constraints
        | R::WeakKey
        | R::WeakSignature
        | R::BadSignature
        | R::Pin
        | R::NoCertificate
        | R::BadCertificate => "tls_certificate_error",
        R::Timeout => "connection_timeout",
        R::Closed | R::Reset | R::ClosedAfterCertificate => "connection_terminated",
        R::NotAsked | R::PlainText | R::Version | R::Cipher | R::Protocol | R::Renegotiation | R::Other => {
            "tls_protocol_error"
        }
    }
}

/// How far a connection was when its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The backend had not accepted it.
    Tcp,
    /// The backend had accepted it, and was silent in the TLS handshake.
    Tls,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved => f.write_str("the endpoint's name does not resolve"),
            Self::NoEndpoint => f.write_str("no endpoint of the upstream takes requests"),
            Self::Io(error) => write!(f, "connect: {error}"),
            Self::NoDescriptor => f.write_str(
                "no file descriptor was free within `timeouts.connect`: raise LimitNOFILE (`ulimit -n`)",
            ),
            Self::Tls(error, _) => write!(f, "TLS: {error}"),
            Self::Refused(how) => write!(f, "TLS: the client certificate was refused: {how}"),
            Self::Timeout(Stage::Tcp) => f.write_str("not connected within `timeouts.connect`"),
            Self::Timeout(Stage::Tls) => {
                f.write_str("TLS: the handshake was not finished within `timeouts.connect`")
            }
            Self::NotAsked => f.write_str(
                "TLS: the backend did not ask for our certificate, and `tls.require_client_auth` is set",
            ),
            Self::Limit(bound) => bound.fmt(f),
            Self::NoHttp2 => f.write_str(
                "TLS: the backend did not choose HTTP/2 by ALPN, and `http` is \"2\": enable HTTP/2 there, or write `http = \"auto\"`",
            ),
            Self::Streams => f.write_str(
                "every HTTP/2 connection of this worker carries as many streams as the backend permits",
            ),
            Self::ServerName => {
                f.write_str("the request has no host that can be verified: set `tls.server_name`")
            }
        }
    }
}

impl Failure {
    /// What it means that a backend's connection, or a stream of it, broke.
    pub(crate) fn of_backend(error: StreamError) -> Self {
        match error {
            StreamError::Http2(
                StreamEnd::Reset(ResetCause::Violation(violation)) | StreamEnd::Failed(violation),
            ) => Self::Http2(violation),
            StreamError::Http2(StreamEnd::Send(
                error @ (SendError::Field | SendError::HeaderListTooLarge | SendError::ConnectProtocol),
            )) => Self::Unsendable(error),
            error => Self::BackendGone(Some(error)),
        }
    }

    /// Whether the backend has certainly not processed the request, so that it may be sent again whatever its method
    /// (RFC 9113 §8.7).
    pub(crate) fn is_unprocessed(&self) -> bool {
        matches!(self, Self::BackendGone(Some(error)) if Self::is_of_unprocessed(error))
    }

    fn is_of_unprocessed(error: &StreamError) -> bool {
        let StreamError::Http2(end) = error else { return false };
        match end {
            StreamEnd::Reset(ResetCause::NotProcessed) => true,
            StreamEnd::Reset(ResetCause::Peer(code)) => {
                matches!(*code, ErrorCode::REFUSED_STREAM | ErrorCode::HTTP_1_1_REQUIRED)
            }
            StreamEnd::Send(error) => matches!(
                error,
                SendError::GoingAway | SendError::StreamLimit | SendError::StreamIds | SendError::Closed
            ),
            StreamEnd::Reset(ResetCause::Violation(_)) | StreamEnd::Failed(_) | StreamEnd::Lost => false,
        }
    }

    /// The same of a request whose body is not here any more to be sent again.
    pub(crate) fn without_body(self) -> Self {
        match self {
            Self::BackendGone(Some(error)) if Self::is_of_unprocessed(&error) => Self::NotHeld(error),
            failure => failure,
        }
    }

    /// Whether nothing of the request was sent.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self, Self::Unsendable(_) | Self::BackendGone(Some(StreamError::Http2(StreamEnd::Send(_)))))
    }

    /// Whether the connection ended, and not the request's stream alone.
    pub(crate) fn is_about_connection(&self) -> bool {
        !matches!(self, Self::BackendGone(Some(StreamError::Http2(StreamEnd::Reset(_)))))
    }

    /// Whether the backend wants the request by HTTP/1.1 (RFC 9113 §7, HTTP_1_1_REQUIRED).
    pub(crate) fn asks_for_http1(&self) -> bool {
        let required = StreamEnd::Reset(ResetCause::Peer(ErrorCode::HTTP_1_1_REQUIRED));
        matches!(self, Self::BackendGone(Some(StreamError::Http2(end))) if *end == required)
    }

    /// The response to the client, if it can still get one; `None`: the connection is just closed.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Request(error) => Some(error.status()),
            Self::Unserved(unserved) => Some(unserved.status()),
            Self::AmbiguousPath(_) | Self::RequestBody(_) | Self::NotBase64 => Some(400),
            Self::LastHop => Some(200),
            Self::NoRoute => Some(404),
            Self::NoCors | Self::NotPermitted => Some(403),
            Self::MethodNotAllowed(_) => Some(405),
            Self::BodyTooLarge => Some(413),
            Self::HeadTimeout | Self::ClientTimeout | Self::ClientTooSlow => Some(408),
            Self::ClientGone => None,
            Self::QueueFull | Self::QueueTimeout | Self::MemoryShort | Self::EndpointsDown => Some(503),
            Self::Connect(
                ConnectError::NoDescriptor
                | ConnectError::NoEndpoint
                | ConnectError::Streams
                | ConnectError::Limit(_),
            ) => Some(503),
            Self::Connect(ConnectError::Timeout(_)) | Self::BackendTimeout | Self::CallTimeout => Some(504),
            Self::FileCut => Some(500),
            // A protocol that the client wants, and the backend does not have.
            Self::Unsendable(SendError::ConnectProtocol) => Some(501),
            Self::Connect(_)
            | Self::Response(_)
            | Self::ResponseBody(_)
            | Self::Http2(_)
            | Self::Unsendable(_)
            | Self::Unwanted(_)
            | Self::BackendGone(_)
            | Self::NotHeld(_)
            | Self::Refused(_) => Some(502),
        }
    }

    /// The code of gRPC that a client of that gets, where it gets a response.
    pub(crate) fn grpc_status(&self) -> Option<u8> {
        match self {
            Self::CallTimeout => Some(grpc::DEADLINE_EXCEEDED),
            _ => self.status().map(grpc::status_of_http),
        }
    }

    /// The code of gRPC that a call ends with which fails within its response. `None`: its client has left.
    pub(crate) fn grpc_status_within(&self) -> Option<u8> {
        match self {
            Self::BackendGone(Some(StreamError::Http2(StreamEnd::Reset(ResetCause::Peer(code))))) => {
                Some(grpc::status_of_reset(code.0))
            }
            Self::ResponseBody(BodyError::Truncated) => Some(grpc::UNAVAILABLE),
            Self::ResponseBody(_) | Self::Response(_) | Self::Http2(_) => Some(grpc::INTERNAL),
            _ => self.grpc_status(),
        }
    }

    /// The count of the bound that was met, if one was.
    pub fn bound<'c>(&self, counters: &'c Counters) -> Option<&'c Count> {
        Some(match self {
            Self::Request(RequestError::HeadTooLong) => &counters.limit_head_bytes,
            Self::Request(RequestError::TooManyFields) => &counters.limit_headers,
            Self::Request(RequestError::TargetTooLong) => &counters.limit_target_bytes,
            Self::BodyTooLarge => &counters.limit_body_bytes,
            Self::HeadTimeout => &counters.limit_head_timeout,
            Self::ClientTimeout => &counters.limit_body_timeout,
            Self::ClientTooSlow => &counters.limit_body_rate,
            Self::MemoryShort => &counters.limit_buffer_memory,
            Self::EndpointsDown => &counters.refused_endpoints_down,
            Self::Connect(ConnectError::Limit(Bound::Requests)) => &counters.limit_upstream_requests,
            Self::Connect(ConnectError::Limit(Bound::Pending)) => &counters.limit_upstream_pending,
            Self::Connect(ConnectError::Limit(Bound::Connections)) => &counters.limit_upstream_connections,
            Self::Connect(ConnectError::Limit(Bound::EndpointRequests)) => &counters.limit_endpoint_requests,
            Self::Connect(ConnectError::Limit(Bound::EndpointPending)) => &counters.limit_endpoint_pending,
            Self::Connect(ConnectError::Limit(Bound::EndpointConnections)) => {
                &counters.limit_endpoint_connections
            }
            Self::QueueFull => &counters.limit_queue_length,
            Self::QueueTimeout => &counters.limit_queue_timeout,
            _ => return None,
        })
    }

    /// The circuit bound that was met, if one was.
    pub(crate) fn circuit(&self) -> Option<Bound> {
        match self {
            Self::Connect(ConnectError::Limit(bound)) => Some(*bound),
            _ => None,
        }
    }

    /// The error type of a Proxy-Status field (RFC 9209 §2.3); `None`: there is none for it.
    pub(crate) fn proxy_error(&self) -> Option<&'static str> {
        Some(match self {
            Self::Request(_)
            | Self::Unserved(_)
            | Self::AmbiguousPath(_)
            | Self::RequestBody(_)
            | Self::NotBase64
            | Self::BodyTooLarge
            | Self::MethodNotAllowed(_)
            | Self::HeadTimeout
            | Self::ClientTimeout
            | Self::ClientTooSlow => "http_request_error",
            Self::NotPermitted | Self::NoCors => "http_request_denied",
            Self::NoRoute => "destination_not_found",
            Self::LastHop | Self::ClientGone | Self::Unwanted(_) => return None,
            Self::Connect(error) => error.proxy_error(),
            Self::Response(_) | Self::ResponseBody(_) | Self::Http2(_) | Self::Unsendable(_) => {
                "http_protocol_error"
            }
            Self::BackendGone(_) | Self::NotHeld(_) => "connection_terminated",
            Self::Refused(reason) => tls_error(*reason),
            Self::BackendTimeout | Self::CallTimeout => "http_response_timeout",
            Self::MemoryShort | Self::FileCut => "proxy_internal_error",
            Self::EndpointsDown => "destination_unavailable",
            Self::QueueFull | Self::QueueTimeout => "connection_limit_reached",
        })
    }

    /// Seconds after which the client may repeat the request, where that would help.
    pub fn retry_after(&self) -> Option<&'static str> {
        matches!(
            self,
            Self::QueueFull
                | Self::QueueTimeout
                | Self::MemoryShort
                | Self::EndpointsDown
                | Self::Connect(ConnectError::NoDescriptor | ConnectError::Streams | ConnectError::Limit(_))
        )
        .then_some("1")
    }

    /// Whether the backend gave the request up (CANCEL), as servers of gRPC do once a call has had its time.
    pub(crate) fn is_cancelled(&self) -> bool {
        let cancelled = StreamEnd::Reset(ResetCause::Peer(ErrorCode::CANCEL));
        matches!(self, Self::BackendGone(Some(StreamError::Http2(end))) if *end == cancelled)
    }

    /// Whether a deadline expired.
    pub fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::HeadTimeout
                | Self::ClientTimeout
                | Self::ClientTooSlow
                | Self::BackendTimeout
                | Self::CallTimeout
        )
    }

    /// Whether the log has a line of it already: the pool writes one for each endpoint that it tried.
    pub fn is_logged(&self) -> bool {
        match self {
            Self::Connect(error) => !matches!(error, ConnectError::ServerName),
            Self::Refused(_) => true,
            _ => false,
        }
    }

    /// Whether something failed: what ends here as the client wants it to is no failure.
    pub(crate) fn is_failure(&self) -> bool {
        !matches!(self, Self::LastHop)
    }

    /// What it is called where failures are listed: its type of RFC 9209 §2.3, or a word where that has none.
    pub(crate) fn kind(&self) -> &'static str {
        let own = if matches!(self, Self::Unwanted(_)) { "backend_status" } else { "client_disconnected" };
        self.proxy_error().unwrap_or(own)
    }

    /// Whether it was the client's doing.
    pub fn is_clients(&self) -> bool {
        matches!(self.status(), None | Some(200 | 400..=499 | 501 | 505))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => f.write_str(error.reason()),
            Self::Unserved(unserved) => f.write_str(unserved.reason()),
            Self::AmbiguousPath(error) => error.fmt(f),
            Self::NotPermitted => f.write_str("the listener does not permit the client's address"),
            Self::NoRoute => f.write_str("no route matches"),
            Self::MethodNotAllowed(_) => f.write_str("no route matches with this method"),
            Self::NoCors => f.write_str("CORS: the route has no policy"),
            Self::LastHop => f.write_str("Max-Forwards is 0"),
            Self::BodyTooLarge => f.write_str("the body is longer than limits.body_bytes"),
            Self::RequestBody(error) => write!(f, "request body: {error}"),
            Self::HeadTimeout => f.write_str("the head took longer than limits.head_timeout"),
            Self::ClientTimeout => f.write_str("the client was silent for limits.body_timeout"),
            Self::ClientTooSlow => f.write_str("the client was slower than limits.body_rate"),
            Self::ClientGone => f.write_str("the client is gone"),
            Self::Connect(error) => error.fmt(f),
            Self::Response(error) => write!(f, "response: {}", error.reason()),
            Self::Http2(violation) => write!(f, "response: HTTP/2: {violation}"),
            Self::Unsendable(error) => write!(f, "the request cannot be sent by HTTP/2: {error}"),
            Self::ResponseBody(error) => write!(f, "response body: {error}"),
            Self::BackendGone(None) => f.write_str("the backend closed before its response was whole"),
            Self::BackendGone(Some(error)) => write!(f, "backend: {error}"),
            Self::NotHeld(error) => write!(
                f,
                "backend: {error}; the request can't be sent again, as its body was passed on in parts that are not kept"
            ),
            Self::Refused(reason) => write!(f, "the backend refused the TLS connection: {reason}"),
            Self::BackendTimeout => f.write_str("the backend was too slow"),
            Self::CallTimeout => f.write_str("the call took longer than its grpc-timeout"),
            Self::NotBase64 => f.write_str("request body: not base64, as application/grpc-web-text has it"),
            Self::Unwanted(status) => write!(f, "the backend answered {status}"),
            Self::FileCut => f.write_str("a file could not be read on, or became shorter, while it was sent"),
            Self::MemoryShort => f.write_str("buffers take three quarters of limits.buffer_memory"),
            Self::EndpointsDown => f.write_str("the health checks of every endpoint fail (health.all_down)"),
            Self::QueueFull => f.write_str("as many exchanges wait for the upstream as may (queue.length)"),
            Self::QueueTimeout => f.write_str("no endpoint had room within queue.timeout"),
        }
    }
}
