//! The corpus without I/O: the parsers and encoders, driven as an exchange drives them.

use ringate::internals::base::limits::Limits;
use ringate::internals::http::{
    ForwardedFor, HeadEdit, Method, OutgoingRequest, PathRewrite, RequestContext, Trailers, Version,
};
use ringate::internals::http1::{self, Body, Framing, HeadLimits, Parsed, ResponseContext, header_slots};
use ringate::internals::route::normalise_path;

use super::{Outcome, ResponseCase, Then, Verdict, assert_none, requests, responses, shown};

/// What the backend is called where a client does not say.
const BACKEND: &str = "{backend}";

fn limits() -> HeadLimits {
    HeadLimits::from(&Limits::default())
}

/// What becomes of a client's bytes.
fn judge(sent: &[u8]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut rest = sent.to_vec();
    while !rest.is_empty() {
        let (verdict, used) = next(&mut rest);
        let ends = !matches!(verdict, Verdict::Forwarded { keep: true, .. });
        verdicts.push(verdict);
        if ends {
            break;
        }
        rest.drain(..used);
    }
    verdicts
}

fn refused(status: u16, reason: impl ToString) -> (Verdict, usize) {
    (Verdict::Refused { status, reason: reason.to_string() }, 0)
}

/// The first request of `bytes`, and how many of them it took.
fn next(bytes: &mut [u8]) -> (Verdict, usize) {
    let received = bytes.to_vec();
    let mut slots = header_slots();
    let head = match http1::parse_request(&received, &mut slots, &limits()) {
        Ok(Parsed::Complete(head)) => head,
        Ok(Parsed::Partial) => return (Verdict::Waits, 0),
        Err(error) => return refused(error.status(), error),
    };
    assert!(!matches!(head.method, Method::Connect | Method::Trace));
    if head.max_forwards == Some(0) {
        return refused(200, "Max-Forwards is 0");
    }
    let path = match normalise_path(head.target.path) {
        Ok(path) => path,
        Err(error) => return refused(400, error),
    };
    let mut out = Vec::new();
    // Marked, so that nothing a client says can look like it.
    let forwarded = ForwardedFor {
        client: "\x01",
        proto: "\x01",
        host: head.host,
        request_id: "\x01",
        client_certificate: None,
    };
    let host = head.host.is_none().then_some(BACKEND);
    let (path, edit) = (PathRewrite::Replace(&path), HeadEdit::default());
    let request = OutgoingRequest::new(&head, path, host, &forwarded, &edit, Vec::new());
    http1::encode_request(&request, &mut out);
    let host = head.host.map(|host| format!("X-Forwarded-Host: {host}\r\n")).unwrap_or_default();
    let ours = format!("X-Forwarded-For: \x01\r\nX-Forwarded-Proto: \x01\r\n{host}X-Request-Id: \x01\r\n");
    let at = out.windows(ours.len()).position(|part| part == ours.as_bytes()).expect("what Ringate sets");
    out.drain(at..at + ours.len());
    let end = out.len() - 2;
    let placeholder = head.host.map_or("{forwarded}".to_owned(), |host| format!("{{forwarded {host}}}"));
    out.splice(end..end, format!("{placeholder}\r\n").into_bytes());

    let mut body = Body::new(head.framing);
    let taken = match body.take(&mut bytes[head.len..]) {
        Ok(taken) => taken,
        Err(error) => return refused(400, format!("request body: {error}")),
    };
    if !taken.done {
        return (Verdict::Waits, 0);
    }
    let data = &bytes[head.len..][taken.data];
    put_body(data, head.framing == Framing::Chunked, Some(body.trailers()), &mut out);
    (Verdict::Forwarded { keep: head.keep_alive, bytes: out }, head.len + taken.consumed)
}

/// A body as it goes on. `end`: its trailers, if it has come to its end.
fn put_body(data: &[u8], chunked: bool, end: Option<Trailers<'_>>, out: &mut Vec<u8>) {
    if !chunked {
        return out.extend_from_slice(data);
    }
    if !data.is_empty() {
        out.extend_from_slice(http1::chunk_header(data.len(), &mut [0; 20]));
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(trailers) = end {
        http1::encode_last_chunk(trailers, out);
    }
}

#[test]
fn each_request_of_the_corpus_has_its_verdict() {
    let mut faults = Vec::new();
    for case in requests() {
        let found = judge(&case.sent);
        if found != case.verdicts {
            let both = [&case.verdicts, &found].map(|verdicts| {
                let one = |verdict: &Verdict| match verdict {
                    Verdict::Forwarded { keep, bytes } => format!("keep {keep}\n{}", shown(bytes)),
                    other => format!("{other:?}"),
                };
                verdicts.iter().map(one).collect::<Vec<_>>().join("\n")
            });
            faults.push(format!("{}\nexpected {}\nfound {}", case.name, both[0], both[1]));
        }
    }
    assert_none(&faults);
}

/// However many bytes have arrived, the verdict on them is none yet, or the verdict on all.
#[test]
fn each_request_of_the_corpus_has_its_verdict_however_it_comes_in() {
    for case in requests() {
        let whole = judge(&case.sent);
        // All splits of the short ones, and of long ones some thousand bytes that tell.
        let far = case.sent.len().saturating_sub(300);
        for end in (1..case.sent.len()).filter(|end| *end < 300 || *end > far || end % 997 == 0) {
            let part = judge(&case.sent[..end]);
            let said = part.len() - usize::from(part.last() == Some(&Verdict::Waits));
            assert_eq!(part[..said], whole[..said.min(whole.len())], "{}: {end} bytes", case.name);
        }
    }
}

/// What is forwarded is beyond doubt: forwarded again it is the same.
#[test]
fn what_is_forwarded_of_the_corpus_forwards_as_itself() {
    for case in requests() {
        for verdict in case.verdicts {
            let Verdict::Forwarded { bytes, .. } = verdict else { continue };
            let text: Vec<u8> =
                bytes.split_inclusive(|&byte| byte == b'\n').fold(Vec::new(), |mut all, line| {
                    if !line.starts_with(b"{forwarded") {
                        all.extend_from_slice(line);
                    }
                    all
                });
            // Counted down, or of a host that is none.
            let again = String::from_utf8_lossy(&text);
            if again.contains("\r\nMax-Forwards: ") || again.contains(BACKEND) {
                continue;
            }
            // Headroom for what Ringate added is the sender's business.
            match &judge(&text)[..] {
                [Verdict::Forwarded { keep: true, bytes: again }] => {
                    assert_eq!(shown(&bytes), shown(again), "{}", case.name);
                }
                other => panic!("{}: {other:?}", case.name),
            }
        }
    }
}

/// What a client gets to see of a backend's bytes, and how it ends.
fn answer(case: &ResponseCase) -> (Vec<u8>, Outcome) {
    let mut slots = header_slots();
    let Ok(Parsed::Complete(request)) = http1::parse_request(&case.request, &mut slots, &limits()) else {
        panic!("{}: no request", case.name);
    };
    let context = RequestContext::from(&request.head);
    let bad = |reason: String| Outcome::BadGateway { reason };
    let (mut seen, mut at, mut interim) = (Vec::new(), 0, 0);
    loop {
        let mut slots = header_slots();
        let left = &case.sent[at..];
        let head = match http1::parse_response(left, &mut slots, &limits(), &context) {
            _ if left.is_empty() => return (seen, bad(gone(case))),
            Ok(Parsed::Complete(head)) => head,
            Ok(Parsed::Partial) => return (seen, bad(gone(case))),
            Err(error) => return (seen, bad(error.to_string())),
        };
        let to = ResponseContext { version: request.version, close: !request.keep_alive };
        let mut out = Vec::new();
        let framing = http1::encode_response(&head, &HeadEdit::default(), &to, &mut out);
        at += head.len;
        if head.is_interim() {
            interim += 1;
            if interim > ringate::internals::base::limits::MAX_INTERIM_RESPONSES {
                return (seen, bad(http1::ResponseError::TooManyInterim.to_string()));
            }
            if request.version == Version::Http11 {
                seen.append(&mut out);
            }
            continue;
        }
        seen.append(&mut out);
        if head.upgrade.is_some() {
            seen.extend_from_slice(&case.sent[at..]);
            return (seen, Outcome::Tunnel);
        }
        let mut body = Body::new(head.framing);
        let mut rest = case.sent[at..].to_vec();
        let taken = match body.take(&mut rest) {
            Ok(taken) => taken,
            Err(error) => return (Vec::new(), bad(format!("response body: {error}"))),
        };
        let whole = taken.done || (case.then == Then::Ends && body.eof().is_ok());
        let end = whole.then(|| body.trailers());
        put_body(&rest[taken.data], framing == Framing::Chunked, end, &mut seen);
        let client_keeps = request.keep_alive && framing != Framing::UntilClose;
        let backend_keeps = head.keep_alive && taken.consumed == rest.len();
        let passed = Outcome::Passed { client_keeps, backend_keeps };
        return (seen, if whole { passed } else { Outcome::Cut });
    }
}

/// What a backend that said no more is blamed for.
fn gone(case: &ResponseCase) -> String {
    assert_ne!(case.then, Then::Waits, "{}: no response", case.name);
    "the backend closed before its response was whole".to_owned()
}

#[test]
fn each_response_of_the_corpus_has_its_outcome() {
    let mut faults = Vec::new();
    for case in responses() {
        let found = answer(&case);
        if found != (case.seen.clone(), case.outcome.clone()) {
            let (expected, outcome) = (shown(&case.seen), &case.outcome);
            let (seen, said) = (shown(&found.0), found.1);
            faults.push(format!("{}\nexpected {outcome:?}\n{expected}\nfound {said:?}\n{seen}", case.name));
        }
    }
    assert_none(&faults);
}

/// However many bytes of its head have arrived, the verdict on a response is none yet, or the verdict on all.
#[test]
fn each_response_of_the_corpus_has_its_outcome_however_it_comes_in() {
    for case in responses() {
        let mut slots = header_slots();
        let Ok(Parsed::Complete(request)) = http1::parse_request(&case.request, &mut slots, &limits()) else {
            panic!("{}: no request", case.name);
        };
        let context = RequestContext::from(&request.head);
        let verdict = |bytes: &[u8]| {
            let mut slots = header_slots();
            match http1::parse_response(bytes, &mut slots, &limits(), &context) {
                Ok(Parsed::Partial) => None,
                Ok(Parsed::Complete(head)) => {
                    Some(Ok((head.len, head.status, head.framing, head.keep_alive)))
                }
                Err(error) => Some(Err(error)),
            }
        };
        let whole = verdict(&case.sent);
        let far = case.sent.len().saturating_sub(300);
        for end in (1..case.sent.len()).filter(|end| *end < 300 || *end > far || end % 997 == 0) {
            let part = verdict(&case.sent[..end]);
            assert!(part.is_none() || part == whole, "{}: {end} bytes: {part:?}, {whole:?}", case.name);
        }
    }
}
