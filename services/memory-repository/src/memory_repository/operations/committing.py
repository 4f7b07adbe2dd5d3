"""Writing to a branch: commits, and commits that bring back an earlier state. O(changes)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from memory_repository.core import limits
from memory_repository.core.canonical import canonical_json
from memory_repository.core.memory import CHANGES, Change, Memory, Put, apply_change, changed_ids
from memory_repository.core.merge import Conflict, merge_memory
from memory_repository.operations import reading
from memory_repository.storage import branch_rules, commits, refs, states, timeline, versions
from memory_repository.storage.commits import CommitRow, Draft
from memory_repository.storage.refs import Ref
from memory_repository.storage.store import Repository
from memory_repository.storage.timeline import Differing, Slot, View
from memory_repository.storage.versions import StoredVersion
from thymos.errors import Refusal, RefusalCode

Wanted = Mapping[str, Memory | None]
"""What memories shall be: None = deleted."""
AGAIN: Final = "read the branch as it stands now, and change what it holds now"
"""What to do with changes of a commit that collide."""


@dataclass(frozen=True, slots=True)
class Committed:
    """Where a branch stands after a write.

    Attributes:
        branch: its name.
        commit: its head now.
        previous: its head before; equal to `commit` when nothing changed, for then no commit is made. One without
            changes is made when what stands there erased is written again.
        rebased: whether somebody else's commits lay between `expected_head` and `previous`.
    """

    branch: str
    commit: CommitRow
    previous: CommitRow
    rebased: bool = False

    @property
    def changed(self) -> bool:
        """Whether a commit was made."""
        return self.commit.no != self.previous.no


class CommitConflictError(Refusal):
    """The changes collide with what the branch holds now; `conflicts` says where."""

    def __init__(self, branch: str, conflicts: Sequence[Conflict], hint: str, of: str = "") -> None:
        names = ", ".join(dict.fromkeys(conflict.id for conflict in conflicts[:5]))
        what = f"the changes of {of} collide" if of else "the changes collide"
        often = f", {len(conflicts)} times" if len(conflicts) > 1 else ""
        super().__init__(
            RefusalCode.CONFLICT,
            f"{what} with what {branch} holds now{often}: {names}",
            hint,
        )
        self.conflicts = tuple(conflicts)


def commit(
    repo: Repository,
    branch: str,
    changes: Sequence[Change],
    *,
    author: str,
    message: str = "",
    now: datetime,
    expected_head: str | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Committed:
    """Commit changes to a branch.

    Without `expected_head` the changes apply to whatever the branch holds. With it they were made against that
    commit, by its id: if the branch has moved on since, they are merged with what came in between, or refused if they
    collide. A branch's name would say nothing: it is where the branch stands by now.

    Raises:
        CommitConflictError: the changes collide with later commits.
        Refusal: not_found, invalid, too_large, conflict (`expected_head` is not in the branch's history).
    """
    ref = refs.branch(repo.db, repo.id, branch)
    head = commits.by_no(repo.db, ref.commit_no)
    base = head if expected_head is None else refs.by_id(repo.db, repo.id, expected_head)
    limits.check_changes(changes, CHANGES)
    wanted = applied(repo, timeline.view_of(repo.db, base.place), changes)
    draft = checked_draft(branch, author, message, now, "commit", meta)
    return land(repo, ref, base, wanted, draft, head)


def land(
    repo: Repository,
    ref: Ref,
    base: CommitRow,
    wanted: Wanted,
    draft: Draft,
    head: CommitRow | None = None,
    hint: str = AGAIN,
) -> Committed:
    """Bring changes made against `base` onto a branch, rebasing them if it has moved on. `head` is the branch's, if
    the caller has read it; `hint` says what to do where they cannot be. Raises as `commit`."""
    head = head or commits.by_no(repo.db, ref.commit_no)
    if base.no != head.no:
        wanted = _rebased(repo, ref.name, base, head, wanted, hint)
    delta, again = _delta_to(repo, timeline.view_of(repo.db, head.place), wanted)
    rebased = base.no != head.no
    # Where an erased version stands, to write it again changes nothing but that it can be read: a commit says who did.
    if not delta and not again:
        return Committed(ref.name, head, head, rebased)
    row = commits.write_commit(repo.db, repo.id, draft, [head], delta)
    refs.move(
        repo.db,
        repo.id,
        ref,
        row,
        actor=draft.author,
        now=draft.at,
        operation="commit",
        reason=draft.message,
        on_top=True,
    )
    return Committed(ref.name, row, head, rebased)


def rollback(
    repo: Repository,
    branch: str,
    target: str,
    *,
    author: str,
    reason: str = "",
    now: datetime,
    meta: Mapping[str, Any] | None = None,
) -> Committed:
    """Bring a branch back to the state of an earlier commit of it, by a new commit on top: history stays.

    O(changes undone). Nothing happens, and no commit is made, when the branch holds that state already.

    Raises:
        Refusal: not_found; refused when `target` is not in the branch's history.
    """
    ref = refs.branch(repo.db, repo.id, branch)
    head = commits.by_no(repo.db, ref.commit_no)
    restored = repo.resolve(target)
    if not reading.is_ancestor(repo, restored, head):
        raise Refusal(RefusalCode.REFUSED, f"{restored.id[:12]} is not in the history of {branch}")
    limits.check_reason(reason)
    message = shortened(f"roll back to {restored.id[:12]}: {reason}" if reason else f"roll back to {restored.id[:12]}")
    facts = {"restored_commit": restored.id, **(meta or {})}
    draft = checked_draft(branch, author, message, now, "rollback", facts)
    delta = reading.differing(repo, head, restored)
    if not delta:
        return Committed(branch, head, head)
    row = commits.write_commit(repo.db, repo.id, draft, [head], delta, state=states.kept(repo.db, restored.no))
    refs.move(repo.db, repo.id, ref, row, actor=author, now=now, operation="rollback", reason=reason, on_top=True)
    return Committed(branch, row, head)


def applied(
    repo: Repository, view: View, changes: Sequence[Change], staged: Mapping[str, int | None] | None = None
) -> dict[str, Memory | None]:
    """What the changes make of the memories of a view (over `staged` versions), one after the other. Raises Refusal."""
    changed_ids(changes)
    first = {change.id: change for change in reversed(changes)}
    # A put does not care what was there; the others do.
    current = _current(
        repo, view, [name for name, change in first.items() if not isinstance(change, Put)], staged or {}
    )
    wanted: dict[str, Memory | None] = {}
    for change in changes:
        before = wanted[change.id] if change.id in wanted else current.get(change.id)
        wanted[change.id] = apply_change(change, before)
    return wanted


def _current(
    repo: Repository, view: View, memory_ids: Sequence[str], staged: Mapping[str, int | None]
) -> dict[str, Memory]:
    """What memories are now: as staged, else as the view sees them."""
    seen = timeline.visible_many(repo.db, view, [name for name in memory_ids if name not in staged])
    rows = {name: slot.version for name, slot in seen.items()}
    rows |= {name: version for name in memory_ids if (version := staged.get(name)) is not None}
    memories = versions.load_memories(repo.db, rows.values())
    return {name: memories[version] for name, version in rows.items()}


def _delta_to(repo: Repository, view: View, wanted: Wanted) -> tuple[Differing, bool]:
    """The versions before and after, of those memories that are not yet as wanted, and whether one was erased and is
    written again. Stores the new versions."""
    names = sorted(wanted)
    stored = _stored(repo, [memory for name in names if (memory := wanted[name]) is not None])
    delta = timeline.changed(names, timeline.visible_many(repo.db, view, names), _slots(stored))
    return delta, any(version.again for version in stored.values())


def new_slot(repo: Repository, memory: Memory) -> Slot:
    """Store a memory's version for the commit being made."""
    return new_slots(repo, [memory])[memory.id]


def new_slots(repo: Repository, memories: Sequence[Memory]) -> dict[str, Slot]:
    """Store the versions of memories for the commit being made, by the memories' ids."""
    return _slots(_stored(repo, memories))


def _stored(repo: Repository, memories: Sequence[Memory]) -> dict[str, StoredVersion]:
    stored = versions.store_versions(repo.db, repo.id, repo.key, memories)
    return {memory.id: version for memory, version in zip(memories, stored, strict=True)}


def _slots(stored: Mapping[str, StoredVersion]) -> dict[str, Slot]:
    return {name: Slot(each.version, each.hash, each.words, commit_no=0) for name, each in stored.items()}


def checked_draft(
    branch: str,
    author: str,
    message: str,
    now: datetime,
    kind: str,
    meta: Mapping[str, Any] | None,
    meta_max: int = limits.META_BYTES_MAX,
) -> Draft:
    """What a commit says about itself, within the limits. Raises Refusal (invalid, too_large)."""
    limits.check_author(author)
    limits.check_message(message)
    limits.check_json("the metadata", meta or {})
    size = len(canonical_json(meta or {}))
    if size > meta_max:
        raise limits.too_large("the metadata", size, meta_max)
    return Draft(branch, author, message, now, kind, meta or {})


def _rebased(repo: Repository, branch: str, base: CommitRow, head: CommitRow, wanted: Wanted, hint: str) -> Wanted:
    """The changes as they are on top of `head`. Raises CommitConflictError, Refusal."""
    if not reading.is_ancestor(repo, base, head):
        raise Refusal(RefusalCode.CONFLICT, f"{base.id[:12]} is not in the history of {branch}", hint)
    before, after = (timeline.view_of(repo.db, commit.place) for commit in (base, head))
    rules = branch_rules.number_rules(repo.db, repo.id)
    moved = timeline.difference(repo.db, before, after, wanted)
    sides = versions.load_memories(repo.db, timeline.rows_in(moved))
    rebased = dict(wanted)
    conflicts: list[Conflict] = []
    lines = 0
    for memory_id in [name for name in wanted if name in moved]:
        was, now = (None if slot is None else sides[slot.version] for slot in moved[memory_id])
        merged = merge_memory(memory_id, was, ours=now, theirs=wanted[memory_id], rules=rules)
        lines = limits.check_merge_lines(lines + merged.lines)
        conflicts += merged.conflicts
        if merged.value is now:
            del rebased[memory_id]
        else:
            rebased[memory_id] = merged.value and merged.value.checked()
    if conflicts:
        raise CommitConflictError(branch, conflicts, hint)
    return rebased


def shortened(message: str) -> str:
    """A commit's message, cut at its limit."""
    encoded = message.encode()
    if len(encoded) <= limits.MESSAGE_BYTES_MAX:
        return message
    return encoded[: limits.MESSAGE_BYTES_MAX - 3].decode(errors="ignore") + "…"
