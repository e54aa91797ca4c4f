"""One measurement: start a candidate, prove that it does the work, load it, read its CPU time."""

import gzip
import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import candidates, http2
from .backend import body, work_folder
from .scenarios import BODIES, UPLOAD_BYTES
from .scrape import scraping
from .system import LOAD_CPU, PROXY_CPU, Child, Failure, cpu_busy, cpu_time, cpu_waited, resident_bytes

WRK_SCRIPT = Path(__file__).with_name("wrk.lua")
IDLE_BASE = 64  # connections opened and closed before the memory is read for the first time


@dataclass
class Measurement:
    scenario: str
    candidate: str
    round: int
    failure: str = ""
    requests: int = 0
    seconds: float = 0.0
    total_us: float | None = None  # CPU microseconds of the proxy a request
    user_us: float | None = None
    system_us: float | None = None
    rate: float | None = None  # requests a second
    p50_us: float | None = None
    p99_us: float | None = None
    p999_us: float | None = None
    idle_bytes: float | None = None  # resident bytes a connection
    foreign: float | None = None  # share of the proxy's CPU that something else took
    waited_ms: float | None = None  # time in which the proxy was ready and something else had its CPU


class Bench:
    def __init__(self, out, ports, certificates, backend, chosen):
        self.out = out
        self.ports = ports
        self.certificates = certificates
        self.backend = backend
        self.buffers = candidates.BUFFERS[chosen.buffers]
        self.seconds = chosen.seconds
        self.warmup = 1 if chosen.quick else 2
        self.rate = None  # of the latency scenario

    def start(self, scenario, name):
        """The candidate, accepting connections, and its port."""
        port = self.ports.take()
        folder = work_folder(self.out, f"{scenario.name}-{name}")
        setting = candidates.Setting(
            scenario, folder, port, self.backend.port(scenario), self.certificates, self.buffers
        )
        proxy = Child(name, candidates.CONFIGURE[name](setting), PROXY_CPU, folder)
        try:
            (proxy.wait_until_it_echoes if scenario.protocol == "udp" else proxy.wait_until_open)(port)
        except Failure:
            proxy.stop()
            raise
        return proxy, port

    def measure(self, scenario, name, number):
        result = Measurement(scenario.name, name, number)
        try:
            proxy, port = self.start(scenario, name)
            try:
                Preflight(self, scenario, name, port).check()
                if scenario.load == "idle":
                    result.idle_bytes = self.idle(scenario, proxy, port)
                else:
                    self.load_once(scenario, port, self.warmup)
                    self.under_load(scenario, proxy, port, result)
                    Preflight(self, scenario, name, port).check_handshakes(warm=True)
                if proxy.process.poll() is not None:
                    raise Failure(f"{name} ended with {proxy.process.returncode}: {proxy.output()}")
            except Failure as failure:
                raise Failure(f"{failure}; its log: {proxy.output()[-600:] or 'empty'}") from failure
            finally:
                proxy.stop()
        except (Failure, OSError) as failure:
            result.failure = f"{type(failure).__name__}: {failure}"
        return result

    def under_load(self, scenario, proxy, port, result):
        user, system = cpu_time(proxy.pid)
        busy, clock, waited = cpu_busy(PROXY_CPU), time.monotonic(), cpu_waited(proxy.pid)
        with scraping(proxy.log.parent, scenario.scrapes):
            counted = self.load_once(scenario, port, self.seconds)
        elapsed = time.monotonic() - clock
        foreign = cpu_busy(PROXY_CPU) - busy
        result.waited_ms = (cpu_waited(proxy.pid) - waited) * 1e3
        user, system = (after - before for after, before in zip(cpu_time(proxy.pid), (user, system)))
        if counted["requests"] < 10:
            raise Failure(f"only {counted['requests']} requests")
        micro = 1e6 / counted["requests"]
        result.requests, result.seconds, result.rate = counted["requests"], elapsed, counted["rate"]
        result.user_us, result.system_us, result.total_us = user * micro, system * micro, (user + system) * micro
        result.foreign = max(0.0, foreign - user - system) / elapsed
        result.p50_us, result.p99_us, result.p999_us = (counted[p] for p in ("p50_us", "p99_us", "p999_us"))

    # The generators --------------------------------------------------------------------------------

    def load_once(self, scenario, port, seconds):
        if scenario.load == "wrk":
            return self.wrk(scenario, port, seconds)
        if scenario.load == "h2load":
            output = self.generator(http2.h2load(scenario, port, seconds, self.certificates), seconds)
            return http2.counted(output, scenario)
        common = ["--address", f"127.0.0.1:{port}", "--seconds", seconds, "--connections", scenario.connections]
        if scenario.load == "udp":
            return self.loadgen(["udp", *common, "--size", scenario.size], seconds)
        if scenario.load == "rate":
            counted = self.loadgen(["rate", *common, "--rate", self.rate, "--warmup", 0], seconds)
            if counted["rate"] < 0.99 * self.rate:
                raise Failure(f"{counted['rate']:.0f} requests/s instead of {self.rate:.0f}")
            return counted
        counted = self.loadgen(["handshake", *common, *(["--resume"] if scenario.resume else [])], seconds)
        # Each connection slot starts with a full handshake.
        expected = counted["requests"] - scenario.connections if scenario.resume else 0
        if (counted["resumed"] < expected) if scenario.resume else counted["resumed"]:
            raise Failure(f"{counted['resumed']} of {counted['requests']} TLS sessions were resumed")
        return counted

    def wrk(self, scenario, port, seconds):
        origin = f"https://localhost:{port}" if scenario.front_tls else f"http://127.0.0.1:{port}"
        argv = ["wrk", "-t1", f"-c{scenario.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "5s"]
        argv += ["-s", WRK_SCRIPT, *(["-H", "Connection: close"] if scenario.close else [])]
        argv += [part for header in scenario.headers for part in ("-H", header)]
        said = ["upload", UPLOAD_BYTES] if scenario.upload else ["begins", scenario.begins] if scenario.begins else []
        argv += [origin + scenario.target, *(["--", *said] if said else [])]
        output = self.generator(argv, seconds)
        line = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
        if line is None:
            raise Failure(f"wrk printed no result: {output[-500:]}")
        counted = json.loads(line.removeprefix("RESULT "))
        errors = {kind: count for kind, count in counted["errors"].items() if count}
        if errors:
            raise Failure(f"wrk counted errors: {errors} in {counted['requests']} requests")
        size = 1 if scenario.encoded else BODIES.get(scenario.path, 0)
        if counted["bytes"] < counted["requests"] * size:
            raise Failure(f"{counted['bytes']} bytes are too few for {counted['requests']} bodies of {size}")
        counted["rate"] = counted["requests"] / counted["seconds"]
        return counted

    def loadgen(self, argv, seconds):
        output = self.generator([candidates.BINARIES["loadgen"], *argv], seconds)
        return json.loads(output.strip().splitlines()[-1])

    def generator(self, argv, seconds):
        argv = [str(part) for part in ["taskset", "-c", LOAD_CPU, *argv]]
        environment = {**os.environ, "OPENSSL_CONF": str(self.certificates.wrk_openssl)}
        try:
            done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=seconds + 60)
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{argv[3]} did not end") from error
        if done.returncode != 0:
            raise Failure(f"{Path(argv[3]).name} failed: {(done.stderr + done.stdout)[-500:]}")
        return done.stdout

    def idle(self, scenario, proxy, port):
        """Bytes a connection: what the proxy grows by while connections are held that did one request."""
        self.hold(scenario, proxy, port, IDLE_BASE)
        before = resident_bytes(proxy.pid)
        return (self.hold(scenario, proxy, port, scenario.connections) - before) / scenario.connections

    def hold(self, scenario, proxy, port, count):
        argv = [candidates.BINARIES["loadgen"], "idle", "--address", f"127.0.0.1:{port}", "--count", count]
        argv += ["--tls"] if scenario.front_tls else []
        folder = work_folder(self.out, "idle")
        holder = Child("holder", argv, LOAD_CPU, folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            if f'"open":{count}' not in holder.process.stdout.readline().decode():
                holder.process.wait(10)
                raise Failure(f"{count} connections could not be opened: {holder.output()}")
            resident = settled(lambda: resident_bytes(proxy.pid))
            holder.process.stdin.write(b"\n")
            holder.process.stdin.flush()
            if f'"still_open":{count}' not in holder.process.stdout.readline().decode():
                raise Failure(f"idle connections were closed: {holder.output()}")
            return resident
        finally:
            holder.stop()

    def calibrate(self, scenario, names):
        """The fixed rate of the latency scenario: half of what the slowest peer can do."""
        peers = [name for name in names if name not in ("ringate", "relay")] or names
        rates = []
        for name in peers:
            proxy, port = self.start(scenario, name)
            try:
                self.wrk(scenario, port, 1)
                rates.append(self.wrk(scenario, port, max(1, self.seconds / 2))["rate"])
            finally:
                proxy.stop()
        self.rate = round(min(rates) / 2)


def settled(read, rest=2.0, seconds=5.0):
    """A value once it has stood still for half a second, or after some seconds.

    Not at once: a connection that was just in use keeps its buffers for a moment, in case it is used again.
    """
    time.sleep(rest)
    deadline = time.monotonic() + seconds - rest
    value = read()
    while time.monotonic() < deadline:
        time.sleep(0.5)
        value, last = read(), value
        if value == last:
            break
    return value


class Preflight:
    """Proves with a few requests that the candidate does what the scenario's name says."""

    def __init__(self, bench, scenario, name, port):
        self.bench = bench
        self.scenario = scenario
        self.name = name
        self.port = port

    def check(self):
        scenario = self.scenario
        if scenario.protocol == "udp":
            return self.check_datagrams()
        if scenario.grpc:
            http2.check_call(scenario, self.port, self.bench.certificates, self.expect)
        elif scenario.upload:
            sent = body(UPLOAD_BYTES)
            status, headers, _ = self.request("POST", scenario.target, sent)
            self.expect(status == 200, f"POST answered {status}")
            self.expect(headers.get("X-Received") == str(len(sent)), "the backend got another length")
        else:
            status, headers, got = self.request("GET", scenario.target)
            self.expect(status == 200, f"GET answered {status}")
            if scenario.encoded:
                got = self.decoded(headers.get("Content-Encoding"), got)
            wanted = body(BODIES[scenario.path])
            same = hashlib.sha256(got).digest() == hashlib.sha256(wanted).digest()
            self.expect(same, f"{scenario.path} arrived changed ({len(got)} bytes)")
        # No backend says what it got where the proxy has the files itself.
        if scenario.protocol == "http" and self.name != "relay" and not scenario.files:
            self.check_headers()
        self.check_handshakes(warm=False)

    def check_datagrams(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.connect(("127.0.0.1", self.port))
            for size in (1, self.scenario.size, 9000):
                client.send(body(size))
                self.expect(client.recv(65536) == body(size), f"a datagram of {size} bytes came back changed")

    def decoded(self, coding, got):
        self.expect(coding is not None, "the body came as it is")
        if coding == "gzip":
            return gzip.decompress(got)
        # Nothing here decodes the others: they are taken at their word.
        return body(BODIES[self.scenario.path])

    def check_headers(self):
        first, second = self.echo(), self.echo()
        # Envoy writes the host's own address where the client's is a loopback address.
        client = first["for"] if self.name == "envoy" else "127.0.0.1"
        self.expect(client and first["for"] == client, f"X-Forwarded-For is {first['for']!r}")
        proto = "https" if self.scenario.front_tls else "http"
        self.expect(first["proto"] == proto, f"X-Forwarded-Proto is {first['proto']!r}")
        self.expect(first["host"] == f"localhost:{self.port}", f"X-Forwarded-Host is {first['host']!r}")
        unique = first["id"] and second["id"] and first["id"] != second["id"]
        self.expect(unique, f"X-Request-Id is {first['id']!r}, then {second['id']!r}")

    def check_handshakes(self, warm):
        back = self.scenario.back
        if self.scenario.streams:
            wanted, protocol = "HTTP/2.0" if self.scenario.http2_backend else "HTTP/1.1", self.echo()["protocol"]
            self.expect(protocol == wanted, f"the backend is asked by {protocol}")
        if not back:
            return
        seen = [self.echo() for _ in range(6)]
        for echo in seen:
            self.expect(echo["version"] == f"TLSv{back.version}", f"the backend speaks {echo['version']}")
            self.expect(echo["suite"] == back.openssl_suite, f"the suite is {echo['suite']}")
            self.expect(echo["sni"] == "localhost", f"the server name is {echo['sni']!r}")
            verified = "SUCCESS" if back.mutual else "NONE"
            self.expect(echo["verified"] == verified, f"the client certificate is {echo['verified']}")
        if back.closing:
            resumed = [echo["reused"] == "r" for echo in (seen if warm else seen[2:])]
            right = all(resumed) if back.resumed else not any(resumed)
            self.expect(right, f"resumed of the last handshakes: {sum(resumed)} of {len(resumed)}")

    def echo(self):
        # In plain words, also where bodies are asked for in another form.
        status, _, text = self.request("GET", "/echo", plain=self.scenario.encoded)
        self.expect(status == 200, f"GET /echo answered {status}")
        return dict(line.split("=", 1) for line in text.decode().splitlines())

    def request(self, method, path, sent=None, plain=False):
        if self.scenario.streams:
            return http2.request(self.scenario, self.port, self.bench.certificates, method, path, sent)
        if self.scenario.front_tls:
            context = ssl.create_default_context(cafile=self.bench.certificates.ca)
            connection = http.client.HTTPSConnection("localhost", self.port, timeout=10, context=context)
        else:
            connection = http.client.HTTPConnection("localhost", self.port, timeout=10)
        try:
            if self.scenario.begins:
                connection.connect()
                connection.sock.sendall(f"{self.scenario.begins}\r\n".encode())
            headers = {} if plain else dict(header.split(": ", 1) for header in self.scenario.headers)
            connection.request(method, path, sent, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Failure(f"{method} {path}: {type(error).__name__} {error}") from error
        finally:
            connection.close()

    def expect(self, holds, otherwise):
        if not holds:
            raise Failure(f"before or after the load: {otherwise}")
