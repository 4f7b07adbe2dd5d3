"""Prepares the branches of an experiment: a control at the base, and one branch per variant with its changes on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from memory_repository.core.memory import Change, Memory
from memory_repository.core.variants import GENERATORS, PastOutcome
from memory_repository.operations import branching, committing
from memory_repository.operations.committing import Committed
from memory_repository.storage import refs, timeline, versions
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import Repository
from thymos.errors import Refusal, RefusalCode


@dataclass(frozen=True, slots=True)
class Proposal:
    """A variant that may be tested: what a generator or a person proposes."""

    name: str
    description: str
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class PreparedVariant:
    """A variant on its branch, committed."""

    name: str
    description: str
    committed: Committed


@dataclass(frozen=True, slots=True)
class Prepared:
    """The branches of an experiment; `skipped` says which variants are not among them, and why."""

    base: CommitRow
    variants: tuple[PreparedVariant, ...]
    skipped: Mapping[str, str]


def generated(
    repo: Repository, branch: str, names: Iterable[str], outcomes: Sequence[PastOutcome]
) -> tuple[list[Proposal], dict[str, str]]:
    """The proposals of the named generators, and those that have none, with the reason. O(outcomes). Raises Refusal."""
    proposals, skipped = [], {}
    memories = _recalled(repo, branch, outcomes)
    for name in dict.fromkeys(names):
        generator = GENERATORS.get(name)
        if generator is None:
            skipped[name] = f"there is no generator of that name; there are {', '.join(GENERATORS)}"
            continue
        variant = generator(memories, outcomes)
        if variant.changes:
            proposals.append(Proposal(variant.name, variant.description, variant.changes))
        else:
            skipped[name] = f"nothing to learn from {len(outcomes)} outcomes"
    return proposals, skipped


def prepare(
    repo: Repository,
    *,
    branch: str,
    control_branch: str,
    branch_prefix: str,
    proposals: Sequence[Proposal],
    author: str,
    now: datetime,
    meta: Mapping[str, Any],
) -> Prepared:
    """Create the control branch and a branch per proposal, `<branch_prefix><name>`, with its changes committed.

    A proposal that changes nothing, cannot be applied, or does the same as one before it, is skipped.

    Raises:
        Refusal: not_found; conflict when the control branch exists (it was prepared before); invalid.
    """
    base = repo.resolve(refs.branch(repo.db, repo.id, branch).name)
    if refs.find(repo.db, repo.id, "branch", control_branch) is not None:
        raise Refusal(RefusalCode.CONFLICT, f"the branch {control_branch} exists already")
    branching.create_branch(repo, control_branch, base.id, actor=author, now=now, reason="control of an experiment")
    variants: list[PreparedVariant] = []
    skipped: dict[str, str] = {}
    for proposal in proposals:
        repo.db.execute("SAVEPOINT variant")
        try:
            variant = _variant(repo, base, branch_prefix + proposal.name, proposal, author, now, meta)
            same = [v.name for v in variants if v.committed.commit.state_id == variant.committed.commit.state_id]
            if same or not variant.committed.changed:
                why = f"it does the same as {same[0]}" if same else "it changes nothing"
                raise Refusal(RefusalCode.REFUSED, why)
            variants.append(variant)
        except Refusal as refusal:
            repo.db.execute("ROLLBACK TO variant")
            skipped[proposal.name] = str(refusal)
        finally:
            repo.db.execute("RELEASE variant")
    return Prepared(base, tuple(variants), skipped)


def _variant(
    repo: Repository,
    base: CommitRow,
    branch: str,
    proposal: Proposal,
    author: str,
    now: datetime,
    meta: Mapping[str, Any],
) -> PreparedVariant:
    if refs.find(repo.db, repo.id, "branch", branch) is not None:
        raise Refusal(RefusalCode.CONFLICT, f"the branch {branch} exists already")
    branching.create_branch(repo, branch, base.id, actor=author, now=now, reason=proposal.description[:1000])
    message = f"{proposal.name}: {proposal.description}"[:250]
    facts = {"variant": proposal.name, **meta}
    done = committing.commit(repo, branch, proposal.changes, author=author, message=message, now=now, meta=facts)
    return PreparedVariant(proposal.name, proposal.description, done)


def _recalled(repo: Repository, branch: str, outcomes: Iterable[PastOutcome]) -> list[Memory]:
    """The memories of a branch that the outcomes recalled."""
    view = timeline.view_of(repo.db, repo.resolve(branch).place)
    names = sorted({memory_id for outcome in outcomes for memory_id in outcome.recalled_ids})
    found = timeline.visible_many(repo.db, view, names)
    held = versions.load_memories(repo.db, (slot.version for slot in found.values()))
    return [held[found[name].version] for name in names if name in found]
