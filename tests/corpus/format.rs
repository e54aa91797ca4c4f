//! The files of `tests/data`: cases as text, a line of bytes each. `tests/data/README.md` has the grammar.

use std::fs;
use std::path::PathBuf;

/// A case of `tests/data/requests`.
#[derive(Debug)]
pub struct RequestCase {
    /// File and name, for messages.
    pub name: String,
    /// What the client sends.
    pub sent: Vec<u8>,
    /// What becomes of it, request by request.
    pub verdicts: Vec<Verdict>,
}

/// What becomes of one request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The backend gets these bytes, with placeholders, and the client its answer.
    Forwarded { keep: bool, bytes: Vec<u8> },
    /// Ringate answers with this status, for this reason, and closes.
    Refused { status: u16, reason: String },
    /// It is not whole: Ringate waits.
    Waits,
}

/// A case of `tests/data/responses`.
#[derive(Debug)]
pub struct ResponseCase {
    /// File and name, for messages.
    pub name: String,
    /// The request, `{}` in it stands for the case's number.
    pub request: Vec<u8>,
    /// What the backend sends.
    pub sent: Vec<u8>,
    /// What it does then.
    pub then: Then,
    /// What the client gets to see, placeholders for nothing.
    pub seen: Vec<u8>,
    /// What becomes of the connections.
    pub outcome: Outcome,
}

/// What a backend does after its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It waits for the next request.
    Waits,
    /// It closes.
    Ends,
    /// It resets the connection.
    Resets,
}

/// What becomes of a response and its two connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is passed on, and the connections serve another request or not.
    Passed { client_keeps: bool, backend_keeps: bool },
    /// It breaks off, and shows it.
    Cut,
    /// Both connections become a tunnel.
    Tunnel,
    /// The client gets a 502 behind what it saw, for this reason, and both connections close.
    BadGateway { reason: String },
}

/// A line that stands for its bytes: `PREFIX BYTES`, CR LF at its end unless that is a backslash.
fn bytes(line: &str, into: &mut Vec<u8>) {
    let (text, ends) = match line.strip_suffix('\\') {
        Some(text) if !text.ends_with('\\') => (text, false),
        _ => (line, true),
    };
    unescape(text, into);
    if ends {
        into.extend_from_slice(b"\r\n");
    }
}

fn unescape(text: &str, into: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        into.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let (byte, used) = match escape.as_bytes()[0] {
            b'r' => (b'\r', 1),
            b'n' => (b'\n', 1),
            b't' => (b'\t', 1),
            b'0' => (0, 1),
            b'\\' => (b'\\', 1),
            b'x' => (u8::from_str_radix(&escape[1..3], 16).unwrap(), 3),
            b'{' => {
                let end = escape.find('}').unwrap();
                let (text, count) = escape[1..end].rsplit_once('*').unwrap();
                let mut once = Vec::new();
                unescape(text, &mut once);
                into.extend(once.repeat(count.parse().unwrap()));
                rest = &escape[end + 1..];
                continue;
            }
            other => panic!("unknown escape \\{}", char::from(other)),
        };
        into.push(byte);
        rest = &escape[used..];
    }
    into.extend_from_slice(rest.as_bytes());
}

/// Name and lines of each case in the files of a folder.
fn cases(folder: &str) -> Vec<(String, Vec<(char, String)>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder);
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut cases: Vec<(String, Vec<(char, String)>)> = Vec::new();
    for path in paths {
        let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for line in fs::read_to_string(&path).unwrap().lines() {
            if let Some(name) = line.strip_prefix("== ") {
                let name = format!("{file}: {name}");
                assert!(cases.iter().all(|(known, _)| *known != name), "{name} twice");
                cases.push((name, Vec::new()));
            } else if !line.is_empty() && !line.starts_with("# ") {
                let (kind, text) = line.split_at(1);
                let text = text.strip_prefix(' ').unwrap_or(text).to_owned();
                let (_, lines) = cases.last_mut().unwrap_or_else(|| panic!("{file}: {line:?}"));
                lines.push((kind.chars().next().unwrap(), text));
            }
        }
    }
    cases
}

/// All cases of `tests/data/requests`.
pub fn requests() -> Vec<RequestCase> {
    let read = |(name, lines): (String, Vec<(char, String)>)| {
        let mut case = RequestCase { name, sent: Vec::new(), verdicts: Vec::new() };
        for (kind, text) in lines {
            match kind {
                '>' if case.verdicts.is_empty() => bytes(&text, &mut case.sent),
                '=' => case.verdicts.push(verdict(&text)),
                '|' => match case.verdicts.last_mut() {
                    Some(Verdict::Forwarded { bytes: expected, .. }) => bytes(&text, expected),
                    _ => panic!("{}: nothing is forwarded", case.name),
                },
                _ => panic!("{}: {kind} {text}", case.name),
            }
        }
        case
    };
    cases("requests").into_iter().map(read).collect()
}

fn verdict(text: &str) -> Verdict {
    match text {
        "200 keep" => Verdict::Forwarded { keep: true, bytes: Vec::new() },
        "200 close" => Verdict::Forwarded { keep: false, bytes: Vec::new() },
        "wait" => Verdict::Waits,
        refused => {
            let (status, reason) = refused.split_once(" close: ").unwrap_or_else(|| panic!("{refused}"));
            Verdict::Refused { status: status.parse().unwrap(), reason: reason.to_owned() }
        }
    }
}

/// All cases of `tests/data/responses`.
pub fn responses() -> Vec<ResponseCase> {
    let read = |(name, lines): (String, Vec<(char, String)>)| {
        let mut outcome = None;
        let mut case = ResponseCase {
            name,
            request: Vec::new(),
            sent: Vec::new(),
            then: Then::Waits,
            seen: Vec::new(),
            outcome: Outcome::Cut,
        };
        for (kind, text) in lines {
            match (kind, &*text) {
                ('?', _) => bytes(&text, &mut case.request),
                ('>', _) => bytes(&text, &mut case.sent),
                ('<', _) => bytes(&text, &mut case.seen),
                ('!', "end") => case.then = Then::Ends,
                ('!', "reset") => case.then = Then::Resets,
                ('=', _) => outcome = Some(self::outcome(&text)),
                _ => panic!("{}: {kind} {text}", case.name),
            }
        }
        if case.request.is_empty() {
            case.request = b"GET /{} HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
        }
        case.outcome = outcome.unwrap_or_else(|| panic!("{}: no outcome", case.name));
        case
    };
    cases("responses").into_iter().map(read).collect()
}

fn outcome(text: &str) -> Outcome {
    if let Some(reason) = text.strip_prefix("502 close: ") {
        return Outcome::BadGateway { reason: reason.to_owned() };
    }
    match text {
        "cut close" => Outcome::Cut,
        "tunnel close" => Outcome::Tunnel,
        _ => {
            let keeps = |word: &str| match word {
                "keep" => true,
                "close" => false,
                other => panic!("{other} is neither keep nor close"),
            };
            let (client, backend) = text.split_once(' ').unwrap();
            Outcome::Passed { client_keeps: keeps(client), backend_keeps: keeps(backend) }
        }
    }
}

/// A message with its chunks made one: where they are cut is not part of its meaning. `body` is where its body
/// begins. A body that has no end keeps none.
pub fn one_chunk(message: &[u8], body: usize) -> Vec<u8> {
    let (mut rest, mut data) = (&message[body..], Vec::new());
    let line = |bytes: &[u8]| bytes.windows(2).position(|pair| pair == b"\r\n");
    let mut tail = Vec::new();
    while let Some(end) = line(rest) {
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no size: {size:?}"));
        if size == 0 {
            tail = rest.to_vec();
            break;
        }
        data.extend_from_slice(&rest[end + 2..][..size]);
        rest = rest[end + 2 + size..].strip_prefix(b"\r\n").expect("CR LF behind a chunk");
    }
    let mut whole = message[..body].to_vec();
    if !data.is_empty() {
        whole.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        whole.extend_from_slice(&data);
        whole.extend_from_slice(b"\r\n");
    }
    whole.extend_from_slice(&tail);
    whole
}
