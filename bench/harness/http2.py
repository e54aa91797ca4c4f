"""Clients of HTTP/2: h2load as the load, curl and nghttp for the proof."""

import re
import subprocess
import tempfile
from email.message import Message
from pathlib import Path

from .backend import grpc_message
from .scenarios import BODIES, GRPC_MESSAGE_BYTES
from .system import Failure

GRPC_HEADERS = ("content-type: application/grpc", "te: trailers")


def h2load(scenario, port, seconds, certificates):
    """The command of a load with all connections and streams at once."""
    scheme, host = ("https", "localhost") if scenario.front_tls else ("http", "127.0.0.1")
    argv = ["h2load", "-t1", "-c", scenario.connections, "-m", scenario.streams, "-D", max(1, round(seconds))]
    argv += ["--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519"] if scenario.front_tls else []
    headers = (*scenario.headers, *(GRPC_HEADERS if scenario.grpc else ()))
    argv += [part for header in headers for part in ("-H", header)]
    argv += ["-d", certificates.folder / "grpc-request"] if scenario.grpc else []
    return [*argv, f"{scheme}://{host}:{port}{scenario.target}"]


def counted(output, scenario):
    """What h2load printed at its end. A request that is not whole or has another status is a failure."""
    requests = re.search(
        r"^requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout",
        output, re.M,
    )
    finished = re.search(r"^finished in ([\d.]+)(us|ms|s|m), ([\d.]+) req/s", output, re.M)
    statuses = re.search(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output, re.M)
    traffic = re.search(r"^traffic: .*\((\d+)\) total, .*\((\d+)\) data$", output, re.M)
    if not (requests and finished and statuses and traffic):
        raise Failure(f"h2load printed no result: {output[-500:]}")
    _, _, done, succeeded, failed, errored, timeouts = map(int, requests.groups())
    others = sum(map(int, statuses.groups()[1:]))
    if failed or errored or timeouts or others or succeeded != done:
        raise Failure(f"h2load counted errors: {requests.group()}; {statuses.group()}")
    size = GRPC_MESSAGE_BYTES + 5 if scenario.grpc else BODIES.get(scenario.path, 0)
    if int(traffic.group(2)) < done * size:
        raise Failure(f"{traffic.group(2)} bytes are too few for {done} bodies of {size}")
    seconds = float(finished.group(1)) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[finished.group(2)]
    # It has no percentiles.
    return {"requests": done, "seconds": seconds, "rate": float(finished.group(3)), "p50_us": None, "p99_us": None, "p999_us": None}


def request(scenario, port, certificates, method, path, sent=None):
    """One request by curl: status, header fields and trailers, body."""
    scheme = "https" if scenario.front_tls else "http"
    version = "--http2" if scenario.front_tls else "--http2-prior-knowledge"
    with tempfile.TemporaryDirectory() as folder:
        head, got = Path(folder, "head"), Path(folder, "body")
        argv = ["curl", "-sS", "--max-time", "10", version, "-X", method, "-D", head, "-o", got, "-w", "%{http_version}"]
        argv += ["--resolve", f"localhost:{port}:127.0.0.1", "--cacert", certificates.ca]
        headers = (*scenario.headers, *(GRPC_HEADERS if sent is not None and scenario.grpc else ()))
        argv += [part for header in headers for part in ("-H", header)]
        argv += ["--data-binary", "@-"] if sent is not None else []
        argv.append(f"{scheme}://localhost:{port}{path}")
        done = subprocess.run([str(part) for part in argv], input=sent, capture_output=True, timeout=20)
        if done.returncode != 0:
            raise Failure(f"{method} {path}: {done.stderr.decode(errors='replace').strip()}")
        if done.stdout != b"2":
            raise Failure(f"{method} {path} was answered by HTTP/{done.stdout.decode()}")
        lines = head.read_text(errors="replace").splitlines()
        fields = Message()
        for line in lines[1:]:
            name, found, value = line.partition(": ")
            if found:
                fields[name] = value
        return int(lines[0].split()[1]), fields, got.read_bytes() if got.exists() else b""


def check_call(scenario, port, certificates, expect):
    """A call of gRPC is answered by its message and a status in trailers, which curl does not show."""
    message = grpc_message()
    status, _, got = request(scenario, port, certificates, "POST", scenario.target, message)
    expect(status == 200, f"the call answered {status}")
    expect(got == message, f"the call's message arrived changed ({len(got)} bytes)")
    scheme = "https" if scenario.front_tls else "http"
    argv = ["nghttp", "-v", "-y", "-t", "10", "-d", certificates.folder / "grpc-request"]
    argv += [part for header in GRPC_HEADERS for part in ("-H", header)]
    argv.append(f"{scheme}://127.0.0.1:{port}{scenario.target}")
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True, errors="replace", timeout=20)
    trailers = re.search(r"DATA frame .*recv \(stream_id=\d+\) grpc-status: 0\b", done.stdout, re.S)
    expect(done.returncode == 0 and trailers, f"the call's trailers have no grpc-status: {done.stdout[-300:]}")
