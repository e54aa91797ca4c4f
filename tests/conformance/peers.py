"""Servers to compare with: each as its documentation shows it, before one HTTP/1.1 backend. nghttpd serves a file itself."""

import shutil
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BODY = b"x" * 1024


class Handler(BaseHTTPRequestHandler):
    """Reads a request whole, and responds with 1 KiB."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def respond(self):
        try:
            self.read_content()
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(BODY)
        except (OSError, ValueError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_OPTIONS = respond

    def read_content(self):
        left = int(self.headers.get("Content-Length", 0))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                self.rfile.read(size + 2)
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
        while left > 0:
            piece = self.rfile.read(min(left, 65536))
            if not piece:
                raise OSError("the client is gone")
            left -= len(piece)

    def log_message(self, *_):
        pass


class Backend(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]

    def handle_error(self, *_):
        pass  # a proxy that closes is no news


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Peer:
    """A server under test, on a plain port and on one with TLS."""

    name = ""
    path = "/"

    def __init__(self, folder, backend, binary=None):
        self.folder, self.backend = Path(folder), backend
        self.program = binary or self.name
        self.plain, self.secure, *self.others = free_ports(3)
        self.processes = []
        self.certificate, self.key = certificate(self.folder)

    def start(self):
        for argv in self.commands():
            log = open(self.folder / f"{self.name}.log", "ab")
            self.processes.append(subprocess.Popen([str(part) for part in argv], stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        for port in (self.plain, self.secure):
            wait_until_open(port, self)
        return self

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def version(self):
        argv = {"nginx": ["-v"], "haproxy": ["-v"]}.get(self.name, ["--version"])
        said = subprocess.run([self.program, *argv], capture_output=True, text=True)
        return (said.stdout + said.stderr).splitlines()[0].split(" - ")[0].replace("nginx version: ", "").replace("version ", "")


class Nginx(Peer):
    name = "nginx"

    def commands(self):
        config = self.write(
            "nginx.conf",
            f"""daemon off; worker_processes 1; pid {self.folder}/nginx.pid; error_log {self.folder}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {self.folder}/body; proxy_temp_path {self.folder}/proxy;
  fastcgi_temp_path {self.folder}/f; uwsgi_temp_path {self.folder}/u; scgi_temp_path {self.folder}/s;
  client_header_timeout 5s; client_body_timeout 5s; send_timeout 5s; keepalive_timeout 5s;
  client_max_body_size 100m;
  server {{
    listen 127.0.0.1:{self.plain} http2; listen 127.0.0.1:{self.secure} ssl http2;
    ssl_certificate {self.certificate}; ssl_certificate_key {self.key};
    location / {{ proxy_pass http://127.0.0.1:{self.backend}; }}
  }}
}}
""",
        )
        return [[self.program, "-c", config, "-p", self.folder]]


class HaProxy(Peer):
    name = "haproxy"

    def commands(self):
        both = self.write("haproxy.pem", self.certificate.read_text() + self.key.read_text())
        config = self.write(
            "haproxy.cfg",
            f"""global
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
  timeout http-request 5s
  timeout http-keep-alive 5s
frontend web
  bind 127.0.0.1:{self.plain}
  bind 127.0.0.1:{self.secure} ssl crt {both} alpn h2,http/1.1
  default_backend app
backend app
  server app 127.0.0.1:{self.backend}
""",
        )
        return [[self.program, "-f", config]]


class Nghttpd(Peer):
    name = "nghttpd"
    path = "/page"

    def commands(self):
        (self.folder / "page").write_bytes(BODY)
        common = ["-a", "127.0.0.1", "-d", self.folder]
        return [
            [self.program, "--no-tls", *common, self.plain],
            [self.program, *common, self.secure, self.key, self.certificate],
        ]


class Ringate(Peer):
    name = "ringate"

    def commands(self):
        config = self.write(
            "ringate.toml",
            f"""[log]
access = "off"
[admin]
listen = "unix:{self.folder}/admin.sock"
[limits]
head_timeout = "5s"
body_timeout = "5s"
idle_timeout = "5s"
[[listener]]
name = "plain"
address = "127.0.0.1:{self.plain}"
[[listener]]
name = "secure"
address = "127.0.0.1:{self.secure}"
[listener.tls]
certificates = [{{ cert = "{self.certificate}", key = "{self.key}" }}]
[[route]]
listener = ["plain", "secure"]
upstream = "app"
[upstream.app]
endpoints = ["127.0.0.1:{self.backend}"]
""",
        )
        return [[self.program, "run", "-c", config]]


KNOWN = {peer.name: peer for peer in (Ringate, Nginx, HaProxy, Nghttpd)}


def certificate(folder):
    certificate, key = folder / "server.crt", folder / "server.key"
    if not key.exists():
        made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
        subprocess.run(["openssl", *made.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


def wait_until_open(port, peer):
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        ended = [process for process in peer.processes if process.poll() is not None]
        if ended:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    peer.stop()
    raise SystemExit(f"{peer.name} did not start: {(peer.folder / f'{peer.name}.log').read_text()[-2000:]}")


def missing(names, binaries):
    return [name for name in names if shutil.which(binaries.get(name) or name) is None]
