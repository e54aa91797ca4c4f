//! Odd responses, each with its verdict.

use super::ResponseError::*;
use super::*;
use crate::http1::error::FramingError::*;
use crate::http1::error::SyntaxError::*;

type Verdict = Result<&'static str, ResponseError>;

const PLAIN: RequestContext = RequestContext { head: false, upgrade: None };

#[track_caller]
fn judge(to: RequestContext, table: &[(&[u8], Verdict)]) {
    for (buf, verdict) in table {
        let found = response(buf, &to);
        assert_eq!(found.as_deref().map_err(|error| *error), *verdict, "{}", buf.escape_ascii());
    }
}

#[test]
fn status_lines() {
    judge(
        PLAIN,
        &[
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Ok("200 OK Length(2) len 38")),
            (b"HTTP/1.1 200 \r\n\r\n", Ok("200  UntilClose close")),
            (b"HTTP/1.1 200\r\n\r\n", Ok("200  UntilClose close")),
            (b"HTTP/1.1 200 \xc3\x84h\r\n\r\n", Ok("200  UntilClose close")),
            (b"HTTP/1.0 404 Not Found\r\n\r\n", Ok("404 Not Found 1.0 UntilClose close")),
            (b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", Ok("999 Odd Length(0)")),
            (b"HTTP/1.1 099 Low\r\n\r\n", Err(BadStatusLine)),
            (b"HTTP/1.1 20 OK\r\n\r\n", Err(BadStatusLine)),
            (b"HTTP/1.1 2000 OK\r\n\r\n", Err(BadStatusLine)),
            (b"HTTP/1.1 +20 OK\r\n\r\n", Err(BadStatusLine)),
            (b"HTTP/1.1  200 OK\r\n\r\n", Err(BadStatusLine)),
            (b"HTTP/1.1\t200 OK\r\n\r\n", Err(VersionUnsupported)),
            (b"HTTP/1.1 200 O\0K\r\n\r\n", Err(BadStatusLine)),
            (b"HTTP/1.1 200 O\rK\r\n\r\n", Err(BadStatusLine)),
            (b"HTTP/2 200\r\n\r\n", Err(VersionUnsupported)),
            (b"HTTP/1.2 200 OK\r\n\r\n", Err(VersionUnsupported)),
            (b"http/1.1 200 OK\r\n\r\n", Err(BadStatusLine)),
            (b"HTTQ/1.1 200 OK\r\n\r\n", Err(BadStatusLine)),
            (b"ICY 200 OK\r\n\r\n", Err(BadStatusLine)),
            (b"\r\nHTTP/1.1 200 OK\r\n\r\n", Err(BadStatusLine)),
            (b"\x15\x03\x03\x00\x02", Err(BadStatusLine)),
            (b"", Ok("partial")),
            (b"HTTP/1.1 200 OK\r\n", Ok("partial")),
        ],
    );
}

#[test]
fn lines_and_fields() {
    judge(
        PLAIN,
        &[
            (b"HTTP/1.1 200 OK\n\n", Err(Syntax(BareLf))),
            (b"HTTP/1.1 200\n\r\n", Err(Syntax(BareLf))),
            (b"HTTP/1.1 200 OK\na: b\r\n\r\n", Err(Syntax(BareLf))),
            (b"HTTP/1.1 200 OK\r\na: b\n\r\n", Err(Syntax(BareLf))),
            (b"HTTP/1.1 200 OK\r\na: b\r\n\n", Err(Syntax(BareLf))),
            (b"HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", Err(Syntax(ObsFold))),
            (b"HTTP/1.1 200 OK\r\na : b\r\n\r\n", Err(Syntax(SpaceBeforeColon))),
            (b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", Err(Syntax(EmptyName))),
            (b"HTTP/1.1 200 OK\r\na\r\n\r\n", Err(Syntax(BadName))),
            (b"HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n", Err(Syntax(BareCr))),
            (b"HTTP/1.1 200 OK\r\na: b\0\r\n\r\n", Err(Syntax(Control))),
            (b"HTTP/1.1 200 OK\r\n\rx", Err(Syntax(LineEnd))),
            (b"HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n", Err(Syntax(BadConnection))),
        ],
    );
    let long = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(1024));
    judge(PLAIN, &[(long.as_bytes(), Err(HeadTooLong)), (&long.as_bytes()[..1023], Ok("partial"))]);
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(21));
    judge(PLAIN, &[(many.as_bytes(), Err(TooManyFields))]);
}

#[test]
fn body_lengths() {
    judge(
        PLAIN,
        &[
            (b"HTTP/1.1 200 A\r\nTransfer-Encoding: chunked\r\n\r\n", Ok("200 A Chunked")),
            (
                b"HTTP/1.1 200 A\r\nContent-Length: 7\r\nConnection: close\r\n\r\n",
                Ok("200 A Length(7) close"),
            ),
            (b"HTTP/1.0 200 A\r\nContent-Length: 7\r\n\r\n", Ok("200 A 1.0 Length(7) close")),
            (
                b"HTTP/1.0 200 A\r\nContent-Length: 7\r\nConnection: keep-alive\r\n\r\n",
                Ok("200 A 1.0 Length(7)"),
            ),
            (b"HTTP/1.0 200 A\r\nConnection: keep-alive\r\n\r\n", Ok("200 A 1.0 UntilClose close")),
            (b"HTTP/1.1 205 A\r\nContent-Length: 0\r\n\r\n", Ok("205 A Length(0)")),
            (
                b"HTTP/1.1 200 A\r\nContent-Length: 7\r\nContent-Length: 7\r\n\r\n",
                Err(Framing(LengthRepeated)),
            ),
            (b"HTTP/1.1 200 A\r\nContent-Length: 7,7\r\n\r\n", Err(Framing(LengthInvalid))),
            (b"HTTP/1.1 200 A\r\nContent-Length: -1\r\n\r\n", Err(Framing(LengthInvalid))),
            (b"HTTP/1.1 200 A\r\nContent-Length: 99999999999999999999\r\n\r\n", Err(Framing(LengthTooLarge))),
            (
                b"HTTP/1.1 200 A\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n",
                Err(Framing(CodingAndLength)),
            ),
            (b"HTTP/1.1 200 A\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Err(Framing(CodingUnknown))),
            (b"HTTP/1.1 200 A\r\nTransfer-Encoding: identity\r\n\r\n", Err(Framing(CodingUnknown))),
            (
                b"HTTP/1.1 200 A\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                Err(Framing(CodingRepeated)),
            ),
            (b"HTTP/1.0 200 A\r\nTransfer-Encoding: chunked\r\n\r\n", Err(Framing(CodingInHttp10))),
        ],
    );
}

#[test]
fn responses_that_have_no_body_whatever_they_say() {
    judge(
        PLAIN,
        &[
            (b"HTTP/1.1 100 Continue\r\n\r\n", Ok("100 Continue")),
            (b"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n", Ok("103 Hints")),
            (b"HTTP/1.1 204 A\r\n\r\n", Ok("204 A")),
            (b"HTTP/1.1 204 A\r\nContent-Length: 0\r\n\r\n", Ok("204 A says 0")),
            (b"HTTP/1.1 204 A\r\nContent-Length: 5\r\n\r\n", Ok("204 A says 5 close")),
            (b"HTTP/1.1 204 A\r\nTransfer-Encoding: chunked\r\n\r\n", Ok("204 A close")),
            (b"HTTP/1.1 304 A\r\nContent-Length: 5\r\n\r\n", Ok("304 A says 5")),
            (b"HTTP/1.1 304 A\r\n\r\n", Ok("304 A")),
            (b"HTTP/1.0 304 A\r\n\r\n", Ok("304 A 1.0 close")),
        ],
    );
    judge(
        RequestContext { head: true, upgrade: None },
        &[
            (b"HTTP/1.1 200 A\r\nContent-Length: 5\r\n\r\n", Ok("200 A says 5")),
            (b"HTTP/1.1 200 A\r\nTransfer-Encoding: chunked\r\n\r\n", Ok("200 A")),
            (b"HTTP/1.1 200 A\r\n\r\n", Ok("200 A")),
            (b"HTTP/1.1 200 A\r\nContent-Length: x\r\n\r\n", Err(Framing(LengthInvalid))),
        ],
    );
}

#[test]
fn upgrades() {
    let switch = b"HTTP/1.1 101 A\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    judge(PLAIN, &[(switch, Err(UpgradeNotAsked))]);
    judge(
        RequestContext { head: false, upgrade: Some(Upgrade::WebSocket) },
        &[
            (switch, Ok("101 A close upgrade websocket")),
            (b"HTTP/1.1 101 A\r\n\r\n", Err(BadUpgrade)),
            (b"HTTP/1.1 101 A\r\nUpgrade: websocket\r\n\r\n", Err(BadUpgrade)),
            (b"HTTP/1.1 101 A\r\nConnection: Upgrade\r\nUpgrade: a, b\r\n\r\n", Err(BadUpgrade)),
            (b"HTTP/1.1 101 A\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", Err(BadUpgrade)),
            (
                b"HTTP/1.1 200 A\r\nConnection: Upgrade\r\nUpgrade: a\r\nContent-Length: 0\r\n\r\n",
                Ok("200 A Length(0)"),
            ),
        ],
    );
}
