"""Whether commits hold what they recorded, and are what their ids say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from memory_repository.core import fingerprint
from memory_repository.core.commit_id import CommitHeader, commit_id, delta_hash, timestamp
from memory_repository.core.proof import Position, Problem
from memory_repository.operations import reading
from memory_repository.storage import commits, dropping, states, timeline
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import Repository
from memory_repository.storage.timeline import Differing

ENDS = Position("ends")


@dataclass(frozen=True, slots=True)
class Checked:
    """A part of the commits."""

    commits: int
    headers: int
    problems: tuple[Problem, ...]
    following: Position


def check(repo: Repository, at: Position, most: int) -> Checked:
    """The next commits, every commit after its parents, until about `most` rows were looked at."""
    checking = _Checking(repo, at, most)
    numbers = repo.db.execute(
        "SELECT commit_no FROM commits WHERE repo_id = ? AND commit_no > ? ORDER BY commit_no LIMIT ?",
        (repo.id, *(at.after or (0,)), most),
    ).fetchall()
    problems: list[Problem] = []
    headers = done = last = 0
    for (number,) in numbers:
        commit = checking.read(number, problems)
        if commit is None:
            continue
        is_header = commits.is_header(repo.db, repo.id, commit)
        found = checking.header(commit) if is_header else checking.whole(commit)
        problems += [Problem(commit.id, commit.no, what) for what in found]
        if checking.unfinished is not None:
            return Checked(done, headers, tuple(problems), checking.unfinished)
        headers += is_header
        done += not is_header
        last = number
        if checking.left <= 0:
            break
    following = Position("commits", (last,)) if last and (len(numbers) == most or checking.left <= 0) else ENDS
    return Checked(done, headers, tuple(problems), following)


class _Checking:
    """One part: the fingerprints that were computed so far, and how many rows it may still look at."""

    def __init__(self, repo: Repository, at: Position, most: int) -> None:
        self._repo = repo
        self._at = at
        self.left = most
        self.unfinished: Position | None = None
        self._states: dict[int, bytes] = {}

    def read(self, number: int, problems: list[Problem]) -> CommitRow | None:
        """A commit, if its row can be read at all."""
        try:
            return commits.by_no(self._repo.db, number)
        except (ValueError, TypeError):
            row = self._repo.db.execute("SELECT commit_id FROM commits WHERE commit_no = ?", (number,)).fetchone()
            problems.append(Problem(row[0], number, "its time or its metadata cannot be read"))
            return None

    def header(self, commit: CommitRow) -> Iterator[str]:
        """Of a commit of which only the header is kept."""
        self.left -= 1
        ids = dropping.parent_ids(self._repo.db, commit.no)
        yield from _id_problems(commit, ids or [], commit.delta, commit.state_id)

    def whole(self, commit: CommitRow) -> Iterator[str]:
        """Of a commit: its memories, its delta, its place in the history, its id."""
        try:
            parents = [commits.by_no(self._repo.db, number) for number in commits.parents_of(self._repo.db, commit.no)]
        except (ValueError, TypeError):
            yield "one of its parents cannot be read"
            return
        ids = dropping.parent_ids(self._repo.db, commit.no)
        delta: Differing | None = None
        if parents:
            changes = reading.differing(self._repo, parents[0], commit)
            self.left -= 1 + len(changes)
            state = states.after_changes(self._state(parents[0]), changes)
            yield from _count_problems(commit, parents[0].memories, changes)
            if ids is None or ids[0] == parents[0].id:
                delta = changes
        else:
            counted = self._everything(commit)
            if counted is None:
                return
            state = counted
            delta = {} if ids is None else None
        self._remember(commit, state)
        if fingerprint.state_id(state) != commit.state_id:
            yield "its memories are not those that it recorded"
        yield from self._kept_state_problems(commit)
        yield from self._place_problems(commit, parents, ids)
        recorded = commit.delta if delta is None else _delta_hash(delta)
        if recorded != commit.delta:
            yield "its changes are not those that it recorded"
        own = [parent.id for parent in parents] if ids is None else ids
        yield from _id_problems(commit, own, recorded, fingerprint.state_id(state))

    def _state(self, commit: CommitRow) -> bytes:
        computed = self._states.get(commit.no)
        return states.state_of(self._repo.db, commit.no, commit.place) if computed is None else computed

    def _remember(self, commit: CommitRow, computed: bytes) -> None:
        # What comes next is judged by what this commit recorded, as far as that is known: one that was changed would
        # else make all that follow look changed.
        kept = states.kept(self._repo.db, commit.no)
        recorded = kept is not None and fingerprint.state_id(kept) == commit.state_id
        self._states[commit.no] = kept if kept is not None and recorded else computed
        if len(self._states) > 64:
            del self._states[next(iter(self._states))]

    def _kept_state_problems(self, commit: CommitRow) -> Iterator[str]:
        kept = states.kept(self._repo.db, commit.no)
        if kept is not None and fingerprint.state_id(kept) != commit.state_id:
            yield "the fingerprint kept of its memories is another"

    def _everything(self, commit: CommitRow) -> bytes | None:
        """The fingerprint of all that is visible at a commit without parents; None when it takes more than this part:
        `unfinished` says where to go on."""
        view = timeline.view_of(self._repo.db, commit.place)
        listed = list(islice(timeline.listed(self._repo.db, view, self._at.seen), self.left + 1))
        counted = listed[: self.left]
        elements = [(memory_id, self._hash(version)) for memory_id, version, _ in counted]
        state = fingerprint.updated(self._at.state, elements, [])
        if len(listed) > len(counted):
            self.unfinished = Position("commits", (commit.no - 1,), counted[-1][0] if counted else "", state)
            return None
        self._at = Position("commits")
        self.left -= 1 + len(counted)
        return state

    def _hash(self, version: int) -> str:
        row = self._repo.db.execute("SELECT hash FROM version WHERE version_id = ?", (version,)).fetchone()
        return "" if row is None else str(row[0])

    def _place_problems(
        self, commit: CommitRow, parents: Sequence[CommitRow], ids: Sequence[str] | None
    ) -> Iterator[str]:
        generation = 1 + max((parent.generation for parent in parents), default=0)
        if commit.generation < generation or (ids is None and commit.generation != generation):
            yield "its place among its ancestors is another"
        if any(parent.no >= commit.no for parent in parents):
            yield "it comes before one of its parents"
        known = {parent.id for parent in parents}
        for parent_id in ids or ():
            # One that was dropped and made again comes after it.
            kept = [row for row in commits.by_prefix(self._repo.db, self._repo.id, parent_id) if row.no < commit.no]
            if kept and parent_id not in known and not commits.is_header(self._repo.db, self._repo.id, kept[0]):
                yield f"its parent {parent_id[:12]} is kept but is not among its ancestors"


def _count_problems(commit: CommitRow, before: int, changes: Differing) -> Iterator[str]:
    if commit.memories != before + sum((new is not None) - (old is not None) for old, new in changes.values()):
        yield "it counts another number of memories"


def _id_problems(commit: CommitRow, parents: Sequence[str], delta: str, state_id: str) -> Iterator[str]:
    header = CommitHeader(
        parents=list(parents),
        delta=delta,
        state_id=state_id,
        author=commit.author,
        at=timestamp(commit.at),
        message=commit.message,
        kind=commit.kind,
        meta=json.loads(json.dumps(dict(commit.meta))),
    )
    if commit_id(header) != commit.id:
        yield "its id does not follow from what it holds: parents, author, time, message, kind, metadata or changes"


def _delta_hash(delta: Differing) -> str:
    return delta_hash((memory_id, new.hash if new else None) for memory_id, (_, new) in delta.items())
