//! What holds for every input.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::http::Trailers;

/// Pieces that heads are made of, sound and broken, so that random rows of them reach deep.
pub(super) const PIECES: [&[u8]; 44] = [
    b"GET / HTTP/1.1\r\n",
    b"POST /a?b HTTP/1.1\r\n",
    b"GET / HTTP/1.0\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 101 Up\r\n",
    b"HTTP/1.0 304 A\r\n",
    b"GET ",
    b"/x",
    b" HTTP/1.1",
    b"HTTP/1.",
    b"HTTP/2",
    b"http://u@b/",
    b"Host: a\r\n",
    b"Host: a\r\n",
    b"Host: a b\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: x\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: ",
    b"chunked",
    b"Connection: close, x-a\r\n",
    b"Connection: Upgrade\r\nUpgrade: w\r\n",
    b"Expect: 100-continue\r\n",
    b"X-A: b\r\n",
    b"X-B:\tb c \r\n",
    b"X-C:",
    b"X-D",
    b": ",
    b":",
    b" ",
    b"\t",
    b"\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"\x7f",
    b"\xc3\xa4",
    b"\xff",
    b"a",
    b"5",
    b",",
    b"#",
];

/// Rows of pieces: any, and such as begin and end like a head and have mostly whole lines between.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    let starts: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST http://b/a?b HTTP/1.1\r\nHost: a\r\n",
        b"PUT /a HTTP/1.0\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 101 Up\r\nUpgrade: w\r\nConnection: upgrade\r\n",
        b"HTTP/1.0 304 A\r\n",
    ];
    let lines: Vec<&[u8]> =
        PIECES.into_iter().filter(|piece| piece.ends_with(b"\r\n") && piece.contains(&b':')).collect();
    let row = |pieces: Vec<&'static [u8]>, most| {
        prop::collection::vec(select(pieces), 0..most).prop_map(|pieces| pieces.concat())
    };
    let any_row = row(PIECES.to_vec(), 24);
    let near_head = (select(starts.to_vec()), row(lines, 6), row(PIECES.to_vec(), 2))
        .prop_map(|(start, lines, noise)| [start, &lines, &noise, b"\r\n\r\n"].concat());
    prop_oneof![1 => any_row, 2 => near_head]
}

/// However a head comes in, the first verdict is the verdict.
fn same_however_split<E: Clone + PartialEq + std::fmt::Debug>(
    buf: &[u8],
    verdict: impl Fn(&[u8]) -> Result<String, E>,
) -> Result<(), TestCaseError> {
    // Bytes after a head are not its own: say nothing of them.
    let verdict = |buf: &[u8]| verdict(buf).map(|line| line.split(" len ").next().unwrap_or("").to_owned());
    let whole = verdict(buf);
    for end in 0..buf.len() {
        let part = verdict(&buf[..end]);
        if part.as_deref() != Ok("partial") {
            prop_assert_eq!(part, whole.clone(), "of {} bytes", end);
        }
    }
    Ok(())
}

/// Data and trailers of a chunked body, read by the grammar in the plainest way; `None` if it is broken or unfinished.
fn reference(mut body: &[u8]) -> Option<(Vec<u8>, usize)> {
    let all = body.len();
    let mut data = Vec::new();
    loop {
        let line_end = body.windows(2).position(|pair| pair == b"\r\n")?;
        let line = std::str::from_utf8(&body[..line_end]).ok()?;
        let digits = line.split([';', ' ', '\t']).next()?;
        if digits.is_empty() || digits.len() > 16 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let extension = line[digits.len()..].trim_start_matches([' ', '\t']);
        if extension.is_empty() != (digits.len() == line.len())
            || !(extension.is_empty() || extension.starts_with(';'))
        {
            return None;
        }
        let size = usize::from_str_radix(digits, 16).ok()?;
        body = &body[line_end + 2..];
        if size == 0 {
            break;
        }
        data.extend_from_slice(body.get(..size)?);
        body = body[size..].strip_prefix(b"\r\n")?;
    }
    // The tests that compare with this have no trailers.
    body = body.strip_prefix(b"\r\n")?;
    Some((data, all - body.len()))
}

/// A chunked body's data, its trailers, and its length as it came in.
type Whole = (Vec<u8>, Vec<u8>, usize);

/// Decodes `body`, which comes in as `reads` say. `None` if it has no end.
fn decode(body: &[u8], reads: &[usize]) -> Result<Option<Whole>, ChunkError> {
    let mut decoder = ChunkedDecoder::new();
    let mut data = Vec::new();
    let mut at = 0;
    let mut reads = reads.iter().cycle();
    while at < body.len() {
        let end = (at + reads.next().copied().unwrap_or(usize::MAX).max(1)).min(body.len());
        let mut buf = body[at..end].to_vec();
        let decoded = decoder.decode(&mut buf)?;
        assert!(decoded.data.end <= decoded.consumed && decoded.consumed <= buf.len());
        assert!(decoded.done || decoded.consumed == buf.len(), "only the end leaves bytes");
        data.extend_from_slice(&buf[decoded.data]);
        at += decoded.consumed;
        if decoded.done {
            return Ok(Some((data, decoder.trailers().lines().to_vec(), at)));
        }
    }
    Ok(None)
}

fn chunked_pieces() -> impl Strategy<Value = Vec<u8>> {
    let pieces: [&[u8]; 16] = [
        b"3\r\nabc\r\n",
        b"0A;x\r\n0123456789\r\n",
        b"0\r\n\r\n",
        b"1",
        b"0",
        b"f",
        b";",
        b" ",
        b"x",
        b"\r\n",
        b"\r",
        b"\n",
        b"\0",
        b"\xff",
        b"=",
        b"5\r\n",
    ];
    prop::collection::vec(select(pieces.to_vec()), 0..12).prop_map(|pieces| pieces.concat())
}

fn token() -> impl Strategy<Value = String> {
    "[a-zA-Z][a-zA-Z0-9!#$%&'*+.^_`|~-]{0,12}"
}

/// Fields without a meaning to this module.
fn plain_fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = token().prop_map(|name| format!("Q{name}"));
    let value = "([!-~]([!-~ \t]{0,20}[!-~])?)?";
    prop::collection::vec((name, value), 0..15)
}

fn lines(fields: &[(String, String)], after_colon: &str) -> String {
    fields.iter().map(|(name, value)| format!("{name}:{after_colon}{value}\r\n")).collect()
}

proptest! {
    #[test]
    fn a_request_means_the_same_however_it_comes_in(buf in heads()) {
        same_however_split(&buf, request)?;
    }

    #[test]
    fn a_response_means_the_same_however_it_comes_in(buf in heads(), head: bool, upgrade: bool) {
        same_however_split(&buf, |buf| response(buf, &RequestContext { head, upgrade: upgrade.then_some(Upgrade::Other) }))?;
    }

    #[test]
    fn no_bytes_make_a_parser_panic(buf in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = request(&buf);
        let _ = response(&buf, &RequestContext::default());
        let _ = decode(&buf, &[7]);
    }

    #[test]
    fn what_is_forwarded_of_any_request_is_sound_and_forwards_as_itself(buf in heads()) {
        let forwarded = ForwardedFor { client: "::1", proto: "http", host: None, request_id: "r", client_certificate: None };
        let encode = |buf: &[u8]| {
            let mut slots = header_slots();
            let Ok(Parsed::Complete(head)) = parse_request(buf, &mut slots, &LIMITS) else { return None };
            let mut out = Vec::new();
            encode_request(&head, PathRewrite::Keep, &forwarded, Some("a"), &mut out);
            Some((out, head.framing, head.expect_continue, head.upgrade.map(str::to_owned)))
        };
        if let Some(first) = encode(&buf) {
            prop_assert_eq!(encode(&first.0), Some(first));
        }
    }

    #[test]
    fn what_is_forwarded_of_any_response_is_sound_and_forwards_as_itself(buf in heads(), upgrade: bool) {
        let encode = |buf: &[u8]| {
            let mut slots = header_slots();
            let to = RequestContext { head: false, upgrade: upgrade.then_some(Upgrade::Other) };
            let Ok(Parsed::Complete(head)) = parse_response(buf, &mut slots, &LIMITS, &to) else { return None };
            let mut out = Vec::new();
            let framing = encode_response(&head, &ResponseContext { version: Version::Http11, close: false }, &mut out);
            Some((out, framing))
        };
        if let Some(first) = encode(&buf) {
            prop_assert_eq!(encode(&first.0), Some(first));
        }
    }

    #[test]
    fn fields_and_target_arrive_as_they_were_sent(
        fields in plain_fields(), path in "/[!$->@-~]{0,30}", after_colon in "[ \t]{0,3}", length: u32,
    ) {
        let received = format!("PUT {path}?q HTTP/1.1\r\nHost: a\r\n{}Content-Length: {length}\r\n\r\n", lines(&fields, &after_colon));
        let mut slots = header_slots();
        let Ok(Parsed::Complete(head)) = parse_request(received.as_bytes(), &mut slots, &LIMITS) else {
            return Err(TestCaseError::fail(received));
        };
        let mut out = Vec::new();
        let forwarded = ForwardedFor { client: "c", proto: "http", host: None, request_id: "r", client_certificate: None };
        encode_request(&head, PathRewrite::Keep, &forwarded, None, &mut out);
        let expected = format!(
            "PUT {path}?q HTTP/1.1\r\nHost: a\r\n{}X-Forwarded-For: c\r\nX-Forwarded-Proto: http\r\nX-Request-Id: r\r\n\
             Content-Length: {length}\r\n\r\n", lines(&fields, " "));
        prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn chunks_mean_the_same_however_they_come_in(
        body in chunked_pieces(), reads in prop::collection::vec(1usize..9, 1..9),
    ) {
        prop_assert_eq!(decode(&body, &reads), decode(&body, &[usize::MAX]));
    }

    #[test]
    fn chunks_that_were_encoded_are_decoded(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8),
        extension in "(;[a-z]{1,5}(=(\"[ -!#-Z]{0,9}\"|[a-z]{1,5}))?){0,3}",
        reads in prop::collection::vec(1usize..40, 1..9),
    ) {
        let mut body = Vec::new();
        for chunk in &chunks {
            let mut line = [0; 20];
            let header = chunk_header(chunk.len(), &mut line);
            body.extend_from_slice(&header[..header.len() - 2]);
            body.extend_from_slice(extension.as_bytes());
            body.extend_from_slice(b"\r\n");
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        encode_last_chunk(Trailers::of(b"a: b\r\n"), &mut body);
        let end = body.len();
        body.extend_from_slice(b"next");
        prop_assert_eq!(decode(&body, &reads), Ok(Some((chunks.concat(), b"a: b\r\n".to_vec(), end))));
    }

    #[test]
    fn chunks_mean_what_the_grammar_says(body in chunked_pieces()) {
        if let Ok(Some((data, trailers, end))) = decode(&body, &[usize::MAX]) {
            // A body with trailers is more than the reference reads.
            if trailers.is_empty() && body[..end].ends_with(b"\r\n\r\n") {
                prop_assert_eq!(reference(&body), Some((data, end)));
            }
        } else if !body.contains(&b';') {
            // The reference does not look into extensions.
            prop_assert_eq!(reference(&body), None);
        }
    }
}
