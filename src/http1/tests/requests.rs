//! Hostile and odd requests, each with its verdict.

use super::RequestError::*;
use super::*;
use crate::http1::error::FramingError::*;
use crate::http1::error::SyntaxError::*;

type Verdict = Result<&'static str, RequestError>;

#[track_caller]
fn judge(table: &[(&[u8], Verdict)]) {
    for (buf, verdict) in table {
        let found = request(buf);
        assert_eq!(found.as_deref().map_err(|error| *error), *verdict, "{}", buf.escape_ascii());
    }
}

/// A GET with `lines` after its Host.
fn get(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
}

#[track_caller]
fn judge_fields(table: &[(&str, Verdict)]) {
    for (lines, verdict) in table {
        let found = request(&get(lines));
        assert_eq!(found.as_deref().map_err(|error| *error), *verdict, "{lines:?}");
    }
}

#[test]
fn request_lines() {
    judge(&[
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET / @a")),
        (b"GET /a/b?c=d?e HTTP/1.1\r\nhOsT:a:80\r\n\r\n", Ok("GET /a/b ?c=d?e @a:80")),
        (b"GET /? HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET / ? @a")),
        (b"GET / HTTP/1.0\r\n\r\n", Ok("GET / @- 1.0 close")),
        (b"BREW-2 /pot HTTP/1.1\r\nHost: a\r\n\r\n", Ok("BREW-2 /pot @a")),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", Ok("get / @a")),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody", Ok("GET / @a len 27")),
        (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadMethod)),
        (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadMethod)),
        (b"\tGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadMethod)),
        (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadMethod)),
        (b"G\xc3\x84T / HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadMethod)),
        (b"\x16\x03\x01\x02\x00\x01", Err(BadMethod)),
        (b"\0", Err(BadMethod)),
        (b"GET\r\n\r\n", Err(BadMethod)),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"GET \t/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"GET /\r\n\r\n", Err(BadTarget)),
        (b"GET / \r\n\r\n", Err(BadVersion)),
        (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadVersion)),
        (b"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Err(Syntax(LineEnd))),
        (b"GET / HTTP/1.11\r\nHost: a\r\n\r\n", Err(Syntax(LineEnd))),
        (b"GET / HTTP/1.1\rHost: a\r\n\r\n", Err(Syntax(LineEnd))),
        (b"GET / a HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadVersion)),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", Err(BadVersion)),
        (b"GET / HTTP/x.1\r\nHost: a\r\n\r\n", Err(BadVersion)),
        (b"GET / ICY/1.1\r\nHost: a\r\n\r\n", Err(BadVersion)),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Err(VersionUnsupported)),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", Err(VersionUnsupported)),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", Err(VersionUnsupported)),
        (b"GET / HTTP/2\r\nHost: a\r\n\r\n", Err(VersionUnsupported)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Err(VersionUnsupported)),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Err(MethodRefused)),
        (b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", Err(MethodRefused)),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", Err(MethodRefused)),
        (b"trace / HTTP/1.1\r\nHost: a\r\n\r\n", Ok("trace / @a")),
    ]);
}

#[test]
fn targets() {
    judge(&[
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Ok("OPTIONS * @a")),
        (b"OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", Ok("OPTIONS * @b")),
        (b"OPTIONS http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Ok("OPTIONS / @b")),
        (b"OPTIONS http://b?q HTTP/1.1\r\nHost: a\r\n\r\n", Ok("OPTIONS / ?q @b")),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET /x ?y @b:81")),
        (b"GET HTTPS://B HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET / @B")),
        (b"GET http://[::1]:8/x HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET /x @[::1]:8")),
        (b"GET http://b/x HTTP/1.0\r\n\r\n", Ok("GET /x @b 1.0 close")),
        (b"GET http://b/x HTTP/1.1\r\n\r\n", Err(HostMissing)),
        (b"GET http://b/x HTTP/1.1\r\nHost: a b\r\n\r\n", Err(BadHost)),
        (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadHost)),
        (b"GET http://b,c/x HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadHost)),
        (b"GET http://b%2ec/x HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadHost)),
        (b"GET http://b\\c/x HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadHost)),
        (b"GET http://u@b/x HTTP/1.1\r\nHost: a\r\n\r\n", Err(UserInfo)),
        (b"GET http://u:p@b/x HTTP/1.1\r\nHost: a\r\n\r\n", Err(UserInfo)),
        (b"GET http://b/u@c HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET /u@c @b")),
        (b"GET http:/b/x HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"GET ftp://b/x HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"GET b/x HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"GET ?x HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"GET //b/x HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET //b/x @a")),
        (b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"GET /x\0y HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"GET /x\x7fy HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"GET /x\x0by HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"GET /x\ry HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", Err(BadTarget)),
        (b"GET /%c3%a4|{}\"<> HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET /%c3%a4|{}\"<> @a")),
    ]);
}

#[test]
fn hosts() {
    judge(&[
        (b"GET / HTTP/1.1\r\n\r\n", Err(HostMissing)),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", Err(BadHost)),
        (b"GET / HTTP/1.1\r\nHost: \t\r\n\r\n", Err(BadHost)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Err(HostRepeated)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", Err(HostRepeated)),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Err(HostRepeated)),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", Ok("GET / @a 1.0 close")),
        (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Err(BadHost)),
        (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Err(BadHost)),
        (b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", Err(BadHost)),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Err(BadHost)),
        (b"GET / HTTP/1.1\r\nHost: a:http\r\n\r\n", Err(BadHost)),
        (b"GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", Err(BadHost)),
        (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", Ok("GET / @[::1]:80")),
        (b"GET / HTTP/1.1\r\nHost: \t a.\t \r\n\r\n", Ok("GET / @a.")),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Err(Syntax(SpaceBeforeColon))),
        (b"GET / HTTP/1.1\r\nX-Host: a\r\n\r\n", Err(HostMissing)),
    ]);
}

#[test]
fn lines_and_fields() {
    judge(&[
        (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET / @a")),
        (b"\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET / @a")),
        (b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(BlankLines)),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(Syntax(BareLf))),
        (b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(Syntax(BareLf))),
        (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(Syntax(BareCr))),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", Err(Syntax(BareLf))),
        (b"GET / HTTP/1.1\n\nHost: a\r\n\r\n", Err(Syntax(BareLf))),
        (b"GET / HTTP/1.0\n\n", Err(Syntax(BareLf))),
        (b"GET / HTTP/1.0\r\n\n", Err(Syntax(BareLf))),
        (b"GET / HTTP/1.0\n\r\n", Err(Syntax(BareLf))),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", Err(Syntax(BareLf))),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", Err(Syntax(BareLf))),
        (b"GET / HTTP/1.1\r\nHost: a\nb: c\r\n\r\n", Err(Syntax(BareLf))),
        (b"GET / HTTP/1.1\r\nHost: a\r\nb:\nc: d\r\n\r\n", Err(Syntax(BareLf))),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\rx\n", Err(Syntax(LineEnd))),
        (b"", Ok("partial")),
        (b"\r", Ok("partial")),
        (b"\r\n\r\n", Ok("partial")),
        (b"GET", Ok("partial")),
        (b"GET / HTTP/1.", Ok("partial")),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r", Ok("partial")),
    ]);
    judge_fields(&[
        ("a: \u{e4}\t b\r\n", Ok("GET / @a")),
        ("a:\r\nb: \t\r\n", Ok("GET / @a")),
        ("a_b: c\r\n", Ok("GET / @a")),
        ("!#$%&'*+-.^_`|~: c\r\n", Ok("GET / @a")),
        ("a: b\r\n c\r\n", Err(Syntax(ObsFold))),
        ("a: b\r\n\tc: d\r\n", Err(Syntax(ObsFold))),
        (" a: b\r\n", Err(Syntax(ObsFold))),
        (" \r\n", Err(Syntax(ObsFold))),
        (": b\r\n", Err(Syntax(EmptyName))),
        (":\r\n", Err(Syntax(EmptyName))),
        ("a : b\r\n", Err(Syntax(SpaceBeforeColon))),
        ("a\t: b\r\n", Err(Syntax(SpaceBeforeColon))),
        ("Transfer-Encoding : chunked\r\n", Err(Syntax(SpaceBeforeColon))),
        ("a b: c\r\n", Err(Syntax(SpaceBeforeColon))),
        ("a\r\n", Err(Syntax(BadName))),
        ("a\n: b\r\n", Err(Syntax(BadName))),
        ("a(b): c\r\n", Err(Syntax(BadName))),
        ("a\0: c\r\n", Err(Syntax(BadName))),
        ("\u{e4}: c\r\n", Err(Syntax(BadName))),
        ("\"a\": c\r\n", Err(Syntax(BadName))),
        ("a: b\rc\r\n", Err(Syntax(BareCr))),
        ("a: \rb\r\n", Err(Syntax(BareCr))),
        ("a:\r\r\n", Err(Syntax(BareCr))),
        ("a: b\r\r\n", Err(Syntax(BareCr))),
        ("a: b\0c\r\n", Err(Syntax(Control))),
        ("a: \0\r\n", Err(Syntax(Control))),
        ("a: b\x1bc\r\n", Err(Syntax(Control))),
        ("a: b\x0bc\r\n", Err(Syntax(Control))),
        ("a: b\x7f\r\n", Err(Syntax(Control))),
    ]);
}

#[test]
fn body_lengths() {
    judge_fields(&[
        ("Content-Length: 5\r\n", Ok("GET / @a Length(5)")),
        ("content-length:005\r\n", Ok("GET / @a Length(5)")),
        ("Content-Length: 0\r\n", Ok("GET / @a Length(0)")),
        ("Content-Length: 9223372036854775807\r\n", Ok("GET / @a Length(9223372036854775807)")),
        ("Content-Length: 9223372036854775808\r\n", Err(Framing(LengthTooLarge))),
        ("Content-Length: 18446744073709551616\r\n", Err(Framing(LengthTooLarge))),
        ("Content-Length: 00000000000000000005\r\n", Err(Framing(LengthTooLarge))),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Err(Framing(LengthRepeated))),
        ("Content-Length: 5\r\ncontent-length: 6\r\n", Err(Framing(LengthRepeated))),
        ("Content-Length: 5, 5\r\n", Err(Framing(LengthInvalid))),
        ("Content-Length: 5 5\r\n", Err(Framing(LengthInvalid))),
        ("Content-Length: +5\r\n", Err(Framing(LengthInvalid))),
        ("Content-Length: -5\r\n", Err(Framing(LengthInvalid))),
        ("Content-Length: 0x5\r\n", Err(Framing(LengthInvalid))),
        ("Content-Length: 5.0\r\n", Err(Framing(LengthInvalid))),
        ("Content-Length: 1e1\r\n", Err(Framing(LengthInvalid))),
        ("Content-Length: \"5\"\r\n", Err(Framing(LengthInvalid))),
        ("Content-Length: \u{665}\r\n", Err(Framing(LengthInvalid))),
        ("Content-Length:\r\n", Err(Framing(LengthInvalid))),
        ("Content_Length: 5\r\n", Err(Framing(LookAlike))),
        ("transfer!encoding: chunked\r\n", Err(Framing(LookAlike))),
        ("ContentxLength: 5\r\n", Ok("GET / @a")),
        ("Transfer-Encoding: chunked\r\n", Ok("GET / @a Chunked")),
        ("transfer-encoding:\tCHUNKED \r\n", Ok("GET / @a Chunked")),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Err(Framing(CodingAndLength))),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(Framing(CodingAndLength))),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", Err(Framing(CodingAndLength))),
        ("Content-Length: 5\r\nTransfer-Encoding: identity\r\n", Err(Framing(CodingUnsupported))),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(Framing(CodingRepeated))),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", Err(Framing(CodingRepeated))),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", Err(Framing(CodingUnsupported))),
        ("Transfer-Encoding: gzip, chunked\r\n", Err(Framing(CodingUnknown))),
        ("Transfer-Encoding: chunked, gzip\r\n", Err(Framing(CodingUnsupported))),
        ("Transfer-Encoding: chunked, chunked\r\n", Err(Framing(CodingUnsupported))),
        ("Transfer-Encoding: chunked,\r\n", Err(Framing(CodingUnsupported))),
        ("Transfer-Encoding: ,chunked\r\n", Err(Framing(CodingUnsupported))),
        ("Transfer-Encoding: chunked;q=1\r\n", Err(Framing(CodingUnsupported))),
        ("Transfer-Encoding: \"chunked\"\r\n", Err(Framing(CodingUnsupported))),
        ("Transfer-Encoding: xchunked\r\n", Err(Framing(CodingUnknown))),
        ("Transfer-Encoding: chunke\u{212a}\r\n", Err(Framing(CodingUnsupported))),
        ("Transfer-Encoding: \x0bchunked\r\n", Err(Syntax(Control))),
        ("Transfer-Encoding:\r\n chunked\r\n", Err(Syntax(ObsFold))),
        ("Transfer-Encoding:\r\n", Err(Framing(CodingUnsupported))),
    ]);
    judge(&[
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Err(Framing(CodingInHttp10))),
        (b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n", Ok("POST / @- 1.0 Length(5) close")),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", Ok("POST / @a")),
    ]);
}

#[test]
fn connections_and_expectations() {
    judge_fields(&[
        ("Connection: close\r\n", Ok("GET / @a close")),
        ("Connection: Keep-Alive\r\n", Ok("GET / @a")),
        ("Connection: keep-alive, CLOSE\r\n", Ok("GET / @a close")),
        ("Connection: keep-alive\r\nConnection: x,close\r\n", Ok("GET / @a close")),
        ("Connection: ,, close ,\r\n", Ok("GET / @a close")),
        ("Connection:\r\n", Ok("GET / @a")),
        ("Connection: clos\r\n", Ok("GET / @a")),
        ("Connection: close;a\r\n", Err(Syntax(BadConnection))),
        ("Connection: a b\r\n", Err(Syntax(BadConnection))),
        ("Connection: \u{e4}\r\n", Err(Syntax(BadConnection))),
        ("Connection: a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a\r\n", Ok("GET / @a")),
        ("Connection: a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a\r\nConnection: a\r\n", Err(Syntax(TooManyOptions))),
        ("Proxy-Connection: close\r\n", Ok("GET / @a")),
        ("Connection: upgrade\r\nUpgrade: websocket\r\n", Ok("GET / @a upgrade websocket")),
        ("Upgrade: foo/2\r\nConnection: keep-alive, Upgrade\r\n", Ok("GET / @a upgrade foo/2")),
        ("Upgrade: websocket\r\n", Ok("GET / @a")),
        ("Connection: upgrade\r\n", Ok("GET / @a")),
        ("Connection: upgrade\r\nUpgrade: h2c\r\n", Ok("GET / @a")),
        ("Connection: upgrade\r\nUpgrade: HTTP/2.0\r\n", Ok("GET / @a")),
        ("Connection: upgrade\r\nUpgrade: TLS/1.0\r\n", Ok("GET / @a")),
        ("Connection: upgrade\r\nUpgrade: websocket, h2c\r\n", Ok("GET / @a")),
        ("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n", Ok("GET / @a")),
        ("Connection: upgrade\r\nUpgrade: a/b/c\r\n", Ok("GET / @a")),
        ("Connection: upgrade\r\nUpgrade:\r\n", Ok("GET / @a")),
        ("Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n", Ok("GET / @a Length(1) upgrade x")),
        ("Expect: 100-Continue\r\nContent-Length: 1\r\n", Ok("GET / @a Length(1) expect")),
        ("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", Ok("GET / @a Chunked expect")),
        ("Expect: 100-continue\r\n", Ok("GET / @a")),
        ("Expect: 100-continue\r\nContent-Length: 0\r\n", Ok("GET / @a Length(0)")),
        ("Expect: 200-ok\r\n", Err(ExpectationUnknown)),
        ("Expect: 100-continue, x\r\n", Err(ExpectationUnknown)),
        ("Expect:\r\n", Err(ExpectationUnknown)),
        ("Expect: 100-continue\r\nExpect: 100-continue\r\n", Err(ExpectationUnknown)),
    ]);
    judge(&[
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Ok("GET / @- 1.0")),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", Ok("GET / @- 1.0 close")),
        (b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n", Ok("GET / @- 1.0 close")),
        (
            b"PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            Ok("PUT / @- 1.0 Length(1) close"),
        ),
    ]);
}

#[test]
fn a_head_has_a_longest_length_and_an_unfinished_one_as_well() {
    let line = |len: usize| get(&format!("a: {}\r\n", "x".repeat(len - get("a: \r\n").len())));
    assert_eq!(request(&line(1024)).as_deref(), Ok("GET / @a"));
    assert_eq!(request(&line(1025)), Err(HeadTooLong));
    assert_eq!(request(&line(1025)[..1023]).as_deref(), Ok("partial"));
    assert_eq!(request(&line(1025)[..1024]), Err(HeadTooLong));
    assert_eq!(request(&[b"\r\n".to_vec(), line(1023)].concat()), Err(HeadTooLong));
    assert_eq!(request(&[b'G'; 1023]).as_deref(), Ok("partial"));
    assert_eq!(request(&[b'G'; 1024]), Err(HeadTooLong));
}

#[test]
fn a_target_has_a_longest_length() {
    let line = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(len - 1)).into_bytes();
    assert!(request(&line(100)).is_ok());
    assert_eq!(request(&line(101)), Err(TargetTooLong));
    assert_eq!(request(&line(2000)), Err(TargetTooLong));
    assert_eq!(request(&line(2000)[..1000]).as_deref(), Ok("partial"));
}

#[test]
fn there_is_a_largest_number_of_fields() {
    assert_eq!(request(&get(&"a: b\r\n".repeat(19))).as_deref(), Ok("GET / @a"));
    assert_eq!(request(&get(&"a: b\r\n".repeat(20))), Err(TooManyFields));
    // Slots bound it as well.
    let buf = get("a: b\r\n");
    let mut slots = header_slots();
    let parsed = parse_request(&buf, &mut slots[..1], &LIMITS);
    assert!(matches!(parsed, Err(TooManyFields)));
}

#[test]
fn each_refusal_has_its_status() {
    for (error, status) in [
        (Syntax(BareLf), 400),
        (Framing(CodingAndLength), 400),
        (HostMissing, 400),
        (MethodRefused, 501),
        (TargetTooLong, 414),
        (ExpectationUnknown, 417),
        (HeadTooLong, 431),
        (TooManyFields, 431),
        (VersionUnsupported, 505),
    ] {
        assert_eq!(error.status(), status, "{error}");
        assert_ne!(reason_phrase(status), "");
    }
}

#[test]
fn methods_know_what_may_be_tried_again() {
    let known = |name: &'static str| {
        let buf = format!("{name} / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut slots = header_slots();
        match parse_request(buf.as_bytes(), &mut slots, &LIMITS) {
            Ok(Parsed::Complete(head)) => (head.method.is_safe(), head.method.is_idempotent()),
            other => panic!("{name}: {other:?}"),
        }
    };
    for name in ["GET", "HEAD", "OPTIONS"] {
        assert_eq!(known(name), (true, true));
    }
    for name in ["PUT", "DELETE"] {
        assert_eq!(known(name), (false, true));
    }
    for name in ["POST", "PATCH", "BREW", "get"] {
        assert_eq!(known(name), (false, false));
    }
}
