"""Change upon change under load: nothing may be lost, and nothing may grow.

    scripts/churn [--minutes 30] [--binary FILE]

wrk sends requests through two workers to backends that demand mutual TLS and are found by DNS, and to plain ones. All the
while endpoints are removed and added by the admin API, answers of the name server change, the config is changed and
reloaded, and the client certificate is rotated. Each minute prints the requests, what failed, and the proxy's memory,
descriptors and connections. Exits 1 if a request failed, or if one of these three grew over the second half.
"""

import argparse
import json
import os
import random
import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from harness.backend import Certificates, nginx_head, nginx_paths
from harness.system import Child, Failure, Ports, build, raise_file_limit, resident_bytes, stop_all

from .main import ADDRESSES, FAILURES, HERE, Names
from .proxies import CPUS

# What is kept of a figure over the second half: its median must not exceed that of the first quarter after the warm-up
# by more than this share.
GROWTH = 1.25
PAUSE = 0.7


def nginx(folder, certificates, tls_port, plain_port):
    """The backends: on each address one with mutual TLS and one without."""
    listens = lambda port, more: "".join(f"listen {address}:{port}{more} backlog=4096; " for address in ADDRESSES)  # noqa: E731
    text = nginx_head(folder) + f"""http {{
  access_log off;
{nginx_paths(folder)}
  keepalive_timeout 5s; keepalive_requests 2000;
  server {{
    {listens(tls_port, " ssl")}
    ssl_certificate {certificates.server[0]}; ssl_certificate_key {certificates.server[1]};
    ssl_client_certificate {certificates.ca}; ssl_verify_client on;
    location / {{ return 200 "{'x' * 512}"; }}
  }}
  server {{
    {listens(plain_port, "")}
    location / {{ return 200 "{'x' * 512}"; }}
  }}
}}
"""
    config = folder / "nginx.conf"
    config.write_text(text)
    child = Child("backend", ["nginx", "-p", folder, "-e", "stderr", "-c", config], CPUS, folder)
    child.wait_until_open(plain_port)


class Gateway:
    """The Ringate under test, and its command line."""

    def __init__(self, binary, folder, ports, names, certificates):
        self.binary, self.folder, self.names, self.certificates = binary, folder, names, certificates
        self.listen, self.tls_port, self.plain_port = ports.take(), ports.take(), ports.take()
        self.config = folder / "ringate.toml"
        self.turn = 0
        self.write()

    def write(self):
        """The config; each time with another limit, which a reload takes up."""
        self.turn += 1
        plain = ", ".join(f'"{address}:{self.plain_port}"' for address in ADDRESSES)
        self.config.write_text(
            f'[runtime]\nworkers = 2\n[store]\npath = "{self.folder}/store"\n'
            f'[admin]\nlisten = "unix:{self.folder}/admin.sock"\n'
            f'[resolver]\nservers = ["127.0.0.1:{self.names.port}"]\nttl = {{ min = "1s", max = "1s" }}\n'
            f'[[listener]]\nname = "web"\naddress = "127.0.0.1:{self.listen}"\n'
            f"limits.head_timeout = \"{30 + self.turn % 7}s\"\n"
            '[[route]]\npath = "/plain"\nupstream = "plain"\n[[route]]\nupstream = "app"\n'
            f"[upstream.plain]\nendpoints = [{plain}]\n"
            f'[upstream.app]\nendpoints = ["dns:app.test:{self.tls_port}"]\n'
            f'tls = {{ server_name = "localhost", trust = ["{self.certificates.ca}"], certificate = "gateway" }}\n'
        )
        self.config.chmod(0o600)

    def command(self, *argv):
        argv = [str(self.binary), *map(str, argv), "-c", str(self.config)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise Failure(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr[-1000:]}{done.stdout[-500:]}")
        return done.stdout

    def start(self):
        chain, key = self.certificates.client
        self.command("cert", "import", "gateway", "--cert", chain, "--key", key)
        argv = [self.binary, "run", "-c", self.config]
        self.child = Child("ringate", argv, CPUS, self.folder, env={**os.environ, "NO_COLOR": "1"})
        self.child.wait_until_open(self.listen)

    def figures(self):
        links = [os.readlink(path) for path in _links(self.child.pid)]
        return {
            "memory": resident_bytes(self.child.pid),
            "descriptors": len(links),
            "connections": sum(link.startswith("socket:") for link in links),
        }


def _links(pid):
    for path in Path(f"/proc/{pid}/fd").iterdir():
        if path.is_symlink():
            yield path


class Changes(threading.Thread):
    """One change after the other, until it is stopped. `error` is what one of them ended with."""

    def __init__(self, gateway):
        super().__init__()
        self.gateway, self.over, self.error = gateway, threading.Event(), None
        self.counts = {}
        self.random = random.Random(7)

    def run(self):
        kinds = [self.endpoint, self.names, self.reload, self.rotation]
        turn = 0
        try:
            while not self.over.wait(PAUSE):
                kind = kinds[turn % len(kinds)]
                kind()
                turn += 1
                self.counts[kind.__name__] = self.counts.get(kind.__name__, 0) + 1
        except Exception as error:  # noqa: BLE001
            self.error = error
        self.gateway.names.publish(ADDRESSES)

    def endpoint(self):
        address = f"{self.random.choice(ADDRESSES)}:{self.gateway.plain_port}"
        self.gateway.command("endpoint", "remove", "plain", address)
        self.over.wait(PAUSE)
        self.gateway.command("endpoint", "add", "plain", address)

    def names(self):
        self.gateway.names.publish(self.random.sample(ADDRESSES, self.random.randint(1, len(ADDRESSES))))

    def reload(self):
        self.gateway.write()
        self.gateway.command("reload")

    def rotation(self):
        chain, key = self.gateway.certificates._issue("next", "clientAuth", ["-days", "30"])
        self.gateway.command("cert", "stage", "gateway", "--cert", chain, "--key", key)
        self.gateway.command("cert", "trial", "gateway")
        self.gateway.command("cert", "activate", "gateway")


def wrk(port, path, seconds):
    argv = ["wrk", "-t", "1", "-c", "32", "-d", f"{seconds}s", "--timeout", "15s"]
    argv += ["-s", HERE / "load.lua", f"http://127.0.0.1:{port}{path}"]
    return subprocess.Popen([str(part) for part in argv], stdout=subprocess.PIPE, text=True)


def minute(gateway, seconds):
    """One run of the load on both upstreams: requests and failures of each."""
    found = {}
    loads = {path: wrk(gateway.listen, path, seconds) for path in ("/", "/plain")}
    for path, load in loads.items():
        text, _ = load.communicate(timeout=seconds + 60)
        result = json.loads(re.search(r"^RESULT (.*)$", text, re.MULTILINE).group(1))
        found[path] = (result["requests"], sum(result[kind] for kind in FAILURES))
    return found


def median(values):
    return sorted(values)[len(values) // 2]


def grown(rows):
    """The figures that grew: the median of the second half against that of the second quarter."""
    quarter, half = len(rows) // 4, len(rows) // 2
    if half - quarter < 1:
        return []
    grew = []
    for name in rows[0]:
        before, after = (median([row[name] for row in part]) for part in (rows[quarter:half], rows[half:]))
        if after > before * GROWTH:
            grew.append(f"{name} grew from {before} to {after}")
    return grew


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=30)
    options.add_argument("--binary", type=Path, help="a built ringate; default: builds with --profile bench")
    options = options.parse_args()
    raise_file_limit()
    binary = (options.binary or build(["--profile", "bench", "--bin", "ringate"])["ringate"]).resolve()
    ports = Ports()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        certificates = Certificates(folder / "certificates")
        certificates.client[1].chmod(0o600)
        names = Names(folder, ports.take())
        try:
            names.start()
            gateway = Gateway(binary, folder, ports, names, certificates)
            nginx(folder, certificates, gateway.tls_port, gateway.plain_port)
            gateway.start()
            return churn(gateway, options.minutes)
        finally:
            stop_all()


def churn(gateway, minutes):
    changes = Changes(gateway)
    changes.start()
    rows, failed, ends = [], 0, time.monotonic() + 60 * minutes
    seconds = max(5, min(60, round(60 * minutes / 8)))
    try:
        while time.monotonic() < ends and not changes.error:
            found = minute(gateway, seconds)
            rows.append(gateway.figures())
            failed += sum(lost for _, lost in found.values())
            requests = ", ".join(f"{path}: {made} requests, {lost} failed" for path, (made, lost) in found.items())
            figures = ", ".join(f"{name} {value}" for name, value in rows[-1].items())
            print(f"{requests}; {figures}; changes {changes.counts}", flush=True)
    finally:
        changes.over.set()
        changes.join()
    if changes.error:
        print(f"FAILED: {changes.error}")
    for line in (grew := grown(rows)):
        print(f"FAILED: {line}")
    if failed:
        print(f"FAILED: {failed} requests")
        print(gateway.child.output())
    return 1 if failed or grew or changes.error else 0
