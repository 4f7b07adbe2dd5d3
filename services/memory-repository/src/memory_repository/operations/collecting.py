"""Dropping what is older than the retention and what nothing reaches any more, a bounded step at a time.

What stays is exact: ids, states, differences, ancestors and merge bases of all commits that stay are what they were
(core/retention.py). A step costs what it drops, plus the commits that were looked at before and are held.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, partial

from memory_repository.core.commit_id import timestamp
from memory_repository.core.limits import check_page
from memory_repository.core.retention import Retention, Thinned, rewired, thinned
from memory_repository.storage import (
    batches,
    commits,
    cursors,
    dropping,
    expiries,
    pins,
    pruning,
    reflog,
    states,
    versions,
)
from memory_repository.storage.store import Repository
from memory_repository.storage.timeline import Place

STEP_COMMITS = 500
"""Commits that one step looks at for the first time, or drops, unless the caller says otherwise."""
STEP_COMMITS_MAX = 10_000
STEP_VERSIONS = 50_000
"""Versions that one step looks at for whether anything names them, each once."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a step, or several together, dropped; or would drop, in a dry run.

    Attributes:
        commits: dropped commits; `unreachable` of them were reached by nothing.
        entries: rows that said what a commit sees.
        versions: versions of memories that no commit sees, or sees any more, of `content_bytes` together.
        lines: timelines that ended.
        more: whether there may be more to drop right now.
        dry_run: whether nothing was changed.
    """

    commits: int = 0
    unreachable: int = 0
    entries: int = 0
    versions: int = 0
    content_bytes: int = 0
    lines: int = 0
    more: bool = False
    dry_run: bool = False

    def plus(self, later: Collected) -> Collected:
        """Both together."""
        return Collected(
            self.commits + later.commits,
            self.unreachable + later.unreachable,
            self.entries + later.entries,
            self.versions + later.versions,
            self.content_bytes + later.content_bytes,
            self.lines + later.lines,
            later.more,
            later.dry_run,
        )


def collect(repo: Repository, retention: Retention, *, now: datetime, most: int = STEP_COMMITS) -> Collected:
    """One step: look at up to `most` commits that have become older than the retention, and drop what may go.

    Raises:
        Refusal: invalid, too_large (`most` is not from 1 to 10,000).
    """
    check_page(most, STEP_COMMITS_MAX)
    return _step(repo, retention, now, most)


def dry_run(repo: Repository, retention: Retention, *, now: datetime, steps_max: int | None = None) -> Collected:
    """What steps to the end, or `steps_max` of them, would drop: they are made and taken back."""
    found = Collected(more=True)
    steps = 0
    repo.db.execute("SAVEPOINT collecting")
    try:
        while found.more and steps != steps_max:
            found = found.plus(_step(repo, retention, now, STEP_COMMITS))
            steps += 1
    finally:
        repo.db.execute("ROLLBACK TO collecting")
        repo.db.execute("RELEASE collecting")
    return replace(found, dry_run=True)


def is_due(repo: Repository, retention: Retention, *, now: datetime, least: int) -> bool:
    """Whether at least `least` commits have become older than the retention since the last step, or commits that refs
    left behind may go by now."""
    _, passed = _newly_old(repo, retention, now, cursors.next_commit(repo.db, repo.id), least)
    return len(passed) >= least or bool(pins.left_before(repo.db, repo.id, now - retention.reflog_age, 1))


def _step(repo: Repository, retention: Retention, now: datetime, most: int) -> Collected:
    left_since = now - retention.reflog_age
    named = pins.named(repo.db, repo.id, left_since)
    cursor, passed = _newly_old(repo, retention, now, cursors.next_commit(repo.db, repo.id), most)
    unreached, more = _unreached(repo, named, left_since, most)
    old = sorted({*_held(repo), *passed}, reverse=True)
    found = _thinned(repo, old, named | _still_young(repo, retention, now, old), unreached, most)
    _remember(repo, cursor, found)
    dropped = _drop(repo, found)
    swept, unswept = versions.sweep(repo.db, repo.id, STEP_VERSIONS)
    forgotten = reflog.forget_ended(repo.db, repo.id, left_since, most)
    return Collected(
        commits=len(found.dropped),
        unreachable=sum(1 for below in found.dropped.values() if below is None),
        entries=dropped.entries,
        versions=dropped.versions + len(swept),
        content_bytes=dropped.content_bytes + sum(swept),
        lines=dropped.lines,
        more=more or unswept or most in (len(passed), forgotten) or len(found.dropped) >= most,
    )


def _newly_old(repo: Repository, retention: Retention, now: datetime, cursor: int, most: int) -> tuple[int, list[int]]:
    """The commits from `cursor` on that have become old, at most so many, and where to look on the next time.

    The first young one ends it; but one that is dated after now would end it for long, and is passed with the others.
    """
    young = _Young(repo, retention, now)
    present = timestamp(now)
    attic = dropping.find_attic(repo.db, repo.id) or 0
    rows = repo.db.execute(
        "SELECT commit_no, at FROM commits WHERE repo_id = ? AND commit_no >= ? AND line_id <> ?"
        " ORDER BY commit_no LIMIT ?",
        (repo.id, cursor, attic, most),
    ).fetchall()
    passed: list[int] = []
    for number, at in rows:
        if young(number, at) and at <= present:
            break
        passed.append(number)
    return (passed[-1] + 1 if passed else cursor), passed


def _still_young(repo: Repository, retention: Retention, now: datetime, passed: Sequence[int]) -> set[int]:
    """The commits among those that have been passed that are young: they were dated after the moment when they were."""
    young = _Young(repo, retention, now)
    newest = [number for number in passed if number >= young.first]
    rows = batches.select(repo.db, "SELECT commit_no, at FROM commits WHERE commit_no IN ({items})", newest)
    return {number for number, at in rows if young(number, at)}


class _Young:
    """Tells whether a commit is within the retention: one of the newest so many, `first` the oldest of them, and not
    too old."""

    def __init__(self, repo: Repository, retention: Retention, now: datetime) -> None:
        oldest = repo.db.execute(
            "SELECT commit_no FROM commits WHERE repo_id = ? ORDER BY commit_no DESC LIMIT 1 OFFSET ?",
            (repo.id, retention.commits_max - 1),
        ).fetchone()
        self.first = 0 if oldest is None else oldest[0]
        self._since = timestamp(now - retention.age_max)

    def __call__(self, number: int, at: str) -> bool:
        return number >= self.first and at >= self._since


def _unreached(repo: Repository, named: Collection[int], left_since: datetime, most: int) -> tuple[list[int], bool]:
    """Commits that refs have left long ago and that nothing reaches, with those of their ancestors that only they
    reach: at most so many. Whether there may be more."""
    waiting = pins.left_before(repo.db, repo.id, left_since, most)
    more = len(waiting) == most
    unreached: dict[int, None] = {}
    while waiting and len(unreached) < most:
        commit = waiting.pop()
        children = commits.children_of(repo.db, commit)
        if (
            commit in named
            or any(child not in unreached for child, _ in children)
            or commits.place_of(repo.db, commit) is None
        ):
            pins.forget_left(repo.db, repo.id, commit)
        elif commit not in unreached:
            unreached[commit] = None
            waiting += commits.parents_of(repo.db, commit)
    pins.note_waiting(repo.db, repo.id, (commit for commit in waiting if commit not in named), left_since)
    return list(unreached), more or bool(waiting)


def _thinned(repo: Repository, old: Sequence[int], named: Collection[int], gone: Sequence[int], most: int) -> Thinned:
    children = cache(partial(commits.children_of, repo.db))
    found = thinned(old, children, lambda commit: commit in named, gone)
    if len(found.dropped) - len(gone) <= most:
        return found
    # Something that held many has gone. What is not dropped this time counts as wanted.
    turn = set(sorted(found.dropped.keys() - set(gone))[:most])
    return thinned(old, children, lambda commit: commit not in turn, gone)


def _drop(repo: Repository, found: Thinned) -> pruning.Pruned:
    if not found.dropped:
        return pruning.Pruned()
    db = repo.db
    places = {commit: place for commit in found.dropped if (place := commits.place_of(db, commit)) is not None}
    parents = rewired(found, partial(commits.parents_of, db))
    written = dropping.written_by(db, places)
    _keep_states(repo, places)
    dropping.leave_lines(db, repo.id, found.dropped)
    pruned = pruning.prune(db, repo.id, places.values())
    headers = pruning.headers(written, pruned.unwritten)
    dropping.keep_parent_ids(db, [*found.cut, *headers])
    dropping.leave_graph(db, found.dropped, parents)
    dropping.remove(db, repo.id, found.dropped, headers)
    dropping.release(db, {commit: count for commit, count in pruned.unwritten.items() if commit not in found.dropped})
    expiries.forget_dropped(db, repo.id)
    return pruned


def _keep_states(repo: Repository, places: Mapping[int, Place]) -> None:
    done: dict[int, int] = {}
    dropped = frozenset(places)
    for place in sorted(places.values(), key=lambda place: (place.line, place.seq)):
        if place.seq >= done.get(place.line, 0):
            done[place.line] = states.keep_above(repo.db, place.line, place.seq, dropped)


def _held(repo: Repository) -> list[int]:
    rows = repo.db.execute("SELECT commit_no FROM held WHERE repo_id = ?", (repo.id,))
    return [number for (number,) in rows.fetchall()]


def _remember(repo: Repository, cursor: int, found: Thinned) -> None:
    cursors.set_next_commit(repo.db, repo.id, cursor)
    repo.db.executemany(
        "INSERT INTO held (repo_id, commit_no) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(repo.id, commit) for commit in found.kept],
    )
