//! What must hold for any input: run by the fuzz targets on inputs of their own, and by an ordinary test on the seeds.
//!
//! What is forwarded is read here a second time, by a plain reader that knows nothing of the parsers under test: it
//! must find one message where they found one, with the body that they found.

mod crl;
mod dns;
mod files;
mod http2;
mod ocsp;

use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use ringate::internals::base::limits::{Limits, MAX_TLS_RECORD_BYTES};
use ringate::internals::base::published::Published;
use ringate::internals::certs::generate::quickstart_pki;
use ringate::internals::certs::{Bundle, CaMaterial, Facts, GenerateRequest, Passphrase};
use ringate::internals::http::{
    ForwardedFor, HeadEdit, OutgoingRequest, PathRewrite, RequestContext, Trailers, Upgrade, Version,
    connection_lists, is_same_name,
};
use ringate::internals::http1::{self, Body, Framing, HeadLimits, Parsed, ResponseContext, header_slots};
use ringate::internals::proxy_protocol::{self, Accept, Addresses, MAX_HEADER, Subject};
use ringate::internals::route::{keep_slashes, normalise_path};
use ringate::internals::tls::{
    CipherOrder, ClientCertificate, Handshake, HandshakeError, Hello, HelloReader, Identity, ServerPolicy,
    ServerResolver, State, Versions, read_hello, server_config, ticketer,
};

pub use crl::crl;
pub use dns::dns_message;
pub use files::file;
pub use http2::{frames as http2_frames, hpack};
pub use ocsp::ocsp;

fn limits() -> HeadLimits {
    HeadLimits::from(&Limits::default())
}

/// The lines of a head that was written by us, without their ends.
fn lines(head: &[u8]) -> Vec<&[u8]> {
    let text = head.strip_suffix(b"\r\n\r\n").expect("a head ends in an empty line");
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    let (last, others) = lines.split_last().expect("a line");
    let ended = others.iter().map(|line| line.strip_suffix(b"\r").expect("a line ends in CR LF"));
    let lines: Vec<&[u8]> = ended.chain([*last]).collect();
    for line in &lines {
        assert!(!line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{}", line.escape_ascii());
    }
    lines
}

/// How a head that was written by us frames its body, as the plainest of readers sees it.
fn framing(head: &[u8]) -> Framing {
    let mut found = Vec::new();
    for line in &lines(head)[1..] {
        let colon = line.iter().position(|&byte| byte == b':').expect("a field has a colon");
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        assert!(
            !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic()),
            "{}",
            name.escape_ascii()
        );
        let value = value.strip_prefix(b" ").expect("a space behind the colon");
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = std::str::from_utf8(value).expect("digits");
            assert!(digits.bytes().all(|byte| byte.is_ascii_digit()));
            found.push(Framing::Length(digits.parse().expect("a length")));
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            assert_eq!(value, b"chunked");
            found.push(Framing::Chunked);
        }
    }
    assert!(found.len() <= 1, "framed twice: {}", head.escape_ascii());
    found.pop().unwrap_or(Framing::None)
}

/// Cuts an input in two at a place that its first byte says.
fn cut(input: &[u8]) -> Option<(&[u8], usize)> {
    let (&at, bytes) = input.split_first()?;
    Some((bytes, bytes.len() * usize::from(at) / 256))
}

/// A request head, and its body.
pub fn request(input: &[u8]) {
    let Some((bytes, at)) = cut(input) else { return };
    let verdict = |bytes: &[u8]| {
        let mut slots = header_slots();
        match http1::parse_request(bytes, &mut slots, &limits()) {
            Ok(Parsed::Partial) => None,
            Ok(Parsed::Complete(head)) => Some(Ok((head.len, head.framing, head.keep_alive))),
            Err(error) => Some(Err(error)),
        }
    };
    let whole = verdict(bytes);
    let part = verdict(&bytes[..at]);
    assert!(part.is_none() || part == whole, "{part:?} of {at} bytes, {whole:?} of all");

    let forwarded = ForwardedFor {
        client: "192.0.2.1",
        proto: "http",
        host: None,
        request_id: "r",
        client_certificate: None,
    };
    let mut slots = header_slots();
    let Ok(Parsed::Complete(head)) = http1::parse_request(bytes, &mut slots, &limits()) else { return };
    assert!(head.len <= bytes.len() && head.fields.len() <= limits().headers);
    assert!(head.framing != Framing::UntilClose);
    let Ok(path) = normalise_path(head.target.path) else { return };
    let mut out = Vec::new();
    let (path, edit) = (PathRewrite::Replace(&path), HeadEdit::default());
    let request = OutgoingRequest::new(&head, path, Some("a"), &forwarded, &edit, Vec::new());
    http1::encode_request(&request, &mut out);
    assert_eq!(framing(&out), head.framing, "{}", out.escape_ascii());
    let first = lines(&out)[0];
    assert_eq!(first.iter().filter(|&&byte| byte == b' ').count(), 2, "{}", first.escape_ascii());
    assert!(first.ends_with(b" HTTP/1.1"));
    for line in lines(&out) {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        let seen = |byte: &u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
        let alike: Vec<u8> = name.iter().map(seen).collect();
        let real = [&b"content-length"[..], b"transfer-encoding"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known));
        assert!(real || alike != b"content-length" && alike != b"transfer-encoding", "framing in disguise");
    }
    let hosts = lines(&out).iter().filter(|line| line.to_ascii_lowercase().starts_with(b"host:")).count();
    assert_eq!(hosts, 1);

    // And once more through the parser: the same message, but for a hop that was counted.
    let mut slots = header_slots();
    let lengthened = HeadLimits { head_bytes: 64 * 1024, headers: 256, target_bytes: 64 * 1024 };
    match http1::parse_request(&out, &mut slots, &lengthened) {
        Ok(Parsed::Complete(again)) => {
            assert_eq!((again.len, again.framing, again.upgrade), (out.len(), head.framing, head.upgrade));
            assert_eq!((again.method, again.target.query), (head.method, head.target.query));
        }
        other => panic!("{other:?}: {}", out.escape_ascii()),
    }
}

/// A response head, to a request that its first byte says.
pub fn response(input: &[u8]) {
    let Some((&kind, input)) = input.split_first() else { return };
    let Some((bytes, at)) = cut(input) else { return };
    let context = RequestContext {
        head: kind & 1 != 0,
        upgrade: (kind & 2 != 0).then_some(if kind & 16 != 0 { Upgrade::Other } else { Upgrade::WebSocket }),
    };
    let version = if kind & 4 != 0 { Version::Http10 } else { Version::Http11 };
    let verdict = |bytes: &[u8]| {
        let mut slots = header_slots();
        match http1::parse_response(bytes, &mut slots, &limits(), &context) {
            Ok(Parsed::Partial) => None,
            Ok(Parsed::Complete(head)) => Some(Ok((head.len, head.status, head.framing, head.keep_alive))),
            Err(error) => Some(Err(error)),
        }
    };
    let whole = verdict(bytes);
    let part = verdict(&bytes[..at]);
    assert!(part.is_none() || part == whole, "{part:?} of {at} bytes, {whole:?} of all");

    let mut slots = header_slots();
    let Ok(Parsed::Complete(head)) = http1::parse_response(bytes, &mut slots, &limits(), &context) else {
        return;
    };
    let mut out = Vec::new();
    let to = ResponseContext { version, close: kind & 8 != 0 };
    let said = http1::encode_response(&head, &HeadEdit::default(), &to, &mut out);
    let seen = framing(&out);
    let never = head.status < 200 || matches!(head.status, 204 | 304) || context.head;
    match said {
        Framing::None => assert!(never || seen == Framing::Length(0), "{}", out.escape_ascii()),
        Framing::UntilClose => assert_eq!((seen, version), (Framing::None, Version::Http10)),
        framed => assert_eq!(seen, framed, "{}", out.escape_ascii()),
    }
    if head.status < 200 || head.status == 204 {
        assert_eq!(seen, Framing::None, "{}", out.escape_ascii());
    }
    assert!(head.status != 101 || context.upgrade.is_some());
}

/// A chunked body, read by the plainest of readers. `None`: it is broken, or not whole.
fn plain_chunks(mut body: &[u8]) -> Option<(Vec<u8>, usize)> {
    let all = body.len();
    let mut data = Vec::new();
    loop {
        let end = body.windows(2).position(|pair| pair == b"\r\n")?;
        let digits = body[..end].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = usize::from_str_radix(std::str::from_utf8(&body[..digits]).ok()?, 16).ok()?;
        body = &body[end + 2..];
        if size == 0 {
            break;
        }
        data.extend_from_slice(body.get(..size)?);
        body = body[size..].strip_prefix(b"\r\n")?;
    }
    loop {
        let end = body.windows(2).position(|pair| pair == b"\r\n")?;
        let line = &body[..end];
        body = &body[end + 2..];
        if line.is_empty() {
            return Some((data, all - body.len()));
        }
    }
}

/// A chunked body, in pieces.
pub fn chunked(input: &[u8]) {
    let Some((&piece, bytes)) = input.split_first() else { return };
    let decode = |piece: usize| {
        let mut body = Body::new(Framing::Chunked);
        let (mut data, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let mut buf = bytes[at..(at + piece).min(bytes.len())].to_vec();
            let taken = body.take(&mut buf)?;
            assert!(taken.data.end <= taken.consumed && taken.consumed <= buf.len());
            assert!(taken.done || taken.consumed == buf.len());
            data.extend_from_slice(&buf[taken.data]);
            at += taken.consumed;
            if taken.done {
                return Ok(Some((data, body.trailers().lines().to_vec(), at)));
            }
        }
        Ok::<_, http1::BodyError>(None)
    };
    let whole = decode(usize::MAX);
    assert_eq!(decode(usize::from(piece).max(1)), whole);
    if let Ok(Some((data, trailers, at))) = whole {
        assert_eq!(plain_chunks(bytes), Some((data, at)), "{}", bytes.escape_ascii());
        if !trailers.is_empty() {
            let head = [b"x\r\n", &trailers[..], b"\r\n"].concat();
            assert_eq!(framing(&head), Framing::None, "{}", trailers.escape_ascii());
        }
    }
}

/// A trailer section behind a last chunk, in pieces: what goes on of it are whole fields, none of them under a name that
/// a rule takes out or that must have come before the body, however that is written.
pub fn trailers(input: &[u8]) {
    const RULE: &[u8] = b"X-Set";
    const NAMED: &[u8] = b"close, Name-D";
    const NEVER: [&str; 12] = [
        "content-length",
        "transfer-encoding",
        "host",
        "connection",
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "content-type",
        "forwarded",
        "x-request-id",
        "x-real-ip",
    ];
    let Some((&piece, bytes)) = input.split_first() else { return };
    let section = [b"0\r\n", bytes].concat();
    let decode = |piece: usize, section: &[u8]| {
        let mut body = Body::new(Framing::Chunked);
        for part in section.chunks(piece.max(1)) {
            if body.take(&mut part.to_vec()).ok()?.done {
                return Some(body.trailers().lines().to_vec());
            }
        }
        None
    };
    let whole = decode(section.len(), &section);
    assert_eq!(decode(usize::from(piece), &section), whole);
    let Some(whole) = whole else { return };
    let dropped = |name: &[u8]| is_same_name(name, RULE) || connection_lists(NAMED, name);
    let mut kept = Vec::new();
    Trailers::of(&whole).copy(dropped, &mut kept);
    let alike = |name: &[u8]| {
        let seen = |&byte: &u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
        String::from_utf8(name.iter().map(seen).collect()).expect("a plain name")
    };
    for line in kept.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r\n").expect("a whole line");
        assert!(!line.iter().any(|&byte| byte < b' ' && byte != b'\t' || byte == 0x7f));
        let colon = line.windows(2).position(|pair| pair == b": ").expect("a field");
        let name = alike(&line[..colon]);
        assert!(!name.is_empty() && name != "x-set" && name != "name-d" && name != "close", "{name}");
        assert!(!NEVER.contains(&&*name) && !name.starts_with("x-forwarded-"), "{name}");
    }
    // What goes on is read as the same again.
    let mut again = Vec::new();
    http1::encode_last_chunk(Trailers::of(&kept), &mut again);
    assert_eq!(decode(again.len(), &again).as_ref(), Some(&kept));
}

/// A path: what all of the common ways to decode it make of its one form is that form.
pub fn path(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if !text.starts_with('/') || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?') {
        return;
    }
    if let Ok(slashed) = keep_slashes(text) {
        assert_eq!(slashed.kept.replace("%2F", "/"), slashed.decoded);
        assert_eq!(normalise_path(&slashed.decoded).as_deref(), Ok(&*slashed.decoded));
        assert_eq!(keep_slashes(&slashed.kept), Ok(slashed.clone()));
    }
    let Ok(normal) = normalise_path(text) else { return };
    assert_eq!(normalise_path(&normal).as_deref(), Ok(&*normal));
    assert!(normal.starts_with('/') && !normal.contains("//") && !normal.contains('\\'));
    // A backend that decodes before it splits sees the same segments.
    let mut decoded = Vec::new();
    let mut rest = normal.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let digits = std::str::from_utf8(&rest[..2]).expect("digits");
            decoded.push(u8::from_str_radix(digits, 16).expect("digits"));
            rest = &rest[2..];
        } else {
            decoded.push(byte);
        }
    }
    assert!(!decoded.contains(&0) && !decoded.contains(&b'\\'));
    let segments: Vec<&[u8]> = decoded.split(|&byte| byte == b'/').collect();
    assert_eq!(segments.len(), normal.split('/').count());
    for segment in segments {
        let bare = segment.split(|&byte| byte == b';').next().unwrap_or_default();
        assert!(segment != b"." && segment != b"..", "{text} becomes {normal}");
        assert!(bare == segment || bare != b".." || normal.contains("%3B"), "{text} becomes {normal}");
    }
}

/// The payloads of all records that are there, without a look at what they are.
fn payloads(mut bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<5>() {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]])).min(rest.len());
        all.extend_from_slice(&rest[..length]);
        bytes = &rest[length..];
    }
    all
}

/// A ClientHello: however much of it has come, and however it is cut into records, it says the same.
pub fn hello(input: &[u8]) {
    let Some((bytes, at)) = cut(input) else { return };
    let mut reader = HelloReader::default();
    let (part, whole) = (reader.read(&bytes[..at]), read_hello(bytes));
    assert!(part == Hello::Partial || part == whole, "{part:?} of {at} bytes, {whole:?} of all");
    assert_eq!(reader.read(bytes), whole, "after {at} bytes");
    let Hello::Whole(name) = &whole else { return };
    let message = payloads(bytes);
    if let Some(name) = name {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        assert!((1..=253).contains(&name.len()) && name.bytes().all(plain), "{name:?}");
        let is_there = message.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes()));
        assert!(is_there, "{name:?} was never sent");
    }
    let length = message[1..4].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    for size in [1, 7, 16_384] {
        let fragments = message[..4 + length].chunks(size);
        let records: Vec<_> = fragments
            .map(|part| [&[22, 3, 3][..], &(part.len() as u16).to_be_bytes(), part].concat())
            .collect();
        assert_eq!(read_hello(&records.concat()), whole, "in records of {size}");
    }
}

/// A listener's handshake.
fn handshake() -> Handshake {
    static MAKE: LazyLock<Box<dyn Fn() -> Handshake + Send + Sync>> = LazyLock::new(|| {
        let made = quickstart_pki(&[], SystemTime::now()).expect("a PKI");
        let bundle = &made.server.bundle;
        let key = bundle.key().expect("a key").clone_key();
        let identity = Identity::new("server", 1, bundle.chain().to_vec(), key).expect("an identity");
        let policy = ServerPolicy {
            versions: Versions::default(),
            cipher_suites: None,
            cipher_order: CipherOrder::Server,
            groups: None,
            resolver: Arc::new(ServerResolver::new(vec![Published::new(identity)])),
            client_verifier: None,
            alpn: Vec::new(),
            ticketer: ticketer().expect("keys"),
        };
        let config = server_config(&policy).expect("a config");
        Box::new(move || Handshake::server(Arc::clone(&config)).expect("a handshake"))
    });
    MAKE()
}

/// A client's records in a handshake: however they arrive, they are judged alike, and a refusal is an alert.
pub fn record(input: &[u8]) {
    let Some((&piece, bytes)) = input.split_first() else { return };
    let judge = |piece: usize| {
        let (mut handshake, mut inbox, mut out) = (handshake(), Vec::new(), Vec::new());
        for part in bytes.chunks(piece) {
            inbox.extend_from_slice(part);
            match handshake.advance(&mut inbox, &mut out) {
                Ok(progress) => {
                    assert!(progress.consumed <= inbox.len());
                    inbox.drain(..progress.consumed);
                    assert!(inbox.len() <= MAX_TLS_RECORD_BYTES);
                    if progress.state == State::Done {
                        return None;
                    }
                }
                Err(error) => {
                    let plain = out.len() >= 7 && out[out.len() - 7..].starts_with(&[21, 3, 3, 0, 2, 2]);
                    let sealed = out.len() >= 24 && out[out.len() - 24..].starts_with(&[23, 3, 3, 0, 19]);
                    let silent = matches!(
                        error,
                        HandshakeError::NotTls(_) | HandshakeError::PeerAlert(_) | HandshakeError::OutOfOrder
                    );
                    assert!(silent || plain || sealed, "{error}: no alert");
                    return Some((std::mem::discriminant(&error), error.alert_sent()));
                }
            }
        }
        None
    };
    assert_eq!(judge(usize::from(piece).max(1)), judge(usize::MAX));
}

/// A PROXY header of the versions that its first byte says.
pub fn proxy(input: &[u8]) {
    let Some((&takes, input)) = input.split_first() else { return };
    let Some((bytes, at)) = cut(input) else { return };
    let accept = [Accept::V1, Accept::V2, Accept::Any][usize::from(takes) % 3];
    let whole = proxy_protocol::parse(bytes, accept);
    let part = proxy_protocol::parse(&bytes[..at], accept);
    assert!(
        part == Ok(proxy_protocol::Parsed::Partial) || part == whole,
        "{part:?} of {at} bytes, {whole:?}"
    );
    if whole == Ok(proxy_protocol::Parsed::Partial) {
        assert!(bytes.len() < MAX_HEADER, "it never ends");
    }
    let Ok(proxy_protocol::Parsed::Complete(found)) = whole else { return };
    let header = &bytes[..found.len];
    let version = if header[0] == b'P' { proxy_protocol::Version::V1 } else { proxy_protocol::Version::V2 };
    assert!(part.is_ok() && (at < found.len || part == whole));
    match version {
        proxy_protocol::Version::V1 => {
            let line = header.strip_suffix(b"\r\n").expect("a line");
            assert!(accept != Accept::V2 && header.len() <= 107);
            assert!(!line.contains(&b'\r') && !line.contains(&b'\n'));
            assert_eq!(found.addresses.is_none(), line.starts_with(b"PROXY UNKNOWN"));
        }
        proxy_protocol::Version::V2 => {
            assert!(accept != Accept::V1 && header.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
            assert_eq!(header.len(), 16 + usize::from(u16::from_be_bytes([header[14], header[15]])));
            assert_eq!(found.addresses.is_some(), matches!(header[12..14], [0x21, 0x11 | 0x21]));
        }
    }
    let Some(addresses) = found.addresses else { return };
    assert_eq!(addresses.source.is_ipv4(), addresses.destination.is_ipv4());
    if version == proxy_protocol::Version::V1 {
        let text = std::str::from_utf8(header).expect("ASCII");
        let words: Vec<&str> = text.trim_end().split(' ').collect();
        assert_eq!((words.len(), words[4].parse()), (6, Ok(addresses.source.port())));
        assert_eq!(words[2].parse(), Ok(addresses.source.ip()));
        assert_eq!(words[3].parse(), Ok(addresses.destination.ip()));
        assert_eq!(words[5], addresses.destination.port().to_string());
    }
    // Written anew it says the same, but for IPv4 in the clothes of IPv6.
    let again = proxy_protocol::encode(version, Subject::Client(addresses));
    let Ok(proxy_protocol::Parsed::Complete(read)) = proxy_protocol::parse(&again, Accept::Any) else {
        panic!("{}", again.escape_ascii())
    };
    let plain = |of: Addresses| [of.source, of.destination].map(|end| (end.ip().to_canonical(), end.port()));
    assert_eq!((read.len, read.addresses.map(plain)), (again.len(), Some(plain(addresses))));
}

/// A config text.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let dir = std::path::Path::new("/nonexistent");
    match ringate::internals::config::parse("fuzz.toml", text, dir) {
        Ok(plan) => {
            let _ = ringate::internals::config::warnings("fuzz.toml", text, &plan).render(false);
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            let _ = errors.render(false);
        }
    }
}

/// What holds of every chain that was read: it is read back as it is, and presented if its key is there.
fn bundle(bundle: &Bundle) {
    let key = bundle.key_pem();
    let again = Bundle::from_parts(bundle.chain_pem().as_bytes(), key.as_ref().map(|key| key.as_bytes()));
    let again = again.expect("what was read is read again");
    assert_eq!((again.chain(), again.facts()), (bundle.chain(), bundle.facts()));
    assert!(again.notes().is_empty(), "{:?}", again.notes());
    for seconds in [0, 1_800_000_000, 4_000_000_000] {
        let _ = bundle.check_validity(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
    }
    let _ = (GenerateRequest::like(bundle), CaMaterial::from_bundle(bundle));
    if let Some(key) = bundle.key() {
        let identity = Identity::new("fuzz", 1, bundle.chain().to_vec(), key.clone_key());
        let identity = identity.expect("a chain with its key is presented");
        assert_eq!(identity.chain(), bundle.chain());
    }
}

/// A file with a chain, a key or both: PEM, DER, PKCS#12 or PKCS#7, perhaps locked with the passphrase `secret`.
pub fn container(input: &[u8]) {
    let secret = Passphrase::from("secret".to_owned());
    for passphrase in [None, Some(&secret)] {
        match Bundle::from_locked_parts(input, None, passphrase) {
            Ok(read) => bundle(&read),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// The key of the seeds' leaves.
const LEAF_KEY: &[u8] = b"-----BEGIN EC PRIVATE KEY-----\n\
    MHcCAQEEIJJuVNoJPDUCVc05VCU6qYp4CfPy3IM4umkOZ2SvONmpoAoGCCqGSM49\n\
    AwEHoUQDQgAEIJUWaeteA6SShniLm3Z4SU3ukbwY4fCmzvAmztBWFsKoLJnQVC5/\n\
    PIwa52J9l6+lG9eO3FR7vCC6laXJe+NTug==\n\
    -----END EC PRIVATE KEY-----\n";

/// A certificate in DER: our own, and a client's.
pub fn certificate(input: &[u8]) {
    if let Ok(read) = Bundle::from_parts(input, Some(LEAF_KEY)) {
        bundle(&read);
    }
    if let Ok(facts) = Facts::from_der(input) {
        assert_eq!((facts.sha256.len(), facts.spki_sha256.len()), (95, 51));
        if let Ok(read) = Bundle::from_pem(input) {
            assert_eq!(read.facts(), &facts);
            bundle(&read);
        }
    }
    if let Ok(client) = ClientCertificate::new(&input.into(), Some(&input.into()), None) {
        let plain = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        assert!(plain(&client.subject) && plain(&client.forwarded), "{client:?}");
        assert_eq!(client.fingerprint.len(), 64);
    }
}

/// A change of an upstream by PATCH: an environment's name (a line, empty: none), the patch (a line of JSON), and the
/// config's text. The upstream is called `app`.
pub fn patch(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some((environment, text)) = text.split_once('\n') else { return };
    let Some((patch, text)) = text.split_once('\n') else { return };
    let environment = Some(environment).filter(|name| !name.is_empty());
    let Ok(serde_json::Value::Object(patch)) = serde_json::from_str(patch) else { return };
    let Ok(edited) = ringate::internals::config::edit::upstream(text, "app", environment, &patch) else {
        return;
    };
    let read = |text: &str| text.parse::<toml::Table>().unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut expected = toml::Value::Table(read(text));
    let mut change = serde_json::Value::Object(patch);
    for key in environment.into_iter().chain(environment.map(|_| "environment")).chain(["app", "upstream"]) {
        change = serde_json::json!({ key: change });
    }
    merge(&mut expected, &change);
    let found = toml::Value::Table(read(&edited));
    assert!(format!("{found:?}") == format!("{expected:?}"), "{edited}");
    // Lines before the first that can be about the upstream stay, their ends too.
    if !text.contains('\\') && !text.contains("\"\"\"") && !text.contains("'''") {
        let at = text.find("upstream").expect("it has an upstream");
        let mut lines = &text[..text[..at].rfind('\n').map_or(0, |end| end + 1)];
        // Comments above a table are that table's: another one may come before them.
        while let Some(before) = lines.strip_suffix('\n') {
            let start = before.rfind('\n').map_or(0, |end| end + 1);
            let line = before[start..].trim_start_matches('\u{feff}').trim();
            if !line.is_empty() && !line.starts_with('#') {
                break;
            }
            lines = &lines[..start];
        }
        assert!(edited.starts_with(lines), "{edited}");
    }
    // Made once more, the same change changes nothing of what is written.
    let serde_json::Value::Object(again) = &change["upstream"]["app"] else { panic!("an object") };
    let twice = ringate::internals::config::edit::upstream(&edited, "app", None, again);
    assert_eq!(twice.as_deref(), Ok(&*edited));
}

/// RFC 7396 §2.
fn merge(target: &mut toml::Value, patch: &serde_json::Value) {
    let serde_json::Value::Object(patch) = patch else {
        *target = toml::Value::try_from(patch).expect("it was written");
        return;
    };
    if !target.is_table() {
        *target = toml::Value::Table(toml::Table::new());
    }
    let toml::Value::Table(table) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            table.remove(key);
        } else {
            merge(table.entry(key.clone()).or_insert(toml::Value::Boolean(true)), value);
        }
    }
}
