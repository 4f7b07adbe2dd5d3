"""Where a memory comes from: its history, and who wrote each part of it.

Both walk from change to change, not from commit to commit: the row that a commit sees of a memory says in which commit
it became visible, so that a step costs a few index probes however many commits lie between. Where a merge took one
side's version, the walk follows that side alone, as git does.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from memory_repository.core import limits
from memory_repository.core.alignment import compared, matches
from memory_repository.core.canonical import same_json
from memory_repository.core.memory import Memory
from memory_repository.operations import reading
from memory_repository.storage import commits, timeline
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import MAIN, Repository
from memory_repository.storage.timeline import Slot
from thymos.errors import Refusal, RefusalCode

CHANGES_MAX = 1_000
"""Changes of one memory that its blame looks through; what is older is laid at the door of the oldest one seen."""
WORK_MAX = 500_000
"""Lines that a blame compares (core/alignment.py), within about a second: it stops there as at CHANGES_MAX. Whoever
else asks the service waits meanwhile, and 1,000 changes of 64 KiB of short lines would take minutes."""


@dataclass(frozen=True, slots=True)
class MemoryChange:
    """A commit that changed a memory, and what it made of it; None = deleted."""

    commit: CommitRow
    after: Memory | None


@dataclass(frozen=True, slots=True)
class Blamed:
    """A part of a memory and the commit that wrote it.

    Attributes:
        part: "content", "kind", or "fields/" and a key.
        line: the number of the line, from 1, in content; None elsewhere.
        text: the line, or None.
        commit: who wrote it.
    """

    part: str
    line: int | None
    text: str | None
    commit: CommitRow


@dataclass(frozen=True, slots=True)
class Blame:
    """Every part of a memory as it is at `commit`. `whole` is False when its history is longer than is looked at: then
    `commit` of some parts is only the oldest that is known to have them."""

    memory: Memory
    commit: CommitRow
    parts: tuple[Blamed, ...]
    whole: bool


def history(repo: Repository, memory_id: str, ref: str = MAIN, limit: int = 50) -> list[MemoryChange]:
    """The commits that changed a memory, newest first. O(changes of this memory).

    Raises:
        Refusal: not_found when it was never there, invalid, too_large.
    """
    limits.check_memory_id(memory_id)
    limits.check_page(limit)
    found = []
    for change in _changes(repo, memory_id, repo.resolve(ref)):
        if not change.passes:
            found.append(MemoryChange(change.told, reading.slot_memory(repo.db, change.slot)))
        if len(found) == limit:
            break
    if not found:
        raise Refusal(RefusalCode.NOT_FOUND, f"there never was a memory {memory_id} at {ref}")
    return found


def blame(repo: Repository, memory_id: str, ref: str = MAIN) -> Blame:
    """Who wrote each line of a memory's content, its kind and each of its fields. O(changes of this memory), up to
    CHANGES_MAX and WORK_MAX.

    Raises:
        Refusal: not_found when it is not there, invalid.
    """
    memory = reading.get(repo, memory_id, ref).memory
    start = repo.resolve(ref)
    lines = memory.content.split("\n")
    parts: list[_Part] = [("content", number) for number in range(len(lines))]
    parts += [("kind", None), *((f"fields/{key}", None) for key in sorted(memory.fields))]
    owed = {event.no: _Owed({part: part[1] for part in parts}) for event in _event_of(repo, memory_id, start)}
    culprits: dict[_Part, CommitRow] = {}
    work = 0
    for change in islice(_changes(repo, memory_id, start), CHANGES_MAX):
        if work > WORK_MAX:
            break
        here = owed.pop(change.commit.no, None)
        if here is None:
            continue
        new = reading.slot_memory(repo.db, change.slot)
        for parent, slot in change.followed:
            passed = here.passed_to(new, reading.slot_memory(repo.db, slot))
            for event in _event_of(repo, memory_id, parent) if passed else ():
                owed.setdefault(event.no, _Owed({})).take(passed)
        work += here.work
        culprits |= dict.fromkeys(here.parts, change.told)
    for number, left in owed.items():  # beyond the limits: the newest commit that is known to hold them
        culprits |= dict.fromkeys(left.parts, commits.by_no(repo.db, number))
    blamed = [
        Blamed(part, None if line is None else line + 1, None if line is None else lines[line], culprits[part, line])
        for part, line in parts
    ]
    return Blame(memory, start, tuple(blamed), whole=not any(left.parts for left in owed.values()))


_Part = tuple[str, int | None]
"""A part of the memory that is blamed: its name, and for a line of content its index there."""


class _Owed:
    """Parts that a version still answers for, with the line that each is in *that* version; and the work that it took
    to find out which of them it passes on."""

    def __init__(self, parts: dict[_Part, int | None]) -> None:
        self.parts = parts
        self.work = 0

    def take(self, parts: dict[_Part, int | None]) -> None:
        """Answer for these too."""
        self.parts |= parts

    def passed_to(self, new: Memory | None, old: Memory | None) -> dict[_Part, int | None]:
        """Give up the parts that `new` has from `old`; where each line is there."""
        if new is None or old is None:
            return {}
        olds, news = old.content.split("\n"), new.content.split("\n")
        kept = {after: before for before, after in matches(olds, news)}
        self.work += compared(len(olds), len(news), len(kept))
        passed: dict[_Part, int | None] = {}
        for part, line in list(self.parts.items()):
            name = part[0]
            if line is not None:
                same = line in kept
            elif name == "kind":
                same = new.kind == old.kind
            else:
                key = name.removeprefix("fields/")
                same = key in old.fields and key in new.fields and same_json(old.fields[key], new.fields[key])
            if same:
                del self.parts[part]
                passed[part] = None if line is None else kept[line]
        return passed


@dataclass(frozen=True, slots=True)
class _Change:
    """A commit in which what is visible of a memory is not what its line showed before.

    Attributes:
        commit: which one.
        slot: what it sees of the memory.
        passes: whether a parent of it sees the same: a merge that took that side, which then tells the story.
        followed: the parents that the walk goes on with, and what they see.
        told: who made the change; not `commit` but the header of one that the retention dropped, where that wrote it.
    """

    commit: CommitRow
    slot: Slot | None
    passes: bool
    followed: tuple[tuple[CommitRow, Slot | None], ...]
    told: CommitRow


def _changes(repo: Repository, memory_id: str, start: CommitRow) -> Iterator[_Change]:
    """The changes of a memory that `start` descends from, every one before those that it is made on."""
    waiting: list[tuple[int, int]] = []
    seen: set[int] = set()

    def push(commit: CommitRow) -> None:
        for event in _event_of(repo, memory_id, commit):
            if event.no not in seen:
                seen.add(event.no)
                heapq.heappush(waiting, (-event.generation, -event.no))

    push(start)
    while waiting:
        change = _change(repo, memory_id, commits.by_no(repo.db, -heapq.heappop(waiting)[1]))
        yield change
        for parent, _ in change.followed:
            push(parent)


def _change(repo: Repository, memory_id: str, commit: CommitRow) -> _Change:
    slot = _slot(repo, memory_id, commit)
    above = [commits.by_no(repo.db, number) for number in commits.parents_of(repo.db, commit.no)]
    parents = tuple((row, _slot(repo, memory_id, row)) for row in above)
    same = tuple(parent for parent in parents if _version(parent[1]) == _version(slot))[:1]
    return _Change(commit, slot, bool(same), same or parents, _told(repo, commit, slot))


def _told(repo: Repository, commit: CommitRow, slot: Slot | None) -> CommitRow:
    if slot is None or slot.commit_no == commit.no:
        return commit
    writer = commits.by_no(repo.db, slot.commit_no)
    return writer if commits.is_header(repo.db, repo.id, writer) else commit


def _event_of(repo: Repository, memory_id: str, commit: CommitRow) -> Iterator[CommitRow]:
    """The commit in which what `commit` sees of a memory became visible; none where it sees nothing of it.

    A line that was copied because it lay too deep has rows that no commit of it wrote: then it is the commit that the
    line begins with, whose parents are looked at next.
    """
    view = timeline.view_of(repo.db, commit.place)
    place = timeline.place_of(repo.db, view, memory_id)
    if place is not None:
        yield commits.first_seeing(repo.db, place, view)


def _slot(repo: Repository, memory_id: str, commit: CommitRow) -> Slot | None:
    return timeline.visible(repo.db, timeline.view_of(repo.db, commit.place), memory_id)


def _version(slot: Slot | None) -> int | None:
    return None if slot is None else slot.version
