"""A build that is guided by a profile (PGO): instrumented, loaded with this benchmark's requests, and built again with
what was counted, so that what runs often lies together and what runs seldom lies apart.

Between two requests the kernel's network stack has emptied the CPU's caches of a proxy's code: how much code a request
touches is what its user time is made of.
"""

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import system
from .system import ROOT, TARGET, Failure, say

FOLDER = TARGET / "guided"
# What the instrumented build is loaded with: the benchmark's rows, and each feature, so that none counts as never used.
TRAINING = (
    ["--peers", "ringate", "--scenario", "http,tlsback,tlsfront,tcp,conn-close,upload,*-1k-10,*-1k-100,grpc*-10"],
    ["--features"],
)
# What decides which profile fits.
SOURCES = ("src", "Cargo.toml", "Cargo.lock", "rust-toolchain.toml")


def build(profile):
    """Ringate's executable. The profile is made anew only when the sources changed."""
    folder = FOLDER / profile
    counted = folder / f"{fingerprint()}.profdata"
    if not counted.exists():
        system.install([])
        tool = profdata_tool()
        shutil.rmtree(folder / "counts", ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        say(f"guided build, 1 of 3: instrumented ({profile})")
        instrumented = cargo(profile, folder / "instrumented", f"-Cprofile-generate={folder / 'counts'}")
        say("guided build, 2 of 3: counting under load, some 4 minutes")
        train(instrumented, folder)
        for outdated in folder.glob("*.profdata"):
            outdated.unlink()
        # Under its name only once it is whole.
        merged = folder / "merging"
        system.run([tool, "merge", "-o", merged, *sorted((folder / "counts").glob("*.profraw"))])
        merged.rename(counted)
        shutil.rmtree(folder / "counts")
    say("guided build, 3 of 3: with what was counted")
    return cargo(profile, folder / "built", f"-Cprofile-use={counted}")


def cargo(profile, folder, flags):
    """A build for this host by its name: then the flags don't reach build scripts and macros, which run during it."""
    flags = "\x1f".join([*given_flags(), flags])
    arguments = ["--target", rustc("host"), "--target-dir", folder, "--profile", profile]
    return system.build([*arguments, "--bin", "ringate"], {**os.environ, "CARGO_ENCODED_RUSTFLAGS": flags})["ringate"]


def given_flags():
    """The flags of the environment, as cargo reads them."""
    encoded = os.environ.get("CARGO_ENCODED_RUSTFLAGS")
    return encoded.split("\x1f") if encoded else os.environ.get("RUSTFLAGS", "").split()


def train(instrumented, folder):
    # One process after the other adds to the same file.
    counts = str(folder / "counts/%1m.profraw")
    own = {"RINGATE_BIN": str(instrumented), "LLVM_PROFILE_FILE": counts, system.HELD: "1"}
    environment = {**os.environ, **own}
    for arguments in TRAINING:
        short = ["--rounds", "1", "--seconds", "1", "--out", str(folder / "training")]
        argv = [sys.executable, str(ROOT / "scripts/bench"), *short, *arguments]
        done = subprocess.run(
            argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        if done.returncode != 0:
            raise Failure(f"the load for the profile failed:\n{done.stderr[-3000:]}")


def rustc(fact):
    told = system.run(["rustc", "-vV"], cwd=ROOT)
    return next(line.split(": ")[1] for line in told.splitlines() if line.startswith(f"{fact}: "))


def fingerprint():
    """Stands for all that decides what the counts belong to."""
    digest = hashlib.sha256(" ".join([rustc("release"), *given_flags()]).encode())
    digest.update(Path(__file__).read_bytes())
    for source in SOURCES:
        path = ROOT / source
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def profdata_tool():
    """llvm-profdata of the LLVM that rustc was built with: another one may not read its counts."""
    major = rustc("LLVM version").split(".")[0]
    installed = Path(system.run(["rustc", "--print", "sysroot"], cwd=ROOT).strip(), "lib/rustlib", rustc("host"), "bin")
    places = [installed / "llvm-profdata", Path(f"/usr/lib/llvm-{major}/bin/llvm-profdata")]

    def found():
        return next((place for place in places if place.exists()), None)

    if found() is None and os.geteuid() == 0:
        with contextlib.suppress(Failure, OSError):
            system.install_packages([f"llvm-{major}"])
    if found() is None:
        raise Failure(
            f"llvm-profdata {major} is missing: install llvm-{major} (Debian), or `rustup component add llvm-tools`;"
            " or build without a profile (cargo build --release; scripts/bench --build plain)"
        )
    return found()


def split(executable, lines):
    """Moves symbols and line tables to a file beside the executable, where backtraces and debuggers find them."""
    if shutil.which("objcopy") is None:
        say("objcopy (Debian: binutils) is missing: symbols and line tables stay in the executable")
        return
    system.run(["objcopy", "--only-keep-debug", executable, lines])
    system.run(["objcopy", "--strip-all", f"--add-gnu-debuglink={lines}", executable])


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="scripts/build",
        description="Builds Ringate guided by a profile of itself under load: the fastest build there is.",
    )
    parser.add_argument("--profile", choices=["dist", "bench"], default="dist",
        help="cargo's profile: dist, or bench, which the benchmark uses and which builds faster (dist)")
    chosen = parser.parse_args(arguments)
    _lock = system.alone()
    try:
        built = build(chosen.profile)
        result = FOLDER / "ringate"
        shutil.copy2(built, result.with_suffix(".new"))
        split(result.with_suffix(".new"), result.with_suffix(".debug"))
        result.with_suffix(".new").rename(result)
    except Failure as failure:
        say(f"build: {failure}")
        return 1
    say(f"built: {result}")
    return 0
