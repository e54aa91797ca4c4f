"""Cases, and what may become of them."""

import time
from dataclasses import dataclass

from . import frames
from .connection import Connection, Failed, Response, Silent

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, COMPRESSION_ERROR, CALM = (
    "PROTOCOL_ERROR",
    "FLOW_CONTROL_ERROR",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "COMPRESSION_ERROR",
    "ENHANCE_YOUR_CALM",
)


@dataclass
class Case:
    name: str
    # The section that says what must become of it.
    section: str
    title: str
    run: callable
    # Without SETTINGS exchanged before.
    raw: bool = False


CASES = []


def case(name, section, title, raw=False):
    """Makes a case of a function: it gets a connection, and gives what was observed, or raises Failed."""

    def add(run):
        assert all(name != other.name for other in CASES), name
        CASES.append(Case(name, section, title, run, raw))
        return run

    return add


def run(case, target):
    """Runs a case on a connection of its own: what was observed."""
    connection = Connection(target)
    try:
        if not case.raw:
            connection.handshake()
        return case.run(connection)
    finally:
        connection.close()


# What may become of a case ------------------------------------------------------------------------------


def error(connection, stream, codes, answers=(), seconds=None):
    """Reads until an error ends the stream, or the connection if `stream` is None. A stream error may be treated as one of
    the connection (§5.4.2), and a connection may be closed without GOAWAY (§5.4.1)."""
    deadline = time.monotonic() + (connection.target.timeout if seconds is None else seconds)
    while True:
        try:
            frame = connection.read(max(deadline - time.monotonic(), 0.0001))
        except Silent:
            raise Failed(f"no {' or '.join(codes)}; {beside(connection, stream)}") from None
        if frame is None:
            return "closed"
        if frame.kind == frames.GOAWAY or frame.kind == frames.RST_STREAM and frame.stream == stream:
            code = frame.code()
            if code in codes:
                return str(frame)
            if frame.kind == frames.GOAWAY and code == "NO_ERROR":
                continue  # an orderly end was announced: the error may follow
            if code == "NO_ERROR" and connection.responses.get(stream, Response()).fields:
                continue  # the response was whole before the request was (§8.1)
            raise Failed(f"{frame} instead of {' or '.join(codes)}")
        status = connection.responses.get(stream, Response()).status
        if status in answers:
            return f"status {status}"


def beside(connection, stream):
    status = connection.responses.get(stream, Response()).status
    return f"the response came: {status}" if status else f"last: {connection.last()}"


def connection_error(connection, *codes):
    """A connection error (§5.4.1)."""
    return error(connection, None, codes)


def stream_error(connection, stream, *codes):
    """A stream error (§5.4.2)."""
    return error(connection, stream, codes)


def malformed(connection, stream):
    """A malformed request: a stream error, or a response that refuses it (§8.1.1)."""
    return error(connection, stream, (PROTOCOL_ERROR,), (400, 405, 421, 501))


def response(connection, stream, *statuses):
    """A whole response."""
    status = connection.response(stream).status
    if status not in (statuses or range(200, 500)):
        raise Failed(f"status {status}")
    return f"status {status}"


def alive(connection):
    """Nothing: the connection continues."""
    connection.answers_ping()
    return "ignored"


def closed(connection, seconds=None):
    """The TCP connection's end."""
    deadline = time.monotonic() + (connection.target.timeout if seconds is None else seconds)
    try:
        while connection.read(max(deadline - time.monotonic(), 0.0001)) is not None:
            pass
    except Silent:
        raise Failed(f"not closed; last: {connection.last()}") from None
    return "closed"


def data_frame(connection, stream, length):
    """The next DATA of a stream: it has just so many bytes."""
    frame = connection.until(lambda it: it.kind == frames.DATA and it.stream == stream and (it.payload or it.has(frames.END_STREAM)), "DATA")
    if len(frame.payload) != length:
        raise Failed(f"DATA of {len(frame.payload)} bytes instead of {length}")
    return f"DATA of {length}"
