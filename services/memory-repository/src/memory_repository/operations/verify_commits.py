"""Whether commits hold what they recorded, and are what their ids say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from memory_repository.core import fingerprint
from memory_repository.core.commit_id import CommitHeader, commit_id, delta_hash, timestamp
from memory_repository.core.proof import Position, Problem, no_place
from memory_repository.core.sealed_number import opened, sealed
from memory_repository.operations.verify_writers import Writers
from memory_repository.storage import batches, commits, dropping, states, timeline
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import Repository
from memory_repository.storage.timeline import Differing, Slot

ENDS = Position("ends")
ILLEGIBLE = (ValueError, TypeError, AttributeError, OverflowError)
"""What reading raises where a value is not of the type that is ever written there."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A part of the commits."""

    commits: int
    headers: int
    problems: tuple[Problem, ...]
    following: Position


def check(repo: Repository, at: Position, most: int) -> Checked:
    """The next commits, every commit after its parents, until about `most` rows were looked at."""
    at, beyond = _begin(repo, at)
    checking = _Checking(repo, at, most)
    rows = repo.db.execute(
        "SELECT commit_no, commit_id FROM commits WHERE repo_id = ? AND commit_no > ? ORDER BY commit_no LIMIT ?",
        (repo.id, beyond, most),
    ).fetchall()
    problems: list[Problem] = []
    headers = done = 0
    last: tuple[str, ...] = ()
    for number, identity in rows:
        last = _place(repo, number, identity)
        commit = checking.read(number, problems)
        if commit is None:
            continue
        is_header = commits.is_header(repo.db, repo.id, commit)
        found = checking.header(commit) if is_header else checking.whole(commit)
        problems += [Problem(commit.id, commit.no, what) for what in _legible(found)]
        if checking.unfinished is not None:
            return Checked(done, headers, tuple(problems), checking.unfinished)
        headers += is_header
        done += not is_header
        problems += checking.beyond(commit)
        if checking.left <= 0:
            break
    following = Position("commits", last) if last and (len(rows) == most or checking.left <= 0) else ENDS
    return Checked(done, headers, tuple(problems), following)


def _legible(found: Iterator[str]) -> Iterator[str]:
    """The problems found, and one more where what is stored is of another type than it was written with."""
    try:
        yield from found
    except ILLEGIBLE:
        yield "what is stored of it, or of a parent, cannot be read"


def _place(repo: Repository, number: int, identity: str) -> tuple[str, ...]:
    """A commit as a place to go on from, also once it is dropped."""
    return identity, sealed(repo.key, number)


def _begin(repo: Repository, at: Position) -> tuple[Position, int]:
    """Where a part begins, and the row number of the last commit before it. If the commit is gone whose memories were
    being counted, nothing is counted yet. On SQLite its number may be that of another by now, which is passed over: it
    was written after this check began. Raises Refusal (invalid): it is no place, or nobody knows any more which."""
    if not at.after:
        return at, 0
    found = commits.number_of(repo.db, repo.id, at.after[0])
    # A commit that was dropped and made again has another number, beyond commits that were not looked at.
    number = found if len(at.after) == 1 else opened(repo.key, at.after[1])
    if number is None:
        raise no_place(at.after[0])
    if at.seen and number == found:
        return at, number - 1
    return Position("commits", at.after), number


class _Checking:
    """One part: the fingerprints that were computed so far, and how many rows it may still look at."""

    def __init__(self, repo: Repository, at: Position, most: int) -> None:
        self._repo = repo
        self._at = at
        self.left = most
        self.unfinished: Position | None = None
        self._states: dict[int, bytes] = {}
        self._writers = Writers(repo)

    def read(self, number: int, problems: list[Problem]) -> CommitRow | None:
        """A commit, if its row can be read at all."""
        try:
            return commits.by_no(self._repo.db, number)
        except ILLEGIBLE:
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
        except ILLEGIBLE:
            yield "one of its parents cannot be read"
            return
        for parent in parents:
            if not self._is_own(parent):
                yield f"its parent {parent.id[:12]} is laid to another repository"
        ids = dropping.parent_ids(self._repo.db, commit.no)
        delta: Differing | None = None
        if parents:
            compared = self._compared(parents[0], commit)
            yield from self._foreign(compared.after)
            changes = compared.changes
            self.left -= 1 + len(changes)
            state = states.after_changes(self._state(parents[0]), changes)
            if ids is None or ids[0] == parents[0].id:
                delta = changes
            sums = _sums(changes, parents[0])
            yield from self._writers.problems(commit, parents, compared.before, compared.after)
        else:
            counted = self._everything(commit)
            if counted is None:
                return
            yield from self._foreign(counted.slots)
            state, sums = counted.state, counted.sums
            delta = {} if ids is None else None
            yield from self._writers.problems(commit, (), {}, counted.slots)
        yield from _count_problems(commit, sums, delta)
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

    def _is_own(self, commit: CommitRow) -> bool:
        sql = "SELECT 1 FROM commits WHERE commit_no = ? AND repo_id = ?"
        return self._repo.db.execute(sql, (commit.no, self._repo.id)).fetchone() is not None

    def _foreign(self, slots: Mapping[str, Slot]) -> Iterator[str]:
        """Versions are checked as those of their repository: what a commit shows has to be among them."""
        sql = "SELECT memory_id, version_id FROM version WHERE version_id IN ({items}) AND repo_id = ?"
        versions = sorted(slot.version for slot in slots.values())
        own = set(batches.select(self._repo.db, sql, versions, after=(self._repo.id,)))
        for name, slot in slots.items():
            if (name, slot.version) not in own:
                yield f"the version of {name} that it shows is gone, or laid to another memory or repository"

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

    def beyond(self, commit: CommitRow) -> Iterator[Problem]:
        """What waits on a line above its last commit."""
        row = self._repo.db.execute(
            "SELECT e.memory_id FROM entry e JOIN line l ON l.line_id = e.line_id AND e.seq > l.tip_seq"
            " WHERE e.line_id = ? AND e.seq > ? AND NOT EXISTS"
            " (SELECT 1 FROM commits c WHERE c.line_id = e.line_id AND c.seq > ?) LIMIT 1",
            (commit.place.line, commit.place.seq, commit.place.seq),
        ).fetchone()
        if row is not None:
            what = f"{row[0]} waits beyond the last commit of a line: the next one would bring it in"
            yield Problem(None, 0, what)

    def _compared(self, parent: CommitRow, commit: CommitRow) -> _Compared:
        db = self._repo.db
        views = [timeline.view_of(db, row.place) for row in (parent, commit)]
        names = sorted(set(timeline.entries_between(db, *views)))
        before, after = (timeline.visible_many(db, view, names) for view in views)
        return _Compared(before, after, timeline.changed(names, before, after))

    def _everything(self, commit: CommitRow) -> _Counted | None:
        """All that is visible at a commit without parents, counted; None when it takes more than this part:
        `unfinished` says where to go on."""
        # What was counted of a commit that is only a header by now says nothing of the next one without parents.
        at = self._at if self._at.after[:1] == (commit.id,) else Position("commits")
        view = timeline.view_of(self._repo.db, commit.place)
        listed = list(islice(timeline.listed(self._repo.db, view, at.seen), self.left + 1))
        slots = {name: self._slot(version, writer) for name, version, writer in listed[: self.left]}
        state = fingerprint.updated(at.state, [(name, slot.hash) for name, slot in slots.items()], [])
        memories, words = at.counted
        sums = memories + len(slots), words + sum(slot.words for slot in slots.values())
        if len(listed) > len(slots):
            self.unfinished = Position(
                "commits", _place(self._repo, commit.no, commit.id), listed[self.left - 1][0], state, sums
            )
            return None
        self.left -= 1 + len(slots)
        return _Counted(slots, state, sums)

    def _slot(self, version: int, writer: int) -> Slot:
        row = self._repo.db.execute("SELECT hash, words FROM version WHERE version_id = ?", (version,)).fetchone()
        digest, words = row or ("", 0)
        return Slot(version, digest, words, writer)

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


@dataclass(frozen=True, slots=True)
class _Compared:
    """What a commit and its first parent see of the memories that have entries between them, and what differs."""

    before: Mapping[str, Slot]
    after: Mapping[str, Slot]
    changes: Differing


@dataclass(frozen=True, slots=True)
class _Counted:
    """What a commit without parents sees (the last part of it), the fingerprint and the sums of all of it."""

    slots: Mapping[str, Slot]
    state: bytes
    sums: tuple[int, int]


def _sums(changes: Differing, parent: CommitRow) -> tuple[int, int]:
    """How many memories and words a commit has to count, by those of its first parent."""
    memories = sum((new is not None) - (old is not None) for old, new in changes.values())
    words = sum((new.words if new else 0) - (old.words if old else 0) for old, new in changes.values())
    return parent.memories + memories, parent.words + words


def _count_problems(commit: CommitRow, sums: tuple[int, int], delta: Differing | None) -> Iterator[str]:
    memories, words = sums
    if commit.memories != memories:
        yield "it counts another number of memories"
    if commit.words != words:
        yield "it counts another number of words"
    if delta is not None and commit.changes != len(delta):
        yield "it counts another number of changes"


def _id_problems(commit: CommitRow, parents: Sequence[str], delta: str, state_id: str) -> Iterator[str]:
    header = CommitHeader(
        parents=list(parents),
        delta=delta,
        state_id=state_id,
        author=commit.author,
        at=timestamp(commit.at),
        message=commit.message,
        kind=commit.kind,
        meta=commit.meta,
    )
    if commit_id(header) != commit.id:
        yield "its id does not follow from what it holds: parents, author, time, message, kind, metadata or changes"


def _delta_hash(delta: Differing) -> str:
    return delta_hash((memory_id, new.hash if new else None) for memory_id, (_, new) in delta.items())
