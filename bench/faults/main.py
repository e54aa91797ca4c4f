"""Faults of backends under load: what is lost, and how long requests take.

    scripts/faults [--proxy NAME …] [--fault NAME …] [--binary FILE] [--json FILE]

Three backends stand behind each proxy, and one of them has the fault. wrk sends idempotent requests (GET, PUT and DELETE)
over 48 connections and POST over 16. Three runs follow each other: in the first the fault begins after a second; in the
second it ends after a second; the third begins two check intervals later. A failed request is one that is answered with
another status than 2xx, or not at all.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.system import Child, Failure, Ports, build, raise_file_limit, run, say, stop_all

from . import proxies

ADDRESSES = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
FAULTY = 1
CHECK_INTERVAL = 1.0
HERE = Path(__file__).resolve().parent
FAILURES = ("connect", "read", "write", "status", "timeout")
PHASES = ("before", "during", "after", "settled")


class Backend:
    """One backend process, and its faults."""

    def __init__(self, address, port):
        self.address, self.port = address, port
        self.process = None

    def start(self):
        argv = [sys.executable, HERE / "backend.py", self.address, str(self.port)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise Failure(f"the backend at {self.address}:{self.port} did not start")

    def mode(self, name):
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        self.process and self.process.wait()


class Names:
    """A name server of the loopback interface: dnsmasq over a file of hosts."""

    def __init__(self, folder, port):
        self.folder, self.port = folder, port
        self.hosts = folder / "hosts"
        self.child = None

    def publish(self, addresses):
        self.hosts.write_text("".join(f"{address} app.test\n" for address in addresses))
        if self.child:
            self.child.process.send_signal(signal.SIGHUP)

    def start(self):
        self.publish(ADDRESSES)
        options = ["-k", "-h", "-R", "--local-ttl=1", f"--addn-hosts={self.hosts}", "--no-daemon", "--user=root"]
        argv = ["dnsmasq", *options, f"--port={self.port}", "--listen-address=127.0.0.1", "--bind-interfaces"]
        self.child = Child("dnsmasq", argv, proxies.CPUS, self.folder)
        time.sleep(0.3)


class Setting:
    """What a fault works on."""

    def __init__(self, backends, proxy, names):
        self.backends, self.proxy, self.names = backends, proxy, names
        self.faulty = backends[FAULTY]


def mode(name):
    return lambda it: it.faulty.mode(name), lambda it: it.faulty.mode("good")


def names_change(it):
    it.names.publish([address for address in ADDRESSES if address != it.faulty.address])
    time.sleep(2.5)  # its time to live, and what is in flight
    it.faulty.kill()


def names_return(it):
    it.faulty.start()
    it.names.publish(ADDRESSES)


def endpoint_removed(it):
    it.proxy.remove(it.faulty.address)
    time.sleep(0.5)
    it.faulty.kill()


def endpoint_added(it):
    it.faulty.start()
    it.proxy.add(it.faulty.address)


FAULTS = {
    "kill -9": (lambda it: it.faulty.kill(), lambda it: it.faulty.start()),
    "SIGSTOP": (lambda it: it.faulty.signal(signal.SIGSTOP), lambda it: it.faulty.signal(signal.SIGCONT)),
    "reset on accept": mode("reset"),
    "5 s slow": mode("slow"),
    "503 half the time": mode("half"),
    "idle connections closed at random": mode("closing"),
    "DNS change": (names_change, names_return),
    "endpoint removed and added": (endpoint_removed, endpoint_added),
}


class Load:
    """One wrk, at work."""

    def __init__(self, port, connections, seconds, *arguments):
        argv = ["wrk", "-t", "1", "-c", connections, "-d", f"{seconds}s", "--timeout", "10s"]
        argv += ["-s", HERE / "load.lua", f"http://127.0.0.1:{port}/", "--", *arguments]
        self.process = subprocess.Popen([str(part) for part in argv], stdout=subprocess.PIPE, text=True)
        self.seconds = seconds

    def result(self):
        text, _ = self.process.communicate(timeout=self.seconds + 60)
        lines = [line for line in text.splitlines() if line.startswith("RESULT ")]
        if not lines:
            raise Failure("wrk printed no result: " + text)
        found = json.loads(lines[0].removeprefix("RESULT "))
        return {**found, "failed": sum(found[kind] for kind in FAILURES)}


def loaded(port, seconds, middle=None):
    """The results of one run of load, in the second second of which `middle` is done."""
    loads = {"idempotent": Load(port, 48, seconds), "post": Load(port, 16, seconds, "post")}
    if middle:
        time.sleep(1)
        middle()
    return {kind: load.result() for kind, load in loads.items()}


def measure(setting, fault, seconds):
    begin, end = FAULTS[fault]
    port, phases = setting.proxy.listen, {}
    phases["before"] = loaded(port, 2)
    phases["during"] = loaded(port, seconds, lambda: begin(setting))
    phases["after"] = loaded(port, 3, lambda: end(setting))
    time.sleep(2 * CHECK_INTERVAL)
    phases["settled"] = loaded(port, 2)
    return phases


def one(kind, fault, seconds):
    """Runs one fault with one proxy; `None` where that proxy cannot do it."""
    by_name = fault == "DNS change"
    if by_name and not kind.finds_names:
        return None
    ports = Ports()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        port = ports.take()
        backends = [Backend(address, port) for address in ADDRESSES]
        names = Names(folder, ports.take()) if by_name else None
        proxy = kind(folder, ports.take(), ADDRESSES, port, names.port if names else None)
        try:
            for backend in backends:
                backend.start()
            if names:
                names.start()
            proxy.start()
            time.sleep(2)
            return measure(Setting(backends, proxy, names), fault, seconds)
        finally:
            stop_all()
            for backend in backends:
                backend.kill()


def milliseconds(result):
    return f"{result['p99'] / 1000:.0f}" if result["p99"] >= 10_000 else f"{result['p99'] / 1000:.1f}"


def row(fault, name, phases):
    if phases is None:
        return f"| {fault} | {name} | – | – | – | – | – |"
    both = lambda kind: sum(phases[phase][kind]["failed"] for phase in PHASES)  # noqa: E731
    served = sum(phases["during"][kind]["requests"] - phases["during"][kind]["status"] for kind in ("idempotent", "post"))
    p99 = " / ".join(milliseconds(phases[phase]["idempotent"]) for phase in PHASES)
    before = phases["before"]["idempotent"]["requests"] + phases["before"]["post"]["requests"]
    return f"| {fault} | {name} | {both('idempotent')} | {both('post')} | {p99} | {served} | {before} |"


HEAD = """| fault | proxy | failed GET, PUT, DELETE | failed POST | p99 ms before / during / after / settled | served during | served in 2 s before |
| --- | --- | --- | --- | --- | --- | --- |"""


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--proxy", action="append", choices=sorted(proxies.ALL), help="default: all")
    options.add_argument("--fault", action="append", choices=list(FAULTS), help="default: all")
    options.add_argument("--binary", type=Path, help="a built ringate; default: builds with --profile bench")
    options.add_argument("--seconds", type=int, default=8, help="of the run in which the fault begins")
    options.add_argument("--json", type=Path, help="writes all figures to this file")
    options = options.parse_args()
    raise_file_limit()
    if missing := [program for program in ("wrk", "nginx", "haproxy", "dnsmasq", "taskset") if not found(program)]:
        raise SystemExit("missing: " + " ".join(missing) + " (Debian: wrk nginx haproxy dnsmasq-base util-linux)")
    binary = options.binary or build(["--profile", "bench", "--bin", "ringate"])["ringate"]
    proxies.Ringate.binary = binary.resolve()
    everything, fine = {}, True
    say(run(["uname", "-r"]).strip() + ", " + run(["nginx", "-v"]).strip() + run(["haproxy", "-v"]).splitlines()[0])
    print(HEAD, flush=True)
    for fault in options.fault or FAULTS:
        for name in options.proxy or proxies.ALL:
            phases = one(proxies.ALL[name], fault, options.seconds)
            everything.setdefault(fault, {})[name] = phases
            print(row(fault, name, phases), flush=True)
            if name.startswith("ringate") and phases:
                fine &= not any(phases[phase]["idempotent"]["failed"] for phase in PHASES)
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1))
    return 0 if fine else 1


def found(program):
    return subprocess.run(["sh", "-c", f"command -v {program}"], capture_output=True).returncode == 0


