"""The third-party dependencies of all packages and of development: what requirements.lock is resolved from.

.ci/dependencies.py                            prints them, one per line
.ci/dependencies.py --stamp requirements.lock  notes in the lock which ones it was resolved from
.ci/dependencies.py --check requirements.lock  fails when they have changed since; needs no network
"""

import hashlib
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MARK = "# resolved from dependencies "
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
        for group in manifest.get("dependency-groups", {}).values():
            found.update(group)
    return sorted(line for line in found if not re.match(r"thymos\b", line))


def mark() -> str:
    """The comment that a lock resolved from today's dependencies begins with."""
    return MARK + hashlib.sha256("\n".join(dependencies()).encode()).hexdigest()[:16]


def problem(lock: Path) -> str:
    """Why a lock is not current; empty when it is."""
    text = lock.read_text(encoding="utf-8")
    if found := ADDRESS.search(text):
        return f"{lock} names an address ({found[0].strip()}…): it must install from any package index"
    if not text.startswith(mark() + "\n"):
        return f"{lock} was resolved from other dependencies than the pyproject.toml files name: run `make lock`"
    return ""


def stamp(lock: Path) -> None:
    """Put today's mark at the top of a lock."""
    lines = lock.read_text(encoding="utf-8").splitlines(keepends=True)
    body = "".join(line for line in lines if not line.startswith(MARK))
    lock.write_text(f"{mark()}\n{body}", encoding="utf-8")


def main(arguments: list[str]) -> str:
    """Returns what is wrong, or nothing."""
    match arguments:
        case []:
            sys.stdout.write("\n".join(dependencies()) + "\n")
        case ["--stamp", lock]:
            stamp(Path(lock))
        case ["--check", lock]:
            return problem(Path(lock))
        case _:
            return str(__doc__)
    return ""


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]) or 0)
