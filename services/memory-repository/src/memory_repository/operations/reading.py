"""Reading a repository at any ref: one memory, all memories, the log, one commit, the difference of two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final

from memory_repository.core import filters, history, limits
from memory_repository.core.memory import Difference, Memory
from memory_repository.storage import commits, reflog, refs, timeline, versions
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.refs import RefType
from memory_repository.storage.store import MAIN, Repository
from memory_repository.storage.timeline import Differing, Slot
from thymos.database import Connection
from thymos.errors import Refusal, RefusalCode

FILTERED_AT_ONCE: Final = 500
LOOKED_AT_MAX: Final = 10_000
"""Memories that one page of a listing looks at."""


@dataclass(frozen=True, slots=True)
class Found:
    """A memory and the id of the commit that wrote this version of it."""

    memory: Memory
    commit: str


@dataclass(frozen=True, slots=True)
class Page:
    """Memories in the order of their ids, as of `commit`; `next_after` is None on the last page."""

    commit: CommitRow
    memories: tuple[Found, ...]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class Differences:
    """How the memories differ from `a` to `b`, in the order of their ids; `total` counts those not shown too, and
    `next_after` is None where none follow."""

    a: CommitRow
    b: CommitRow
    changes: tuple[Difference, ...]
    total: int
    next_after: str | None = None


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch and its head."""

    name: str
    head: CommitRow


def get(repo: Repository, memory_id: str, ref: str = MAIN) -> Found:
    """One memory as it is at `ref`. Raises Refusal (not_found, invalid)."""
    limits.check_memory_id(memory_id)
    commit = repo.resolve(ref)
    found = timeline.read(repo.db, timeline.view_of(repo.db, commit.place), memory_id)
    if found is None:
        raise Refusal(RefusalCode.NOT_FOUND, f"there is no memory {memory_id} at {ref}")
    _, writer, digest, content, kind, fields = found
    return Found(versions.memory_of(memory_id, digest, content, kind, fields), writer)


def page(
    repo: Repository,
    ref: str = MAIN,
    limit: int = 100,
    after: str = "",
    kind: str | None = None,
    where: Mapping[str, Any] | None = None,
) -> Page:
    """A page of the memories at `ref`, beginning after the id `after`; of one kind, and whose fields `where` holds for
    (core/filters.py), if they are given.

    At most 10,000 memories are looked at: a page of few that were asked for may be short, and more may follow.
    Raises Refusal.
    """
    limits.check_page(limit)
    limits.check_name("place to begin", after)
    if kind is not None:
        limits.check_name("kind", kind)
    wanted = filters.parse(where)
    commit = repo.resolve(ref)
    view = timeline.view_of(repo.db, commit.place)
    batch = FILTERED_AT_ONCE if kind or where else limit + 1
    listed = timeline.listed(repo.db, view, after)
    found: list[tuple[Memory, int]] = []
    last, left = "", LOOKED_AT_MAX
    while rows := list(islice(listed, batch)):
        held = versions.load_memories(repo.db, (version for _, version, _ in rows))
        for memory_id, version, writer in rows:
            if len(found) == limit or not left:
                return Page(commit, _with_writers(repo, found), last)
            last, left, memory = memory_id, left - 1, held[version]
            if (kind is None or memory.kind == kind) and wanted.holds(memory.fields):
                found.append((memory, writer))
    return Page(commit, _with_writers(repo, found), None)


def _with_writers(repo: Repository, found: Sequence[tuple[Memory, int]]) -> tuple[Found, ...]:
    writers = commits.ids_of(repo.db, (writer for _, writer in found))
    return tuple(Found(memory, writer) for (memory, _), writer in zip(found, writers, strict=True))


def memories(repo: Repository, ref: str = MAIN) -> list[Memory]:
    """All memories at `ref`, by id. Raises Refusal."""
    commit = repo.resolve(ref)
    view = timeline.view_of(repo.db, commit.place)
    listed = [version for _, version, _ in timeline.listed(repo.db, view)]
    held = versions.load_memories(repo.db, listed)
    return [held[version] for version in listed]


def branches(repo: Repository, after: str = "") -> list[Branch]:
    """All branches, by name, or those after a name. Raises Refusal (invalid)."""
    found = refs.every(repo.db, repo.id, "branch", limits.check_name("place to begin", after))
    return [Branch(ref.name, commits.by_no(repo.db, ref.commit_no)) for ref in found]


@dataclass(frozen=True, slots=True)
class NamedCommit:
    """A tag or snapshot: a name for a commit, since when and why, and what else was said of it."""

    name: str
    commit: CommitRow
    created_at: datetime
    reason: str
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Move:
    """One move of a name, as the reflog has it. `old` and `new` are commit ids; None where the name begins or ends, or
    the commit is gone."""

    at: datetime
    actor: str
    operation: str
    old: str | None
    new: str | None
    reason: str


def named(repo: Repository, type_: RefType, after: str = "") -> list[NamedCommit]:
    """All tags, or all snapshots, by name, or those after a name. Raises Refusal (invalid)."""
    return [
        NamedCommit(ref.name, commits.by_no(repo.db, ref.commit_no), ref.created_at, ref.reason, ref.meta)
        for ref in refs.every(repo.db, repo.id, type_, limits.check_name("place to begin", after))
    ]


def moves(repo: Repository, name: str = MAIN, type_: RefType = "branch", limit: int = 50, skip: int = 0) -> list[Move]:
    """Where a name has stood, newest first, without the newest `skip`, also after it was deleted. Raises Refusal
    (not_found, invalid, too_large)."""
    limits.check_page(limit)
    limits.check_skip(skip)
    limits.check_name("name", name)
    found = reflog.of(repo.db, repo.id, type_, name, limit, skip)
    if not found and not reflog.of(repo.db, repo.id, type_, name, 1):
        raise Refusal(RefusalCode.NOT_FOUND, f"there never was a {type_} {name!r:.80}")
    return [
        Move(move.at, move.actor, move.operation, _known_id(repo, move.old), _known_id(repo, move.new), move.reason)
        for move in found
    ]


def _known_id(repo: Repository, commit_no: int | None) -> str | None:
    return None if commit_no is None else commits.ids_of(repo.db, [commit_no])[0]


def log(repo: Repository, ref: str = MAIN, limit: int = 50) -> list[CommitRow]:
    """The commits reachable from `ref`, every commit before its parents. Raises Refusal."""
    limits.check_page(limit)
    start = repo.resolve(ref)
    walk = history.ancestors(start.no, *graph(repo.db))
    return [commits.by_no(repo.db, number) for number in islice(walk, limit)]


def parents(repo: Repository, commit: CommitRow) -> list[str]:
    """The ids of a commit's parents, the first parent first."""
    return commits.ids_of(repo.db, commits.parents_of(repo.db, commit.no))


def show(repo: Repository, ref: str = MAIN, limit: int = limits.PAGE_MAX, after: str = "") -> Differences:
    """A commit's changes against its first parent, beginning after the memory `after`; the first commit has none.
    Raises Refusal."""
    commit = repo.resolve(ref)
    above = commits.parents_of(repo.db, commit.no)
    return _differences(repo, commits.by_no(repo.db, above[0]) if above else commit, commit, limit, after)


def diff(
    repo: Repository, a: str, b: str, *, symmetric: bool = False, limit: int = limits.PAGE_MAX, after: str = ""
) -> Differences:
    """The changes from `a` to `b` (`a..b`), beginning after the memory `after`; with `symmetric` from their merge base
    to `b` (`a...b`).

    O(entries between the two). Raises Refusal.
    """
    one, other = repo.resolve(a), repo.resolve(b)
    if symmetric:
        one = commits.by_no(repo.db, merge_bases(repo, one, other)[0])
    return _differences(repo, one, other, limit, after)


def merge_bases(repo: Repository, one: CommitRow, other: CommitRow) -> list[int]:
    """Row numbers of the best common ancestors; never empty, since all commits descend from the first one."""
    return history.merge_bases(one.no, other.no, *graph(repo.db))


def common_ancestors(repo: Repository, a: str, b: str) -> list[CommitRow]:
    """The best common ancestors of two revisions. Raises Refusal (not_found, invalid)."""
    return [commits.by_no(repo.db, number) for number in merge_bases(repo, repo.resolve(a), repo.resolve(b))]


def is_ancestor(repo: Repository, old: CommitRow, new: CommitRow) -> bool:
    """Whether `old` is `new` or one of its ancestors. O(1) where `new` sees the line of `old`; else it came in by a
    merge, if at all, and the commits since `old` are walked."""
    view = timeline.view_of(repo.db, new.place)
    if any(place.line == old.place.line and place.seq >= old.place.seq for place in view):
        return True
    return history.is_ancestor(old.no, new.no, *graph(repo.db))


def only_in(repo: Repository, one: CommitRow, other: CommitRow) -> Iterator[CommitRow]:
    """The commits that `one` descends from (or is) and `other` does not, every one before its parents: `other..one`."""
    bases = merge_bases(repo, one, other)
    for number in history.ancestors_without(one.no, bases, *graph(repo.db)):
        yield commits.by_no(repo.db, number)


def differing(repo: Repository, before: CommitRow, after: CommitRow) -> Differing:
    """The memories that differ between two commits, as versions."""
    db = repo.db
    return timeline.difference(db, timeline.view_of(db, before.place), timeline.view_of(db, after.place))


def slot_memory(db: Connection, slot: Slot | None) -> Memory | None:
    """The memory in a slot, None where it is absent."""
    return None if slot is None else versions.load_memory(db, slot.version)


def _differences(repo: Repository, a: CommitRow, b: CommitRow, limit: int, after: str) -> Differences:
    limits.check_page(limit)
    limits.check_name("place to begin", after)
    found = differing(repo, a, b)
    following = [memory_id for memory_id in found if memory_id > after]
    shown = {memory_id: found[memory_id] for memory_id in following[:limit]}
    held = versions.load_memories(repo.db, timeline.rows_in(shown))
    changes = tuple(
        Difference(memory_id, *(None if slot is None else held[slot.version] for slot in slots))
        for memory_id, slots in shown.items()
    )
    more = len(following) > len(shown)
    return Differences(a, b, changes, len(found), following[limit - 1] if more else None)


class _Graph:
    """The history as callables, each commit read once per walk."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._generations: dict[int, int] = {}

    def parents(self, number: int) -> Iterable[int]:
        return commits.parents_of(self._db, number)

    def generation(self, number: int) -> int:
        known = self._generations.get(number)
        if known is None:
            known = self._generations[number] = commits.generation_of(self._db, number)
        return known


def graph(db: Connection) -> tuple[history.Parents[int], history.Generation[int]]:
    graph = _Graph(db)
    return graph.parents, graph.generation
