"""Frames (RFC 9113 §4 and §6), as bytes and back."""

import struct
from dataclasses import dataclass

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 0x10
TYPES = "DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY WINDOW_UPDATE CONTINUATION".split()

END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)
ENABLE_CONNECT_PROTOCOL = 8

CODES = (
    "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE_ERROR"
    " REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM INADEQUATE_SECURITY HTTP_1_1_REQUIRED"
).split()

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MOST = 0x7FFFFFFF
DEFAULT_WINDOW, DEFAULT_FRAME = 65_535, 16_384


def code_name(code):
    return CODES[code] if code < len(CODES) else hex(code)


def frame(kind, flags, stream, payload=b"", length=None):
    """A frame. `length` puts another length than the payload's into its header."""
    return struct.pack(">I", len(payload) if length is None else length)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def data(stream, content, end=False, pad=None):
    flags, payload = (END_STREAM if end else 0), content
    if pad is not None:
        flags, payload = flags | PADDED, bytes([pad]) + content + bytes(pad)
    return frame(DATA, flags, stream, payload)


def headers(stream, block, end=False, end_headers=True, pad=None, priority=None):
    """`priority`: what the stream depends on, the exclusive bit in it, and its weight less one."""
    flags = (END_STREAM if end else 0) | (END_HEADERS if end_headers else 0)
    if priority is not None:
        flags, block = flags | WITH_PRIORITY, struct.pack(">IB", *priority) + block
    if pad is not None:
        flags, block = flags | PADDED, bytes([pad]) + block + bytes(pad)
    return frame(HEADERS, flags, stream, block)


def continuation(stream, block, end_headers=True):
    return frame(CONTINUATION, END_HEADERS if end_headers else 0, stream, block)


def priority(stream, on, weight=15):
    return frame(PRIORITY, 0, stream, struct.pack(">IB", on, weight))


def reset(stream, code=8):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def ping(payload, flags=0, stream=0):
    return frame(PING, flags, stream, payload)


def goaway(last=0, code=0, text=b"", stream=0):
    return frame(GOAWAY, 0, stream, struct.pack(">II", last, code) + text)


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


@dataclass
class Frame:
    """A frame that was received."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    def has(self, flag):
        return self.flags & flag != 0

    def numbers(self):
        """The payload as numbers of four bytes."""
        return struct.unpack(f">{len(self.payload) // 4}I", self.payload[: len(self.payload) // 4 * 4])

    def code(self):
        """The error code of RST_STREAM and GOAWAY, by its name."""
        return code_name(self.numbers()[1 if self.kind == GOAWAY else 0])

    def name(self):
        return TYPES[self.kind] if self.kind < len(TYPES) else hex(self.kind)

    def __str__(self):
        if self.kind in (GOAWAY, RST_STREAM):
            return f"{self.name()} {self.code()}"
        return f"{self.name()}{' ACK' if self.kind in (SETTINGS, PING) and self.has(ACK) else ''} on {self.stream}"
