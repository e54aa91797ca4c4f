"""The candidates: the config of each for a scenario, doing the same work.

Alike for all that speak HTTP: keep-alive to the backend with up to 256 idle connections, or as many as there are streams at a time, no access log,
X-Forwarded-For, -Proto, -Host and a unique X-Request-Id set on each request, the client's Host passed on,
bodies streamed, the backend's certificate verified against the CA and its name, the same TLS version,
suite and group, sessions resumed unless the scenario says otherwise, one worker.
Files of their own: those of the backend's folder, nginx with sendfile and without a cache of open files, which Ringate has not either.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import guided, system
from .backend import body, nginx_head, nginx_paths
from .scenarios import BODIES, SUITES
from .system import build, envoy_binary, program, stream_module

FRONT_SUITE = SUITES["1.3", 128][0]
# X25519 for the key exchange; in TLS 1.2 the list also says which curves a certificate may be on.
GROUPS = ["X25519", "P-256"]
NAMES = ("ringate", "nginx", "haproxy", "envoy", "relay")
# Another build of Ringate, which `--before` names: it takes part with the config of this one.
BEFORE = "before"


@dataclass(frozen=True)
class Buffers:
    """Sizes that nginx and HAProxy are given; both sets are figures of the report, named in it."""

    name: str
    response: str  # nginx: proxy_buffers, and how much of them may be busy with sending
    body: str  # nginx: client_body_buffer_size
    stream: str  # nginx: proxy_buffer_size at layer 4
    haproxy: int  # tune.bufsize
    splice: bool  # HAProxy: option splice-auto; nginx has nothing like it

    def told(self):
        nginx = f"nginx: proxy_buffers {self.response}, client_body_buffer_size {self.body}, stream {self.stream}"
        return f"{nginx}; HAProxy: tune.bufsize {self.haproxy}{', option splice-auto' if self.splice else ''}"


# HAProxy's manual advises against another tune.bufsize, nginx's names no figures: so much for the guides.
# On bodies of 1 MiB larger buffers make both faster, at a price in memory that an operator may well pay.
GUIDES = Buffers("guides", "8 16k; proxy_busy_buffers_size 32k", "16k", "16k", 16384, False)
LARGE = Buffers("large", "4 256k; proxy_busy_buffers_size 512k", "256k", "256k", 65536, True)
BUFFERS = {GUIDES.name: GUIDES, LARGE.name: LARGE}


class Setting:
    """What a config is written from."""

    def __init__(self, scenario, folder, port, backend_port, certificates, buffers):
        self.scenario = scenario
        self.buffers = buffers
        self.folder = folder
        self.port = port
        self.backend = backend_port
        self.certificates = certificates
        self.proto = "https" if scenario.front_tls else "http"
        # Idle connections to the backend.
        self.idle = max(256, scenario.in_flight) if scenario.streams else 256

    def site(self):
        """A folder with the bodies as files."""
        site = Path(self.folder, "site").resolve()
        site.mkdir(exist_ok=True)
        for path, size in BODIES.items():
            (site / path[1:]).write_bytes(body(size))
        return site

    def write(self, name, text):
        path = Path(self.folder, name)
        path.write_text(text)
        return path


# nginx ---------------------------------------------------------------------------------------------


def nginx(setting):
    scenario, folder = setting.scenario, setting.folder
    if scenario.protocol == "udp":
        text = nginx_head(folder, stream_module(program("nginx"))) + (
            f"stream {{\n  server {{ listen 127.0.0.1:{setting.port} udp reuseport;"
            f" proxy_pass 127.0.0.1:{setting.backend}; proxy_timeout 60s; }}\n}}\n"
        )
    elif scenario.protocol == "tcp":
        text = nginx_head(folder, stream_module(program("nginx"))) + (
            f"stream {{\n  server {{ listen 127.0.0.1:{setting.port} reuseport backlog=4096;"
            f" proxy_pass 127.0.0.1:{setting.backend}; tcp_nodelay on; proxy_buffer_size {setting.buffers.stream}; }}\n}}\n"
        )
    else:
        text = nginx_head(folder) + nginx_http(setting)
    return [program("nginx"), "-p", folder, "-e", "stderr", "-c", setting.write("nginx.conf", text)]


def nginx_http(setting):
    scenario, certificates, back = setting.scenario, setting.certificates, setting.scenario.back
    if scenario.files:
        return f"""http {{
  access_log off; sendfile on; tcp_nopush on;
{nginx_paths(setting.folder)}  keepalive_timeout 600s; keepalive_requests 1000000000; tcp_nodelay on;
  server {{
    listen 127.0.0.1:{setting.port} reuseport backlog=4096;
    location / {{ root {setting.site()}; }}
  }}
}}
"""
    front = upstream = ""
    # nginx has a module of its own for backends of HTTP/2, whose settings have the same names but for the beginning.
    to = "grpc" if scenario.http2_backend else "proxy"
    if scenario.front_tls:
        front = (
            f"    ssl_certificate {certificates.server[0]}; ssl_certificate_key {certificates.server[1]};\n"
            f"    ssl_protocols TLSv1.2 TLSv1.3; ssl_conf_command Ciphersuites {FRONT_SUITE};\n"
            "    ssl_ecdh_curve X25519:prime256v1; ssl_session_cache shared:front:16m; ssl_session_tickets on;\n"
        )
    if back:
        suite = f"{to}_ssl_ciphers" if back.version == "1.2" else f"{to}_ssl_conf_command Ciphersuites"
        upstream = (
            f"      {to}_ssl_verify on; {to}_ssl_name localhost; {to}_ssl_server_name on;\n"
            f"      {to}_ssl_trusted_certificate {certificates.ca};\n"
            f"      {to}_ssl_protocols TLSv{back.version}; {suite} {back.openssl_suite};\n"
            f"      {to}_ssl_session_reuse {'on' if back.resumed else 'off'};\n"
        )
        if back.mutual:
            chain, key = certificates.client
            upstream += f"      {to}_ssl_certificate {chain}; {to}_ssl_certificate_key {key};\n"
    if to == "grpc":
        passed = f"grpc_pass {'grpcs' if back else 'grpc'}://app; grpc_buffer_size 16k;"
    else:
        passed = f"proxy_pass {'https' if back else 'http'}://app; proxy_http_version 1.1; proxy_set_header Connection \"\";"
    listen = f"{' ssl' if scenario.front_tls else ''}{' http2' if scenario.streams else ''}"
    return f"""http {{
  access_log off;
{nginx_paths(setting.folder)}  keepalive_timeout 600s; keepalive_requests 1000000000; tcp_nodelay on;
  client_max_body_size 0; client_body_buffer_size {setting.buffers.body}; proxy_request_buffering off;
  proxy_buffer_size 16k; proxy_buffers {setting.buffers.response};
  proxy_max_temp_file_size 0;
  upstream app {{
    server 127.0.0.1:{setting.backend};
    keepalive {setting.idle}; keepalive_requests 1000000000; keepalive_timeout 600s;
  }}
  server {{
    listen 127.0.0.1:{setting.port}{listen} reuseport backlog=4096;
{front}    location / {{
      {passed}
      {to}_set_header Host $http_host;
      {to}_set_header X-Forwarded-For $remote_addr; {to}_set_header X-Forwarded-Proto $scheme;
      {to}_set_header X-Forwarded-Host $http_host; {to}_set_header X-Request-Id $request_id;
{upstream}    }}
  }}
}}
"""


# HAProxy -------------------------------------------------------------------------------------------


def haproxy(setting):
    scenario, certificates, back = setting.scenario, setting.certificates, setting.scenario.back
    bind, server = f"bind 127.0.0.1:{setting.port} backlog 4096", f"server app 127.0.0.1:{setting.backend}"
    if scenario.front_tls:
        bind += f" ssl crt {certificates.folder}/server-both.pem curves X25519:P-256"
    if back:
        server += f" ssl verify required ca-file {certificates.ca} sni str(localhost) verifyhost localhost"
        server += f" ssl-min-ver TLSv{back.version} ssl-max-ver TLSv{back.version}"
        server += f" {'ciphers' if back.version == '1.2' else 'ciphersuites'} {back.openssl_suite}"
        if back.mutual:
            server += f" crt {certificates.folder}/client-both.pem"
        if not back.resumed:
            server += " no-ssl-reuse"
    if scenario.streams:
        bind += " alpn h2" if scenario.front_tls else " proto h2"
    if scenario.http2_backend:
        server += " alpn h2" if back else " proto h2"
    http = "" if scenario.protocol == "tcp" else f"""
  option forwardfor
  unique-id-format %[uuid()]
  unique-id-header X-Request-Id
  http-request set-header X-Forwarded-Proto {setting.proto}
  http-request set-header X-Forwarded-Host %[req.hdr(Host)]
  http-reuse always"""
    splice = "\n  option splice-auto" if setting.buffers.splice else ""
    text = f"""global
  nbthread 1
  tune.bufsize {setting.buffers.haproxy}
  maxconn 7000
  ssl-default-bind-ciphersuites {FRONT_SUITE}
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode {scenario.protocol}
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s{splice}
listen app{http}
  {bind}
  {server} pool-max-conn {setting.idle} pool-purge-delay 600s
"""
    return [program("haproxy"), "-db", "-f", setting.write("haproxy.cfg", text)]


# Envoy ---------------------------------------------------------------------------------------------

TYPES_HOST = "type.googleapis.com/"
TYPES = TYPES_HOST + "envoy.extensions."


def typed(name, kind, **fields):
    return {"name": name, "typed_config": {"@type": TYPES + kind, **fields}}


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def files(chain, key):
    return {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(key)}}


def envoy_front(setting):
    if setting.scenario.protocol == "tcp":
        kind = "filters.network.tcp_proxy.v3.TcpProxy"
        chain = {"filters": [typed("tcp", kind, stat_prefix="tcp", cluster="app")]}
    else:
        route = {"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "0s"}}
        host = {"header": {"key": "x-forwarded-host", "value": "%REQ(:authority)%"}}
        host["append_action"] = "OVERWRITE_IF_EXISTS_OR_ADD"
        manager = typed(
            "http",
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix="http",
            codec_type="HTTP2" if setting.scenario.streams else "HTTP1",
            use_remote_address=True,  # it writes X-Forwarded-For, of a client on loopback with the host's own address
            server_header_transformation="PASS_THROUGH",
            route_config={
                "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}],
                "request_headers_to_add": [host],
            },
            http_filters=[
                typed(
                    "envoy.filters.http.router",
                    "filters.http.router.v3.Router",
                    dynamic_stats=False,
                    suppress_envoy_headers=True,
                )
            ],
        )
        chain = {"filters": [manager]}
    if setting.scenario.front_tls:
        common = {
            "tls_certificates": [files(*setting.certificates.server)],
            "tls_params": {"ecdh_curves": GROUPS},
            **({"alpn_protocols": ["h2"]} if setting.scenario.streams else {}),
        }
        kind = "transport_sockets.tls.v3.DownstreamTlsContext"
        chain["transport_socket"] = typed("tls", kind, common_tls_context=common)
    return {"name": "front", "address": address(setting.port), "filter_chains": [chain]}


def envoy_back(setting):
    back, certificates = setting.scenario.back, setting.certificates
    thresholds = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 100000)
    endpoint = {"endpoint": {"address": address(setting.backend)}}
    cluster = {
        "name": "app",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [thresholds]},
        "load_assignment": {"cluster_name": "app", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if setting.scenario.http2_backend:
        options = {"@type": TYPES + "upstreams.http.v3.HttpProtocolOptions"}
        options["explicit_http_config"] = {"http2_protocol_options": {}}
        cluster["typed_extension_protocol_options"] = {options["@type"].removeprefix(TYPES_HOST): options}
    if back:
        name = {"san_type": "DNS", "matcher": {"exact": "localhost"}}
        version = "TLSv1_2" if back.version == "1.2" else "TLSv1_3"
        # The suites of TLS 1.3 are fixed in Envoy: there the backend's choice decides.
        parameters = {"tls_minimum_protocol_version": version, "tls_maximum_protocol_version": version}
        parameters["ecdh_curves"] = GROUPS
        if back.version == "1.2":
            parameters["cipher_suites"] = [back.openssl_suite]
        common = {
            "tls_params": parameters,
            "validation_context": {
                "trusted_ca": {"filename": str(certificates.ca)},
                "match_typed_subject_alt_names": [name],
            },
        }
        if back.mutual:
            common["tls_certificates"] = [files(*certificates.client)]
        cluster["transport_socket"] = typed(
            "tls",
            "transport_sockets.tls.v3.UpstreamTlsContext",
            sni="localhost",
            max_session_keys=256 if back.resumed else 0,
            common_tls_context=common,
        )
    return cluster


def envoy(setting):
    text = {"static_resources": {"listeners": [envoy_front(setting)], "clusters": [envoy_back(setting)]}}
    config = setting.write("envoy.json", json.dumps(text, indent=1))
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return [envoy_binary(), "-c", config, *options]


# Ringate -------------------------------------------------------------------------------------------


def ringate(setting, binary="ringate"):
    scenario, certificates, back = setting.scenario, setting.certificates, setting.scenario.back
    text = f"""[runtime]
workers = 1
cpus = "0"
drain = "1s"

[[listener]]
name = "front"
address = "127.0.0.1:{setting.port}"
protocol = "{scenario.protocol}"
"""
    if scenario.front_tls:
        chain, key = certificates.server
        text += f'[listener.tls]\ncertificates = [{{ cert = "{chain}", key = "{key}" }}]\n'
    if scenario.files:
        text += f'\n[[route]]\nlistener = "front"\nroot = "{setting.site()}"\n'
        return [BINARIES[binary], "run", "-c", setting.write(f"{binary}.toml", text)]
    text += '\n[[route]]\nlistener = "front"\nupstream = "app"\n'
    text += f'\n[upstream.app]\nendpoints = ["127.0.0.1:{setting.backend}"]\n'
    text += 'http = "2"\n' if scenario.http2_backend else ""
    text += f"pool = {{ idle_per_worker = {setting.idle} }}\n" if scenario.streams else ""
    if back:
        text += ringate_back(back, certificates)
    return [BINARIES[binary], "run", "-c", setting.write(f"{binary}.toml", text)]


def ringate_back(back, certificates):
    text = f"""
[upstream.app.tls]
server_name = "localhost"
trust = ["{certificates.ca}"]
versions = ["{back.version}"]
cipher_suites = ["{back.rustls_suite}"]
resumption = {{ tickets_per_endpoint = {8 if back.resumed else 0} }}
"""
    if back.mutual:
        chain, key = certificates.client
        text += f'certificate = {{ cert = "{chain}", key = "{key}" }}\n'
    return text


# The bare relay ------------------------------------------------------------------------------------


def relay(setting):
    listen, to = f"127.0.0.1:{setting.port}", f"127.0.0.1:{setting.backend}"
    return [BINARIES["relay"], "--listen", listen, "--backend", to, "--buffer", setting.scenario.relay_buffer]


# All of them ---------------------------------------------------------------------------------------

BINARIES = {}
CONFIGURE = {
    "ringate": ringate,
    BEFORE: lambda setting: ringate(setting, BEFORE),
    "nginx": nginx,
    "haproxy": haproxy,
    "envoy": envoy,
    "relay": relay,
}


def takes_part(name, scenario):
    if scenario.protocol == "udp" or scenario.files:
        return name in ("ringate", BEFORE, "nginx")
    return name != "relay" or scenario.relay_buffer > 0


def prepare(names, how):
    """Builds what is ours, Ringate as `how` says (guided or plain); returns the names that can run, and says why one
    cannot."""
    given = os.environ.get("RINGATE_BIN")
    plain = how == "plain" and not given
    examples = ["--example", "relay", "--example", "loadgen"]
    BINARIES.update(build(["--profile", "bench", *examples, *(["--bin", "ringate"] if plain else [])]))
    if given:
        BINARIES["ringate"] = Path(given).resolve()
    elif how == "guided" and "ringate" in names:
        BINARIES["ringate"] = guided.build("bench")
    if "ringate" not in names:
        return names, None
    try:
        answer = subprocess.run(
            [BINARIES["ringate"], "run", "--help"], capture_output=True, text=True, timeout=10
        )
        if answer.returncode == 0 and answer.stdout:
            return names, None
        reason = f"{BINARIES['ringate']} does not know `run` yet"
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    return [name for name in names if name != "ringate"], reason


def how_built(how):
    """How Ringate was built, in words."""
    if os.environ.get("RINGATE_BIN"):
        return "given by RINGATE_BIN"
    return "guided by a profile (scripts/build --profile bench)" if how == "guided" else "plain (cargo's bench profile)"


def version(name):
    """One line that says which version was measured."""
    arguments = {"nginx": "-v", "haproxy": "-v", "envoy": "--version"}
    if name == "relay":
        return "bench/relay.rs"
    if name in arguments:
        argv = [envoy_binary() if name == "envoy" else program(name), arguments[name]]
    else:
        argv = [BINARIES.get(name), "--version"]
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True, timeout=10)
    lines = (done.stdout + done.stderr).strip().splitlines()
    told = lines[0].split("version: ")[-1].strip() if lines else "unknown"
    return f"{told} (given)" if name in system.GIVEN else told
