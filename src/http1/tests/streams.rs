//! What holds for every connection: rows of messages with bodies, however they come in.

use proptest::prelude::*;
use proptest::sample::select;

use super::properties::PIECES;
use super::*;
use crate::http::Trailers;

/// A message as it goes on: its head, its body's data and its trailers.
type Message = (Vec<u8>, Vec<u8>, Vec<u8>);

/// All messages that go on of what a peer sends, which comes in as `reads` say, and what is said of the rest:
/// nothing, or why it is refused. `understand` appends a head as it goes on, and answers its length and framing.
fn relay(
    sent: &[u8],
    reads: &[usize],
    mut understand: impl FnMut(&[u8], &mut Vec<u8>) -> Result<Option<(usize, Framing)>, String>,
) -> (Vec<Message>, Option<String>) {
    let mut messages: Vec<Message> = Vec::new();
    let mut reads = reads.iter().cycle();
    let (mut buf, mut at) = (Vec::new(), 0);
    let mut current: Option<(Message, Body)> = None;
    loop {
        let progress = match &mut current {
            None if buf.is_empty() => false,
            None => {
                let mut head = Vec::new();
                match understand(&buf, &mut head) {
                    Err(error) => return (messages, Some(error)),
                    Ok(None) => false,
                    Ok(Some((len, framing))) => {
                        buf.drain(..len);
                        current = Some(((head, Vec::new(), Vec::new()), Body::new(framing)));
                        true
                    }
                }
            }
            Some((message, body)) => match body.take(&mut buf) {
                Err(error) => return (messages, Some(error.to_string())),
                Ok(taken) => {
                    message.1.extend_from_slice(&buf[taken.data]);
                    buf.drain(..taken.consumed);
                    if taken.done {
                        let mut message = std::mem::take(message);
                        message.2 = body.trailers().lines().to_vec();
                        messages.push(message);
                        current = None;
                    }
                    taken.done
                }
            },
        };
        if !progress {
            if at == sent.len() {
                return (messages, None);
            }
            let end = (at + reads.next().copied().unwrap_or(usize::MAX)).min(sent.len());
            buf.extend_from_slice(&sent[at..end]);
            at = end;
        }
    }
}

fn relay_requests(sent: &[u8], reads: &[usize]) -> (Vec<Message>, Option<String>) {
    let forwarded =
        ForwardedFor { client: "::1", proto: "http", host: None, request_id: "r", client_certificate: None };
    relay(sent, reads, |buf, out| {
        let mut slots = header_slots();
        match parse_request(buf, &mut slots, &LIMITS) {
            Ok(Parsed::Partial) => Ok(None),
            Err(error) => Err(error.to_string()),
            Ok(Parsed::Complete(head)) => {
                encode_request(&head, PathRewrite::Keep, &forwarded, Some("a"), out);
                Ok(Some((head.len, head.framing)))
            }
        }
    })
}

fn relay_responses(sent: &[u8], reads: &[usize], context: RequestContext) -> (Vec<Message>, Option<String>) {
    relay(sent, reads, |buf, out| {
        let mut slots = header_slots();
        match parse_response(buf, &mut slots, &LIMITS, &context) {
            Ok(Parsed::Partial) => Ok(None),
            Err(error) => Err(error.to_string()),
            Ok(Parsed::Complete(head)) => {
                encode_response(&head, &ResponseContext { version: Version::Http11, close: false }, out);
                Ok(Some((head.len, head.framing)))
            }
        }
    })
}

/// Messages on the wire again, each body in one chunk where it is in chunks.
fn on_the_wire(messages: &[Message]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (head, data, trailers) in messages {
        wire.extend_from_slice(head);
        let chunked = head.windows(9).any(|part| part == b": chunked");
        if chunked && !data.is_empty() {
            wire.extend_from_slice(chunk_header(data.len(), &mut [0; 20]));
        }
        wire.extend_from_slice(data);
        if chunked {
            wire.extend_from_slice(if data.is_empty() { b"" } else { b"\r\n" });
            encode_last_chunk(Trailers::of(trailers), &mut wire);
        }
    }
    wire
}

/// Rows of messages with bodies, most of them sound, with noise between now and then.
fn streams(starts: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    const BODIES: [&[u8]; 12] = [
        b"\r\n",
        b"A: b\r\n\r\n",
        b"Content-Length: 0\r\n\r\n",
        b"Content-Length: 5\r\n\r\nhello",
        b"Content-Length: 9\r\n\r\nGET / HTT",
        b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=\"b\"\r\n\r\n0\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-A: b\r\nHost: c\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\na",
        b"Connection: X-A\r\nX-A: 1\r\nContent-Length: 1\r\n\r\na",
    ];
    let whole = (select(starts), select(&BODIES[..])).prop_map(|(start, body)| [start, body].concat());
    let noise = select(PIECES.to_vec()).prop_map(<[u8]>::to_vec);
    prop::collection::vec(prop_oneof![9 => whole, 1 => noise], 1..6).prop_map(|parts| parts.concat())
}

const REQUESTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n",
    b"POST /a?b HTTP/1.1\r\nHost: a\r\n",
    b"\r\nPUT http://b/c HTTP/1.1\r\nHost: a\r\n",
    b"HEAD /a HTTP/1.0\r\n",
];
const RESPONSES: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 204 No\r\n",
    b"HTTP/1.0 404 \r\n",
    b"HTTP/1.1 103 Early\r\n",
    b"HTTP/1.1 304\r\n",
];

proptest! {
    #[test]
    fn a_stream_of_requests_means_the_same_however_it_comes_in(
        sent in streams(REQUESTS), reads in prop::collection::vec(1usize..60, 1..9),
    ) {
        prop_assert_eq!(relay_requests(&sent, &reads), relay_requests(&sent, &[usize::MAX]));
    }

    #[test]
    fn a_stream_of_responses_means_the_same_however_it_comes_in(
        sent in streams(RESPONSES), reads in prop::collection::vec(1usize..60, 1..9), head: bool,
    ) {
        let context = RequestContext { head, upgrade: None };
        prop_assert_eq!(relay_responses(&sent, &reads, context), relay_responses(&sent, &[usize::MAX], context));
    }

    #[test]
    fn as_many_requests_go_on_as_were_understood_and_they_are_the_same(sent in streams(REQUESTS)) {
        let (messages, _) = relay_requests(&sent, &[usize::MAX]);
        let again = relay_requests(&on_the_wire(&messages), &[usize::MAX]);
        prop_assert_eq!(again, (messages, None));
    }

    #[test]
    fn as_many_responses_go_on_as_were_understood_and_they_are_the_same(sent in streams(RESPONSES)) {
        let context = RequestContext::default();
        let (messages, _) = relay_responses(&sent, &[usize::MAX], context);
        let again = relay_responses(&on_the_wire(&messages), &[usize::MAX], context);
        prop_assert_eq!(again, (messages, None));
    }
}
