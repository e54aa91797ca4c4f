"""The price of a feature: each config of bench/features against base.toml, which has none.

Lines of a config that begin with `#:` say how its requests differ: `header NAME: VALUE`, `path PATH`, and `begins LINE`, a line
ahead of each connection's only request; `credentials COUNT` fills a store with so many, of which one has the key of keys.toml; `scrapes SECONDS`
reads /metrics from the admin socket that often under load; and with `scenario NAME` where their price shows, if that is not in http-1k.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from . import candidates
from .scenarios import select
from .system import ROOT

FOLDER = ROOT / "bench/features"
BASE, BEFORE = "base", "before"
# Features measured after one measurement of base: what drifts on the machine drifts for both.
GROUP = 4
# What the addresses in the configs stand for.
LISTENER, BACKEND = "127.0.0.1:8080", "127.0.0.1:9000"
# Files that configs refer to.
FILES = ("keys.toml",)


@dataclass(frozen=True)
class Feature:
    name: str
    text: str
    scenarios: tuple[str, ...]
    path: str
    headers: tuple[str, ...]
    begins: str
    credentials: int = 0
    scrapes: float = 0.0  # seconds from one reading of /metrics to the next
    binary: Path | None = None  # of another build

    @classmethod
    def read(cls, file):
        text = file.read_text()
        said = [line[3:].split(maxsplit=1) for line in text.splitlines() if line.startswith("#: ")]

        def all_of(kind):
            return tuple(value for name, value in said if name == kind)

        path, begins = ((*all_of(kind), "")[0] for kind in ("path", "begins"))
        credentials = int((*all_of("credentials"), "0")[0])
        scrapes = float((*all_of("scrapes"), "0")[0])
        scenarios = all_of("scenario") or ("http-1k",)
        return cls(file.stem, text, scenarios, path, all_of("header"), begins, credentials, scrapes)

    def of(self, scenario):
        """The scenario with this feature's requests."""
        of = {"asks": self.path, "headers": self.headers, "begins": self.begins, "scrapes": self.scrapes}
        return replace(scenario, **of)

    def configure(self, setting):
        """The command that runs Ringate with this feature."""
        text = self.text.replace(LISTENER, f"127.0.0.1:{setting.port}")
        text = text.replace(BACKEND, f"127.0.0.1:{setting.backend}")
        if setting.scenario.back:
            text += candidates.ringate_back(setting.scenario.back, setting.certificates)
        for name in FILES:
            shutil.copy(FOLDER / name, setting.folder)
        if self.credentials:
            fill(Path(setting.folder) / "store", self.credentials)
        return [self.binary or candidates.BINARIES["ringate"], "run", "-c", setting.write("ringate.toml", text)]


def fill(store, count):
    """A store with so many active credentials of one consumer. One has the key of keys.toml."""
    consumers, credentials = store / "_consumers", store / "_credentials"
    if credentials.exists():
        return
    for folder in (store, consumers, credentials):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    since = "2026-01-01T00:00:00Z"
    (consumers / "bench.toml").write_text(f'name = "bench"\ncreated = "{since}"\n')
    known = (FOLDER / "keys.toml").read_text().split('sha256 = "')[1][:64]
    for number in range(count):
        name, digest = f"c{number}", known if number == count // 2 else f"{number:064x}"
        (credentials / f"{name}.toml").write_text(
            f'name = "{name}"\nconsumer = "bench"\ndefinition = "api-key"\ncreated = "{since}"\n'
            f'origins = ["https://c{number}.example"]\n'
            f'[state]\nis = "active"\nsince = "{since}"\nissued = "{since}"\nexpires = "2100-01-01T00:00:00Z"\n'
            f'[[key]]\nsha256 = "{digest}"\ncreated = "{since}"\n'
        )


def chosen(names, before=None):
    """The features of these names, or all; base first, then base with another build, if there is one."""
    known = {file.stem: Feature.read(file) for file in sorted(FOLDER.glob("*.toml")) if file.name not in FILES}
    wanted = [name for name in names.split(",") if name] or list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(f"no feature {', '.join(unknown)}; there are: {', '.join(known)}")
    first = [known[BASE]]
    if before:
        text = f"# The same by {before}.\n{known[BASE].text}"
        first.append(replace(known[BASE], name=BEFORE, text=text, binary=Path(before).resolve()))
    return first + [known[name] for name in dict.fromkeys(wanted) if name != BASE]


def rows(features, scenarios):
    """Each scenario with its features, base first. A scenario that was asked for by name may have base alone."""
    names = [name for feature in features for name in feature.scenarios]
    if any(feature.name == BEFORE for feature in features):
        names.append("tlsback-1k-aes128")
    every = select(scenarios or ",".join(names))
    general = (BASE, BEFORE)
    return [(row, [it for it in features if it.name in general or row.name in it.scenarios]) for row in every]


def measure(runner, features, scenarios, rounds, tell):
    """Each feature in turn, round after round, with a measurement of base before every few of them.

    What was measured since one measurement of base is a round of its own in the results.
    """
    candidates.CONFIGURE.update({feature.name: feature.configure for feature in features})
    results = []
    for scenario, own in rows(features, scenarios):
        base, others = own[0], own[1:]
        groups = [others[at : at + GROUP] for at in range(0, len(others), GROUP)] or [[]]
        for number, group in enumerate(rounds * groups, 1):
            for feature in [base, *group]:
                result = runner.measure(feature.of(scenario), feature.name, number)
                tell(f"{scenario.name} {number}/{rounds * len(groups)} {feature.name}", result)
                results.append(result)
    return results
