//! `log.access_format`: the content of a line of the access log, and what it leaves out.

use super::foreign_variables;
use super::suggest::{nearest, quoted};
use super::units::Wrong;
use crate::route::MapRef;

/// A line's form, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// How values are escaped.
    pub style: Style,
    /// What a line is made of, in order. Neighbouring literals are one.
    pub pieces: Vec<Piece>,
    /// Keys whose values are not shown in a query, in lower case.
    pub hidden_query: Vec<String>,
}

/// How values are written, so that none of them can end its field or its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Bytes other than printable ASCII, and `"` and `\`, become `\xHH`; what is missing is `-`.
    Text,
    /// JSON values; what is missing is `null`.
    Json,
}

/// Part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Written as it is.
    Literal(String),
    /// Looked up.
    Value(Variable),
}

/// A value of an exchange that a log line or a header field may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// When the line was written: RFC 3339, UTC, with milliseconds.
    Time,
    /// The listener's name.
    Listener,
    /// The client's address.
    ClientAddress,
    /// `http` or `https`.
    ClientScheme,
    /// The name of the API key that the request came with.
    ClientKey,
    /// The name of the consumer whose credential the request came with.
    ClientConsumer,
    /// The name of that credential.
    ClientCredential,
    /// The user of `auth.basic`, or the `sub` of the token of `auth.jwt`.
    AuthUser,
    /// The status that the authorization service answered.
    AuthStatus,
    /// How long it took, in milliseconds.
    AuthDuration,
    /// The subject of its certificate.
    CertificateSubject,
    /// SHA-256 of its certificate.
    CertificateFingerprint,
    /// `TLSv1.2` or `TLSv1.3`.
    TlsVersion,
    /// The cipher suite.
    TlsCipher,
    /// The server name in the client's handshake (SNI).
    TlsSni,
    /// The method.
    Method,
    /// The request-target as received, its query redacted.
    Target,
    /// The target's path.
    Path,
    /// The target's query, redacted.
    Query,
    /// The authority.
    Host,
    /// `HTTP/1.1`
    Version,
    /// The id that the request was given.
    RequestId,
    /// `traceparent` as the backend sees it (W3C Trace Context).
    TraceParent,
    /// A field of the request, by its name in lower case.
    RequestHeader(String),
    /// A field of the request whose value is not shown.
    RequestHidden(String),
    /// A cookie of the request, by its name.
    RequestCookie(String),
    /// A query parameter of the request, by its name, decoded.
    RequestParameter(String),
    /// The value that a map has for the request.
    Map(MapRef),
    /// What the client was answered.
    Status,
    /// Bytes of the response, its head included.
    ResponseBytes,
    /// A field of the response, by its name in lower case.
    ResponseHeader(String),
    /// A field of the response whose value is not shown.
    ResponseHidden(String),
    /// From the request's head to the response's end, in milliseconds.
    Duration,
    /// The same in whole microseconds.
    DurationMicros,
    /// From the request's head to the response's, in milliseconds.
    FirstByte,
    /// The same in whole microseconds.
    FirstByteMicros,
    /// The upstream's name.
    Upstream,
    /// The endpoint.
    Endpoint,
    /// How often the request was sent to a backend.
    Tries,
    /// Bytes that a relay carried to the backend.
    RelayUp,
    /// Bytes that it carried to the client.
    RelayDown,
    /// Datagrams that a udp session carried to the backend.
    DatagramsUp,
    /// Datagrams that it carried to the client.
    DatagramsDown,
    /// Which side ended it.
    RelayEnd,
    /// Why the request was not served as asked.
    Failure,
    /// The same as an error type of RFC 9209.
    FailureType,
    /// The code that a call of gRPC ended with.
    GrpcStatus,
}

/// The variables that are named by themselves.
const VARIABLES: [(&str, Variable); 40] = [
    ("time", Variable::Time),
    ("listener", Variable::Listener),
    ("client.address", Variable::ClientAddress),
    ("client.scheme", Variable::ClientScheme),
    ("client.key", Variable::ClientKey),
    ("client.consumer", Variable::ClientConsumer),
    ("client.credential", Variable::ClientCredential),
    ("auth.user", Variable::AuthUser),
    ("client.certificate.subject", Variable::CertificateSubject),
    ("client.certificate.fingerprint", Variable::CertificateFingerprint),
    ("tls.version", Variable::TlsVersion),
    ("tls.cipher", Variable::TlsCipher),
    ("tls.sni", Variable::TlsSni),
    ("request.method", Variable::Method),
    ("request.target", Variable::Target),
    ("request.path", Variable::Path),
    ("request.query", Variable::Query),
    ("request.host", Variable::Host),
    ("request.version", Variable::Version),
    ("request.id", Variable::RequestId),
    ("trace.parent", Variable::TraceParent),
    ("response.status", Variable::Status),
    ("response.bytes", Variable::ResponseBytes),
    ("duration", Variable::Duration),
    ("duration.us", Variable::DurationMicros),
    ("first_byte", Variable::FirstByte),
    ("first_byte.us", Variable::FirstByteMicros),
    ("upstream", Variable::Upstream),
    ("endpoint", Variable::Endpoint),
    ("tries", Variable::Tries),
    ("relay.up", Variable::RelayUp),
    ("relay.down", Variable::RelayDown),
    ("relay.datagrams_up", Variable::DatagramsUp),
    ("relay.datagrams_down", Variable::DatagramsDown),
    ("relay.end", Variable::RelayEnd),
    ("failure", Variable::Failure),
    ("failure.type", Variable::FailureType),
    ("grpc.status", Variable::GrpcStatus),
    ("auth.status", Variable::AuthStatus),
    ("auth.duration", Variable::AuthDuration),
];
/// Those that a field's name follows.
const HEADERS: [&str; 2] = ["request.header.", "response.header."];
/// Those that another name follows.
const NAMED: [&str; 3] = ["request.cookie.", "request.query.", "map."];
/// The longest line form, in bytes.
const LONGEST: usize = 4096;

/// The default fields of a JSON line.
const JSON: [(&str, Variable); 18] = [
    ("time", Variable::Time),
    ("listener", Variable::Listener),
    ("client", Variable::ClientAddress),
    ("client_certificate", Variable::CertificateSubject),
    ("consumer", Variable::ClientConsumer),
    ("credential", Variable::ClientCredential),
    ("method", Variable::Method),
    ("target", Variable::Target),
    ("host", Variable::Host),
    ("request_id", Variable::RequestId),
    ("status", Variable::Status),
    ("grpc_status", Variable::GrpcStatus),
    ("bytes", Variable::ResponseBytes),
    ("duration_us", Variable::DurationMicros),
    ("first_byte_us", Variable::FirstByteMicros),
    ("upstream", Variable::Upstream),
    ("endpoint", Variable::Endpoint),
    ("failure", Variable::Failure),
];
/// The default text line.
const TEXT: &str = "{time} {client.address} {request.host} \"{request.method} {request.target}\" {response.status} \
     {response.bytes} {duration}ms {upstream} {endpoint} {request.id} \"{failure}\"";

/// The same of a tcp listener's connections.
const TCP_JSON: [(&str, Variable); 14] = [
    ("time", Variable::Time),
    ("listener", Variable::Listener),
    ("client", Variable::ClientAddress),
    ("client_certificate", Variable::CertificateSubject),
    ("tls_version", Variable::TlsVersion),
    ("tls_cipher", Variable::TlsCipher),
    ("sni", Variable::TlsSni),
    ("upstream", Variable::Upstream),
    ("endpoint", Variable::Endpoint),
    ("bytes_up", Variable::RelayUp),
    ("bytes_down", Variable::RelayDown),
    ("duration_us", Variable::DurationMicros),
    ("end", Variable::RelayEnd),
    ("failure", Variable::Failure),
];
const TCP_TEXT: &str = "{time} {client.address} {listener} {tls.sni} {relay.up} {relay.down} {duration}ms {upstream} {endpoint} \
     {relay.end} \"{failure}\"";

/// The same of a udp listener's sessions.
const UDP_JSON: [(&str, Variable); 12] = [
    ("time", Variable::Time),
    ("listener", Variable::Listener),
    ("client", Variable::ClientAddress),
    ("upstream", Variable::Upstream),
    ("endpoint", Variable::Endpoint),
    ("bytes_up", Variable::RelayUp),
    ("bytes_down", Variable::RelayDown),
    ("datagrams_up", Variable::DatagramsUp),
    ("datagrams_down", Variable::DatagramsDown),
    ("duration_us", Variable::DurationMicros),
    ("end", Variable::RelayEnd),
    ("failure", Variable::Failure),
];
const UDP_TEXT: &str = "{time} {client.address} {listener} {relay.up} {relay.down} {relay.datagrams_up} {relay.datagrams_down} \
     {duration}ms {upstream} {endpoint} {relay.end} \"{failure}\"";

impl Format {
    /// A line for people, of a udp listener.
    pub fn udp_text() -> Self {
        let pieces = pieces(UDP_TEXT).unwrap_or_default();
        Self { style: Style::Text, pieces, hidden_query: Vec::new() }
    }

    /// A JSON object of a udp listener.
    pub fn udp_json() -> Self {
        Self::object(UDP_JSON.iter().map(|(key, variable)| (*key, variable.clone())))
    }

    /// A line for people, of a tcp listener.
    pub fn tcp_text() -> Self {
        let pieces = pieces(TCP_TEXT).unwrap_or_default();
        Self { style: Style::Text, pieces, hidden_query: Vec::new() }
    }

    /// A JSON object of a tcp listener.
    pub fn tcp_json() -> Self {
        Self::object(TCP_JSON.iter().map(|(key, variable)| (*key, variable.clone())))
    }

    /// The name of the first variable that only a request has, and so no tcp connection; `None` if there is none.
    pub fn about_requests(&self) -> Option<String> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Value(Variable::RequestHeader(name) | Variable::RequestHidden(name)) => {
                Some(format!("request.header.{name}"))
            }
            Piece::Value(Variable::ResponseHeader(name) | Variable::ResponseHidden(name)) => {
                Some(format!("response.header.{name}"))
            }
            Piece::Value(Variable::RequestCookie(name)) => Some(format!("request.cookie.{name}")),
            Piece::Value(Variable::RequestParameter(name)) => Some(format!("request.query.{name}")),
            Piece::Value(Variable::Map(map)) => Some(map.to_string()),
            Piece::Value(variable) => {
                let name = VARIABLES.iter().find(|(_, known)| known == variable).map(|(name, _)| *name)?;
                let others = [
                    "request.",
                    "response.",
                    "trace.",
                    "first_byte",
                    "client.key",
                    "client.consumer",
                    "client.credential",
                    "auth.",
                    "tries",
                    "grpc.",
                ];
                others.iter().any(|start| name.starts_with(start)).then(|| name.to_owned())
            }
        })
    }

    /// A JSON object a line, with the usual fields.
    pub fn json() -> Self {
        Self::object(JSON.iter().map(|(key, variable)| (*key, variable.clone())))
    }

    /// A line for people.
    pub fn text() -> Self {
        let pieces = pieces(TEXT).unwrap_or_default();
        Self { style: Style::Text, pieces, hidden_query: Vec::new() }
    }

    /// A JSON object with these fields, in this order.
    pub fn object<'k>(fields: impl IntoIterator<Item = (&'k str, Variable)>) -> Self {
        let mut pieces = Vec::new();
        let mut literal = "{".to_owned();
        for (key, variable) in fields {
            let separator = if pieces.is_empty() { "" } else { "," };
            literal.push_str(&format!("{separator}{}:", serde_json::Value::from(key)));
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            pieces.push(Piece::Value(variable));
        }
        literal.push('}');
        pieces.push(Piece::Literal(literal));
        Self { style: Style::Json, pieces, hidden_query: Vec::new() }
    }

    /// Reads `json`, `text`, or a line with variables in braces; `{{` and `}}` are braces.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        match text {
            "json" => return Ok(Self::json()),
            "text" => return Ok(Self::text()),
            _ => {}
        }
        if let Some(bad) = text.chars().find(|c| c.is_control()) {
            return Err(Wrong::new(format!("{} can't stand in a line", quoted(&bad.to_string()))));
        }
        if text.len() > LONGEST {
            return Err(Wrong::new(format!("it has more than {LONGEST} bytes")));
        }
        let pieces = pieces(text)?;
        if !pieces.iter().any(|piece| matches!(piece, Piece::Value(_))) {
            let wrong = Wrong::new(format!("{} has no variable in it", quoted(text)));
            return Err(wrong.help(match nearest(text, ["json", "text"]) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => format!("write \"json\", \"text\", or a line such as {TEXT:?}"),
            }));
        }
        Ok(Self { style: Style::Text, pieces, hidden_query: Vec::new() })
    }

    /// Values of these fields, and of these keys in a query, are not shown. Names are in lower case.
    pub fn redact(&mut self, headers: &[String], query: Vec<String>) {
        for piece in &mut self.pieces {
            match piece {
                Piece::Value(Variable::RequestHeader(name)) if headers.contains(name) => {
                    *piece = Piece::Value(Variable::RequestHidden(std::mem::take(name)));
                }
                Piece::Value(Variable::ResponseHeader(name)) if headers.contains(name) => {
                    *piece = Piece::Value(Variable::ResponseHidden(std::mem::take(name)));
                }
                _ => {}
            }
        }
        // A cookie is part of its field.
        let hides_cookies = headers.iter().any(|name| name == "cookie");
        for piece in self.pieces.iter_mut().filter(|_| hides_cookies) {
            if matches!(piece, Piece::Value(Variable::RequestCookie(_))) {
                *piece = Piece::Value(Variable::RequestHidden("cookie".to_owned()));
            }
        }
        self.hidden_query = query;
    }
}

/// Reads a header field's value, in which those variables may stand that are known when a request has been understood.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn template(text: &str) -> Result<Vec<Piece>, Wrong> {
    let pieces = pieces_of(super::names::field_value(text)?, is_early)?;
    if pieces.iter().any(|piece| matches!(piece, Piece::Value(variable) if !is_early(variable))) {
        let wrong = Wrong::new(format!(
            "{} has a variable that is not known yet when headers are written",
            quoted(text)
        ));
        return Err(wrong
            .help("those that begin with client, tls or request are, but for client.key, client.consumer and client.credential, and listener is"));
    }
    Ok(pieces)
}

/// Whether a variable is known when a request has been understood.
pub(super) fn is_early(variable: &Variable) -> bool {
    use Variable::*;
    !matches!(
        variable,
        Time | Status
            | ResponseBytes
            | ResponseHeader(_)
            | ResponseHidden(_)
            | Duration
            | DurationMicros
            | FirstByte
            | FirstByteMicros
            | Upstream
            | Endpoint
            | Tries
            | RelayUp
            | RelayDown
            | DatagramsUp
            | DatagramsDown
            | RelayEnd
            | Failure
            | FailureType
            | GrpcStatus
            | ClientKey
            | ClientConsumer
            | ClientCredential
            | AuthUser
            | AuthStatus
            | AuthDuration
            | TraceParent
    )
}

/// A line with variables in braces.
///
/// # Errors
/// What is wrong with it.
fn pieces(text: &str) -> Result<Vec<Piece>, Wrong> {
    pieces_of(text, |_| true)
}

/// The same where `permits` says which variables may stand: no others are suggested.
pub(super) fn pieces_of(text: &str, permits: fn(&Variable) -> bool) -> Result<Vec<Piece>, Wrong> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            literal.push_str(brace);
            rest = after;
            continue;
        }
        let help =
            "a variable is written in braces, such as {request.method}; for a brace itself write it twice";
        let (name, after) = match rest.split_once('}') {
            Some(parts) if brace == "{" => parts,
            _ => return Err(Wrong::new(format!("a `{brace}` has no partner")).help(help)),
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Value(variable_of(name, permits)?));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// A variable by its name.
///
/// # Errors
/// There is none of this name.
pub(crate) fn variable(name: &str) -> Result<Variable, Wrong> {
    variable_of(name, |_| true)
}

/// The same where `permits` says which variables may stand: no others are suggested. One of these is not refused here.
///
/// # Errors
/// There is none of this name.
pub(super) fn variable_of(name: &str, permits: fn(&Variable) -> bool) -> Result<Variable, Wrong> {
    if let Some((_, variable)) = VARIABLES.iter().find(|(known, _)| *known == name) {
        return Ok(variable.clone());
    }
    if let Some(prefix) = HEADERS.into_iter().find(|prefix| name.starts_with(prefix)) {
        let field = header(&name[prefix.len()..])?;
        return Ok(match prefix {
            "request.header." => Variable::RequestHeader(field),
            _ => Variable::ResponseHeader(field),
        });
    }
    let named = NAMED.into_iter().find_map(|prefix| Some((prefix, name.strip_prefix(prefix)?)));
    if let Some((prefix, rest)) = named.filter(|(_, rest)| !rest.is_empty()) {
        return Ok(match prefix {
            "request.cookie." => {
                header(rest)?;
                Variable::RequestCookie(rest.to_owned())
            }
            "request.query." => Variable::RequestParameter(rest.to_owned()),
            _ => Variable::Map(MapRef::new(super::names::name(rest)?)),
        });
    }
    let wrong = Wrong::new(format!("there is no variable {}", quoted(name)));
    Err(wrong.help(suggestion(name, permits)))
}

/// The variable that was meant by a name that there is not, and all that are permitted.
fn suggestion(name: &str, permits: fn(&Variable) -> bool) -> String {
    let names = || VARIABLES.iter().filter(|(_, variable)| permits(variable)).map(|(name, _)| *name);
    let families = [
        ("request.header.NAME", Variable::RequestHeader(String::new())),
        ("request.cookie.NAME", Variable::RequestCookie(String::new())),
        ("request.query.NAME", Variable::RequestParameter(String::new())),
        ("map.NAME", Variable::Map(MapRef::new("NAME"))),
        ("response.header.NAME", Variable::ResponseHeader(String::new())),
    ];
    let families = families.iter().filter(|(_, variable)| permits(variable)).map(|(name, _)| *name);
    let list = format!("the variables here are {}", names().chain(families).collect::<Vec<_>>().join(", "));
    let bare = name.trim_start_matches('$').to_ascii_lowercase();
    let is_permitted = |ours: &String| variable(ours).is_ok_and(|variable| permits(&variable));
    let near = || {
        let last = || names().find(|known| known.rsplit('.').next() == Some(&*bare));
        nearest(&bare, names()).or_else(last).map(str::to_owned)
    };
    match foreign_variables::ours(&bare).filter(is_permitted).or_else(near) {
        Some(near) => format!("did you mean {{{near}}}? {list}"),
        None => list,
    }
}

/// A field name, in lower case (RFC 9110 §5.1).
///
/// # Errors
/// It is none.
pub(crate) fn header(text: &str) -> Result<String, Wrong> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(token) {
        return Err(Wrong::new(format!("{} is not a header name", quoted(text))));
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_made_of_literals_and_variables() {
        let format = Format::parse("{{{client.address}}} {request.header.User-Agent}!").unwrap();
        assert_eq!(
            format.pieces,
            [
                Piece::Literal("{".into()),
                Piece::Value(Variable::ClientAddress),
                Piece::Literal("} ".into()),
                Piece::Value(Variable::RequestHeader("user-agent".into())),
                Piece::Literal("!".into()),
            ]
        );
        assert_eq!(format.style, Style::Text);
        assert_eq!(Format::parse("json").unwrap(), Format::json());
        assert!(Format::text().pieces.len() > 10);
        assert_eq!(Format::json().pieces.len(), 2 * JSON.len() + 1);
    }

    #[test]
    fn only_what_may_stand_there_is_suggested() {
        let help = |wrong: Wrong| wrong.help.unwrap_or_default();
        let said = help(template("{client.ip}").unwrap_err());
        assert!(said.starts_with("did you mean {client.address}? ") && said.contains("map.NAME"), "{said}");
        let said =
            [said, help(template("{client.kye}").unwrap_err()), help(template("{status}").unwrap_err())];
        for late in ["client.key", "response.", "duration", "endpoint"] {
            assert!(!said.iter().any(|said| said.contains(late)), "{late}: {said:?}");
        }
    }

    #[test]
    fn what_is_no_variable_is_refused_with_the_nearest_one() {
        for (text, title, help) in [
            ("{request.methd}", "there is no variable \"request.methd\"", "did you mean {request.method}?"),
            ("{status}", "there is no variable \"status\"", "did you mean {response.status}?"),
            ("{$remote_addr}", "there is no variable \"$remote_addr\"", "did you mean {client.address}?"),
            ("{$time}", "there is no variable \"$time\"", "did you mean {time}?"),
            ("jsn", "\"jsn\" has no variable in it", "did you mean \"json\"?"),
            ("{time", "a `{` has no partner", "for a brace itself write it twice"),
            ("time}", "a `}` has no partner", "for a brace itself write it twice"),
            ("{time}\n", "\"\\n\" can't stand in a line", ""),
            ("{request.header.a b}", "\"a b\" is not a header name", ""),
        ] {
            let wrong = Format::parse(text).unwrap_err();
            assert_eq!(wrong.title, title, "{text}");
            assert!(wrong.help.unwrap_or_default().contains(help), "{text}");
        }
    }
}
