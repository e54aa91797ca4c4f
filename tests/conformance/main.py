"""Raw frames against a server, over RFC 9113's and RFC 7541's sections.

    scripts/conformance --address HOST:PORT [--tls] [--case GLOB …] [--json]
    scripts/conformance --peers [--ringate FILE] [--nginx FILE] [--haproxy FILE] [--out FILE]

Each case has a connection of its own. What may become of it is what its section allows: a connection error by GOAWAY with the
code or by the connection's end, a stream error by RST_STREAM with the code or the same error of the connection, a malformed
request by either or by a response with 4xx. `abuse/` has what clients do that make work without use: the connection ends, or
the work is bounded. The server has to respond to GET, HEAD and POST of --path with 5 bytes of content at least.

With --peers Ringate, nginx, HAProxy and nghttpd are started on loopback, plain and with TLS, and a table of their differences
is printed, or written by --out. Needs only Python; --peers needs the servers and openssl.
"""

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from . import abuse, cases, compression, generic, http2, messages, peers  # noqa: F401: the cases are in them
from .connection import Failed, Silent, Skipped, Target
from .differences import table

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


def judge(case, target):
    try:
        return PASSED, cases.run(case, target)
    except Skipped as why:
        return SKIPPED, str(why)
    except Failed as why:
        return FAILED, str(why)
    except Silent:
        return FAILED, "nothing came"
    except (OSError, IndexError, KeyError) as why:
        return FAILED, f"{type(why).__name__}: {why}"


def run(chosen, target, jobs):
    """A verdict and what was observed for each case. Floods follow each other, so that none disturbs another one."""
    floods = [case for case in chosen if case.name.startswith("abuse/") and not is_slow(case)]
    slow = [case for case in chosen if is_slow(case)]
    rest = [case for case in chosen if not case.name.startswith("abuse/")]
    found = {}
    with ThreadPoolExecutor(max(len(slow), 1)) as waiting, ThreadPoolExecutor(jobs) as pool:
        for case, result in zip(rest, pool.map(lambda case: judge(case, target), rest)):
            found[case.name] = result
        held = [(case, waiting.submit(judge, case, target)) for case in slow]
        found.update((case.name, judge(case, target)) for case in floods)
        found.update((case.name, future.result()) for case, future in held)
    return found


def is_slow(case):
    return case.name.startswith("abuse/slow/")


def report(chosen, found, as_json):
    if as_json:
        rows = [
            {"case": case.name, "section": case.section, "title": case.title, "verdict": found[case.name][0], "observed": found[case.name][1]}
            for case in chosen
        ]
        json.dump(rows, sys.stdout, indent=1)
        print()
        return
    for case in chosen:
        verdict, observed = found[case.name]
        print(f"{verdict:8}{case.name:28}{case.section:22}{case.title}: {observed}")
    counts = [sum(verdict == which for verdict, _ in found.values()) for which in (PASSED, FAILED, SKIPPED)]
    print("{} passed, {} failed, {} skipped".format(*counts))


def compare(chosen, arguments):
    binaries = {name: getattr(arguments, name, None) for name in peers.KNOWN}
    names = [name for name in peers.KNOWN if not peers.missing([name], binaries)]
    backend = peers.Backend()
    versions, found = {}, {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            peer = peers.KNOWN[name](folder, backend.port, binaries[name]).start()
            try:
                versions[name] = peer.version()
                for tls, port in ((False, peer.plain), (True, peer.secure)):
                    target = replace(arguments.target, host="127.0.0.1", port=port, tls=tls, path=peer.path)
                    found[name, tls] = run(chosen, target, arguments.jobs)
                    failed = sum(verdict == FAILED for verdict, _ in found[name, tls].values())
                    print(f"{versions[name]}, {'TLS' if tls else 'plain'}: {failed} of {len(chosen)} failed", file=sys.stderr)
            finally:
                peer.stop()
    text = table(chosen, names, versions, found)
    if arguments.out:
        arguments.out.write_text(text)
    else:
        print(text)
    return 1 if any(verdict == FAILED for key in found if key[0] == "ringate" for verdict, _ in found[key].values()) else 0


def parse(argv):
    parser = argparse.ArgumentParser(prog="scripts/conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", metavar="HOST:PORT", help="the server to test")
    parser.add_argument("--tls", action="store_true", help="with TLS; HTTP/2 by ALPN, the certificate is not checked")
    parser.add_argument("--authority", default="localhost", help="the requests' :authority, and the name in TLS")
    parser.add_argument("--path", default="/", help="the requests' :path")
    parser.add_argument("--case", action="append", metavar="GLOB", help="only cases of such names, as http2/6.5*")
    parser.add_argument("--list", action="store_true", help="only list the cases")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--timeout", type=float, default=2.0, metavar="SECONDS", help="how long a frame may take that must come")
    parser.add_argument("--patience", type=float, default=15.0, metavar="SECONDS", help="how long abuse/slow may be held open")
    parser.add_argument("--prompt", type=float, default=1.0, metavar="SECONDS", help="how long another client may wait in abuse/")
    parser.add_argument("--jobs", type=int, default=4, help="cases at a time")
    parser.add_argument("--peers", action="store_true", help="compare Ringate, nginx, HAProxy and nghttpd")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the table of --peers is written")
    for name in peers.KNOWN:
        parser.add_argument(f"--{name}", metavar="FILE", help=f"the program of {name}")
    arguments = parser.parse_args(argv)
    if not (arguments.address or arguments.peers or arguments.list):
        parser.error("--address HOST:PORT or --peers is needed")
    host, _, port = (arguments.address or "127.0.0.1:0").rpartition(":")
    if not host or not port.isdigit():
        parser.error("--address needs HOST:PORT")
    arguments.target = Target(
        host.strip("[]"), int(port), arguments.tls, arguments.authority, arguments.path, arguments.timeout, arguments.patience, arguments.prompt
    )
    return arguments


def main(argv=None):
    arguments = parse(argv)
    globs = arguments.case or ["*"]
    chosen = [case for case in cases.CASES if any(fnmatchcase(case.name, glob) for glob in globs)]
    if not chosen:
        print("no case has such a name", file=sys.stderr)
        return 2
    if arguments.list:
        for case in chosen:
            print(f"{case.name:28}{case.section:22}{case.title}")
        return 0
    if arguments.peers:
        return compare(chosen, arguments)
    found = run(chosen, arguments.target, arguments.jobs)
    report(chosen, found, arguments.json)
    return 1 if any(verdict == FAILED for verdict, _ in found.values()) else 0
