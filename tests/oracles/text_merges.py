"""Random texts merged by us and by `git merge-file`.

A case is drawn from its family and seed alone. Clean or not, the merged text, and what a favoured side makes of a
collision must be git's to the byte. In `distinct` and `long` a change brings lines of its own; in `repeated` and `few`
the same lines come again and again, so that several alignments are equally short, and ours has to be the one that git
takes.

git ends lines with newlines. So do we where all three texts end with one, or are empty; otherwise newlines stand
between our lines, and git is shown the same lines: each text with one more newline, which is taken off the result.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from memory_repository.core.text_merge import merge_text

from .tally import Tally

FAMILIES: Final = ("distinct", "long", "repeated", "few")
LINES: Final = ("refund", "Gebühr", "日本語", "🙂 ok", "e\u0301", "one\u2028line", "<<<<<<< ours", "=======", "")
"""Plain, accented, wide, combining, a separator that ends no line, what looks like git's marks, nothing."""
LENGTHS: Final = {
    "distinct": (0, 1, 2, 3, 5, 8, 13, 20),
    "long": (100, 300),
    "repeated": (1, 2, 3, 5, 8, 13, 20),
    "few": (60, 400),
}
"""Lines of the base."""


@dataclass(frozen=True)
class Case:
    """Three versions of a text."""

    base: str
    ours: str
    theirs: str

    @property
    def ended(self) -> bool:
        """Whether newlines end all lines, as in files."""
        return all(not text or text.endswith("\n") for text in (self.base, self.ours, self.theirs))

    def longer(self) -> Case:
        """Each text with one more newline."""
        return Case(f"{self.base}\n", f"{self.ours}\n", f"{self.theirs}\n")


@dataclass(frozen=True)
class Outcome:
    """What a merge made of a case: clean or not, and the text that each favoured side leads to."""

    clean: bool
    ours: str
    theirs: str


def case(family: str, seed: int) -> Case:
    """Three versions of a text, mostly with the same kind of newlines and ends."""
    dice = random.Random(f"texts {family} {seed}")
    newline, ended, rate = dice.choice(["\n", "\n", "\r\n"]), dice.random() < 0.6, dice.choice([0.03, 0.1, 0.3])
    base = [_line(dice, family, f" {number}") for number in range(dice.choice(LENGTHS[family]))]
    ours, theirs = _edited(dice, family, base, rate), _edited(dice, family, base, rate)
    if dice.random() < 0.1:
        theirs = list(ours)

    def joined(lines: list[str]) -> str:
        own_end = ended if dice.random() < 0.9 else not ended
        return newline.join(lines) + newline * (own_end and bool(lines))

    return Case(joined(base), joined(ours), joined(theirs))


def _line(dice: random.Random, family: str, mark: str) -> str:
    if family == "few":
        return dice.choice(LINES[:3])
    return dice.choice(LINES) + ("" if family == "repeated" else mark)


def _edited(dice: random.Random, family: str, lines: list[str], rate: float) -> list[str]:
    edited: list[str] = []
    for line in [*lines, None]:
        while dice.random() < rate / 2:
            edited.append(_line(dice, family, f" +{dice.randrange(10**9)}"))
        roll = dice.random()
        if line is not None and roll > 2 * rate:
            edited.append(line)
        elif line is not None and roll < rate:
            edited.append(_line(dice, family, f" ~{dice.randrange(10**9)}"))
    return edited


def by_us(case: Case) -> Outcome:
    """What memory_repository makes of a case."""
    clean = not merge_text(case.base, case.ours, case.theirs).conflicts
    ours = merge_text(case.base, case.ours, case.theirs, "ours")
    theirs = merge_text(case.base, case.ours, case.theirs, "theirs")
    return Outcome(clean, ours.text, theirs.text)


class Git:
    """`git merge-file` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def outcome(self, case: Case) -> Outcome:
        """What git makes of a case, in files as they are."""
        for name, text in (("base", case.base), ("ours", case.ours), ("theirs", case.theirs)):
            (self._folder / name).write_bytes(text.encode())
        conflicts, text = self._run()
        if not conflicts:
            return Outcome(True, text, text)
        return Outcome(False, self._run("--ours")[1], self._run("--theirs")[1])

    def same_lines(self, case: Case) -> Outcome:
        """What git makes of the lines that we see."""
        if case.ended:
            return self.outcome(case)
        found = self.outcome(case.longer())
        return Outcome(found.clean, found.ours.removesuffix("\n"), found.theirs.removesuffix("\n"))

    def _run(self, *options: str) -> tuple[int, str]:
        command = ["git", "merge-file", "-p", *options, "ours", "base", "theirs"]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, check=False)
        if done.returncode > 127:  # the number of conflicts, at most 127; more is an error
            raise RuntimeError(done.stderr.decode())
        return done.returncode, done.stdout.decode()


def compare(families: Iterable[str], seeds: Iterable[int], folder: Path) -> Tally:
    """Cases of each family from seeds; git works in `folder`."""
    tally, git = Tally(), Git(folder)
    numbers = list(seeds)
    for family in families:
        for seed in numbers:
            texts = case(family, seed)
            ours, theirs = by_us(texts), git.same_lines(texts)
            tally.counts["texts"] += 1
            tally.counts["conflicts"] += not ours.clean
            tally.counts["without a final newline"] += not texts.ended
            if ours != theirs:
                tally.problems.append(f"family {family}, seed {seed}, {texts}:\n  ours {ours}\n  git  {theirs}")
    return tally
