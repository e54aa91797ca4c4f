"""An HTTP/1.1 backend whose faults are switched on and off by lines on its standard input.

    backend.py ADDRESS PORT

Modes: `good`; `reset` (each connection is reset once it is accepted, and those that are open are reset at once); `slow`
(each response waits five seconds); `half` (every second response is 503); `closing` (a connection that is idle is closed
after a random time of up to 40 ms). It prints `ready` when it listens.
"""

import asyncio
import random
import socket
import struct
import sys

SLOW_SECONDS, IDLE_SECONDS = 5.0, 0.04
BODY = b"x" * 512
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 512\r\nX-Backend: %s\r\n\r\n" + BODY
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
# A reset instead of an orderly end: what is closed with a linger of zero seconds.
RESET = struct.pack("ii", 1, 0)


class State:
    """What all connections share."""

    def __init__(self, name):
        self.mode = "good"
        self.good = GOOD.replace(b"%s", name.encode())
        self.connections = set()
        self.turn = 0

    def switch(self, mode):
        self.mode = mode
        if mode == "reset":
            for connection in list(self.connections):
                connection.reset()


class Connection(asyncio.Protocol):
    """One connection: heads in, responses out, in order."""

    def __init__(self, state):
        self.state = state
        self.transport = None
        self.received = b""
        self.ends = None

    def connection_made(self, transport):
        self.transport = transport
        self.state.connections.add(self)
        if self.state.mode == "reset":
            self.reset()

    def connection_lost(self, _error):
        self.state.connections.discard(self)
        self.stay()

    def reset(self):
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()

    def stay(self):
        if self.ends:
            self.ends.cancel()
            self.ends = None

    def data_received(self, data):
        self.stay()
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[: end + 4]
            length = content_length(head)
            if len(self.received) < len(head) + length:
                return
            self.received = self.received[len(head) + length :]
            self.respond()

    def respond(self):
        state = self.state
        state.turn += 1
        response = BUSY if state.mode == "half" and state.turn % 2 else state.good
        if state.mode == "slow":
            asyncio.get_running_loop().call_later(SLOW_SECONDS, self.transport.write, response)
            return
        self.transport.write(response)
        if state.mode == "closing":
            wait = random.random() * IDLE_SECONDS
            self.ends = asyncio.get_running_loop().call_later(wait, self.transport.close)


def content_length(head):
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    return int(lower[at + 17 : lower.index(b"\r\n", at + 2)]) if at >= 0 else 0


async def main(address, port):
    state = State(address)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(state), address, port, backlog=1024, reuse_address=True
    )
    ended = asyncio.Event()

    def command():
        line = sys.stdin.readline()
        if line:
            state.switch(line.strip())
        else:
            ended.set()

    loop.add_reader(sys.stdin.fileno(), command)
    print("ready", flush=True)
    async with server:
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
