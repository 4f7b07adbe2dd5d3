"""Between the contract's messages and the repository's own values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from memory_repository.core import limits, memory
from memory_repository.core.merge import Conflict
from memory_repository.operations import reading, searching
from memory_repository.operations.worktrees import Worktree
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import Repository
from thymos import requests
from thymos.commands import MemoryChange

ANSWER_BYTES_MAX = 768 * 1024
"""What the memories of one answer may hold, as JSON: below the bus's limit, with room for the rest."""
CONFLICTS_SHOWN = 100
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
        branches=branches.get(commit.no, []),
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
        }
        for conflict in list(conflicts)[:CONFLICTS_SHOWN]
    ]


def fitting(answers: Iterable[A]) -> list[A]:
    """As many of the answers, from the first, as fit one message; always the first."""
    taken: list[A] = []
    size = 0
    for answer in answers:
        size += len(answer.model_dump_json())
        if taken and size > ANSWER_BYTES_MAX:
            break
        taken.append(answer)
    return taken


def _shown(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= CONFLICT_VALUE_CHARACTERS else text[:CONFLICT_VALUE_CHARACTERS] + "…"
