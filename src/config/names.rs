//! How names, addresses, hosts, paths and cipher suites are written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use rustls::SupportedCipherSuite;

use super::suggest::{nearest, quoted};
use super::units::Wrong;
use crate::base::address::{Address, MAX_UNIX_PATH, UNIX};
use crate::route::{HostPattern, PathPattern, Pattern};
use crate::tls::{CIPHER_SUITES, Group, cipher_suite_by_name, cipher_suite_name};

/// The longest name of a listener, an upstream or a certificate.
const LONGEST_NAME: usize = 100;
/// The longest DNS name and label (RFC 1035 §2.3.4, without the root's dot).
const LONGEST_HOST: usize = 253;
const LONGEST_LABEL: usize = 63;

/// A name of a listener, an upstream or a certificate in the store.
pub(super) fn name(text: &str) -> Result<&str, Wrong> {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !(first && rest) {
        return Err(Wrong::new(format!("{} is not a name", quoted(text)))
            .help("a name is made of letters, digits, `-`, `_` and `.`, and begins with a letter or digit"));
    }
    if text.len() > LONGEST_NAME {
        return Err(Wrong::new(format!("the name has more than {LONGEST_NAME} characters")));
    }
    Ok(text)
}

/// Whether the value of a certificate key is a file and not a name in the store.
pub(super) fn is_certificate_file(text: &str) -> bool {
    text.contains('/')
        || matches!(extension(text).as_deref(), Some("pem" | "crt" | "cer" | "der"))
        || is_container(text)
}

/// Whether a file's name is that of a PKCS#12 container, which holds the key, too.
pub(super) fn is_container(text: &str) -> bool {
    matches!(extension(text).as_deref(), Some("p12" | "pfx"))
}

fn extension(text: &str) -> Option<String> {
    text.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase())
}

/// A source address: one of this host's.
pub(super) fn source_address(text: &str) -> Result<IpAddr, Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{} is not a source address: {reason}", quoted(text)));
    match text.parse::<IpAddr>() {
        Err(_) => Err(wrong("it is no IP address")
            .help("write an address of this host without a port, such as \"10.0.0.9\"")),
        Ok(address) if address.is_unspecified() || address.is_multicast() => {
            Err(wrong("it is no host's address").help("leave it out for the kernel's choice"))
        }
        Ok(address) => Ok(address),
    }
}

/// The permissions of a socket's file, three octal digits.
pub(super) fn socket_mode(text: &str) -> Result<u32, Wrong> {
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if digits.len() == 3 && !digits.starts_with('+') => Ok(mode),
        _ => Err(Wrong::new(format!("{} is not a mode of a file", quoted(text)))
            .help("write three octal digits, such as \"660\" or \"666\"")),
    }
}

/// An address to listen on: an IP address and a port, which may be 0, or a Unix socket. Paths are resolved against `dir`.
pub(super) fn listen_address(text: &str, dir: &Path) -> Result<Address, Wrong> {
    if let Some(path) = text.strip_prefix(UNIX) {
        return Ok(Address::Unix(unix_path(path, dir)?.into()));
    }
    if let Ok(address) = text.parse() {
        return Ok(Address::Ip(address));
    }
    let wrong = Wrong::new(format!("{} is not an address to listen on", quoted(text)));
    let digits = |port: &str| port.parse::<u16>().is_ok();
    let bare = text.trim_matches(['[', ']']);
    Err(match text.rsplit_once(':') {
        Some(("" | "*", port)) if digits(port) => {
            wrong.help(format!("did you mean \"0.0.0.0:{port}\" (all of IPv4) or \"[::]:{port}\" (IPv6)?"))
        }
        Some(("localhost", port)) if digits(port) => {
            wrong.help(format!("did you mean \"127.0.0.1:{port}\"?"))
        }
        Some((host, port)) if digits(port) && host.parse::<Ipv6Addr>().is_ok() => {
            wrong.help(format!("an IPv6 address must be in brackets: \"[{host}]:{port}\""))
        }
        _ if digits(text) => wrong.help(format!("did you mean \"0.0.0.0:{text}\"?")),
        _ if bare.parse::<Ipv4Addr>().is_ok() => wrong.help(format!("the port is missing: \"{bare}:8080\"")),
        _ if bare.parse::<Ipv6Addr>().is_ok() => {
            wrong.help(format!("the port is missing: \"[{bare}]:8080\""))
        }
        _ if text.contains('/') && !text.contains("://") => {
            wrong.help(format!("did you mean \"{UNIX}{text}\"?"))
        }
        _ => wrong.help("write an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\""),
    })
}

/// The path of a Unix socket behind `unix:`, resolved against `dir`; `@NAME` is abstract and stays as it is.
pub(super) fn unix_path(path: &str, dir: &Path) -> Result<PathBuf, Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{} is not a Unix socket: {reason}", quoted(path)));
    if path.is_empty() || path == "@" {
        return Err(wrong("the path is missing").help("write \"unix:/run/app.sock\", or \"unix:@NAME\""));
    }
    if path.contains('\0') {
        return Err(wrong("a path has no zero byte"));
    }
    let resolved = if path.starts_with('@') { PathBuf::from(path) } else { dir.join(path) };
    if resolved.as_os_str().len() > MAX_UNIX_PATH {
        let help = format!("the kernel takes {MAX_UNIX_PATH} bytes at most: choose a shorter path");
        return Err(wrong("the path is too long").help(help));
    }
    if resolved.to_str().is_none() {
        return Err(wrong("the folder of the config file is not valid UTF-8"));
    }
    Ok(resolved)
}

/// An endpoint: `IP:PORT`, `[IPV6]:PORT`, `NAME:PORT`, `unix:PATH`, `dns:NAME:PORT`, `srv:NAME` or `file:PATH`. Paths are
/// resolved against `dir`.
pub(super) fn endpoint(text: &str, dir: &Path) -> Result<String, Wrong> {
    if let Some(path) = text.strip_prefix(UNIX) {
        return Ok(format!("{UNIX}{}", unix_path(path, dir)?.display()));
    }
    if let Some(name) = text.strip_prefix("dns:") {
        host_and_port(name)?;
        let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
        return match host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
            true => Err(Wrong::new(format!("{} is an address, and not a name", quoted(name)))
                .help(format!("did you mean \"{name}\"?"))),
            false => Ok(text.to_ascii_lowercase()),
        };
    }
    if let Some(name) = text.strip_prefix("srv:") {
        return service(name).map(|()| text.to_ascii_lowercase());
    }
    if let Some(path) = text.strip_prefix("file:") {
        let wrong = |reason: &str| Wrong::new(format!("{} is not a file: {reason}", quoted(path)));
        if path.is_empty() {
            return Err(wrong("the path is missing").help("write \"file:endpoints.toml\""));
        }
        let path = dir.join(path);
        return path
            .to_str()
            .map(|path| format!("file:{path}"))
            .ok_or_else(|| wrong("the folder is not valid UTF-8"));
    }
    host_and_port(text)
}

/// An entry of a file that lists endpoints: an address, a Unix socket, or a name with a port.
pub(super) fn listed_endpoint(text: &str, dir: &Path) -> Result<String, Wrong> {
    if ["dns:", "srv:", "file:"].iter().any(|kind| text.starts_with(kind)) {
        let title = format!("{} does not belong in a file of endpoints", quoted(text));
        return Err(Wrong::new(title).help("write `HOST:PORT`: names in it are looked up again by their TTL"));
    }
    endpoint(text, dir)
}

/// The name of a service: `_SERVICE._PROTOCOL.NAME` (RFC 2782).
fn service(name: &str) -> Result<(), Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{} is not a service: {reason}", quoted(name)));
    let labels: Vec<&str> = name.split('.').collect();
    let is_service =
        labels.len() > 2 && labels[..2].iter().all(|label| label.len() > 1 && label.starts_with('_'));
    if !is_service {
        let form = "write \"srv:_SERVICE._PROTOCOL.NAME\", such as \"srv:_https._tcp.orders.internal\"; the port is the record's";
        return Err(wrong("it does not begin with a service and a protocol").help(form));
    }
    host_name(name).map_err(|reason| wrong(&reason))
}

/// A name server: an IP address, perhaps with a port.
pub(super) fn name_server(text: &str) -> Result<SocketAddr, Wrong> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = text.parse().ok().or_else(|| Some(SocketAddr::new(bare.parse().ok()?, 53)));
    address.filter(|address| address.port() != 0).ok_or_else(|| {
        Wrong::new(format!("{} is not a name server", quoted(text)))
            .help("write its IP address, such as \"127.0.0.1\" or \"127.0.0.1:5353\"")
    })
}

/// `IP:PORT`, `[IPV6]:PORT` or `NAME:PORT`.
pub(super) fn host_and_port(text: &str) -> Result<String, Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{} is not an endpoint: {reason}", quoted(text)));
    if let Some((_, rest)) = text.split_once("://") {
        let rest = rest.split('/').next().unwrap_or_default();
        return Err(wrong("it is a URL").help(format!(
            "write host and port, \"{rest}\"; TLS is turned on by the upstream's `tls` table"
        )));
    }
    let form =
        "write a host and a port, such as \"10.0.0.1:8443\", \"[::1]:8443\" or \"backend.internal:8443\"";
    if text.parse::<Ipv6Addr>().is_ok() {
        // `::1:80` is an address, but hardly what was meant.
        let meant = text.rsplit_once(':').filter(|(host, _)| host.parse::<Ipv6Addr>().is_ok());
        let (host, port) = meant.unwrap_or((text, "80"));
        let help = format!("did you mean \"[{host}]:{port}\"?");
        return Err(wrong("an IPv6 address must be in brackets, before a port").help(help));
    }
    let Some((host, port)) = text.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) else {
        return Err(match text.parse::<u16>() {
            Ok(port) => wrong("the host is missing").help(format!("did you mean \"127.0.0.1:{port}\"?")),
            Err(_) if text.starts_with(['/', '.']) => {
                wrong("it is a path").help(format!("did you mean \"{UNIX}{text}\"?"))
            }
            Err(_) => wrong("the port is missing").help(form),
        });
    };
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("the port is not a number").help(form));
    }
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(wrong("the port is not between 1 and 65535"));
    }
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return match address.parse::<Ipv6Addr>() {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Err(wrong("the part in brackets is not an IPv6 address")),
        };
    }
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err(
            wrong("an IPv6 address must be in brackets").help(format!("did you mean \"[{host}]:{port}\"?"))
        );
    }
    if host.is_empty() {
        return Err(wrong("the host is missing").help(format!("did you mean \"127.0.0.1:{port}\"?")));
    }
    match host_name(host) {
        Ok(()) => Ok(text.to_owned()),
        Err(reason) => Err(wrong(&reason).help(form)),
    }
}

/// Checks an IPv4 address or a DNS name of letters, digits, hyphens and (seen in practice) underscores.
fn host_name(host: &str) -> Result<(), String> {
    if host.parse::<Ipv4Addr>().is_ok() {
        return Ok(());
    }
    if host.len() > LONGEST_HOST {
        return Err(format!("the name has more than {LONGEST_HOST} characters"));
    }
    for label in host.split('.') {
        if label.is_empty() {
            return Err("the name has an empty part".to_owned());
        }
        if label.len() > LONGEST_LABEL {
            return Err(format!("a part of the name has more than {LONGEST_LABEL} characters"));
        }
        if let Some(bad) = label.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_".contains(*c))) {
            return Err(format!("the name has {} in it", quoted(&bad.to_string())));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("a part of the name begins or ends with a hyphen".to_owned());
        }
    }
    // WHATWG URL §3.5: a name whose last label is a number can only be an IPv4 address.
    if host.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("it is neither an IPv4 address nor a name".to_owned());
    }
    Ok(())
}

/// `route.host`: a name, an IP address (IPv6 in brackets, as in the Host header), or `*.` and a name.
pub(super) fn host_pattern(text: &str) -> Result<HostPattern, Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{} is not a host: {reason}", quoted(text)));
    if text == "*" {
        return Err(wrong("a wildcard needs a name after it").help("leave `host` out to match any host"));
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        return Err(wrong("it is a URL").help(format!("did you mean \"{host}\"?")));
    }
    if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return match address.parse::<Ipv6Addr>() {
            Ok(address) => Ok(HostPattern::Exact(format!("[{address}]"))),
            Err(_) => Err(wrong("the part in brackets is not an IPv6 address")),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(wrong("an IPv6 address must be in brackets").help(format!("did you mean \"[{text}]\"?")));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(wrong("the port is the listener's").help(format!("did you mean \"{host}\"?")));
    }
    if let Some(host) = text.strip_suffix('.').filter(|host| host_name(host).is_ok()) {
        return Err(wrong("it ends with a dot").help(format!("did you mean \"{host}\"?")));
    }
    let (name, wildcard) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
    if name.contains('*') {
        return Err(
            wrong("a wildcard is allowed only at the beginning").help("write it like \"*.example.com\"")
        );
    }
    host_name(name).map_err(|reason| wrong(&reason))?;
    if wildcard && name.parse::<Ipv4Addr>().is_ok() {
        return Err(wrong("an IP address has no names below it"));
    }
    let name = name.to_ascii_lowercase();
    Ok(if wildcard { HostPattern::Wildcard(name) } else { HostPattern::Exact(name) })
}

/// `route.path`: `/prefix`, `=/exact`, `*suffix`, `~ REGEX` or `~* REGEX`, in the form in which paths are sent (RFC 3986 §3.3).
pub(super) fn path_pattern(text: &str) -> Result<PathPattern, Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{} is not a path: {reason}", quoted(text)));
    if let Some(rest) = text.strip_prefix('~') {
        let (rest, any_case) = rest.strip_prefix('*').map_or((rest, false), |rest| (rest, true));
        return regex(rest.trim_start(), any_case).map(PathPattern::Regex);
    }
    if let Some(end) = text.strip_prefix('*').filter(|end| !end.is_empty() && !end.contains('*')) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "/-._~!$&'()+,;=:@%".contains(c);
        return match end.chars().find(|c| !allowed(*c)) {
            Some(bad) => Err(wrong(&format!("{} can't stand in a path", quoted(&bad.to_string())))),
            None => Ok(PathPattern::Suffix(end.to_owned())),
        };
    }
    let (path, exact) = text.strip_prefix('=').map_or((text, false), |path| (path, true));
    if !path.starts_with('/') {
        let mark = if exact { "=" } else { "" };
        let corrected = path.trim_start().trim_end_matches('*');
        let help = format!("did you mean \"{mark}/{corrected}\"?");
        return Err(wrong("it does not begin with \"/\" or \"=/\"").help(help));
    }
    if let Some(base) = path.trim_end_matches('*').strip_suffix('/').filter(|_| path.ends_with('*')) {
        let base = if base.is_empty() { "/" } else { base };
        return Err(
            wrong("it has a wildcard").help(format!("a path matches what lies below it too: \"{base}\""))
        );
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/-._~!$&'()*+,;=:@%".contains(c);
    match path.chars().find(|c| !allowed(*c)) {
        Some('?') => {
            return Err(wrong("a route's path does not match the query").help("leave out what follows `?`"));
        }
        Some('#') => return Err(wrong("a fragment is never sent").help("leave out what follows `#`")),
        Some(bad) => {
            return Err(wrong(&format!("{} can't stand in a path", quoted(&bad.to_string())))
                .help("write it percent-encoded, as it is sent"));
        }
        None => {}
    }
    if path.contains('*') {
        return Err(wrong("it has a wildcard")
            .help("a path matches what lies below it too; write `%2A` for the character"));
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(wrong("it has a `.` or `..` segment"));
    }
    let encoded =
        |rest: &&str| rest.get(..2).is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if !path.split('%').skip(1).all(|rest| encoded(&rest)) {
        return Err(wrong("after `%` two hexadecimal digits must follow"));
    }
    Ok(if exact { PathPattern::Exact(path.to_owned()) } else { PathPattern::Prefix(path.to_owned()) })
}

/// A regular expression.
pub(super) fn regex(text: &str, any_case: bool) -> Result<Pattern, Wrong> {
    if text.is_empty() {
        return Err(
            Wrong::new("the regular expression is missing").help("write one, such as \"~ ^/v[0-9]+/\"")
        );
    }
    let wrong = |why| Wrong::new(format!("{} is not a regular expression: {why}", quoted(text)));
    Pattern::new(text, any_case).map_err(wrong)
}

/// Whether it is a token (RFC 9110 §5.6.2): the name of a field, a cookie or a method.
pub(super) fn token(text: &str) -> bool {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_of_token)
}

/// A method: a token (RFC 9110 §9.1), in capitals as all registered ones are.
pub(super) fn method(text: &str) -> Result<String, Wrong> {
    if text == "*" {
        return Err(Wrong::new("\"*\" is not a method").help("leave `methods` out to match any method"));
    }
    if !token(text) {
        return Err(Wrong::new(format!("{} is not a method", quoted(text))));
    }
    let capitals = text.to_ascii_uppercase();
    if text != capitals {
        return Err(Wrong::new(format!("{} is not a method: methods are in capitals", quoted(text)))
            .help(format!("did you mean \"{capitals}\"?")));
    }
    Ok(capitals)
}

/// The value of a header field: visible ASCII, spaces and tabs within (RFC 9110 §5.5). A line end in it would be the
/// beginning of another field.
pub(super) fn field_value(text: &str) -> Result<&str, Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{} is not a field value: {reason}", quoted(text)));
    if text.bytes().any(|byte| byte != b'\t' && !(b' '..=b'~').contains(&byte)) {
        return Err(wrong("it has a line end, a control character or one that is not ASCII"));
    }
    if text.trim() != text {
        return Err(
            wrong("it begins or ends with a space").help(format!("did you mean {}?", quoted(text.trim())))
        );
    }
    Ok(text)
}

/// `host[:port]` as a Host field has it.
pub(super) fn authority(text: &str) -> Result<&str, Wrong> {
    let (host, port) = match text.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let wrong = |reason: &str| Wrong::new(format!("{} is not a host: {reason}", quoted(text)));
    if port.is_some_and(|port| port.parse::<u16>().is_err() || port.starts_with('+')) {
        return Err(wrong("the port is not a number"));
    }
    if matches!(host_pattern(host)?, HostPattern::Wildcard(_)) {
        return Err(wrong("it has a wildcard").help("write one name"));
    }
    Ok(text)
}

/// A path that takes another's place: as a backend gets it.
pub(super) fn new_path(text: &str) -> Result<&str, Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{} is not a path: {reason}", quoted(text)));
    if !text.starts_with('/') {
        return Err(wrong("it does not begin with a slash").help(format!("did you mean \"/{text}\"?")));
    }
    if text.starts_with("//") {
        return Err(wrong("two slashes begin a host"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/".contains(&byte);
    match text.chars().find(|c| !c.is_ascii() || !plain(*c as u8)) {
        Some('?') => Err(wrong("it has a query").help("the request's own query is kept")),
        Some(other) => Err(wrong(&format!("it has {} in it", quoted(&other.to_string())))
            .help("percent-encode what is not a letter, a digit or one of -._~!$&'()*+,;=:@/")),
        None => Ok(text),
    }
}

/// A subject by RFC 4514, most specific part first.
pub(super) fn subject_pattern(text: &str) -> Result<&str, Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{} is not a subject: {reason}", quoted(text)));
    if text.starts_with('/') || text.contains(", ") {
        let parts: Vec<&str> =
            text.split(['/', ',']).map(str::trim).filter(|part| !part.is_empty()).collect();
        let parts = if text.starts_with('/') { parts.into_iter().rev().collect() } else { parts };
        return Err(wrong("its parts stand behind commas alone")
            .help(format!("did you mean \"{}\"?", parts.join(","))));
    }
    if !text.contains('=') {
        return Err(wrong("it has no attribute").help(format!("did you mean \"CN={text}\"?")));
    }
    field_value(text)
}

/// `tls.server_name`: a DNS name or an IP address.
pub(super) fn server_name(text: &str) -> Result<String, Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{} is not a server name: {reason}", quoted(text)));
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && port.parse::<u16>().is_ok()
    {
        return Err(wrong("it has a port").help(format!("did you mean \"{host}\"?")));
    }
    if text.contains('*') {
        return Err(
            wrong("it has a wildcard").help("write the name that the backend's certificate must hold")
        );
    }
    host_name(text).map_err(|reason| wrong(&reason))?;
    Ok(text.to_owned())
}

/// One of `tls.pins`: `sha256/` and 32 bytes in base64 (RFC 7469 §2.1.1), as `ringate cert show` prints them.
pub(super) fn pin(text: &str) -> Result<[u8; 32], Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{} is not a pin: {reason}", quoted(text)));
    let form = "write \"sha256/\" and the base64 of the SHA-256 of the public key: \
                `openssl x509 -in FILE -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | base64`";
    let Some(digest) = text.strip_prefix("sha256/") else {
        return Err(wrong("it does not begin with \"sha256/\"").help(form));
    };
    let bytes =
        BASE64.decode(digest.as_bytes()).map_err(|_| wrong("what follows is not base64").help(form))?;
    bytes.try_into().map_err(|_| wrong("it has not 32 bytes").help(form))
}

/// A cipher suite by its name; those of TLS 1.3 also under the IANA's `TLS_` names.
pub(super) fn cipher_suite(text: &str) -> Result<SupportedCipherSuite, Wrong> {
    if let Some(suite) = iana_suite(text) {
        return Ok(suite);
    }
    let names = CIPHER_SUITES.map(cipher_suite_name);
    let list = format!("the suites are {}", names.join(", "));
    let help = match openssl_suite(text).map(cipher_suite_name).or_else(|| nearest(text, names)) {
        Some(name) => format!("did you mean \"{name}\"? {list}"),
        None => list,
    };
    Err(Wrong::new(format!("{} is not a cipher suite that Ringate has", quoted(text))).help(help))
}

fn iana_suite(text: &str) -> Option<SupportedCipherSuite> {
    let alias = text.strip_prefix("TLS_").map(|rest| format!("TLS13_{rest}")).unwrap_or_default();
    cipher_suite_by_name(text).or_else(|| cipher_suite_by_name(&alias))
}

/// A cipher suite by the name that OpenSSL has for it: ECDHE-RSA-AES128-GCM-SHA256 is
/// TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256.
pub(super) fn openssl_suite(text: &str) -> Option<SupportedCipherSuite> {
    let plain = |name: &str| name.replace(['-', '_'], "").replace("TLSECDHE", "ECDHE").replace("WITH", "");
    let is_it = |suite: &SupportedCipherSuite| {
        let (ours, theirs) = (plain(cipher_suite_name(*suite)), plain(text));
        ours == theirs || ours.strip_suffix("SHA256") == Some(theirs.as_str())
    };
    iana_suite(text).or_else(|| CIPHER_SUITES.into_iter().find(is_it))
}

/// A key exchange group by its name in the IANA's registry.
pub(super) fn group(text: &str) -> Result<Group, Wrong> {
    if let Some(group) = Group::ALL.into_iter().find(|group| group.name() == text) {
        return Ok(group);
    }
    let names = Group::ALL.map(Group::name);
    let list = format!("the groups are {}", names.join(", "));
    let help = match Group::by_alias(text).map(Group::name).or_else(|| nearest(text, names)) {
        Some(name) => format!("did you mean \"{name}\"? {list}"),
        None => list,
    };
    Err(Wrong::new(format!("{} is not a key exchange group that Ringate has", quoted(text))).help(help))
}
