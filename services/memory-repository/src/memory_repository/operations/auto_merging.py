"""Merges that a model decides. The model is asked between two transactions, never within one: first what to ask, then
what came of it; whatever happened meanwhile, the answer counts only for the merge that it was asked about, as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from memory_repository.core.merge import MergeState
from memory_repository.core.model_merge import SCHEMA, InvalidAnswerError, Question, question_about, read_answer
from memory_repository.core.resolution import Resolution, Resolutions
from memory_repository.operations import kept_merges, open_merges
from memory_repository.operations.kept_merges import KeptMerge
from memory_repository.operations.merging import Merge
from memory_repository.storage import branch_rules
from memory_repository.storage import open_merges as rows
from memory_repository.storage.store import Repository
from thymos.errors import Refusal, RefusalCode
from thymos.llm import Model, ModelError

ROUNDS_MAX = 3
"""How often a model is asked about one merge, when the target moves on meanwhile and more collides."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a kept merge, as it was at that revision."""

    merge_id: str
    revision: int
    question: Question


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of an answer: merged (`merge`), or still kept (`kept`) and why; neither when it came too late."""

    merge: Merge | None = None
    kept: KeptMerge | None = None


def ask(repo: Repository, merge_id: str) -> Asked:
    """What a model is to be asked about a merge: what is still open in it.

    Raises:
        Refusal: not_found; too_large: it is for a person.
    """
    kept = kept_merges.find(repo, merge_id)
    found = kept_merges.collisions(repo, merge_id)
    decided = {each.contested.id: each.resolutions for each in found}
    return Asked(merge_id, kept.revision, question_about([each.contested for each in found if each.open], decided))


async def decided_by(model: Model, asked: Asked) -> dict[str, dict[str, Resolution]]:
    """What a model decides, by memory and part. Raises ModelError: no answer, or none to what was asked."""
    text = await model.complete(asked.question.prompt, SCHEMA)
    try:
        # On a thread: an answer may be long, and others wait for this loop.
        return await asyncio.to_thread(read_answer, asked.question, text, model.name)
    except InvalidAnswerError as error:
        raise ModelError(f"the answer of {model.name} is not valid: {error}") from error


def answer(
    repo: Repository,
    asked: Asked,
    decided: Mapping[str, Resolutions],
    *,
    model: str,
    now: datetime,
) -> Answered:
    """Take over a model's valid answer: the merge is made; or, where the target is protected, waits for approval."""
    row = rows.find(repo.db, repo.id, asked.merge_id)
    if row is None or row.revision != asked.revision or row.state != MergeState.AWAITING_MODEL:
        return Answered()
    open_merges.decide_by_model(repo, row, decided)
    rounds = int(row.meta["facts"].get("model_rounds", 0)) + 1
    facts = {**row.meta["facts"], "model": model, "prompt_digest": asked.question.digest, "model_rounds": rounds}
    row = replace(row, state=MergeState.OPEN, meta={**row.meta, "facts": facts})
    if branch_rules.is_protected(repo.db, repo.id, row.target):
        reason = f"{row.target} is protected: somebody has to look at what {model} decided, and approve"
        return Answered(kept=open_merges.changed(repo, replace(row, state=MergeState.AWAITING_APPROVAL, reason=reason)))
    open_merges.changed(repo, row)
    done = open_merges.continue_merge(repo, row.id, author=row.author, now=now)
    if not done.open:
        return Answered(merge=done)
    if rounds >= ROUNDS_MAX:
        said = f"{row.target} moved on while {model} was asked, {rounds} times"
        return Answered(kept=_waiting(repo, row.id, MergeState.OPEN, said))
    said = f"more collides: {row.target} moved on"
    return Answered(kept=_waiting(repo, row.id, MergeState.AWAITING_MODEL, said))


def fall_back(repo: Repository, asked: Asked, reason: str) -> KeptMerge | None:
    """Leave a merge to a person, and say why; None when it waits for no model any more."""
    row = rows.find(repo.db, repo.id, asked.merge_id)
    if row is None or row.revision != asked.revision:
        return None
    return leave_to_person(repo, row.id, reason)


def leave_to_person(repo: Repository, merge_id: str, reason: str) -> KeptMerge | None:
    """The same for a merge that no model could be asked about."""
    row = rows.find(repo.db, repo.id, merge_id)
    if row is None or row.state != MergeState.AWAITING_MODEL:
        return None
    return _waiting(repo, row.id, MergeState.OPEN, reason)


def _waiting(repo: Repository, merge_id: str, state: MergeState, reason: str) -> KeptMerge:
    row = rows.find(repo.db, repo.id, merge_id)
    if row is None:
        raise Refusal(RefusalCode.NOT_FOUND, f"no merge is kept as {merge_id}")
    return open_merges.changed(repo, replace(row, state=state, reason=reason[:1000]))
