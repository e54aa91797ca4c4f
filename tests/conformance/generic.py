"""What every server has to take: the frames of an ordinary client."""

import struct

from . import frames, hpack
from .cases import alive, case, closed, error, response
from .connection import Failed
from .hpack import INDEXING, NEVER, PLAIN, indexed, literal, table_size


@case("generic/1/1", "RFC 9113 §3.4", "the client's preface", raw=True)
def preface(c):
    c.handshake()
    return "SETTINGS"


# Streams (§5) ---------------------------------------------------------------------------------------


@case("generic/2/1", "RFC 9113 §5.1", "PRIORITY on an idle stream")
def idle_priority(c):
    c.send(frames.priority(1, 0, 255))
    return alive(c)


@case("generic/2/2", "RFC 9113 §5.1", "WINDOW_UPDATE on a half-closed (remote) stream")
def half_closed_window(c):
    c.request(1)
    c.send(frames.window_update(1, 1))
    return response(c, 1)


@case("generic/2/3", "RFC 9113 §5.1", "PRIORITY on a half-closed (remote) stream")
def half_closed_priority(c):
    c.request(1)
    c.send(frames.priority(1, 0, 255))
    return response(c, 1)


@case("generic/2/4", "RFC 9113 §5.1", "RST_STREAM on a half-closed (remote) stream")
def half_closed_reset(c):
    c.request(1)
    c.send(frames.reset(1))
    return alive(c)


@case("generic/2/5", "RFC 9113 §5.1", "PRIORITY on a closed stream")
def closed_priority(c):
    c.request(1)
    response(c, 1)
    c.send(frames.priority(1, 0, 255))
    return alive(c)


# Frames (§6) ----------------------------------------------------------------------------------------


def post(c, *content, length=None, pad=None):
    c.request(1, "POST", [(b"content-length", str(length).encode())] if length is not None else [], end=False)
    for number, piece in enumerate(content, 1):
        c.send(frames.data(1, piece, number == len(content), pad))
    return response(c, 1)


@case("generic/3.1/1", "RFC 9113 §6.1", "DATA")
def data(c):
    return post(c, b"test")


@case("generic/3.1/2", "RFC 9113 §6.1", "DATA, several times")
def data_often(c):
    return post(c, b"test", b"test")


@case("generic/3.1/3", "RFC 9113 §6.1", "DATA with padding")
def data_padded(c):
    return post(c, b"test", pad=6)


@case("generic/3.2/1", "RFC 9113 §6.2", "HEADERS")
def headers(c):
    c.request(1)
    return response(c, 1)


@case("generic/3.2/2", "RFC 9113 §6.2", "HEADERS with padding")
def headers_padded(c):
    c.send(frames.headers(1, c.block_of(), True, pad=8))
    return response(c, 1)


@case("generic/3.2/3", "RFC 9113 §6.2", "HEADERS with a priority")
def headers_priority(c):
    c.send(frames.headers(1, c.block_of(), True, priority=(0, 255)))
    return response(c, 1)


def after_priority(c, on, weight):
    c.send(frames.priority(1, on, weight))
    c.request(1)
    return response(c, 1)


@case("generic/3.3/1", "RFC 9113 §6.3", "PRIORITY with weight 1")
def priority_low(c):
    return after_priority(c, 0, 0)


@case("generic/3.3/2", "RFC 9113 §6.3", "PRIORITY with weight 256")
def priority_high(c):
    return after_priority(c, 0, 255)


@case("generic/3.3/3", "RFC 9113 §6.3", "PRIORITY with a dependency")
def priority_dependency(c):
    return after_priority(c, 3, 255)


@case("generic/3.3/4", "RFC 9113 §6.3", "PRIORITY with an exclusive dependency")
def priority_exclusive(c):
    return after_priority(c, 3 | 1 << 31, 255)


@case("generic/3.3/5", "RFC 9113 §5.1.1", "PRIORITY on an idle stream, then HEADERS of a lower one")
def priority_higher(c):
    c.send(frames.priority(3, 0, 255))
    c.request(1)
    return response(c, 1)


@case("generic/3.4/1", "RFC 9113 §6.4", "RST_STREAM")
def reset(c):
    c.request(1, "POST", end=False)
    c.send(frames.reset(1))
    return alive(c)


@case("generic/3.5/1", "RFC 9113 §6.5", "SETTINGS")
def settings(c):
    c.send(frames.settings((frames.MAX_CONCURRENT_STREAMS, 100)))
    c.until(lambda it: it.kind == frames.SETTINGS and it.has(frames.ACK), "SETTINGS ACK")
    return "SETTINGS ACK"


@case("generic/3.7/1", "RFC 9113 §6.7", "PING")
def ping(c):
    c.answers_ping(b"h2-check")
    return "PING ACK"


@case("generic/3.8/1", "RFC 9113 §6.8", "GOAWAY")
def goaway(c):
    c.send(frames.goaway(0, 0, b"done"), frames.ping(b"conform!"))
    return ping_or_end(c)


def ping_or_end(c):
    """After a client's GOAWAY a server may continue, or end the connection."""
    frame = c.read()
    while frame is not None:
        if frame.kind == frames.PING and frame.has(frames.ACK):
            return "PING ACK"
        if frame.kind == frames.GOAWAY and frame.code() != "NO_ERROR":
            raise Failed(str(frame))
        frame = c.read()
    return "closed"


@case("generic/3.9/1", "RFC 9113 §6.9", "WINDOW_UPDATE of the connection")
def window_connection(c):
    c.send(frames.window_update(0, 1))
    return alive(c)


@case("generic/3.9/2", "RFC 9113 §6.9", "WINDOW_UPDATE of a stream")
def window_stream(c):
    c.request(1, "POST", end=False)
    c.send(frames.window_update(1, 1), frames.data(1, b"test", True))
    return response(c, 1)


@case("generic/3.10/1", "RFC 9113 §6.10", "CONTINUATION")
def continuation(c):
    block = c.block_of(more=[(b"x-dummy", b"a" * 900)])
    c.send(frames.headers(1, block[:100], True, False), frames.continuation(1, block[100:]))
    return response(c, 1)


@case("generic/3.10/2", "RFC 9113 §6.10", "CONTINUATION, several times")
def continuation_often(c):
    block = c.block_of(more=[(b"x-dummy", b"a" * 900)])
    c.send(frames.headers(1, block[:100], True, False))
    c.send(frames.continuation(1, block[100:300], False), frames.continuation(1, b"", False), frames.continuation(1, block[300:]))
    return response(c, 1)


# Messages (§8) --------------------------------------------------------------------------------------


@case("generic/4/1", "RFC 9113 §8.3.1", "GET")
def get(c):
    c.request(1)
    return response(c, 1, 200)


@case("generic/4/2", "RFC 9113 §8.3.1", "HEAD")
def head(c):
    c.request(1, "HEAD")
    if c.response(1).content:
        raise Failed("a response to HEAD with content")
    return response(c, 1, 200)


@case("generic/4/3", "RFC 9113 §8.3.1", "POST")
def simple_post(c):
    return post(c, b"test", length=4)


@case("generic/4/4", "RFC 9113 §8.1", "POST with trailers")
def post_trailers(c):
    c.request(1, "POST", [(b"trailer", b"x-test")], end=False)
    c.send(frames.data(1, b"test"), frames.headers(1, hpack.encode([(b"x-test", b"ok")]), True))
    return response(c, 1)


# Header compression (RFC 7541) ----------------------------------------------------------------------


def with_field(c, field):
    """A request with one more field, on two streams: the second one needs the tables to be the same."""
    for stream in (1, 3):
        c.send(frames.headers(stream, c.block_of() + field, True))
        observed = response(c, stream)
    return observed


@case("generic/5/1", "RFC 7541 §6.1", "indexed fields")
def all_indexed(c):
    scheme = 7 if c.target.tls else 6
    block = indexed(2) + indexed(scheme) + indexed(4) + literal(1, c.target.authority.encode(), INDEXING)
    c.send(frames.headers(1, block, True))
    response(c, 1)
    c.send(frames.headers(3, indexed(2) + indexed(scheme) + indexed(4) + indexed(62), True))
    return response(c, 3)


KINDS = [(INDEXING, "with indexing", 2), (PLAIN, "without indexing", 6), (NEVER, "never indexed", 10)]
for kind, words, number in KINDS:
    for name, whose in ((58, "a name of the table"), (b"x-test", "a new name")):
        for coded in (False, True):
            title = f"a literal field {words}, {whose}{', Huffman' if coded else ''}"
            field = literal(name, b"test", kind, coded)
            section = {INDEXING: "6.2.1", PLAIN: "6.2.2", NEVER: "6.2.3"}[kind]
            case(f"generic/5/{number}", f"RFC 7541 §{section}", title)(lambda c, field=field: with_field(c, field))
            number += 1


@case("generic/5/14", "RFC 7541 §6.3", "a change of the table's size")
def one_size(c):
    c.send(frames.headers(1, table_size(128) + c.block_of(), True))
    return response(c, 1)


@case("generic/5/15", "RFC 7541 §6.3", "two changes of the table's size")
def two_sizes(c):
    c.send(frames.headers(1, table_size(128) + table_size(4096) + c.block_of(), True))
    return response(c, 1)


# Beyond one request ---------------------------------------------------------------------------------


@case("generic/6/1", "RFC 9113 §5", "a hundred requests on a connection, ten at a time")
def many(c):
    for first in range(1, 200, 20):
        streams = range(first, first + 20, 2)
        c.send(*(frames.headers(stream, c.block_of(), True) for stream in streams))
        for stream in streams:
            observed = response(c, stream, 200)
        c.send(frames.window_update(0, 65_535))
    return observed


@case("generic/6/2", "RFC 9113 §4.1", "a request of single bytes", raw=True)
def bytes_one_by_one(c):
    sent = frames.PREFACE + frames.settings() + frames.headers(1, c.block_of(), True)
    for at in range(len(sent)):
        c.send(sent[at : at + 1])
    return response(c, 1, 200)


@case("generic/6/3", "RFC 9113 §3.4", "requests together with the preface", raw=True)
def at_once(c):
    c.send(frames.PREFACE, frames.settings(), *(frames.headers(stream, c.block_of(), True) for stream in (1, 3, 5)))
    return [response(c, stream, 200) for stream in (5, 3, 1)][0]


@case("generic/6/4", "RFC 9113 §6.8", "responses are whole after the client's GOAWAY")
def goaway_and_requests(c):
    c.send(*(frames.headers(stream, c.block_of(), True) for stream in (1, 3)), frames.goaway())
    response(c, 1, 200)
    return response(c, 3, 200)


@case("generic/6/5", "RFC 9113 §6.9", "content of 1 MiB goes up, as the windows allow it")
def upload(c):
    size, sent = 1 << 20, 0
    windows = {0: frames.DEFAULT_WINDOW, 1: c.settings.get(frames.INITIAL_WINDOW_SIZE, frames.DEFAULT_WINDOW)}
    c.request(1, "POST", [(b"content-length", str(size).encode())], end=False)
    while sent < size:
        for frame in list(c.seen):
            if frame.kind == frames.WINDOW_UPDATE:
                windows[frame.stream] += struct.unpack(">I", frame.payload)[0]
        c.seen.clear()
        piece = min(size - sent, frames.DEFAULT_FRAME, *windows.values())
        if piece == 0:
            c.read()
            continue
        windows = {stream: left - piece for stream, left in windows.items()}
        sent += piece
        c.send(frames.data(1, bytes(piece), sent == size))
    return response(c, 1)


@case("generic/6/6", "RFC 9113 §5.4.1", "an error's GOAWAY is followed by the connection's end")
def end_of_connection(c):
    c.send(frames.ping(b"short"))
    observed = error(c, None, ("FRAME_SIZE_ERROR",))
    closed(c)
    return observed
