"""Merging branches of an agent's memory, at once or over a while."""

from typing import Any

from pydantic import JsonValue

from thymos import requests as r
from thymos.memory_client.asking import Asking
from thymos.requests.memory.merging import NumberRule


class Merging(Asking):
    """What merges; see MemoryClient."""

    async def merge(
        self,
        source: str,
        target: str = "main",
        strategy: str = "Manual",
        *,
        dry_run: bool = False,
        keep: bool = False,
        reason: str = "",
        resolver: str | None = None,
        number_rules: dict[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> r.MergeAnswer:
        """Merge a branch into another. With `keep` conflicts are kept, to be resolved later; with AutoMerge always."""
        options: dict[str, Any] = {
            "source": source,
            "target": target,
            "strategy": strategy,
            "dry_run": dry_run,
            "keep": keep,
            "reason": reason,
            "by": self._author,
            "resolver": resolver,
            "number_rules": number_rules or {},
            "idempotency_key": idempotency_key,
        }
        return await self._ask(r.MergeAnswer, "merge", lambda: r.Merge.model_validate(options))

    async def merges(self) -> list[r.MergeSummary]:
        """The merges that are kept, the oldest first."""
        return (await self._ask(r.MergesAnswer, "merges", r.ListMerges)).merges

    async def show_merge(self, merge_id: str, limit: int = 100, after: str | None = None) -> r.KeptMergeAnswer:
        """One of them, with a page of what collides."""
        return await self._ask(
            r.KeptMergeAnswer, "merge_show", lambda: r.ShowMerge(merge_id=merge_id, limit=limit, after=after)
        )

    async def resolve(
        self,
        merge_id: str,
        memory_id: str,
        take: str,
        *,
        value: JsonValue = None,
        part: str | None = None,
        reason: str = "",
    ) -> r.MergeSummary:
        """Decide about a memory that collides, or one part of it: "ours", "theirs", "base", "delete", or "value"."""
        options: dict[str, Any] = {
            "merge_id": merge_id,
            "memory_id": memory_id,
            "take": take,
            "value": value,
            "part": part,
            "by": self._author,
            "reason": reason,
        }
        return await self._ask(r.MergeSummary, "merge_resolve", lambda: r.ResolveConflict.model_validate(options))

    async def continue_merge(self, merge_id: str, message: str = "") -> r.MergeAnswer:
        """Go on with a kept merge: merged once everything is decided."""
        return await self._ask(
            r.MergeAnswer,
            "merge_continue",
            lambda: r.ContinueMerge(merge_id=merge_id, by=self._author, message=message),
        )

    async def approve_merge(self, merge_id: str) -> r.MergeAnswer:
        """Approve what a model has decided about a merge into a protected branch."""
        return await self._ask(
            r.MergeAnswer, "merge_approve", lambda: r.ApproveMerge(merge_id=merge_id, by=self._author)
        )

    async def number_rules(self) -> dict[str, NumberRule]:
        """How numbers merge that both sides changed, by the path of their field."""
        return (await self._ask(r.NumberRulesAnswer, "number_rules", r.ReadNumberRules)).rules

    async def declare_number_rule(self, path: str, rule: NumberRule | None) -> dict[str, NumberRule]:
        """How the numbers of a field merge from now on; None takes the rule back. Returns all rules."""
        answer = await self._ask(r.NumberRulesAnswer, "number_rule", lambda: r.DeclareNumberRule(path=path, rule=rule))
        return answer.rules

    async def abort_merge(self, merge_id: str, reason: str = "") -> r.MergeSummary:
        """Keep a merge no longer."""
        return await self._ask(
            r.MergeSummary, "merge_abort", lambda: r.AbortMerge(merge_id=merge_id, by=self._author, reason=reason)
        )
