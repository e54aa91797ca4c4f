"""What is measured: one entry a row of the report, and what the data path must reach."""

import fnmatch
from dataclasses import dataclass

BODIES = {"/1k": 1024, "/16k": 16 * 1024, "/1m": 1024 * 1024}
UPLOAD_BYTES = 1024 * 1024
# A call of gRPC: this path, and a message of so many bytes each way behind the five of its prefix.
GRPC_PATH, GRPC_MESSAGE_BYTES = "/bench.Echo/Unary", 100
# Streams at a time on a connection of HTTP/2, and connections with so many each.
STREAMS = {1: 64, 10: 16, 100: 4}

# A TLS 1.2 and the two TLS 1.3 suites, under the names of OpenSSL and of Ringate's config (rustls).
SUITES = {
    ("1.2", 128): ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("1.3", 128): ("TLS_AES_128_GCM_SHA256", "TLS13_AES_128_GCM_SHA256"),
    ("1.3", 256): ("TLS_AES_256_GCM_SHA384", "TLS13_AES_256_GCM_SHA384"),
}


@dataclass(frozen=True)
class BackendTls:
    version: str = "1.3"
    bits: int = 128
    mutual: bool = False
    closing: bool = False  # the backend closes after each response: a handshake a request
    resumed: bool = True

    @property
    def openssl_suite(self):
        return SUITES[self.version, self.bits][0]

    @property
    def rustls_suite(self):
        return SUITES[self.version, self.bits][1]


@dataclass(frozen=True)
class Scenario:
    name: str
    path: str = "/1k"
    connections: int = 64
    protocol: str = "http"
    load: str = "wrk"  # or h2load; or handshake, idle, rate, udp: the modes of bench/loadgen.rs
    size: int = 0  # bytes of a datagram
    front_tls: bool = False
    resume: bool = False  # clients resume their TLS sessions
    back: BackendTls | None = None
    close: bool = False
    upload: bool = False
    asks: str = ""  # what is asked for, if that is not the path of the body that comes
    headers: tuple[str, ...] = ()  # of each request
    scrapes: float = 0.0  # seconds from one reading of /metrics to the next; 0: none
    begins: str = ""  # what a connection begins with, ahead of its request
    streams: int = 0  # of each connection at a time, with HTTP/2 clients; 0: HTTP/1.1
    http2_backend: bool = False
    grpc: bool = False
    files: bool = False  # the proxy itself has the files
    relay_buffer: int = 0  # of the bare relay; 0: it would not do comparable work, and is left out

    @property
    def target(self):
        return self.asks or self.path

    @property
    def encoded(self):
        """Whether the body may come in another form than the backend has it."""
        return any(header.lower().startswith("accept-encoding:") for header in self.headers)

    @property
    def large(self):
        return self.path == "/1m" or self.upload

    @property
    def backend(self):
        """Which port of the backend it needs."""
        return self.back, self.http2_backend

    @property
    def in_flight(self):
        return self.connections * max(1, self.streams)


def http2_rows():
    """HTTP/2 clients before HTTP/1.1 and HTTP/2 backends, plain and with TLS on both sides that can have it."""
    for front, back in (("h2", "h1"), ("h2", "h2"), ("h2tls", "h1"), ("h2tls", "h2tls")):
        for path in ("/1k", "/16k"):
            for streams, connections in STREAMS.items():
                yield Scenario(
                    f"{front}-{back}-{path[1:]}-{streams}",
                    path=path, connections=connections, streams=streams, load="h2load", front_tls=front == "h2tls",
                    back=BackendTls() if back == "h2tls" else None, http2_backend=back != "h1",
                )
    for tls in (False, True):
        for streams, connections in STREAMS.items():
            yield Scenario(
                f"grpc{'tls' if tls else ''}-100b-{streams}",
                path=GRPC_PATH, connections=connections, streams=streams, load="h2load", front_tls=tls,
                back=BackendTls() if tls else None, http2_backend=True, grpc=True,
            )


def table():
    small, large = 16 * 1024, 256 * 1024
    rows = [
        Scenario("http-1k", relay_buffer=small),
        Scenario("http-16k", path="/16k", relay_buffer=small),
        Scenario("http-1m", path="/1m", connections=16, relay_buffer=large),
    ]
    for path, connections in (("/1k", 64), ("/16k", 64), ("/1m", 16)):
        for bits in (128, 256):
            name = f"tlsback-{path[1:]}-aes{bits}"
            rows.append(Scenario(name, path=path, connections=connections, back=BackendTls(bits=bits)))
    for version in ("1.2", "1.3"):
        for resumed in (False, True):
            for mutual in (False, True):
                kind = "resumed" if resumed else "full"
                name = f"tlsback-handshake-{kind}-tls{version}" + ("-mutual" if mutual else "")
                back = BackendTls(version, 128, mutual, True, resumed)
                rows.append(Scenario(name, back=back))
    rows += [
        Scenario("tlsfront-1k", front_tls=True),
        Scenario("tlsfront-handshake-full", front_tls=True, load="handshake", connections=32),
        Scenario("tlsfront-handshake-resumed", front_tls=True, load="handshake", connections=32, resume=True),
        Scenario("tcp-1k", protocol="tcp", relay_buffer=small),
        Scenario("tcp-1m", protocol="tcp", path="/1m", connections=16, relay_buffer=large),
        Scenario("udp-64", protocol="udp", load="udp", size=64),
        Scenario("udp-1200", protocol="udp", load="udp", size=1200, connections=16),
        Scenario("file-1k", files=True),
        Scenario("file-1m", path="/1m", connections=16, files=True),
        Scenario("conn-close", close=True),
        Scenario("idle-plain", load="idle", connections=5000),
        Scenario("idle-tls", load="idle", connections=5000, front_tls=True),
        Scenario("latency", load="rate", relay_buffer=small),
        Scenario("upload-1m", path="/upload", connections=16, upload=True, relay_buffer=large),
        *http2_rows(),
    ]
    return rows


def select(patterns):
    """The rows that a comma-separated list means: names, beginnings of names, or globs."""
    rows = table()
    if not patterns:
        return rows
    chosen = []
    for pattern in patterns.split(","):
        found = [row for row in rows if row.name == pattern or row.name.startswith(pattern + "-")]
        found = found or [row for row in rows if fnmatch.fnmatch(row.name, pattern)]
        if not found:
            raise SystemExit(f"no scenario {pattern!r}; there are: " + ", ".join(row.name for row in rows))
        chosen += [row for row in found if row not in chosen]
    return chosen


@dataclass(frozen=True)
class Target:
    """At most these ratios of Ringate to the better of nginx and HAProxy, to the bare relay, to Envoy."""

    total: float | None = None
    user: float | None = None
    relay: float | None = None
    envoy: float = 0.35
    beside: str | None = None  # a row of HTTP/1.1, whose total of Ringate's this one's is to be below


TARGETS = {
    "http-1k": Target(0.80, 0.45, 1.20),
    "http-1m": Target(0.75, 0.20, 1.10),
    "upload-1m": Target(0.75, 0.20, 1.10),
    "tcp-1k": Target(0.97, 0.80, 1.08),
    "tcp-1m": Target(0.73, 0.20, 1.10),
    "tlsback-1k": Target(0.76, 0.50),
    "tlsback-16k": Target(0.68, 0.48),
    "tlsback-1m": Target(0.70, 0.45),
    "tlsback-handshake": Target(0.75, 0.75),
    "tlsfront-1k": Target(0.75, 0.50),
    "tlsfront-handshake-full": Target(0.90, 0.90),
    "h2-h1-1k-100": Target(0.60, envoy=0.60, beside="http-1k"),
    "h2-h2-1k-100": Target(0.60, envoy=0.60, beside="http-1k"),
    "h2-h1-16k-100": Target(0.60, envoy=0.60, beside="http-16k"),
    "h2-h2-16k-100": Target(0.60, envoy=0.60, beside="http-16k"),
    "h2tls-h1-1k-100": Target(0.60, envoy=0.60, beside="tlsfront-1k"),
    "h2tls-h1-16k-100": Target(0.60, envoy=0.60),
    "h2tls-h2tls-1k-100": Target(0.60, envoy=0.60),
    "h2tls-h2tls-16k-100": Target(0.60, envoy=0.60),
    "grpc-100b-100": Target(0.60, envoy=0.60, beside="http-1k"),
    "grpctls-100b-100": Target(0.60, envoy=0.60),
}
IDLE_TARGETS = {"idle-plain": 1024, "idle-tls": 8 * 1024}  # bytes a connection
LATENCY_TARGET = 1.0  # p99 and p99.9, to the better peer


def target(name):
    """The target of the longest prefix of the scenario's name; every other row has Envoy's."""
    prefixes = [prefix for prefix in TARGETS if name == prefix or name.startswith(prefix + "-")]
    return TARGETS[max(prefixes, key=len)] if prefixes else Target()
