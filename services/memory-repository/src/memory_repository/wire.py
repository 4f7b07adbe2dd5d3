"""Between the contract's messages and the repository's own values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from memory_repository.core import limits, memory
from memory_repository.core.merge import WHOLE, Conflict
from memory_repository.operations import reading, searching
from memory_repository.operations.kept_merges import KeptMerge
from memory_repository.operations.merge_plan import Collision
from memory_repository.operations.merging import Merge
from memory_repository.operations.worktrees import Worktree
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import Repository
from thymos import requests
from thymos.commands import MemoryChange

ANSWER_BYTES_MAX = 768 * 1024
"""What the memories of one answer may hold, as JSON: below the bus's limit, with room for the rest."""
CONFLICTS_SHOWN = 100
HEADS_SHOWN = 100
"""Branches that are named beside the commit where they stand; `branches` lists all."""
CONFLICT_VALUE_CHARACTERS = 400
"""How much of a colliding value is told: a hundred conflicts, three sides each, must fit one message."""

A = TypeVar("A", bound=requests.Answer)


def change_of(change: MemoryChange) -> memory.Change:
    """A change of the contract. Raises Refusal (invalid) for a put without content."""
    match change.op:
        case "put":
            if change.content is None:
                raise limits.invalid(f"put {change.id} has no content", "give `content`, or use modify")
            kind = memory.DEFAULT_KIND if change.kind is None else change.kind
            return memory.Put(memory.Memory(change.id, change.content, kind, change.fields or {}))
        case "modify":
            return memory.Modify(change.id, change.content, change.kind, change.fields)
        case "delete":
            return memory.Delete(change.id)


def changes_of(changes: Iterable[MemoryChange]) -> list[memory.Change]:
    """Changes of the contract, in order. Raises Refusal (invalid)."""
    return [change_of(change) for change in changes]


def memory_answer(found: memory.Memory, commit: str | None = None) -> requests.Memory:
    """A memory, as answered."""
    return requests.Memory(
        id=found.id, content=found.content, kind=found.kind, fields=dict(found.fields), commit=commit
    )


def hit_answer(hit: searching.Hit) -> requests.Hit:
    """A search result, as answered."""
    return requests.Hit(**dict(memory_answer(hit.memory, hit.commit)), score=hit.score)


def change_answer(change: memory.Difference) -> requests.Change:
    """A difference, as answered."""
    before, after = (None if side is None else memory_answer(side) for side in (change.before, change.after))
    return requests.Change(id=change.id, before=before, after=after)


def commit_answer(repo: Repository, commit: CommitRow, branches: Mapping[int, list[str]]) -> requests.Commit:
    """A commit, as answered; `branches` are the heads by commit."""
    return requests.Commit(
        commit=commit.id,
        parents=reading.parents(repo, commit),
        author=commit.author,
        message=commit.message,
        time=commit.at,
        kind=commit.kind,
        state_id=commit.state_id,
        branches=branches.get(commit.no, [])[:HEADS_SHOWN],
    )


def heads(repo: Repository) -> dict[int, list[str]]:
    """Branch names by the commit that they name."""
    found: dict[int, list[str]] = {}
    for branch in reading.branches(repo):
        found.setdefault(branch.head.no, []).append(branch.name)
    return found


def worktree_answer(worktree: Worktree) -> requests.WorktreeAnswer:
    """A worktree, as answered."""
    return requests.WorktreeAnswer(
        worktree_id=worktree.id, branch=worktree.branch, commit=worktree.base.id, staged=worktree.staged
    )


def shown_conflicts(conflicts: Iterable[Conflict]) -> list[dict[str, Any]]:
    """The first hundred conflicts as the contract tells them, long values cut."""
    return [
        {
            "memory_id": conflict.id,
            "kind": conflict.kind.value,
            "field": conflict.path and _shown(conflict.path),
            "base": _shown(conflict.base),
            "ours": _shown(conflict.ours),
            "theirs": _shown(conflict.theirs),
            "part": _shown(conflict.part),
        }
        for conflict in list(conflicts)[:CONFLICTS_SHOWN]
    ]


def collision_answers(collision: Collision) -> list[requests.ConflictAnswer]:
    """What collides in a memory of a kept merge, whole, with what was decided."""
    answers = []
    for conflict in collision.contested.conflicts:
        decided = collision.resolutions.get(conflict.part) or collision.resolutions.get(WHOLE)
        known: dict[str, Any] = {}
        if decided is not None:
            known = {"take": str(decided.take), "value": decided.value, "by": decided.by, "reason": decided.rationale}
        answers.append(
            requests.ConflictAnswer(
                memory_id=conflict.id,
                kind=conflict.kind.value,
                field=conflict.path,
                base=conflict.base,
                ours=conflict.ours,
                theirs=conflict.theirs,
                part=conflict.part,
                **known,
            )
        )
    return answers


def merge_summary(kept: KeptMerge) -> requests.MergeSummary:
    """A kept merge, as answered."""
    return requests.MergeSummary(
        merge_id=kept.id,
        source=kept.source,
        target=kept.target,
        source_commit=kept.source_commit.id,
        target_commit=kept.target_commit.id,
        strategy=kept.strategy.value,
        state=kept.state.value,
        author=kept.author,
        opened_at=kept.opened_at,
        reason=kept.reason,
        conflicts=kept.conflicts,
        decided=kept.decided,
    )


def merge_answer(done: Merge, target: str, reason: str = "") -> requests.MergeAnswer:
    """What came of a merge into the branch `target`, as answered."""
    # Unchanged memories may still have a new commit, now or after a dry run: it records how conflicts were decided.
    merged = "merged" if done.changes or done.collisions else "unchanged"
    waiting = [conflict for collision in done.collisions for conflict in collision.open]
    return requests.MergeAnswer(
        result="conflicts" if done.open else merged,
        commit=done.commit.id,
        base=done.bases[0] if done.bases else None,
        changes=done.changes,
        conflicts=[
            requests.ConflictAnswer.model_validate(shown)
            for shown in shown_conflicts(waiting if done.open else done.conflicts)
        ],
        dry_run=done.dry_run,
        merge_id=done.merge_id,
        state=done.state,
        reason=reason,
        target=target,
    )


def fitting_groups(groups: Iterable[list[A]]) -> list[list[A]]:
    """As many of the groups of answers, from the first, as fit one message; always the first."""
    taken: list[list[A]] = []
    size = 0
    for group in groups:
        size += sum(map(_size, group))
        if taken and size > ANSWER_BYTES_MAX:
            break
        taken.append(group)
    return taken


def fitting(answers: Iterable[A], beside: int = 0) -> list[A]:
    """As many of the answers, from the first, as fit one message with so many bytes beside them; always the first."""
    return fitting_of(answers, beside)[0]


def fitting_of(answers: Iterable[A], beside: int = 0) -> tuple[list[A], bool]:
    """The same, and whether there are more."""
    taken: list[A] = []
    size = beside
    for answer in answers:
        size += _size(answer)
        if taken and size > ANSWER_BYTES_MAX:
            return taken, True
        taken.append(answer)
    return taken, False


def fits(answers: Iterable[requests.Answer], beside: int) -> bool:
    """Whether answers fit one message with so many bytes beside them."""
    return beside + sum(map(_size, answers)) <= ANSWER_BYTES_MAX


def _size(answer: requests.Answer) -> int:
    return len(answer.model_dump_json().encode())


def _shown(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= CONFLICT_VALUE_CHARACTERS else text[:CONFLICT_VALUE_CHARACTERS] + "…"
