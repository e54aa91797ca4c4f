"""The backend that all candidates proxy to (nginx on the load generator's CPU), and the certificates."""

import os
from pathlib import Path

from .scenarios import BODIES, GRPC_MESSAGE_BYTES, GRPC_PATH, UPLOAD_BYTES
from .system import LOAD_CPU, Child, run

# One key type for all candidates: the cheapest that is in wide use.
KEY = ["ecparam", "-name", "prime256v1", "-genkey", "-noout"]


class Certificates:
    """A CA, a server identity for localhost (backend and front) and a client identity."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca = folder / "ca.pem"
        run(["openssl", *KEY, "-out", folder / "ca.key"])
        days = ["-days", "30"]
        ca = ["-subj", "/CN=Benchmark CA", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        run(["openssl", "req", "-x509", "-new", "-key", folder / "ca.key", "-out", self.ca, *days, *ca])
        self.server = self._issue("server", "serverAuth", days)
        self.client = self._issue("client", "clientAuth", days)
        # What h2load sends in a call of gRPC.
        (folder / "grpc-request").write_bytes(grpc_message())
        # Ends wrk's choice of suite and group, so that every candidate does the same arithmetic.
        self.wrk_openssl = folder / "wrk-openssl.cnf"
        self.wrk_openssl.write_text(
            "openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = all\n[all]\n"
            "MinProtocol = TLSv1.3\nCiphersuites = TLS_AES_128_GCM_SHA256\nGroups = X25519\n"
        )

    def _issue(self, name, usage, days):
        key, request, chain = (self.folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(
            f"subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage={usage}\nbasicConstraints=CA:FALSE\n"
            "keyUsage=critical,digitalSignature\n"
        )
        run(["openssl", *KEY, "-out", key])
        run(["openssl", "req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request])
        by = ["-CA", self.ca, "-CAkey", self.folder / "ca.key", "-CAcreateserial"]
        run(["openssl", "x509", "-req", "-in", request, *by, *days, "-extfile", extensions, "-out", chain])
        # HAProxy wants chain and key in one file.
        (self.folder / f"{name}-both.pem").write_text(chain.read_text() + key.read_text())
        return chain, key


def nginx_head(folder, module=None):
    """What every nginx here has in common: one worker, in the foreground, nothing outside its folder."""
    return (
        (f"load_module {module};\n" if module else "")
        + ("user root;\n" if os.geteuid() == 0 else "")
        + "daemon off;\nworker_processes 1;\n"
        + f"pid {folder}/nginx.pid;\nerror_log stderr error;\n"
        + "events { worker_connections 16384; }\n"
    )


def nginx_paths(folder):
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "".join(f"  {kind}_temp_path {folder}/{kind};\n" for kind in kinds)


ECHO = "\\n".join(
    f"{name}=${variable}"
    for name, variable in (
        ("for", "http_x_forwarded_for"),
        ("proto", "http_x_forwarded_proto"),
        ("host", "http_x_forwarded_host"),
        ("id", "http_x_request_id"),
        ("version", "ssl_protocol"),
        ("suite", "ssl_cipher"),
        ("reused", "ssl_session_reused"),
        ("verified", "ssl_client_verify"),
        ("sni", "ssl_server_name"),
        ("protocol", "server_protocol"),
    )
)


class Backend:
    """One nginx with a port for each kind of backend that the scenarios ask for."""

    def __init__(self, folder, certificates, ports, scenarios):
        self.folder = folder
        self.certificates = certificates
        files = folder / "www"
        files.mkdir(parents=True, exist_ok=True)
        for path, size in BODIES.items():
            (files / path[1:]).write_bytes(body(size))
        for path in ("grpc-response", GRPC_PATH[1:]):
            (files / path).parent.mkdir(exist_ok=True)
            (files / path).write_bytes(grpc_message())
        self.ports = {(None, False): ports.take()}
        for scenario in scenarios:
            if scenario.backend not in self.ports:
                self.ports[scenario.backend] = ports.take()
        self.discard = ports.take()
        self.datagrams = ports.take() if any(scenario.protocol == "udp" for scenario in scenarios) else None
        self.child = None

    def start(self):
        config = self.folder / "nginx.conf"
        config.write_text(self.config())
        argv = ["nginx", "-p", self.folder, "-e", "stderr", "-c", config]
        self.child = Child("backend", argv, LOAD_CPU, self.folder)
        for port in self.ports.values():
            self.child.wait_until_open(port)

    def start_echo(self, loadgen):
        """The server of the udp scenarios, if there are any."""
        if self.datagrams:
            argv = [loadgen, "echo", "--address", f"127.0.0.1:{self.datagrams}"]
            Child("echo", argv, LOAD_CPU, self.folder).wait_until_it_echoes(self.datagrams)

    def port(self, scenario):
        return self.datagrams if scenario.protocol == "udp" else self.ports[scenario.backend]

    def config(self):
        # Small bodies go out with their head in one write; sendfile would send two segments.
        common = f"""
  access_log off;
{nginx_paths(self.folder)}  default_type application/octet-stream;
  keepalive_timeout 600s; keepalive_requests 1000000000; reset_timedout_connection off;
  open_file_cache max=100 inactive=1h; open_file_cache_valid 1h;
  sendfile off; output_buffers 2 64k; tcp_nodelay on;
  client_max_body_size 0; client_body_buffer_size {UPLOAD_BYTES + 65536};
  ssl_certificate {self.certificates.server[0]}; ssl_certificate_key {self.certificates.server[1]};
  ssl_client_certificate {self.certificates.ca}; ssl_ecdh_curve X25519:prime256v1;
  upstream discard {{ server 127.0.0.1:{self.discard}; keepalive 64; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{self.discard}; location / {{ return 200 "received\\n"; }} }}
"""
        servers = "".join(self.server(*kind, port) for kind, port in self.ports.items())
        return nginx_head(self.folder) + "http {" + common + servers + "}\n"

    def server(self, tls, http2, port):
        settings = self.grpc() if http2 else ""
        if tls:
            suite = "ssl_ciphers" if tls.version == "1.2" else "ssl_conf_command Ciphersuites"
            settings += f"    ssl_protocols TLSv{tls.version}; {suite} {tls.openssl_suite};\n"
            settings += f"    ssl_verify_client {'on' if tls.mutual else 'off'};\n"
            if tls.resumed:
                settings += "    ssl_session_cache shared:back:16m; ssl_session_tickets on;\n"
            else:
                settings += "    ssl_session_cache off; ssl_session_tickets off;\n"
            if tls.closing:
                settings += "    keepalive_timeout 0;\n"
        # nginx answers a POST before it has read the body, unless something needs the body: here a second
        # hop, which gets only the news that the body came.
        return f"""  server {{
    listen 127.0.0.1:{port}{' ssl' if tls else ''}{' http2' if http2 else ''} backlog=4096;
    root {self.folder}/www;
{settings}    location = /1m {{ sendfile on; tcp_nopush on; sendfile_max_chunk 2m; }}
    location = /echo {{ return 200 "{ECHO}\\n"; }}
    location = /upload {{
      proxy_pass http://discard; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_pass_request_body off; proxy_set_header Content-Length "";
      add_header X-Received $content_length;
    }}
  }}
"""

    def grpc(self):
        """A call: its response is a file, which a POST gets as the page of its error. The mirror has nginx read the request
        to its end before that."""
        return f"""    http2_max_concurrent_streams 1000;
    location = {GRPC_PATH} {{
      mirror /read; error_page 405 =200 /grpc-response;
    }}
    location = /read {{ internal; return 204; }}
    location = /grpc-response {{
      internal; default_type application/grpc; add_trailer grpc-status 0 always;
      etag off; max_ranges 0; add_header Last-Modified "";
    }}
"""


def grpc_message():
    """A message of gRPC: not compressed, its length, its bytes."""
    return b"\0" + GRPC_MESSAGE_BYTES.to_bytes(4, "big") + body(GRPC_MESSAGE_BYTES)


def body(size):
    """Bytes whose order matters: a lost, doubled or moved block changes the digest."""
    block = b"".join(b"%07d\n" % number for number in range(size // 8 + 1))
    return block[:size]


def work_folder(out, name):
    folder = Path(out, "run", name)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
