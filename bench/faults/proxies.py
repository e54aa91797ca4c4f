"""The proxies under test: the config of each before three backends, and how its endpoints are changed while it runs."""

import os
import socket
import subprocess
import time

from harness.backend import nginx_head, nginx_paths
from harness.system import Child, Failure

CPUS = ",".join(map(str, sorted(os.sched_getaffinity(0))))


class Proxy:
    """One proxy in front of `addresses`, all at `port`; `resolver` is the port of the name server, if it finds them by name."""

    name = ""
    finds_names = True

    def __init__(self, folder, listen, addresses, port, resolver=None):
        self.folder, self.listen, self.addresses, self.port = folder, listen, addresses, port
        self.resolver = resolver
        self.child = None

    def start(self):
        self.child = Child(self.name, self.command(), CPUS, self.folder)
        self.child.wait_until_open(self.listen)

    def stop(self):
        self.child.stop()

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def endpoints(self):
        return [f"{address}:{self.port}" for address in self.addresses]


class Ringate(Proxy):
    """As it is without a word on failures."""

    name = "ringate"
    binary = None
    more = ""

    def command(self):
        if self.resolver:
            endpoints = f'"dns:app.test:{self.port}"'
        else:
            endpoints = ", ".join(f'"{endpoint}"' for endpoint in self.endpoints())
        resolver = f'[resolver]\nservers = ["127.0.0.1:{self.resolver}"]\nttl = {{ min = "1s", max = "1s" }}\n' if self.resolver else ""
        self.config = self.file(
            "ringate.toml",
            f'[runtime]\nworkers = 2\n[log]\naccess = "off"\n[admin]\nlisten = "unix:{self.folder}/admin.sock"\n{resolver}'
            f'[[listener]]\nname = "web"\naddress = "127.0.0.1:{self.listen}"\n[[route]]\nupstream = "app"\n'
            f"[upstream.app]\nendpoints = [{endpoints}]\n{self.more}",
        )
        return [self.binary, "run", "-c", self.config]

    def endpoint(self, verb, address):
        argv = [self.binary, "endpoint", verb, "app", f"{address}:{self.port}", "-c", self.config]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
        if done.returncode != 0:
            raise Failure(f"ringate endpoint {verb} ended with {done.returncode}: {done.stderr}")

    def remove(self, address):
        self.endpoint("remove", address)

    def add(self, address):
        self.endpoint("add", address)


class RingateWithHealth(Ringate):
    """With active checks, and retries of what nginx and HAProxy send again here."""

    name = "ringate, health"
    more = 'retries = { attempts = 3, on = ["connect", "reset", "503"] }\nhealth = { type = "http", path = "/", interval = "1s", timeout = "1s", fall = 2, rise = 2 }\n'


class Nginx(Proxy):
    """With its passive checks and retries of what may be sent again."""

    name = "nginx"
    finds_names = False  # a group of servers is resolved at start only, but in the commercial edition

    def command(self, down=()):
        servers = "".join(
            f"    server {address}:{self.port}{' down' if address in down else ''};\n" for address in self.addresses
        )
        text = nginx_head(self.folder).replace("worker_processes 1", "worker_processes 2") + f"""http {{
  access_log off;
{nginx_paths(self.folder)}
  upstream app {{
{servers}    keepalive 64;
  }}
  server {{
    listen 127.0.0.1:{self.listen} backlog=4096;
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_connect_timeout 2s; proxy_read_timeout 30s;
      proxy_next_upstream error timeout http_503;
    }}
  }}
}}
"""
        return ["nginx", "-p", self.folder, "-e", "stderr", "-c", self.file("nginx.conf", text)]

    def reload(self, down):
        self.command(down)
        self.child.process.send_signal(1)  # SIGHUP
        time.sleep(0.3)

    def remove(self, address):
        self.reload([address])

    def add(self, _address):
        self.reload([])


class Haproxy(Proxy):
    """With checks each second, and three retries of what may be sent again, the last to another server."""

    name = "haproxy"

    def command(self):
        check = "check inter 1s fall 2 rise 2"
        if self.resolver:
            names = f"resolvers local\n  nameserver one 127.0.0.1:{self.resolver}\n  hold valid 1s\n  hold obsolete 1s\n"
            servers = f"  server-template b 3 app.test:{self.port} {check} resolvers local init-addr none\n"
        else:
            names = ""
            servers = "".join(
                f"  server b{address.rpartition('.')[2]} {address}:{self.port} {check}\n" for address in self.addresses
            )
        text = f"""global
  nbthread 2
  stats socket {self.folder}/admin.sock mode 600 level admin
  maxconn 4096
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 30s
  retries 3
  option redispatch
  retry-on conn-failure empty-response response-timeout 503
{names}listen app
  bind 127.0.0.1:{self.listen}
  option httpchk GET /
  http-request disable-l7-retry if METH_POST
  balance roundrobin
{servers}"""
        return ["haproxy", "-db", "-f", self.file("haproxy.cfg", text)]

    def order(self, text):
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(5)
            admin.connect(f"{self.folder}/admin.sock")
            admin.sendall(text.encode() + b"\n")
            if answer := admin.recv(4096).strip():
                raise Failure(f"haproxy answers {answer!r} to {text}")

    def remove(self, address):
        self.order(f"set server app/b{address.rpartition('.')[2]} state maint")

    def add(self, address):
        self.order(f"set server app/b{address.rpartition('.')[2]} state ready")


ALL = {kind.name: kind for kind in (Ringate, RingateWithHealth, Nginx, Haproxy)}
