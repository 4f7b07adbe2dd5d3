"""`python -m thymos.contract.released [--check]`: what was promised, in `proto/released/`; a release adds to it.

    protobuf/                  the .proto files of the last release: `buf breaking` compares with them
    events/, requests/         the JSON Schemas of the last release: `thymos.contract.compatibility` compares with them
    examples/<type>.v1.<n>.json    every message that was ever published as an example, never edited
    SHA256SUMS                 digests of the examples (`sha256sum --check` reads it)

Without `--check` the contract of today is promised: the first three are replaced, and each example that is not there
yet is added. `--seen FILE` adds messages of a real run too, the fullest of each type; FILE holds one CloudEvent per
line, as `nats subscribe --raw 'thymos.>'` prints them. It refuses while something would be taken back.
"""

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from thymos.contract.compatibility import narrowings
from thymos.envelope import decode

FOLDER = "released"
SUMS = "SHA256SUMS"
_SCHEMAS = {"events": "message", "requests": "request"}
_NEW = {"message": "version", "request": "verb"}
_COPIED = (("thymos", "protobuf/thymos", "*.proto"), *((name, name, "*.json") for name in _SCHEMAS))


def digests(folder: Path) -> dict[str, str]:
    """The digests that were written down, by file name."""
    path = folder / FOLDER / SUMS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {name.removeprefix("examples/"): digest for digest, name in (line.split("  ", 1) for line in lines)}


def problems(folder: Path) -> list[str]:
    """What is not as it was promised: examples edited, deleted or never written down, and narrower schemas."""
    return [*_example_problems(folder), *_schema_problems(folder)]


def _example_problems(folder: Path) -> Iterator[str]:
    promised = digests(folder)
    present = {path.name: _digest(path) for path in sorted((folder / FOLDER / "examples").glob("*"))}
    for name, digest in promised.items():
        if name not in present:
            yield f"{name}: a released example is never deleted: restore it"
        elif present[name] != digest:
            yield f"{name}: a released example is never edited: restore it"
    yield from (f"{name}: is not in {SUMS}: run `make promise`" for name in present if name not in promised)


def _schema_problems(folder: Path) -> Iterator[str]:
    for name, kind in _SCHEMAS.items():
        for path in sorted((folder / FOLDER / name).glob("*.json")):
            today = folder / name / path.name
            if not today.is_file():
                yield f"{path.stem}: a released {kind} is never deleted"
                continue
            found = narrowings(json.loads(path.read_bytes()), json.loads(today.read_bytes()))
            yield from (f"{path.stem}: {problem}: make it a new {_NEW[kind]}" for problem in found)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def promise(folder: Path, seen: Iterable[str] = ()) -> None:
    """Add today's contract to what is released, and the fullest message of each type in the lines of `seen`.

    Call it when `problems` finds none. Raises PoisonError for a CloudEvent that is not of today's contract.
    """
    released = folder / FOLDER
    for source, target, pattern in _COPIED:
        shutil.rmtree(released / target, ignore_errors=True)
        for path in sorted((folder / source).rglob(pattern)):
            copy = released / target / path.relative_to(folder / source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    for path in sorted((folder / "examples").glob("*.json")):
        _keep(path.stem, path.read_bytes(), released / "examples")
    for stem, text in _fullest(seen).items():
        _keep(stem, text.encode(), released / "examples")
    kept = sorted((released / "examples").glob("*.json"))
    (released / SUMS).write_text("".join(f"{_digest(path)}  examples/{path.name}\n" for path in kept), encoding="utf-8")


def _fullest(lines: Iterable[str]) -> dict[str, str]:
    """The longest message of each type, by the name of its file; a batch counts as its messages."""
    fullest: dict[str, str] = {}
    for line in filter(str.strip, lines):
        parsed = json.loads(line)
        for event in parsed if isinstance(parsed, list) else [parsed]:
            if "specversion" not in event or "subject" not in event:
                continue  # a request, a reply, or a message that does not say where it belongs
            decode(json.dumps(event).encode(), event["subject"])
            stem = event["type"].removeprefix("thymos.")
            text = json.dumps(event, indent=2, ensure_ascii=False) + "\n"
            fullest[stem] = max(text, fullest.get(stem, ""), key=lambda each: (len(each), each))
    return fullest


def _keep(stem: str, message: bytes, examples: Path) -> None:
    """A message under its type's next number, unless it is kept already."""
    examples.mkdir(parents=True, exist_ok=True)
    kept = list(examples.glob(f"{stem}.*.json"))
    if all(path.read_bytes() != message for path in kept):
        (examples / f"{stem}.{len(kept) + 1}.json").write_bytes(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 when something is not as it was promised; then nothing is written."""
    parser = argparse.ArgumentParser(prog="python -m thymos.contract.released", description="Promises the contract.")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--folder", type=Path, default=Path("proto"), help="where the contract is (default: ./proto)")
    parser.add_argument("--seen", type=Path, help="messages of a real run to keep too, one CloudEvent per line")
    given = parser.parse_args(arguments)
    found = problems(given.folder)
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    if found:
        return 1
    if not given.check:
        promise(given.folder, given.seen.read_text(encoding="utf-8").splitlines() if given.seen else ())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
