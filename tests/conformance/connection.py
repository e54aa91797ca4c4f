"""A client's connection that sends what it is given and reads frames."""

import socket
import ssl
import struct
import time
from collections import deque
from dataclasses import dataclass, field

from . import frames, hpack
from .frames import ACK, END_HEADERS, END_STREAM, PADDED, PREFACE, WITH_PRIORITY, Frame


class Failed(Exception):
    """The peer did what it may not; the text says what it did."""


class Skipped(Exception):
    """The case is of no use with this peer; the text says why."""


class Silent(Exception):
    """Nothing came for as long as was waited."""


@dataclass
class Target:
    """What is tested, and how requests to it look."""

    host: str
    port: int
    tls: bool = False
    authority: str = "localhost"
    path: str = "/"
    # Seconds: for a frame that must come, and for the end of what is held open.
    timeout: float = 2.0
    patience: float = 15.0
    # Another client's request may take so many seconds while a flood goes on.
    prompt: float = 1.0

    def dial(self):
        tcp = socket.create_connection((self.host, self.port), self.timeout)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.tls:
            return tcp
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        tls = context.wrap_socket(tcp, server_hostname=self.authority.split(":")[0])
        if tls.selected_alpn_protocol() != "h2":
            tls.close()
            raise Failed("ALPN did not select h2")
        return tls

    def fields(self, method="GET", path=None, more=()):
        """The fields of a plain request."""
        return [
            (b":method", method.encode()),
            (b":scheme", b"https" if self.tls else b"http"),
            (b":path", (path or self.path).encode()),
            (b":authority", self.authority.encode()),
            *more,
        ]


@dataclass
class Response:
    """What came for one stream."""

    fields: list = field(default_factory=list)
    content: bytes = b""
    trailers: list = None
    interim: int = 0
    whole: bool = False

    @property
    def status(self):
        return int(dict(self.fields).get(b":status", b"0"))


class Connection:
    """One connection. What it reads is kept in `seen`; header blocks are decoded on the way."""

    def __init__(self, target):
        self.target = target
        self.socket = target.dial()
        self.buffer = bytearray()
        self.decoder = hpack.Decoder()
        self.block = None
        self.closed = False
        self.settings = {}
        self.responses = {}
        self.seen = deque(maxlen=64)

    def close(self):
        self.socket.close()

    # Sending -----------------------------------------------------------------------------------------

    def send(self, *pieces):
        """Sends frames together. That the peer has closed meanwhile is found out by reading."""
        self.socket.settimeout(self.target.timeout)
        try:
            self.socket.sendall(b"".join(pieces))
            return True
        except (OSError, ValueError):
            return False

    def handshake(self, *settings):
        """Both sides' SETTINGS and their acknowledgements (§3.4)."""
        self.send(PREFACE, frames.settings(*settings))
        has_settings = has_ack = False
        while not (has_settings and has_ack):
            frame = self.read()
            if frame is None:
                raise Failed("the connection was closed in the handshake")
            if frame.kind == frames.SETTINGS and frame.has(ACK):
                has_ack = True
            elif frame.kind == frames.SETTINGS:
                has_settings = True
                self.send(frames.frame(frames.SETTINGS, ACK, 0))
            elif frame.kind == frames.GOAWAY:
                raise Failed(f"{frame} in the handshake")
        return self

    def request(self, stream, method="GET", more=(), end=True, path=None):
        self.send(frames.headers(stream, hpack.encode(self.target.fields(method, path, more)), end))

    def block_of(self, method="GET", more=()):
        return hpack.encode(self.target.fields(method, None, more))

    # Reading -----------------------------------------------------------------------------------------

    def read(self, seconds=None):
        """The next frame; None when the peer has closed."""
        deadline = time.monotonic() + (self.target.timeout if seconds is None else seconds)
        while True:
            frame = self.buffered()
            if frame:
                return frame
            if self.closed:
                return None
            self.receive(deadline)

    def receive(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise Silent()
        self.socket.settimeout(left)
        try:
            piece = self.socket.recv(65536)
        except (socket.timeout, ssl.SSLWantReadError):
            raise Silent() from None
        except (OSError, ValueError):
            piece = b""
        self.closed = not piece
        self.buffer += piece

    def buffered(self):
        if len(self.buffer) < 9:
            return None
        length = int.from_bytes(self.buffer[:3], "big")
        if len(self.buffer) < 9 + length:
            return None
        kind, flags, stream = struct.unpack(">BBI", self.buffer[3:9])
        frame = Frame(kind, flags, stream & frames.MOST, bytes(self.buffer[9 : 9 + length]))
        del self.buffer[: 9 + length]
        self.seen.append(frame)
        self.note(frame)
        return frame

    def drain(self):
        """Reads what is there already, without waiting."""
        got = []
        try:
            while (frame := self.read(0.0005)) is not None:
                got.append(frame)
        except Silent:
            pass
        return got

    def note(self, frame):
        """Keeps what belongs to SETTINGS and responses."""
        if frame.kind == frames.SETTINGS and not frame.has(ACK):
            for at in range(0, len(frame.payload) - 5, 6):
                key, value = struct.unpack(">HI", frame.payload[at : at + 6])
                self.settings[key] = value
        elif frame.kind == frames.DATA:
            response = self.responses.setdefault(frame.stream, Response())
            response.content += unpadded(frame)
            response.whole |= frame.has(END_STREAM)
        elif frame.kind == frames.HEADERS:
            content = unpadded(frame)
            content = content[5:] if frame.has(WITH_PRIORITY) else content
            self.block = (frame.stream, frame.has(END_STREAM), content)
        elif frame.kind == frames.CONTINUATION and self.block:
            stream, end, content = self.block
            self.block = (stream, end, content + frame.payload)
        if frame.kind in (frames.HEADERS, frames.CONTINUATION) and frame.has(END_HEADERS) and self.block:
            self.fields(*self.block)
            self.block = None

    def fields(self, stream, end, block):
        fields = self.decoder.decode(block)
        response = self.responses.setdefault(stream, Response())
        if response.fields:
            response.trailers = fields
        elif dict(fields).get(b":status", b"").startswith(b"1"):
            response.interim += 1
        else:
            response.fields = fields
        response.whole |= end

    # Waiting -----------------------------------------------------------------------------------------

    def until(self, found, what, seconds=None):
        """Reads until `found(frame)`. An end before it is a failure: `what` says what did not come."""
        deadline = time.monotonic() + (self.target.timeout if seconds is None else seconds)
        while True:
            try:
                frame = self.read(max(deadline - time.monotonic(), 0.0001))
            except Silent:
                raise Failed(f"no {what}; last: {self.last()}") from None
            if frame is None:
                raise Failed(f"closed before {what}; last: {self.last()}")
            if found(frame):
                return frame
            if frame.kind == frames.GOAWAY and frame.code() != "NO_ERROR":
                raise Failed(f"{frame} instead of {what}")

    def last(self):
        return str(self.seen[-1]) if self.seen else "nothing"

    def response(self, stream, seconds=None):
        """Waits until the response of a stream is whole."""

        def over(frame):
            if frame.kind == frames.RST_STREAM and frame.stream == stream and frame.code() != "NO_ERROR":
                raise Failed(f"{frame} instead of a response")
            return self.responses.get(stream, Response()).whole

        if not self.responses.get(stream, Response()).whole:
            self.until(over, "response", seconds)
        return self.responses[stream]

    def answers_ping(self, payload=b"conform!"):
        """Whether all before it was taken: a PING is answered (§6.7)."""
        self.send(frames.ping(payload))
        self.until(lambda it: it.kind == frames.PING and it.has(ACK) and it.payload == payload, "PING ACK")


def unpadded(frame):
    if not frame.has(PADDED):
        return frame.payload
    return frame.payload[1 : len(frame.payload) - frame.payload[0]]
