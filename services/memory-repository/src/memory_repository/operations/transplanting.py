"""Bringing changes to where they were not made: cherry-pick, revert, rebase. Each is a three-way merge of one commit.

Applying a commit merges with its parent as the base; reverting it merges its parent with it as the base. A memory that
the target holds as it was at the base takes the change; what both changed is merged part by part; what collides refuses
the whole, unless a side is favoured.

Where the retention has dropped a commit's parent, nobody knows any more what that one commit changed: what lies between
it and the nearest ancestor that is left are the changes of many. A rebase, which brings all of them along, may go by
that ancestor if there is one only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from memory_repository.core import limits
from memory_repository.core.memory import Memory
from memory_repository.core.merge import Conflict, Strategy, merge_memory
from memory_repository.core.number_rules import has_sums
from memory_repository.operations import declaring, reading, worktrees
from memory_repository.operations.committing import (
    CommitConflictError,
    Committed,
    checked_draft,
    new_slot,
    shortened,
)
from memory_repository.storage import commits, dropping, refs, timeline
from memory_repository.storage.commits import CommitRow, Draft
from memory_repository.storage.store import MAIN, Repository
from memory_repository.storage.timeline import Differing, Slot
from thymos.errors import Refusal, RefusalCode

WIN: Final = "let a side win with a strategy, or change first what collides"


@dataclass(frozen=True, slots=True)
class Rebased:
    """Where a branch stands after a rebase.

    Attributes:
        branch: its name.
        onto: what it now stands on.
        commit: its head now; equal to `previous` when it stood there already.
        previous: its head before.
        replayed: the new commits, oldest first.
        dropped: ids of commits that change nothing any more.
    """

    branch: str
    onto: CommitRow
    commit: CommitRow
    previous: CommitRow
    replayed: tuple[CommitRow, ...]
    dropped: tuple[str, ...]


def cherry_pick(
    repo: Repository,
    branch: str,
    revision: str,
    *,
    author: str,
    now: datetime,
    message: str = "",
    strategy: Strategy = Strategy.MANUAL,
    mainline: int = 1,
) -> Committed:
    """Make the changes of a commit once more, on a branch. O(changes of the commit).

    Args:
        repo: the repository.
        branch: where.
        revision: which commit.
        author: who does it; the commit's own author is in the metadata.
        now: when, aware.
        message: why; the commit's own unless given.
        strategy: Ours or Theirs decide what collides; anything else refuses it.
        mainline: of a merge, the parent (from 1) against which its changes are taken.

    Raises:
        CommitConflictError: the changes collide with the branch.
        Refusal: not_found, invalid, refused (the commit has no such parent, or the retention has dropped it).
    """
    commit = repo.resolve(revision)
    parent = _parent(repo, commit, mainline)
    facts = {"picked_commit": commit.id, "picked_author": commit.author}
    draft = checked_draft(branch, author, message or commit.message, now, "cherry_pick", facts)
    return _transplanted(repo, parent, commit, draft, strategy)


def revert(
    repo: Repository,
    branch: str,
    revision: str,
    *,
    author: str,
    now: datetime,
    reason: str = "",
    strategy: Strategy = Strategy.MANUAL,
    mainline: int = 1,
) -> Committed:
    """Take the changes of one commit back, and of none after it. O(changes of the commit). As `cherry_pick`."""
    commit = repo.resolve(revision)
    parent = _parent(repo, commit, mainline)
    limits.check_reason(reason)
    why = reason or commit.message
    message = shortened(f"revert {commit.id[:12]}: {why}" if why else f"revert {commit.id[:12]}")
    draft = checked_draft(branch, author, message, now, "revert", {"reverted_commit": commit.id})
    return _transplanted(repo, commit, parent, draft, strategy)


def rebase(
    repo: Repository,
    branch: str,
    onto: str,
    *,
    author: str,
    now: datetime,
    strategy: Strategy = Strategy.MANUAL,
) -> Rebased:
    """Make the commits of a branch that `onto` does not have once more, on top of `onto`, and move the branch there.

    Merges among them are left out: what they brought in is replayed or is there already. Authors, messages and
    metadata are kept, ids are not; the old head stays in the reflog. Everything is done, or nothing.

    Raises:
        CommitConflictError: a commit collides; the message names it.
        Refusal: not_found, invalid; refused for `main`, for a protected branch, and for one with uncommitted changes
            in a worktree, and where the retention has dropped commits in which lines came together; too_large for more
            than 1,000 commits.
    """
    ref = refs.branch(repo.db, repo.id, branch)
    if branch == MAIN:
        raise Refusal(RefusalCode.REFUSED, f"{MAIN} cannot be rebased: its history is not rewritten", "merge into it")
    declaring.check_unprotected(repo, branch, "rebased")
    limits.check_author(author)
    head, target = commits.by_no(repo.db, ref.commit_no), repo.resolve(onto)
    missing = list(islice(reading.only_in(repo, head, target), limits.REBASE_COMMITS_MAX + 1))
    if len(missing) > limits.REBASE_COMMITS_MAX:
        raise limits.too_large("the rebase", len(missing), limits.REBASE_COMMITS_MAX, "commits")
    steps = [(commit, base) for commit in reversed(missing) if (base := _replayed_from(repo, commit)) is not None]
    if reading.is_ancestor(repo, target, head) and len(steps) == len(missing):
        return Rebased(branch, target, head, head, (), ())
    worktrees.check_clean(repo, branch)
    top = target
    replayed: list[CommitRow] = []
    dropped: list[CommitRow] = []
    for commit, base in steps:
        made = _replayed(repo, branch, base, commit, top, now, strategy)
        (dropped if made is None else replayed).append(commit if made is None else made)
        top = made or top
    refs.move(repo.db, repo.id, ref, top, actor=author, now=now, operation="rebase", reason=f"onto {target.id[:12]}")
    worktrees.move_all(repo, branch, top)
    return Rebased(branch, target, top, head, tuple(replayed), tuple(commit.id for commit in dropped))


def _replayed_from(repo: Repository, commit: CommitRow) -> CommitRow | None:
    """What a rebase takes a commit's changes against; None for a merge, which is left out."""
    above = commits.parents_of(repo.db, commit.no)
    if len(above) == 1:
        return commits.by_no(repo.db, above[0])
    if dropping.parent_ids(repo.db, commit.no) is not None:
        message = f"older commits in which lines came together below {commit.id[:12]} were dropped"
        raise Refusal(RefusalCode.REFUSED, message, "merge the branch instead")
    return None


def _replayed(
    repo: Repository,
    branch: str,
    base: CommitRow,
    commit: CommitRow,
    top: CommitRow,
    now: datetime,
    strategy: Strategy,
) -> CommitRow | None:
    """One commit of a rebase on top of another; None when it changes nothing there."""
    facts = {**commit.meta, "rebased_commit": commit.id}
    draft = checked_draft(
        branch, commit.author, commit.message, now, commit.kind, facts, meta_max=limits.META_REMADE_BYTES_MAX
    )
    delta, conflicts = _merged(repo, base, commit, top, strategy)
    if conflicts:
        raise CommitConflictError(branch, conflicts, WIN, f"{commit.id[:12]} ({commit.message[:60]})")
    return commits.write_commit(repo.db, repo.id, draft, [top], delta) if delta else None


def _transplanted(repo: Repository, base: CommitRow, theirs: CommitRow, draft: Draft, strategy: Strategy) -> Committed:
    """A commit on the draft's branch that makes there what lies between `base` and `theirs`."""
    ref = refs.branch(repo.db, repo.id, draft.branch)
    head = commits.by_no(repo.db, ref.commit_no)
    delta, conflicts = _merged(repo, base, theirs, head, strategy)
    if conflicts:
        raise CommitConflictError(draft.branch, conflicts, WIN)
    if not delta:
        return Committed(draft.branch, head, head)
    row = commits.write_commit(repo.db, repo.id, draft, [head], delta)
    operation = draft.kind.replace("_", "-")
    refs.move(repo.db, repo.id, ref, row, actor=draft.author, now=draft.at, operation=operation, reason=draft.message)
    return Committed(draft.branch, row, head)


def _merged(
    repo: Repository, base: CommitRow, theirs: CommitRow, ours: CommitRow, strategy: Strategy
) -> tuple[Differing, Sequence[Conflict]]:
    """What has to change on `ours` to hold what lies between `base` and `theirs` too, and what collides."""
    view = timeline.view_of(repo.db, ours.place)
    rules = declaring.number_rules(repo)
    delta: Differing = {}
    conflicts: list[Conflict] = []
    lines = 0
    for memory_id, (before, after) in reading.differing(repo, base, theirs).items():
        here = timeline.visible(repo.db, view, memory_id)
        if _version(here) == _version(after) and not has_sums(rules):
            continue
        if _version(here) == _version(before):
            delta[memory_id] = (here, after)
            continue
        was, now, wanted = (reading.slot_memory(repo.db, slot) for slot in (before, here, after))
        merged = merge_memory(memory_id, was, ours=now, theirs=wanted, favour=strategy.favour, rules=rules)
        lines = limits.check_merge_lines(lines + merged.lines)
        if merged.conflicts and strategy.favour is None:
            conflicts += merged.conflicts
            continue
        slot = _slot(repo, merged.value, ((now, here), (wanted, after)))
        if _version(slot) != _version(here):
            delta[memory_id] = (here, slot)
    return delta, conflicts


def _slot(repo: Repository, value: Memory | None, known: Iterable[tuple[Memory | None, Slot | None]]) -> Slot | None:
    """The version of a merged memory: a side's own where it is the same, so that its writer stays known."""
    if value is None:
        return None
    for memory, slot in known:
        if value.same_as(memory):
            return slot
    return new_slot(repo, value.checked())


def _parent(repo: Repository, commit: CommitRow, number: int) -> CommitRow:
    """A commit's own parent of that number, not the ancestor that stands in for one that was dropped."""
    above = dropping.parent_ids(repo.db, commit.no) or reading.parents(repo, commit)
    if not above:
        raise Refusal(RefusalCode.REFUSED, f"{commit.id[:12]} is the first commit: it has no changes")
    if not 1 <= number <= len(above):
        raise Refusal(RefusalCode.REFUSED, f"{commit.id[:12]} has no parent number {number}", f"it has {len(above)}")
    found = commits.by_prefix(repo.db, repo.id, above[number - 1])
    if not found or commits.is_header(repo.db, repo.id, found[0]):
        message = f"the parent of {commit.id[:12]} is older than what the retention keeps"
        raise Refusal(RefusalCode.REFUSED, message, "compare it with an older commit, and commit what is to change")
    return found[0]


def _version(slot: Slot | None) -> int | None:
    return None if slot is None else slot.version
