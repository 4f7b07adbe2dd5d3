"""The third-party dependencies of all packages and of development: what requirements.lock is resolved from.

.ci/dependencies.py                            prints them, one per line
.ci/dependencies.py --stamp requirements.lock  notes in the lock which ones it was resolved from
.ci/dependencies.py --check requirements.lock  fails when they have changed since; needs no network

With --run or --build first: what the images of deploy/ run on, and what builds our packages in them. Their locks,
deploy/run.lock and deploy/build.lock, hold nothing that requirements.lock does not: --check compares. With --bench
first: what `make bench-memory` compares with and `make install` leaves out; its lock is benchmarks/peers.lock.
"""

import hashlib
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MARK = "# resolved from dependencies "
LOCK = ROOT / "requirements.lock"
BENCH_GROUP = "bench"
RUN_EXTRAS = ("cli", "service", "otel", "postgresql")
ADDRESS = re.compile(r"\w+://|^\s*-(-index|-find|-extra|i |f )", re.MULTILINE)


def dependencies() -> list[str]:
    """Sorted requirement lines, without our own packages, which are installed from the checkout."""
    found: set[str] = set()
    for path in [ROOT / "pyproject.toml", ROOT / "shared/pyproject.toml", *ROOT.glob("services/*/pyproject.toml")]:
        manifest = tomllib.loads(path.read_text(encoding="utf-8"))
        project: dict[str, Any] = manifest["project"]
        found.update(project.get("dependencies", []))
        for extra in project.get("optional-dependencies", {}).values():
            found.update(extra)
        for name, group in manifest.get("dependency-groups", {}).items():
            found.update(group if name != BENCH_GROUP else [])
    return sorted(line for line in found if not re.match(r"thymos\b", line))


def run_dependencies() -> list[str]:
    """Sorted requirement lines of the images: the services' own, and those of the contract with `RUN_EXTRAS`."""
    found: set[str] = set()
    for path in [ROOT / "shared/pyproject.toml", *ROOT.glob("services/*/pyproject.toml")]:
        project: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        found.update(project.get("dependencies", []))
        for extra in RUN_EXTRAS:
            found.update(project.get("optional-dependencies", {}).get(extra, []))
    return sorted(line for line in found if not re.match(r"thymos\b", line))


def build_dependencies() -> list[str]:
    """Sorted requirement lines of what builds our packages."""
    manifests = [ROOT / "shared/pyproject.toml", *ROOT.glob("services/*/pyproject.toml")]
    builds = [tomllib.loads(path.read_text(encoding="utf-8"))["build-system"]["requires"] for path in manifests]
    return sorted({line for requires in builds for line in requires})


def bench_dependencies() -> list[str]:
    """Sorted requirement lines of the peers that only a benchmark needs."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    return sorted(groups[BENCH_GROUP])


WHICH = {"--run": run_dependencies, "--build": build_dependencies, "--bench": bench_dependencies}


def blocks(lock: Path) -> set[str]:
    """Each pinned package of a lock: its line and those of its hashes."""
    lines = [line for line in lock.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return set(re.split(r"\n(?=\S)", "\n".join(lines).strip()))


def mark(wanted: list[str]) -> str:
    """The comment that a lock resolved from today's dependencies begins with."""
    return MARK + hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:16]


def problem(lock: Path, wanted: list[str], *, alone: bool = False) -> str:
    """Why a lock is not current; empty when it is. A lock that is not `alone` holds what requirements.lock holds."""
    text = lock.read_text(encoding="utf-8")
    if found := ADDRESS.search(text):
        return f"{lock} names an address ({found[0].strip()}…): it must install from any package index"
    if not text.startswith(mark(wanted) + "\n"):
        return f"{lock} was resolved from other dependencies than the pyproject.toml files name: run `make lock`"
    if not alone and (strange := sorted(blocks(lock) - blocks(LOCK))):
        return f"{lock} has {strange[0].split()[0]}, which {LOCK.name} has not in this form: run `make lock`"
    return ""


def stamp(lock: Path, wanted: list[str]) -> None:
    """Put today's mark at the top of a lock."""
    lines = lock.read_text(encoding="utf-8").splitlines(keepends=True)
    body = "".join(line for line in lines if not line.startswith(MARK))
    lock.write_text(f"{mark(wanted)}\n{body}", encoding="utf-8")


def main(arguments: list[str]) -> str:
    """Returns what is wrong, or nothing."""
    which = WHICH.get(arguments[0]) if arguments else None
    wanted = which() if which else dependencies()
    match arguments[1:] if which else arguments:
        case []:
            sys.stdout.write("\n".join(wanted) + "\n")
        case ["--stamp", lock]:
            stamp(Path(lock), wanted)
        case ["--check", lock]:
            return problem(Path(lock), wanted, alone=which is bench_dependencies)
        case _:
            return str(__doc__)
    return ""


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]) or 0)
