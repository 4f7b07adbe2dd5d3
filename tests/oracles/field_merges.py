"""Random memories merged field by field by us and, as rows of a table cell by cell, by DoltLite.

`content`, `kind` and three fields are columns; a field holds its value as canonical JSON, NULL where it is absent. The
models meet where a value is one cell: scalars in fields, one line of content. There, the same memories collide, and
what does not collide merges to the same values. Where they do not meet, and why, is in docs/merge-oracles.md; each
difference is checked in test_field_merges.py to be one still.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from memory_repository.core.canonical import canonical_json
from memory_repository.core.memory import Memory
from memory_repository.core.merge import MergedMemory, merge_memory

from .tally import Tally

FIELDS: Final = ("a", "b", "c")
COLUMNS: Final = ("content TEXT", "kind TEXT", *(f"{name} TEXT" for name in FIELDS))
SCALARS: Final = (None, True, False, 0, 1, 1.0, "", "x", "日本語")
CONTENTS: Final = ("", "red", "green", "two words")
KINDS: Final = ("note", "answer")

Sides = tuple[Memory | None, Memory | None, Memory | None]
"""Base, ours, theirs."""
Row = Sequence[Any] | None


@dataclass(frozen=True)
class Cells:
    """What DoltLite made of all cases: the ids in conflict, and the rows of the merged table."""

    version: str
    conflicts: frozenset[str]
    merged: dict[str, Row]


def case(seed: int) -> Sides:
    """Three versions of a memory; what a side does not change is as in the base."""
    dice = random.Random(f"fields {seed}")

    def changed(value: Memory | None, rate: float) -> Memory | None:
        if value is None:
            return _drawn(dice) if dice.random() < 0.7 else None
        if dice.random() < 0.08:
            return None
        other = _drawn(dice)
        fields = {**value.fields}
        for name in FIELDS:
            if dice.random() < rate:
                fields.pop(name, None)
                fields.update({name: other.fields[name]} if name in other.fields else {})
        content = other.content if dice.random() < rate else value.content
        return Memory("m", content, other.kind if dice.random() < rate else value.kind, fields)

    base = None if dice.random() < 0.1 else _drawn(dice)
    return base, changed(base, 0.2), changed(base, 0.2)


def _drawn(dice: random.Random) -> Memory:
    fields = {name: dice.choice(SCALARS) for name in FIELDS if dice.random() < 0.7}
    return Memory("m", dice.choice(CONTENTS), dice.choice(KINDS), fields)


def row_of(memory: Memory | None) -> Row:
    """A memory as the values of the columns."""
    if memory is None:
        return None
    cells = (canonical_json(memory.fields[name]).decode() if name in memory.fields else None for name in FIELDS)
    return [memory.content, memory.kind, *cells]


def by_doltlite(cases: dict[str, Sides]) -> Cells:
    """Merge all cases with DoltLite, in a process of its own."""
    rows = [[name, *map(row_of, sides)] for name, sides in cases.items()]
    return asked({"columns": COLUMNS, "rows": rows})


def asked(question: dict[str, Any]) -> Cells:
    """What DoltLite makes of rows of any columns; see doltlite_process.py."""
    command = [sys.executable, str(Path(__file__).with_name("doltlite_process.py"))]
    done = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    answer = json.loads(done.stdout)
    return Cells(answer["version"], frozenset(answer["conflicts"]), answer["merged"])


def merged(sides: Sides) -> MergedMemory:
    """What we make of a case."""
    base, ours, theirs = sides
    return merge_memory("m", base, ours, theirs)


def compare(seeds: Iterable[int]) -> Tally:
    """Cases from seeds, all in one merge of DoltLite."""
    tally = Tally()
    cases = {str(seed): case(seed) for seed in seeds}
    cells = by_doltlite(cases)
    for name, sides in cases.items():
        ours = merged(sides)
        tally.counts["memories"] += 1
        tally.counts["conflicts"] += bool(ours.conflicts)
        if bool(ours.conflicts) != (name in cells.conflicts):
            theirs = "a conflict" if name in cells.conflicts else "clean"
            tally.problems.append(f"seed {name}, {sides}:\n  ours {ours}\n  DoltLite {theirs}")
        elif not ours.conflicts and row_of(ours.value) != cells.merged.get(name):
            tally.problems.append(f"seed {name}, {sides}:\n  ours {ours.value}\n  DoltLite {cells.merged.get(name)}")
    return tally
