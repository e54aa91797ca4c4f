"""Medians, spreads and ratios of what was measured, as Markdown, CSV and a chart."""

import csv
import platform
import statistics
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from . import candidates, chart
from .measure import Measurement
from .scenarios import IDLE_TARGETS, LATENCY_TARGET, target

# Of a load, with the digits that each is shown with.
LOAD_FIGURES = {
    "total_us": 1, "user_us": 1, "system_us": 1, "rate": 0, "p50_us": 0, "p99_us": 0, "p999_us": 0, "waited_ms": 0,
}
FIGURES = (*LOAD_FIGURES, "idle_bytes")
NOISY = 0.05  # a share of the proxy's CPU taken by something else that deserves a warning


@dataclass
class Facts:
    chosen: object
    peers: list
    skipped: str | None
    started: float


def line(result):
    """A measurement in a line, as progress."""
    if result.failure:
        return f"FAILED: {result.failure}"
    if result.idle_bytes is not None:
        return f"{result.idle_bytes:,.0f} bytes a connection"
    text = f"{result.total_us:.1f} µs ({result.user_us:.1f} user, {result.system_us:.1f} system)"
    p99 = "" if result.p99_us is None else f", p99 {result.p99_us:,.0f} µs"
    return f"{text}, {result.rate:,.0f}/s{p99}, foreign {result.foreign:.0%}, waited {result.waited_ms:.0f} ms"


class Results:
    """Measurements by scenario and candidate; a candidate that failed once has no figures there."""

    def __init__(self, measurements):
        self.measurements = measurements
        self.scenarios = list(dict.fromkeys(m.scenario for m in measurements))
        self.failures = {(m.scenario, m.candidate): m.failure for m in measurements if m.failure}

    def candidates(self, scenario):
        return list(dict.fromkeys(m.candidate for m in self.measurements if m.scenario == scenario))

    def values(self, scenario, candidate, figure):
        """Round → value; empty where the candidate failed or the figure does not apply."""
        if (scenario, candidate) in self.failures:
            return {}
        mine = (m for m in self.measurements if (m.scenario, m.candidate) == (scenario, candidate))
        return {m.round: getattr(m, figure) for m in mine if getattr(m, figure) is not None}

    def median(self, scenario, candidate, figure):
        values = self.values(scenario, candidate, figure)
        return statistics.median(values.values()) if values else None

    def ratios(self, scenario, over, under, figure):
        """The ratio of two candidates within each round."""
        numerators, denominators = (self.values(scenario, name, figure) for name in (over, under))
        rounds = numerators.keys() & denominators.keys()
        return [numerators[n] / denominators[n] for n in sorted(rounds) if denominators[n]]

    def better(self, scenario, figure):
        """nginx or HAProxy, whichever has the lower median."""
        medians = {name: self.median(scenario, name, figure) for name in ("nginx", "haproxy")}
        medians = {name: value for name, value in medians.items() if value is not None}
        return min(medians, key=medians.get) if medians else None


def spread(values, digits=1):
    """median (least–most)"""
    values = list(values)
    if not values:
        return "–"
    shown = f"{statistics.median(values):,.{digits}f}"
    return shown if len(values) == 1 else f"{shown} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def table(header, rows):
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines) + "\n"


def figures(results, base):
    header = ["scenario", "candidate", "CPU µs/request", "user", "system", "requests/s"]
    header += ["p50 µs", "p99 µs", "p99.9 µs", "waited ms", f"{base} ÷ it, total", "user"]
    rows = []
    for scenario in results.scenarios:
        for name in results.candidates(scenario):
            if (scenario, name) in results.failures:
                rows.append([scenario, name, "**FAILED**", *[""] * 9])
                continue
            if not results.values(scenario, name, "total_us"):
                continue
            row = [scenario, name]
            for figure, digits in LOAD_FIGURES.items():
                row.append(spread(results.values(scenario, name, figure).values(), digits))
            for figure in ("total_us", "user_us"):
                row.append(spread(results.ratios(scenario, base, name, figure), 2) if name != base else "")
            rows.append(row)
    return table(header, rows) if rows else ""


def idle(results, base):
    rows = []
    for scenario in results.scenarios:
        for name in results.candidates(scenario):
            values = results.values(scenario, name, "idle_bytes")
            if values:
                ratio = spread(results.ratios(scenario, base, name, "idle_bytes"), 2) if name != base else ""
                rows.append([scenario, name, spread(values.values(), 0), ratio])
    header = ["scenario", "candidate", "resident bytes a connection", f"{base} ÷ it"]
    return table(header, rows) if rows else ""


def verdicts(results):
    """Each target that was measured: what it is, what was reached."""
    rows = []

    def judge(scenario, what, reached, limit, digits=2):
        if reached is not None and limit is not None:
            shown = f"{reached:,.{digits}f}"
            verdict = "reached" if reached <= limit else "**missed**"
            rows.append([scenario, what, shown, f"{limit:,.{digits}f}", verdict])

    def ratio(scenario, peer, figure):
        values = results.ratios(scenario, "ringate", peer, figure) if peer else []
        return statistics.median(values) if values else None

    for scenario in results.scenarios:
        wanted = target(scenario)
        for figure, word, limit in (("total_us", "total", wanted.total), ("user_us", "user", wanted.user)):
            peer = results.better(scenario, figure)
            judge(scenario, f"{word} ÷ {peer}", ratio(scenario, peer, figure), limit)
        judge(scenario, "total ÷ relay", ratio(scenario, "relay", "total_us"), wanted.relay)
        judge(scenario, "total ÷ envoy", ratio(scenario, "envoy", "total_us"), wanted.envoy)
        own, beside = (results.median(row, "ringate", "total_us") for row in (scenario, wanted.beside))
        judge(scenario, f"total ÷ ringate in {wanted.beside}", own / beside if own and beside else None, 1.0)
        if scenario == "latency":
            for figure, word in (("p99_us", "p99"), ("p999_us", "p99.9")):
                peer = results.better(scenario, figure)
                judge(scenario, f"{word} ÷ {peer}", ratio(scenario, peer, figure), LATENCY_TARGET)
        held = results.median(scenario, "ringate", "idle_bytes")
        judge(scenario, "bytes a connection", held, IDLE_TARGETS.get(scenario), 0)
    return table(["scenario", "what", "is", "at most", ""], rows) if rows else ""


def warnings(results):
    lines = [f"- **{m.scenario}, {m.candidate}, round {m.round} failed**: `{' '.join(m.failure.split())[:400]}`"
             for m in results.measurements if m.failure]
    noisy = [m for m in results.measurements if (m.foreign or 0) > NOISY]
    if noisy:
        worst = max(m.foreign for m in noisy)
        lines.append(
            f"- {len(noisy)} of {len(results.measurements)} measurements shared the proxy's CPU with something"
            f" else (up to {worst:.0%} of it): ratios hold better than absolute figures, but are no proof."
        )
    return "\n".join(lines) + "\n" if lines else ""


def cpu_model():
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.partition(":")[2].strip()
    return platform.machine()


def congestion_control():
    """It has a say in every row: BBR spreads what is sent over time, with timers, also on loopback."""
    return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()


def conditions(facts, peers=True):
    chosen = facts.chosen
    lines = [
        f"- {time.strftime('%Y-%m-%d %H:%M', time.gmtime(facts.started))} UTC, {cpu_model()}, Linux {platform.release()},"
        f" TCP's congestion control {congestion_control()}",
        f"- {chosen.rounds} rounds of {chosen.seconds:g} s; median (least–most) over the rounds;"
        " ratios are taken within a round",
    ]
    if peers:
        lines.append(f"- buffers of nginx and HAProxy: {chosen.buffers} ({candidates.BUFFERS[chosen.buffers].told()})")
    lines += [f"- {name}: {candidates.version(name)}" for name in facts.peers]
    lines.append(f"- Ringate's build: {candidates.how_built(chosen.build)}")
    if facts.skipped:
        lines.append(f"- ringate was skipped: {facts.skipped}")
    return "\n".join(lines) + "\n"


def write(out, measurements, facts):
    """Writes all files; returns the Markdown."""
    results = Results(measurements)
    base = facts.chosen.base if facts.chosen.base in facts.peers else facts.peers[0]
    parts = ["# Benchmark\n", conditions(facts), warnings(results), figures(results, base), idle(results, base)]
    judged = verdicts(results)
    parts += ["## Targets\n", judged] if judged else []
    markdown = "\n".join(part for part in parts if part)
    (out / "report.md").write_text(markdown)
    write_measurements(out / "results.csv", measurements)
    with open(out / "summary.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scenario", "candidate", "figure", "median", "least", "most", f"{base} to it"])
        writer.writerows(summary(results, base))
    (out / "chart.svg").write_text(chart.draw(results, base, facts.peers))
    return markdown


def write_measurements(path, measurements):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Measurement)])
        writer.writeheader()
        writer.writerows(asdict(m) for m in measurements)


def write_features(out, measurements, features, facts):
    """What each feature adds to a request of base; returns the Markdown."""
    results = Results(measurements)
    base, *others = features
    about = {feature.name: feature.text.splitlines()[0].removeprefix("# ") for feature in others}
    rows = []
    for scenario in results.scenarios:
        for name in results.candidates(scenario):
            if (scenario, name) in results.failures:
                rows.append([scenario, name, "**FAILED**", "", "", ""])
                continue
            row = [scenario, name, spread(results.values(scenario, name, "total_us").values())]
            for figure in ("total_us", "user_us"):
                ratios = results.ratios(scenario, name, base.name, figure)
                row.append(spread(ratios, 2) if name != base.name else "1")
            rows.append([*row, about.get(name, "Nothing but passing on.")])
    header = ["scenario", "feature", "CPU µs/request", "÷ base, total", "user", "what it is"]
    parts = ["# The price of a feature\n", conditions(facts, peers=False), warnings(results), table(header, rows)]
    markdown = "\n".join(part for part in parts if part)
    (out / "features.md").write_text(markdown)
    write_measurements(out / "features.csv", measurements)
    return markdown


def summary(results, base):
    for scenario in results.scenarios:
        for name in results.candidates(scenario):
            for figure in FIGURES:
                values = results.values(scenario, name, figure).values()
                if values:
                    ratios = results.ratios(scenario, base, name, figure)
                    numbers = [statistics.median(values), min(values), max(values)]
                    numbers += [statistics.median(ratios)] if ratios else []
                    yield [scenario, name, figure, *(f"{number:.3f}" for number in numbers)]
