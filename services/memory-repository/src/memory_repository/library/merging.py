"""Merging branches, at once or over a while."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from memory_repository.core.limits import check_author, check_callable, check_choice, check_is, check_name, invalid
from memory_repository.core.memory import Memory
from memory_repository.core.merge import Conflict, MergeState, Strategy
from memory_repository.core.number_rules import NumberRule
from memory_repository.core.resolution import Resolution, Take
from memory_repository.library.opening import OpenRepository
from memory_repository.operations import auto_merging, declaring, kept_merges, merge_plan, merging, open_merges
from memory_repository.operations.auto_merging import Answered, Asked
from memory_repository.operations.declaring import Protection
from memory_repository.operations.kept_merges import KeptMerge
from memory_repository.operations.merge_plan import Collision
from memory_repository.operations.merging import Merge
from memory_repository.operations.open_merges import Wanted
from memory_repository.storage.store import MAIN
from thymos.errors import Refusal
from thymos.llm import Model, ModelError

Resolver = Callable[[Conflict], Resolution | None]
"""Decides one conflict, or leaves it open. Called within the merge's transaction: it must not use the repository."""
RESOLVER = "resolver"
"""Who decides, where a resolver does not say."""


class Merging(OpenRepository):
    """What merges; see MemoryRepository."""

    def merge(
        self,
        source: str,
        target: str = MAIN,
        strategy: Strategy | str = Strategy.MANUAL,
        *,
        message: str = "",
        resolutions: Mapping[str, Memory | None] | None = None,
        resolver: Resolver | None = None,
        model: Model | None = None,
        number_rules: Mapping[str, str] | None = None,
        dry_run: bool = False,
        keep: bool = False,
    ) -> Merge:
        """Merge `source` into the branch `target`; conflicts that nobody decides are returned and change nothing.

        Args:
            source: what is merged, any ref.
            target: the branch that moves.
            strategy: what happens to conflicts; see Strategy.
            message: why.
            resolutions: what conflicting memories shall be (None = deleted).
            resolver: with Custom, decides conflicts.
            model: with AutoMerge, is asked about conflicts, outside of any transaction; what it does not decide
                validly is kept for a person, and so is everything on a protected branch. Not from an event loop's
                own thread: use `asyncio.to_thread`.
            number_rules: how numbers merge, by the path of their field: "sum", "max" or "min".
            dry_run: only say what would happen.
            keep: keep a merge whose conflicts are open, to be resolved later; `merge_id` of the result names it.
        """
        strategy = check_choice("strategy", Strategy, strategy)
        if resolver is not None and strategy is not Strategy.CUSTOM:
            raise invalid("a resolver is for the strategy Custom")
        if model is not None and strategy is not Strategy.AUTO_MERGE:
            raise invalid("a model is for the strategy AutoMerge")
        if model is not None:
            check_callable("`complete` of the model", getattr(model, "complete", None))
        if resolutions is not None:
            _check_resolutions(resolutions)
        wanted = Wanted(source, target, strategy, self._author, message, number_rules)
        with self._writing() as (repo, now):
            done = merging.merge(
                repo,
                source,
                target,
                strategy,
                author=self._author,
                now=now,
                message=message,
                resolutions=resolutions,
                resolver=None if resolver is None else merge_plan.by_conflict(_checked(resolver), RESOLVER),
                number_rules=number_rules,
                dry_run=dry_run,
            )
            if not done.open or dry_run or not (keep or model):
                return done
            state = MergeState.AWAITING_MODEL if model else MergeState.OPEN
            reason = kept_merges.waiting(len(done.conflicts))
            kept = open_merges.keep(repo, done, wanted, merge_id=new_merge_id(), state=state, reason=reason, now=now)
        done = replace(done, merge_id=kept.id, state=kept.state)
        return done if model is None else self._ask(done, kept.id, model)

    def merges(self) -> list[KeptMerge]:
        """The merges that are kept, the oldest first."""
        with self._reading() as repo:
            return kept_merges.every(repo)

    def kept_merge(self, merge_id: str) -> KeptMerge:
        """One of them."""
        with self._reading() as repo:
            return kept_merges.find(repo, merge_id)

    def collisions(self, merge_id: str, limit: int = 1_000, after: str = "") -> list[Collision]:
        """What collides in a kept merge, by memory, and what was decided about it."""
        with self._reading() as repo:
            return kept_merges.collisions(repo, merge_id, limit, after)

    def resolve_conflict(
        self,
        merge_id: str,
        memory_id: str,
        take: Take | str,
        *,
        value: Any = None,
        part: str | None = None,
        reason: str = "",
        by: str | None = None,
    ) -> KeptMerge:
        """Decide about a memory of a kept merge: "ours", "theirs", "base", "delete", or "value" with a value.

        With `part` (`Conflict.part`) only about that part of it. What did not collide stays merged in any case.
        """
        if not isinstance(take, str) or take not in set(Take):
            raise invalid(f"{take!r:.40} is nothing to take", f"take {', '.join(Take)}")
        if part is not None:
            check_name("part", part)
        decided = Resolution(Take(take), value, self._by(by), reason)
        with self._writing() as (repo, _):
            return open_merges.resolve(repo, merge_id, memory_id, decided, part=part)

    def continue_merge(self, merge_id: str, *, message: str = "", author: str | None = None) -> Merge:
        """Go on with a kept merge against the head that the target has now: merged once everything is decided."""
        with self._writing() as (repo, now):
            return open_merges.continue_merge(repo, merge_id, author=self._by(author), now=now, message=message)

    def approve_merge(self, merge_id: str, by: str) -> Merge:
        """Approve what a model has decided about a merge into a protected branch, and go on with it."""
        check_author(by)
        with self._writing() as (repo, now):
            return open_merges.continue_merge(repo, merge_id, author=by, now=now, approved_by=by)

    def abort_merge(self, merge_id: str) -> KeptMerge:
        """Keep a merge no longer; no branch is changed."""
        with self._writing() as (repo, _):
            return open_merges.abort(repo, merge_id)

    def protect_branch(self, branch: str, *, reason: str = "") -> Protection:
        """Protect a branch: it is not deleted, and no model merges into it without a person's approval."""
        with self._writing() as (repo, now):
            return declaring.protect(repo, branch, actor=self._author, now=now, reason=reason)

    def unprotect_branch(self, branch: str) -> Protection:
        """Protect a branch no longer."""
        with self._writing() as (repo, _):
            return declaring.unprotect(repo, branch)

    def number_rules(self) -> dict[str, NumberRule]:
        """How numbers merge, by the path of their field."""
        with self._reading() as repo:
            return declaring.number_rules(repo)

    def declare_number_rule(self, path: str, rule: NumberRule | str | None) -> dict[str, NumberRule]:
        """Declare how the numbers of a field merge, or None: they collide. Returns all rules."""
        with self._writing() as (repo, _):
            return declaring.declare_number_rule(repo, path, rule)

    def _ask(self, done: Merge, merge_id: str, model: Model) -> Merge:
        """Ask until the merge is made or left to a person. Each question stands between two transactions."""
        while True:
            result = self._answered(merge_id, model)
            if result.merge is not None:
                return result.merge
            if result.kept is None or result.kept.state is not MergeState.AWAITING_MODEL:
                return replace(done, state=None if result.kept is None else result.kept.state)

    def _answered(self, merge_id: str, model: Model) -> Answered:
        try:
            with self._reading() as repo:
                asked = auto_merging.ask(repo, merge_id)
        except Refusal as refusal:
            return self._left(merge_id, str(refusal))
        try:
            decided = asyncio.run(auto_merging.decided_by(model, asked))
        except ModelError as error:
            return self._left(merge_id, f"{error}", asked)
        with self._writing() as (repo, now):
            return auto_merging.answer(repo, asked, decided, model=model.name, now=now)

    def _left(self, merge_id: str, reason: str, asked: Asked | None = None) -> Answered:
        with self._writing() as (repo, _):
            if asked is None:
                return Answered(kept=auto_merging.leave_to_person(repo, merge_id, reason))
            return Answered(kept=auto_merging.fall_back(repo, asked, reason))


def _check_resolutions(resolutions: Mapping[str, Memory | None]) -> None:
    """Refuse (invalid) what does not say what memories shall be."""
    check_is("the set of resolutions", Mapping, resolutions)
    for memory in resolutions.values():
        if memory is not None:
            check_is("what a conflicting memory shall be", Memory, memory)


def _checked(resolver: Resolver) -> Resolver:
    """The same resolver; what it returns that is no decision is refused (invalid)."""
    check_callable("the resolver", resolver)

    def resolve(conflict: Conflict) -> Resolution | None:
        decided = resolver(conflict)
        if decided is not None:
            check_is("what the resolver has decided", Resolution, decided)
            check_choice("thing to take", Take, decided.take)
        return decided

    return resolve


def new_merge_id() -> str:
    """A new id for a kept merge: short, as people type it."""
    return f"merge-{secrets.token_hex(6)}"
