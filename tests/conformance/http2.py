"""RFC 9113, section by section; the cases' numbers are those of RFC 7540, as they are in use for servers' conformance."""

import struct

from . import frames, hpack
from .cases import (
    COMPRESSION_ERROR,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    alive,
    case,
    closed,
    connection_error,
    data_frame,
    response,
    stream_error,
)
from .connection import Failed, Skipped
from .generic import ping_or_end

GARBAGE = b"\x00\x01\x02\x03\x04\x05\x06\x07"
OPEN = {"method": "POST", "end": False}


# Preface (§3.4) -------------------------------------------------------------------------------------


@case("http2/3.5/1", "RFC 9113 §3.4", "the client's preface: the server's begins with SETTINGS", raw=True)
def preface(c):
    c.send(frames.PREFACE, frames.settings())
    first = c.read()
    if first is None or first.kind != frames.SETTINGS or first.has(frames.ACK):
        raise Failed(f"first: {first}")
    return "SETTINGS"


@case("http2/3.5/2", "RFC 9113 §3.4", "something else in place of the preface", raw=True)
def no_preface(c):
    c.send(b"INVALID CONNECTION PREFACE\r\n\r\n")
    return closed(c)


# Frames (§4) ----------------------------------------------------------------------------------------


@case("http2/4.1/1", "RFC 9113 §4.1", "a frame of an unknown type")
def unknown_type(c):
    c.send(frames.frame(0xFF, 0, 0, GARBAGE))
    return alive(c)


@case("http2/4.1/2", "RFC 9113 §4.1", "a flag without a meaning")
def unknown_flag(c):
    c.send(frames.ping(b"conform!", flags=0x16))
    c.until(lambda it: it.kind == frames.PING and it.has(frames.ACK), "PING ACK")
    return "PING ACK"


@case("http2/4.1/3", "RFC 9113 §4.1", "the reserved bit")
def reserved_bit(c):
    c.send(frames.ping(b"conform!", stream=1 << 31))
    c.until(lambda it: it.kind == frames.PING and it.has(frames.ACK), "PING ACK")
    return "PING ACK"


@case("http2/4.2/1", "RFC 9113 §4.2", "DATA of 2^14 bytes")
def longest_data(c):
    c.request(1, **OPEN)
    c.send(frames.data(1, bytes(frames.DEFAULT_FRAME), True))
    return response(c, 1)


def most(c):
    return c.settings.get(frames.MAX_FRAME_SIZE, frames.DEFAULT_FRAME)


@case("http2/4.2/2", "RFC 9113 §4.2", "DATA longer than SETTINGS_MAX_FRAME_SIZE")
def long_data(c):
    c.request(1, **OPEN)
    c.send(frames.data(1, bytes(most(c) + 1), True))
    return stream_error(c, 1, FRAME_SIZE_ERROR)


@case("http2/4.2/3", "RFC 9113 §4.2", "HEADERS longer than SETTINGS_MAX_FRAME_SIZE")
def long_headers(c):
    c.send(frames.headers(1, c.block_of(more=[(b"x-dummy", b"a" * most(c))]), True))
    return connection_error(c, FRAME_SIZE_ERROR)


@case("http2/4.3/1", "RFC 9113 §4.3", "a header block that cannot be decoded")
def bad_block(c):
    c.send(frames.headers(1, b"\x40", True))
    return connection_error(c, COMPRESSION_ERROR)


def within_block(c, *between, more=b""):
    """A header block, another frame, and the block's rest."""
    block = c.block_of()
    c.send(frames.headers(1, block[:20], True, False), more, *between, frames.continuation(1, block[20:]))


@case("http2/4.3/2", "RFC 9113 §4.3", "PRIORITY within a header block")
def priority_within(c):
    within_block(c, frames.priority(1, 0, 255))
    return connection_error(c, PROTOCOL_ERROR)


@case("http2/4.3/3", "RFC 9113 §4.3", "HEADERS of another stream within a header block")
def headers_within(c):
    within_block(c, frames.headers(3, c.block_of(), True))
    return connection_error(c, PROTOCOL_ERROR)


# Streams (§5) ---------------------------------------------------------------------------------------


def idle(number, title, sent, *codes):
    @case(f"http2/5.1/{number}", "RFC 9113 §5.1", f"idle stream: {title}")
    def run(c):
        c.send(sent)
        return connection_error(c, *codes)


idle(1, "DATA", frames.data(1, b"test", True), PROTOCOL_ERROR)
idle(2, "RST_STREAM", frames.reset(1), PROTOCOL_ERROR)
idle(3, "WINDOW_UPDATE", frames.window_update(1, 100), PROTOCOL_ERROR)
idle(4, "CONTINUATION", frames.continuation(1, b"\x82"), PROTOCOL_ERROR)


@case("http2/5.1/5", "RFC 9113 §5.1", "half-closed (remote) stream: DATA")
def half_closed_data(c):
    c.request(1)
    c.send(frames.data(1, b"test", True))
    return stream_error(c, 1, STREAM_CLOSED)


@case("http2/5.1/6", "RFC 9113 §5.1", "half-closed (remote) stream: HEADERS")
def half_closed_headers(c):
    c.send(*[frames.headers(1, c.block_of(), True)] * 2)
    return stream_error(c, 1, STREAM_CLOSED)


@case("http2/5.1/7", "RFC 9113 §6.10", "half-closed (remote) stream: CONTINUATION")
def half_closed_continuation(c):
    c.request(1)
    c.send(frames.continuation(1, c.block_of()))
    return connection_error(c, STREAM_CLOSED, PROTOCOL_ERROR)


def after_reset(c, sent):
    c.request(1, **OPEN)
    c.send(frames.reset(1), sent)


@case("http2/5.1/8", "RFC 9113 §5.1", "closed stream: DATA after RST_STREAM")
def reset_data(c):
    after_reset(c, frames.data(1, b"test", True))
    return stream_error(c, 1, STREAM_CLOSED)


@case("http2/5.1/9", "RFC 9113 §5.1", "closed stream: HEADERS after RST_STREAM")
def reset_headers(c):
    after_reset(c, frames.headers(1, c.block_of(), True))
    return stream_error(c, 1, STREAM_CLOSED)


@case("http2/5.1/10", "RFC 9113 §6.10", "closed stream: CONTINUATION after RST_STREAM")
def reset_continuation(c):
    after_reset(c, frames.continuation(1, b"\x82"))
    return connection_error(c, STREAM_CLOSED, PROTOCOL_ERROR)


def after_response(c, sent):
    c.request(1)
    response(c, 1)
    c.send(sent)


@case("http2/5.1/11", "RFC 9113 §5.1", "closed stream: DATA")
def closed_data(c):
    after_response(c, frames.data(1, b"test", True))
    return stream_error(c, 1, STREAM_CLOSED)


@case("http2/5.1/12", "RFC 9113 §5.1", "closed stream: HEADERS")
def closed_headers(c):
    after_response(c, frames.headers(1, c.block_of(), True))
    return connection_error(c, STREAM_CLOSED)


@case("http2/5.1/13", "RFC 9113 §6.10", "closed stream: CONTINUATION")
def closed_continuation(c):
    after_response(c, frames.continuation(1, c.block_of()))
    return connection_error(c, STREAM_CLOSED, PROTOCOL_ERROR)


@case("http2/5.1.1/1", "RFC 9113 §5.1.1", "a stream with an even id")
def even(c):
    c.request(2)
    return connection_error(c, PROTOCOL_ERROR)


@case("http2/5.1.1/2", "RFC 9113 §5.1.1", "a stream with a lower id than one before")
def lower(c):
    c.request(5)
    response(c, 5)
    c.request(3)
    return connection_error(c, PROTOCOL_ERROR, STREAM_CLOSED)


@case("http2/5.1.2/1", "RFC 9113 §5.1.2", "more streams than SETTINGS_MAX_CONCURRENT_STREAMS")
def too_many(c):
    limit = c.settings.get(frames.MAX_CONCURRENT_STREAMS)
    if limit is None or limit > 10_000:
        raise Skipped("no bound is announced")
    # Windows of 0 keep the responses from being whole.
    c.send(frames.settings((frames.INITIAL_WINDOW_SIZE, 0)))
    c.until(lambda it: it.kind == frames.SETTINGS and it.has(frames.ACK), "SETTINGS ACK")
    block = c.block_of()
    last = 2 * limit + 1
    c.send(*(frames.headers(stream, block, True) for stream in range(1, last + 1, 2)))
    return stream_error(c, last, PROTOCOL_ERROR, REFUSED_STREAM)


@case("http2/5.3.1/1", "RFC 7540 §5.3.1", "HEADERS of a stream that depends on itself")
def headers_on_itself(c):
    c.send(frames.headers(1, c.block_of(), True, priority=(1, 255)))
    return obsolete(c, 1)


@case("http2/5.3.1/2", "RFC 7540 §5.3.1", "PRIORITY of a stream that depends on itself")
def priority_on_itself(c):
    c.request(1, **OPEN)
    c.send(frames.priority(1, 1, 255))
    return obsolete(c, 1)


def obsolete(c, stream):
    """RFC 7540 asks for a stream error. RFC 9113 §5.3.2 deprecates the scheme: a server may also pass over it."""
    c.send(frames.ping(b"passed.."))
    frame = c.until(lambda it: it.kind in (frames.RST_STREAM, frames.GOAWAY, frames.PING), "verdict")
    if frame.kind == frames.PING:
        return "ignored"
    if frame.kind == frames.RST_STREAM and frame.stream != stream or frame.code() != PROTOCOL_ERROR:
        raise Failed(str(frame))
    return str(frame)


# Errors, extensions ---------------------------------------------------------------------------------


@case("http2/5.4.1/1", "RFC 9113 §5.4.1", "a connection error ends the TCP connection")
def error_ends(c):
    c.send(frames.ping(bytes(8), stream=3))
    return closed(c)


@case("http2/5.4.1/2", "RFC 9113 §5.4.1", "a connection error: GOAWAY before the end")
def error_goaway(c):
    c.send(frames.ping(bytes(8), stream=3))
    return connection_error(c, PROTOCOL_ERROR)


@case("http2/5.5/1", "RFC 9113 §5.5", "a frame of an extension")
def extension(c):
    c.send(frames.frame(0xFF, 0, 0, GARBAGE))
    return alive(c)


@case("http2/5.5/2", "RFC 9113 §5.5", "a frame of an extension within a header block")
def extension_within(c):
    within_block(c, frames.frame(0xFF, 0, 0, GARBAGE))
    return connection_error(c, PROTOCOL_ERROR)


# DATA, HEADERS, PRIORITY, RST_STREAM (§6.1 to §6.4) -------------------------------------------------


@case("http2/6.1/1", "RFC 9113 §6.1", "DATA on stream 0")
def data_zero(c):
    c.send(frames.data(0, b"test"))
    return connection_error(c, PROTOCOL_ERROR)


@case("http2/6.1/2", "RFC 9113 §6.1", "DATA on a stream that is not open")
def data_not_open(c):
    c.request(1)
    c.send(frames.data(1, b"test"))
    return stream_error(c, 1, STREAM_CLOSED)


@case("http2/6.1/3", "RFC 9113 §6.1", "DATA with padding as long as it")
def data_padding(c):
    c.request(1, **OPEN)
    c.send(frames.frame(frames.DATA, frames.PADDED | frames.END_STREAM, 1, b"\x06test\x00"))
    return connection_error(c, PROTOCOL_ERROR)


@case("http2/6.2/1", "RFC 9113 §6.2", "HEADERS without END_HEADERS, then PRIORITY")
def headers_then_priority(c):
    within_block(c, frames.priority(1, 0, 255))
    return connection_error(c, PROTOCOL_ERROR)


@case("http2/6.2/2", "RFC 9113 §6.2", "HEADERS without END_HEADERS, then HEADERS of another stream")
def headers_then_headers(c):
    within_block(c, frames.headers(3, c.block_of(), True))
    return connection_error(c, PROTOCOL_ERROR)


@case("http2/6.2/3", "RFC 9113 §6.2", "HEADERS on stream 0")
def headers_zero(c):
    c.request(0)
    return connection_error(c, PROTOCOL_ERROR)


@case("http2/6.2/4", "RFC 9113 §6.2", "HEADERS with padding longer than it")
def headers_padding(c):
    flags = frames.PADDED | frames.END_STREAM | frames.END_HEADERS
    c.send(frames.frame(frames.HEADERS, flags, 1, b"\xff" + c.block_of()[:200]))
    return connection_error(c, PROTOCOL_ERROR)


@case("http2/6.3/1", "RFC 9113 §6.3", "PRIORITY on stream 0")
def priority_zero(c):
    c.send(frames.priority(0, 1, 255))
    return connection_error(c, PROTOCOL_ERROR)


@case("http2/6.3/2", "RFC 9113 §6.3", "PRIORITY of another length than 5")
def priority_length(c):
    c.request(1, **OPEN)
    c.send(frames.frame(frames.PRIORITY, 0, 1, b"\x80\x00\x00\x01"))
    return stream_error(c, 1, FRAME_SIZE_ERROR)


@case("http2/6.4/1", "RFC 9113 §6.4", "RST_STREAM on stream 0")
def reset_zero(c):
    c.send(frames.reset(0))
    return connection_error(c, PROTOCOL_ERROR)


@case("http2/6.4/2", "RFC 9113 §6.4", "RST_STREAM on an idle stream")
def reset_idle(c):
    c.send(frames.reset(1))
    return connection_error(c, PROTOCOL_ERROR)


@case("http2/6.4/3", "RFC 9113 §6.4", "RST_STREAM of another length than 4")
def reset_length(c):
    c.request(1, **OPEN)
    c.send(frames.frame(frames.RST_STREAM, 0, 1, b"\x00\x00\x00"))
    return connection_error(c, FRAME_SIZE_ERROR)


# SETTINGS (§6.5) ------------------------------------------------------------------------------------


def refused(name, section, title, sent, *codes):
    """A frame that is a connection error by itself."""

    @case(name, section, title)
    def run(c):
        c.send(sent)
        return connection_error(c, *codes)


SETTINGS = "RFC 9113 §6.5"
refused("http2/6.5/1", SETTINGS, "SETTINGS ACK with a payload", frames.frame(frames.SETTINGS, frames.ACK, 0, b"\x00"), FRAME_SIZE_ERROR)
refused("http2/6.5/2", SETTINGS, "SETTINGS on a stream", frames.frame(frames.SETTINGS, 0, 1, b"\0\3\0\0\0\x64"), PROTOCOL_ERROR)
refused("http2/6.5/3", SETTINGS, "SETTINGS whose length is no multiple of 6", frames.frame(frames.SETTINGS, 0, 0, b"\0\3\0"), FRAME_SIZE_ERROR)

VALUES = "RFC 9113 §6.5.2"
refused("http2/6.5.2/1", VALUES, "SETTINGS_ENABLE_PUSH of 2", frames.settings((frames.ENABLE_PUSH, 2)), PROTOCOL_ERROR)
refused("http2/6.5.2/2", VALUES, "SETTINGS_INITIAL_WINDOW_SIZE of 2^31", frames.settings((frames.INITIAL_WINDOW_SIZE, 1 << 31)), FLOW_CONTROL_ERROR)
refused("http2/6.5.2/3", VALUES, "SETTINGS_MAX_FRAME_SIZE below 2^14", frames.settings((frames.MAX_FRAME_SIZE, 16_383)), PROTOCOL_ERROR)
refused("http2/6.5.2/4", VALUES, "SETTINGS_MAX_FRAME_SIZE of 2^24", frames.settings((frames.MAX_FRAME_SIZE, 1 << 24)), PROTOCOL_ERROR)


@case("http2/6.5.2/5", VALUES, "an unknown setting")
def unknown_setting(c):
    c.send(frames.settings((0xFF, 1)))
    return alive(c)


@case("http2/6.5.3/1", "RFC 9113 §6.5.3", "one setting twice: the last value counts")
def setting_twice(c):
    c.send(frames.settings((frames.INITIAL_WINDOW_SIZE, 100), (frames.INITIAL_WINDOW_SIZE, 1)))
    c.request(1)
    return data_frame(c, 1, 1)


@case("http2/6.5.3/2", "RFC 9113 §6.5.3", "SETTINGS are acknowledged")
def settings_ack(c):
    c.send(frames.settings())
    c.until(lambda it: it.kind == frames.SETTINGS and it.has(frames.ACK), "SETTINGS ACK")
    return "SETTINGS ACK"


# PING, GOAWAY (§6.7, §6.8) --------------------------------------------------------------------------


@case("http2/6.7/1", "RFC 9113 §6.7", "PING is answered")
def ping(c):
    c.answers_ping(b"h2-check")
    return "PING ACK"


@case("http2/6.7/2", "RFC 9113 §6.7", "PING with ACK is not answered")
def ping_ack(c):
    c.send(frames.ping(b"unwanted", frames.ACK), frames.ping(b"conform!"))
    frame = c.until(lambda it: it.kind == frames.PING, "PING ACK")
    if frame.payload != b"conform!":
        raise Failed("an answer to a PING with ACK")
    return "ignored"


refused("http2/6.7/3", "RFC 9113 §6.7", "PING on a stream", frames.ping(bytes(8), stream=1), PROTOCOL_ERROR)
refused("http2/6.7/4", "RFC 9113 §6.7", "PING of another length than 8", frames.ping(bytes(6)), FRAME_SIZE_ERROR)
refused("http2/6.8/1", "RFC 9113 §6.8", "GOAWAY on a stream", frames.goaway(stream=1), PROTOCOL_ERROR)


# WINDOW_UPDATE (§6.9) -------------------------------------------------------------------------------

refused("http2/6.9/1", "RFC 9113 §6.9", "WINDOW_UPDATE of 0 for the connection", frames.window_update(0, 0), PROTOCOL_ERROR)


@case("http2/6.9/2", "RFC 9113 §6.9", "WINDOW_UPDATE of 0 for a stream")
def window_zero(c):
    c.request(1, **OPEN)
    c.send(frames.window_update(1, 0))
    return stream_error(c, 1, PROTOCOL_ERROR)


refused("http2/6.9/3", "RFC 9113 §6.9", "WINDOW_UPDATE of another length than 4", frames.frame(frames.WINDOW_UPDATE, 0, 0, b"\0\0\1"), FRAME_SIZE_ERROR)


@case("http2/6.9.1/1", "RFC 9113 §6.9.1", "a window of 1 byte")
def window_one(c):
    c.send(frames.settings((frames.INITIAL_WINDOW_SIZE, 1)))
    c.request(1)
    return data_frame(c, 1, 1)


@case("http2/6.9.1/2", "RFC 9113 §6.9.1", "the connection's window beyond 2^31-1")
def window_overflow(c):
    c.send(*[frames.window_update(0, frames.MOST)] * 2)
    return connection_error(c, FLOW_CONTROL_ERROR)


@case("http2/6.9.1/3", "RFC 9113 §6.9.1", "a stream's window beyond 2^31-1")
def stream_window_overflow(c):
    c.request(1, **OPEN)
    c.send(*[frames.window_update(1, frames.MOST)] * 2)
    return stream_error(c, 1, FLOW_CONTROL_ERROR)


@case("http2/6.9.2/1", "RFC 9113 §6.9.2", "SETTINGS open a window that they had shut")
def window_opened(c):
    c.send(frames.settings((frames.INITIAL_WINDOW_SIZE, 0)))
    c.request(1)
    c.until(lambda it: it.kind == frames.HEADERS and it.stream == 1, "HEADERS")
    c.send(frames.settings((frames.INITIAL_WINDOW_SIZE, 1)))
    return data_frame(c, 1, 1)


@case("http2/6.9.2/2", "RFC 9113 §6.9.2", "SETTINGS make a window negative")
def window_negative(c):
    c.send(frames.settings((frames.INITIAL_WINDOW_SIZE, 3)))
    c.request(1)
    data_frame(c, 1, 3)
    c.send(frames.settings((frames.INITIAL_WINDOW_SIZE, 2)), frames.window_update(1, 2))
    return data_frame(c, 1, 1)


@case("http2/6.9.2/3", "RFC 9113 §6.9.2", "SETTINGS_INITIAL_WINDOW_SIZE beyond 2^31-1")
def initial_window(c):
    c.send(frames.settings((frames.INITIAL_WINDOW_SIZE, 1 << 31)))
    return connection_error(c, FLOW_CONTROL_ERROR)


# CONTINUATION (§6.10) -------------------------------------------------------------------------------


@case("http2/6.10/1", "RFC 9113 §6.10", "many CONTINUATION")
def continuations(c):
    block = c.block_of(more=[(b"x-dummy", b"a" * 900)])
    pieces = [block[at : at + 150] for at in range(0, len(block), 150)]
    c.send(frames.headers(1, pieces[0], True, False))
    c.send(*(frames.continuation(1, piece, piece is pieces[-1]) for piece in pieces[1:]))
    return response(c, 1)


@case("http2/6.10/2", "RFC 9113 §6.10", "CONTINUATION, then DATA")
def continuation_data(c):
    c.send(frames.headers(1, c.block_of(), False, False), frames.continuation(1, b"", False), frames.data(1, b"test"))
    return connection_error(c, PROTOCOL_ERROR)


@case("http2/6.10/3", "RFC 9113 §6.10", "CONTINUATION on stream 0")
def continuation_zero(c):
    c.send(frames.headers(1, c.block_of(), True, False), frames.continuation(0, b""))
    return connection_error(c, PROTOCOL_ERROR)


@case("http2/6.10/4", "RFC 9113 §6.10", "CONTINUATION behind HEADERS with END_HEADERS")
def continuation_late(c):
    c.send(frames.headers(1, c.block_of()), frames.continuation(1, hpack.encode([(b"x-late", b"1")])))
    return connection_error(c, PROTOCOL_ERROR)


@case("http2/6.10/5", "RFC 9113 §6.10", "CONTINUATION behind CONTINUATION with END_HEADERS")
def continuation_after_continuation(c):
    c.send(frames.headers(1, c.block_of(), False, False), *[frames.continuation(1, hpack.encode([(b"x-late", b"1")]))] * 2)
    return connection_error(c, PROTOCOL_ERROR)


@case("http2/6.10/6", "RFC 9113 §6.10", "CONTINUATION behind DATA")
def continuation_behind_data(c):
    c.request(1, **OPEN)
    c.send(frames.data(1, b"test"), frames.continuation(1, hpack.encode([(b"x-late", b"1")])))
    return connection_error(c, PROTOCOL_ERROR)


# Error codes (§7) -----------------------------------------------------------------------------------


@case("http2/7/1", "RFC 9113 §7", "GOAWAY with an unknown code")
def unknown_goaway(c):
    c.send(frames.goaway(0, 0xFF), frames.ping(b"conform!"))
    return ping_or_end(c)


@case("http2/7/2", "RFC 9113 §7", "RST_STREAM with an unknown code")
def unknown_reset(c):
    c.request(1, **OPEN)
    c.send(frames.reset(1, 0xFF))
    return alive(c)


# Push (§8.4) ----------------------------------------------------------------------------------------


@case("http2/8.2/1", "RFC 9113 §8.4", "PUSH_PROMISE of a client")
def push(c):
    c.request(1, **OPEN)
    c.send(frames.frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, struct.pack(">I", 3) + c.block_of()))
    return connection_error(c, PROTOCOL_ERROR)
