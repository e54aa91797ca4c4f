"""A service of gRPC and its callers, with messages of bytes: `serve CERT KEY CA`, `call PLAIN TLS CA`, or `within PLAIN`."""

import sys
import threading
import time
from concurrent import futures

import grpc

TEXT = "é, 100 %\n"


class Service(grpc.GenericRpcHandler):
    """Each method is named by its kind of call, or by what it is for."""

    def __init__(self):
        self.cancelled = threading.Event()

    def service(self, call):
        name = call.method.rsplit("/", 1)[1]
        one, many = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        return {
            "unary": one(self.unary),
            "codes": one(self.codes),
            "slow": one(self.slow),
            "cancelled": one(self.was_cancelled),
            "down": grpc.unary_stream_rpc_method_handler(self.down),
            "up": grpc.stream_unary_rpc_method_handler(self.up),
            "both": many(self.both),
        }.get(name)

    def unary(self, request, context):
        given = dict(context.invocation_metadata())
        context.send_initial_metadata([("x-first", given.get("x-given", "-")), ("x-first-bin", b"\x00\xff\x01")])
        context.set_trailing_metadata([("x-last", str(len(request))), ("x-last-bin", bytes(range(256)))])
        return request

    def codes(self, request, context):
        code = next(code for code in grpc.StatusCode if code.value[0] == int(request))
        if code is grpc.StatusCode.OK:
            return b""
        context.abort(code, TEXT)

    def slow(self, request, context):
        left = context.time_remaining()
        ended = threading.Event()
        if not context.add_callback(ended.set):
            ended.set()
        if ended.wait(60):
            self.cancelled.set()
        return str(left).encode()

    def was_cancelled(self, request, context):
        seen = self.cancelled.wait(30)
        self.cancelled.clear()
        return b"yes" if seen else b"no"

    def down(self, request, context):
        for number in range(int(request)):
            yield str(number).encode() * 100

    def up(self, requests, context):
        return str(sum(len(request) for request in requests)).encode()

    def both(self, requests, context):
        for request in requests:
            yield request.upper()


def serve(cert, key, ca):
    read = lambda path: open(path, "rb").read()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), handlers=[Service()])
    plain = server.add_insecure_port("127.0.0.1:0")
    identity = grpc.ssl_server_credentials([(read(key), read(cert))], read(ca), require_client_auth=True)
    mutual = server.add_secure_port("127.0.0.1:0", identity)
    server.start()
    print("plain", plain, flush=True)
    print("mutual", mutual, flush=True)
    server.wait_for_termination()


def fails(call, code, details=None):
    try:
        result = call()
        if not isinstance(result, bytes):
            list(result)
    except grpc.RpcError as error:
        assert error.code() == code, (error.code(), error.details(), code)
        assert details is None or error.details() == details, error.details()
        return error
    raise AssertionError(f"no error, but {result!r}: {code} was expected")


def unary(channel):
    call = channel.unary_unary("/test.Kinds/unary")
    for size in [0, 1, 100, 70_000, 3_000_000]:
        body = bytes(number % 251 for number in range(256)) * (size // 256 + 1)
        result, ended = call.with_call(body[:size], metadata=[("x-given", "value")], timeout=60)
        assert result == body[:size], size
        first, last = dict(ended.initial_metadata()), dict(ended.trailing_metadata())
        assert first["x-first"] == "value" and first["x-first-bin"] == b"\x00\xff\x01", first
        assert last["x-last"] == str(size) and last["x-last-bin"] == bytes(range(256)), last
        assert ended.code() is grpc.StatusCode.OK


def streams(channel):
    down = list(channel.unary_stream("/test.Kinds/down")(b"300", timeout=60))
    assert down == [str(number).encode() * 100 for number in range(300)]
    assert list(channel.unary_stream("/test.Kinds/down")(b"0", timeout=60)) == []
    parts = [bytes(size) for size in range(0, 20_000, 100)]
    assert channel.stream_unary("/test.Kinds/up")(iter(parts), timeout=60) == b"1990000"
    # Each message is answered before the next one is sent.
    turns = threading.Semaphore(1)

    def questions():
        for number in range(50):
            assert turns.acquire(timeout=60)
            yield f"question {number}".encode()

    answers = channel.stream_stream("/test.Kinds/both")(questions(), timeout=60)
    for number, answer in enumerate(answers):
        assert answer == f"QUESTION {number}".encode()
        turns.release()
    assert number == 49


def beside_each_other(channel):
    def one(number):
        body = f"{number} ".encode() * (number * 50)
        answers = channel.stream_stream("/test.Kinds/both")(iter([body] * 20), timeout=60)
        assert list(answers) == [body] * 20

    with futures.ThreadPoolExecutor(30) as pool:
        list(pool.map(one, range(60)))


def codes(channel):
    call = channel.unary_unary("/test.Kinds/codes")
    for code in grpc.StatusCode:
        number = str(code.value[0]).encode()
        if code is grpc.StatusCode.OK:
            assert call(number, timeout=60) == b""
        else:
            fails(lambda: call(number, timeout=60), code, TEXT)
    # Of the server itself, and of Ringate's own.
    none = channel.unary_unary("/test.Kinds/none")
    fails(lambda: none(b"", timeout=60), grpc.StatusCode.UNIMPLEMENTED)
    dead = channel.unary_unary("/dead/unary")
    error = fails(lambda: dead(b"", timeout=60), grpc.StatusCode.UNAVAILABLE)
    assert error.details().startswith("502"), error.details()
    too_long = channel.unary_unary("/test.Kinds/unary")
    metadata = [("x-long", "x" * 100_000)]
    fails(lambda: too_long(b"", timeout=60, metadata=metadata), grpc.StatusCode.UNKNOWN)


def time_and_cancellation(channel):
    slow = channel.unary_unary("/test.Kinds/slow")
    was_cancelled = channel.unary_unary("/test.Kinds/cancelled")
    begun = time.monotonic()
    fails(lambda: slow(b"", timeout=0.5), grpc.StatusCode.DEADLINE_EXCEEDED)
    assert 0.4 < time.monotonic() - begun < 30
    assert was_cancelled(b"", timeout=60) == b"yes"
    call = slow.future(b"")
    time.sleep(0.2)
    call.cancel()
    fails(call.result, grpc.StatusCode.CANCELLED) if not call.cancelled() else None
    assert was_cancelled(b"", timeout=60) == b"yes"


def call(plain, tls, ca):
    credentials = grpc.ssl_channel_credentials(open(ca, "rb").read())
    options = [("grpc.ssl_target_name_override", "localhost")]
    for channel in [grpc.insecure_channel(plain), grpc.secure_channel(tls, credentials, options)]:
        with channel:
            for kind in [unary, streams, beside_each_other, codes, time_and_cancellation]:
                kind(channel)


def within(plain):
    """Calls that fail within their response: what came before is delivered, and nothing that is not whole."""
    code = grpc.StatusCode
    expected = {
        "dies": (code.UNAVAILABLE, "502 Bad Gateway within the response"),
        "part": (code.UNAVAILABLE, None),
        "malformed": (code.INTERNAL, "502 Bad Gateway within the response"),
        "silent": (code.UNAVAILABLE, "504 Gateway Timeout within the response"),
        "reset-2": (code.INTERNAL, None),
        "reset-8": (code.CANCELLED, None),
        "reset-11": (code.RESOURCE_EXHAUSTED, None),
    }
    with grpc.insecure_channel(plain) as channel:
        for path, (code, details) in expected.items():
            answers = []

            def all_of_them():
                for answer in channel.unary_stream(f"/{path}")(b"", timeout=60):
                    answers.append(answer)
                return answers

            fails(all_of_them, code, details)
            assert answers == [b"first"], (path, answers)


if __name__ == "__main__":
    {"serve": serve, "call": call, "within": within}[sys.argv[1]](*sys.argv[2:])
