"""The command line, and the order of the measurements."""

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from . import candidates, features, report, system
from .backend import Backend, Certificates, work_folder
from .measure import Bench
from .scenarios import select, table
from .system import ROOT, Failure, Ports, say


def options(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, epilog=(
        "example: scripts/bench --scenario http-1k,tlsback --peers ringate,nginx,relay --rounds 9"
    ))
    add = parser.add_argument
    add("--quick", action="store_true", help="one short round of every scenario: checks that all of it works")
    add("--rounds", type=int, help="rounds of each scenario (5)")
    add("--seconds", type=float, help="seconds of each measurement (5)")
    add("--scenario", default="", help="names, beginnings of names or globs, separated by commas")
    add("--peers", default=",".join(candidates.NAMES), help="which candidates, separated by commas")
    add("--buffers", choices=list(candidates.BUFFERS), default="guides",
        help="of nginx and HAProxy: as their guides say, or as large as is fastest on large bodies (guides)")
    add("--build", choices=["guided", "plain"],
        help="Ringate as scripts/build makes it, or without a profile (guided; plain with --quick)")
    for peer in system.PEERS:
        add(f"--{peer}", metavar="BINARY", help=f"another build of {peer} than the installed one")
    add("--base", default="ringate", help="whose ratios to the others are printed (ringate)")
    add("--out", type=Path, default=ROOT / "bench/out", help="where the results go (bench/out)")
    add("--features", nargs="?", const="", metavar="NAMES",
        help="instead of candidates: the price of each feature of bench/features, or of those named, beside base")
    add("--before", metavar="BINARY",
        help="another build of Ringate, measured with the same config: in turn with the candidates, or beside base.toml")
    add("--list", action="store_true", help="name the scenarios and end")
    chosen = parser.parse_args(arguments)
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 5)
    chosen.seconds = chosen.seconds or (1.0 if chosen.quick else 5.0)
    chosen.build = chosen.build or ("plain" if chosen.quick else "guided")
    chosen.peers = [name for name in chosen.peers.split(",") if name]
    unknown = [name for name in chosen.peers if name not in candidates.NAMES]
    if unknown or not chosen.peers or chosen.rounds < 1 or chosen.seconds < 1:
        parser.error(f"candidates are {', '.join(candidates.NAMES)}; at least 1 round of 1 second")
    for option in ("before", *system.PEERS):
        given = getattr(chosen, option)
        if given and not os.access(given, os.X_OK):
            parser.error(f"--{option}: {given} is not an executable file")
        if given and option in system.PEERS:
            system.GIVEN[option] = Path(given).resolve()
    return chosen


def main(arguments=None):
    chosen = options(arguments)
    if chosen.list:
        print("\n".join(row.name for row in table()))
        return 0
    scenarios = select(chosen.scenario) if chosen.features is None else []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    try:
        return bench(chosen, scenarios) if chosen.features is None else price(chosen)
    except Failure as failure:
        say(f"bench: {failure}")
        return 1
    finally:
        system.stop_all()


def bench(chosen, scenarios):
    _lock = system.alone()
    system.install(chosen.peers)
    peers, reason = candidates.prepare(chosen.peers, chosen.build)
    if chosen.before:
        candidates.BINARIES[candidates.BEFORE] = Path(chosen.before).resolve()
        peers = [*peers, candidates.BEFORE]
    system.raise_file_limit()
    if not system.reuses_time_wait():
        say("warning: net.ipv4.tcp_tw_reuse is 0: scenarios with a connection a request may run out of ports")
    if reason:
        say(f"SKIPPED ringate: {reason}")
    if not peers:
        return 1
    out = chosen.out.resolve()
    shutil.rmtree(out / "run", ignore_errors=True)
    ports = Ports()
    certificates = Certificates(out / "run/certs")
    backend = Backend(work_folder(out, "backend"), certificates, ports, scenarios)
    backend.start()
    backend.start_echo(candidates.BINARIES["loadgen"])
    runner = Bench(out, ports, certificates, backend, chosen)
    results = []
    started = time.time()
    try:
        for scenario in scenarios:
            results += run_scenario(runner, scenario, peers, chosen.rounds)
    finally:
        # What was measured is worth keeping also when the rest was interrupted.
        facts = report.Facts(chosen, peers, reason, started)
        summary = report.write(out, results, facts) if results else ""
    print(summary)
    say(f"written: {out}/report.md, results.csv, summary.csv, chart.svg")
    return ended(results)


def price(chosen):
    """Base and features alternately: what each adds to a request."""
    own = features.chosen(chosen.features, chosen.before)
    _lock = system.alone()
    system.install([])
    names, reason = candidates.prepare(["ringate"], chosen.build)
    system.raise_file_limit()
    if reason:
        say(f"ringate: {reason}")
        return 1
    out = chosen.out.resolve()
    shutil.rmtree(out / "run", ignore_errors=True)
    ports, certificates = Ports(), Certificates(out / "run/certs")
    scenarios = [scenario for scenario, _ in features.rows(own, chosen.scenario)]
    backend = Backend(work_folder(out, "backend"), certificates, ports, scenarios)
    backend.start()
    runner = Bench(out, ports, certificates, backend, chosen)
    started = time.time()

    def tell(what, result):
        say(f"{what}: {report.line(result)}")

    results = features.measure(runner, own, chosen.scenario, chosen.rounds, tell)
    print(report.write_features(out, results, own, report.Facts(chosen, names, None, started)))
    say(f"written: {out}/features.md, features.csv")
    return ended(results)


def ended(results):
    failed = [result for result in results if result.failure]
    for result in failed:
        say(f"FAILED {result.scenario} {result.candidate} round {result.round}: {result.failure}")
    return 1 if failed else 0


def run_scenario(runner, scenario, peers, rounds):
    """A B C D, B C D A, …: what drifts on the machine drifts for all, and what comes back every few seconds meets all."""
    names = [name for name in peers if candidates.takes_part(name, scenario)]
    if scenario.load == "rate":
        runner.calibrate(scenario, names)
        say(f"{scenario.name}: at {runner.rate} requests/s")
    results = []
    for number in range(1, rounds + 1):
        turn = (number - 1) % len(names)
        for name in names[turn:] + names[:turn]:
            result = runner.measure(scenario, name, number)
            say(f"{scenario.name} {number}/{rounds} {name}: {report.line(result)}")
            results.append(result)
    return results
