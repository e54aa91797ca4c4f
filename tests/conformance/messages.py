"""Requests that are malformed (RFC 9113 §8), and those that only seem so."""

from . import frames, hpack
from .cases import alive, case, error, malformed, response
from .connection import Failed


def request(c, fields, end=True):
    c.send(frames.headers(1, hpack.encode(fields), end))


def refused(name, section, title, change, must=True):
    """A request that `change` makes malformed: from a list of fields to another one. `must`: the section leaves no choice."""

    @case(name, section, title)
    def run(c):
        request(c, change(c.target.fields()))
        return malformed(c, 1) if must else error(c, 1, ("PROTOCOL_ERROR",), range(200, 500))


def add(*fields):
    return lambda all: [*all, *fields]


def before(*fields):
    return lambda all: [*fields, *all]


def without(name):
    return lambda all: [field for field in all if field[0] != name]


def twice(name):
    return lambda all: [field for field in all for _ in range(2 if field[0] == name else 1)]


def instead(name, value):
    return lambda all: [(name, value) if field[0] == name else field for field in all]


@case("http2/8.1/1", "RFC 9113 §8.1", "a second HEADERS without END_STREAM")
def second_headers(c):
    c.request(1, "POST", end=False)
    c.send(frames.headers(1, hpack.encode([(b"x-test", b"ok")])))
    return malformed(c, 1)


refused("http2/8.1.2/1", "RFC 9113 §8.2.1", "a field name with an upper-case letter", add((b"X-TEST", b"ok")))
refused("http2/8.1.2.1/1", "RFC 9113 §8.3", "an unknown pseudo-field", lambda all: [*all[:4], (b":test", b"ok")])
refused("http2/8.1.2.1/2", "RFC 9113 §8.3", "a response's pseudo-field", lambda all: [*all[:4], (b":status", b"200")])


@case("http2/8.1.2.1/3", "RFC 9113 §8.3", "a pseudo-field among the trailers")
def pseudo_trailer(c):
    c.request(1, "POST", end=False)
    c.send(frames.data(1, b"test"), frames.headers(1, hpack.encode([(b":method", b"GET")]), True))
    return malformed(c, 1)


refused("http2/8.1.2.1/4", "RFC 9113 §8.3", "a pseudo-field behind another field", before((b"x-test", b"ok")))
refused("http2/8.1.2.2/1", "RFC 9113 §8.2.2", "Connection", add((b"connection", b"keep-alive")))
refused("http2/8.1.2.2/2", "RFC 9113 §8.2.2", "TE other than trailers", add((b"te", b"trailers, deflate")))
refused("http2/8.1.2.3/1", "RFC 9113 §8.3.1", "an empty :path", instead(b":path", b""))
refused("http2/8.1.2.3/2", "RFC 9113 §8.3.1", "no :method", without(b":method"))
refused("http2/8.1.2.3/3", "RFC 9113 §8.3.1", "no :scheme", without(b":scheme"))
refused("http2/8.1.2.3/4", "RFC 9113 §8.3.1", "no :path", without(b":path"))
refused("http2/8.1.2.3/5", "RFC 9113 §8.3", ":method twice", twice(b":method"))
refused("http2/8.1.2.3/6", "RFC 9113 §8.3", ":scheme twice", twice(b":scheme"))
refused("http2/8.1.2.3/7", "RFC 9113 §8.3", ":path twice", twice(b":path"))


def with_length(c, length, *content):
    c.request(1, "POST", [(b"content-length", length)], end=False)
    c.send(*(frames.data(1, piece, number == len(content)) for number, piece in enumerate(content, 1)))


@case("http2/8.1.2.6/1", "RFC 9113 §8.1.1", "Content-Length of less than the DATA")
def length_short(c):
    with_length(c, b"1", b"test")
    return malformed(c, 1)


@case("http2/8.1.2.6/2", "RFC 9113 §8.1.1", "Content-Length of less than several DATA")
def length_short_often(c):
    with_length(c, b"1", b"test", b"test")
    return malformed(c, 1)


# Beside the usual ones ------------------------------------------------------------------------------

LENGTH = "RFC 9113 §8.1.1"


@case("message/8.1.1/1", LENGTH, "Content-Length of more than the DATA")
def length_long(c):
    with_length(c, b"8", b"test")
    return malformed(c, 1)


@case("message/8.1.1/2", LENGTH, "Content-Length, and the end without DATA")
def length_alone(c):
    request(c, c.target.fields("POST", more=[(b"content-length", b"4")]))
    return malformed(c, 1)


@case("message/8.1.1/3", LENGTH, "Content-Length of more than the DATA before the trailers")
def length_trailers(c):
    c.request(1, "POST", [(b"content-length", b"8")], end=False)
    c.send(frames.data(1, b"test"), frames.headers(1, hpack.encode([(b"x-test", b"ok")]), True))
    return malformed(c, 1)


refused("message/8.1.1/4", LENGTH, "Content-Length twice", add((b"content-length", b"0"), (b"content-length", b"1")))
refused("message/8.1.1/5", LENGTH, "Content-Length with a sign", add((b"content-length", b"+0")))

FIELDS = "RFC 9113 §8.2.1"
for number, (title, field) in enumerate(
    [
        ("a name with a space", (b"x test", b"ok")),
        ("a name with NUL", (b"x\0test", b"ok")),
        ("a name with CR LF", (b"x\r\ntest", b"ok")),
        ("a name with a byte above 126", (b"x\x80test", b"ok")),
        ("a name with a colon behind its beginning", (b"x:test", b"ok")),
        ("an empty name", (b"", b"ok")),
        ("a value with NUL", (b"x-test", b"a\0b")),
        ("a value with LF", (b"x-test", b"a\nb")),
        ("a value with CR", (b"x-test", b"a\rb")),
        ("a value with CR LF and a field", (b"x-test", b"a\r\nhost: b")),
        ("a value that begins with a space", (b"x-test", b" a")),
        ("a value that ends with a tab", (b"x-test", b"a\t")),
    ],
    1,
):
    refused(f"message/8.2.1/{number}", FIELDS, title, add(field))

CONNECTION = "RFC 9113 §8.2.2"
for number, (title, field) in enumerate(
    [
        ("Transfer-Encoding", (b"transfer-encoding", b"chunked")),
        ("Keep-Alive", (b"keep-alive", b"timeout=5")),
        ("Proxy-Connection", (b"proxy-connection", b"keep-alive")),
        ("Upgrade", (b"upgrade", b"websocket")),
    ],
    1,
):
    refused(f"message/8.2.2/{number}", CONNECTION, title, add(field))


@case("message/8.2.2/5", CONNECTION, "TE of trailers")
def te_trailers(c):
    request(c, c.target.fields(more=[(b"te", b"trailers")]))
    return response(c, 1, 200)


@case("message/8.2.3/1", "RFC 9113 §8.2.3", "Cookie in crumbs")
def crumbs(c):
    request(c, c.target.fields(more=[(b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"cookie", b"c=3")]))
    return response(c, 1, 200)


PSEUDO = "RFC 9113 §8.3.1"
refused("message/8.3.1/1", PSEUDO, ":authority twice", twice(b":authority"))
refused("message/8.3.1/2", PSEUDO, "Host that differs from :authority (should be refused)", add((b"host", b"other.test")), False)
refused("message/8.3.1/3", PSEUDO, "neither :authority nor Host (may be refused)", without(b":authority"), False)
refused("message/8.3.1/4", PSEUDO, ":authority with a user (may be refused)", instead(b":authority", b"user@localhost"), False)
refused("message/8.3.1/5", PSEUDO, ":path that does not begin with /", instead(b":path", b"index.html"))
refused("message/8.3.1/6", PSEUDO, ":path with a space", instead(b":path", b"/a b"))
refused("message/8.3.1/7", PSEUDO, ":path with CR LF", instead(b":path", b"/ HTTP/1.1\r\nx: y"))
refused("message/8.3.1/8", PSEUDO, ":method with a space", instead(b":method", b"GET /"))
refused("message/8.3.1/9", PSEUDO, ":method that is empty", instead(b":method", b""))
refused("message/8.3.1/10", PSEUDO, ":path of * with GET (may be refused)", instead(b":path", b"*"), False)
refused("message/8.3.1/11", PSEUDO, "a fragment in :path (may be refused)", instead(b":path", b"/#part"), False)


@case("message/8.3.1/12", PSEUDO, "Host in place of :authority")
def host_alone(c):
    request(c, [*without(b":authority")(c.target.fields()), (b"host", c.target.authority.encode())])
    return response(c, 1, 200)


@case("message/8.3.1/13", PSEUDO, "Host that is the same as :authority")
def host_beside(c):
    request(c, c.target.fields(more=[(b"host", c.target.authority.encode())]))
    return response(c, 1, 200)


@case("message/8.5/1", "RFC 9113 §8.5", "CONNECT with :scheme and :path")
def connect_with_path(c):
    request(c, c.target.fields("CONNECT"), end=False)
    return malformed(c, 1)


@case("message/8.5/2", "RFC 9113 §8.5", "CONNECT to an origin server, or to a proxy that does not serve it")
def connect(c):
    request(c, [(b":method", b"CONNECT"), (b":authority", b"localhost:1")], end=False)
    return error(c, 1, ("PROTOCOL_ERROR", "CONNECT_ERROR", "CANCEL", "REFUSED_STREAM"), range(400, 600))


@case("message/8441/1", "RFC 8441 §3", ":protocol without CONNECT")
def protocol_alone(c):
    request(c, [*c.target.fields(), (b":protocol", b"websocket")])
    return malformed(c, 1)


@case("message/8.1/1", "RFC 9113 §8.1", "a stream error leaves the connection as it was")
def others_continue(c):
    c.request(1)
    response(c, 1, 200)
    c.send(frames.headers(3, c.block_of(more=[(b"X", b"")]), True))
    observed = malformed(c, 3)
    if not observed.startswith(("RST_STREAM", "status")):
        raise Failed(f"{observed}: the connection's other streams are lost")
    c.request(5)
    response(c, 5, 200)
    return observed


# PRIORITY_UPDATE and `priority` (RFC 9218) ----------------------------------------------------------


@case("message/9218/1", "RFC 9218 §7.1", "PRIORITY_UPDATE before its stream")
def priority_update(c):
    c.send(frames.frame(frames.PRIORITY_UPDATE, 0, 0, b"\0\0\0\1u=1, i"))
    c.request(1, more=[(b"priority", b"u=5")])
    return response(c, 1, 200)


@case("message/9218/2", "RFC 9218 §4", "a priority that cannot be read")
def priority_garbage(c):
    c.request(1, more=[(b"priority", b"u=99, ??")])
    c.send(frames.frame(frames.PRIORITY_UPDATE, 0, 0, b"\0\0\0\1!!"))
    response(c, 1, 200)
    return alive(c)
