"""Merges that are ordered over the bus, by command or request: carried out, kept where they must wait, announced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from memory_repository import announcing, resolvers
from memory_repository.core.limits import invalid
from memory_repository.core.merge import MergeState, Strategy
from memory_repository.operations import kept_merges, merging, open_merges
from memory_repository.operations.kept_merges import KeptMerge
from memory_repository.operations.merging import Merge
from memory_repository.operations.open_merges import Wanted
from memory_repository.storage.store import Repository
from thymos import commands
from thymos.errors import Refusal, RefusalCode
from thymos.unit_of_work import Transaction

NO_MODEL = "no model is configured ([llm] of thymos.toml)"
FACT_CHARACTERS = 1000


@dataclass(frozen=True)
class Order:
    """A merge as ordered; a command is answered by an event in any case, a request only where something happened."""

    command: commands.MergeBranch
    by: str
    message: str = ""
    number_rules: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False
    is_command: bool = True


def carry_out(tx: Transaction, repo: Repository, order: Order, *, asks_model: bool) -> tuple[Merge, str]:
    """Merge, or keep what cannot be merged now. Returns what came of it, and why it waits. Raises Refusal."""
    command, strategy = order.command, Strategy(order.command.strategy)
    if command.resolver is not None and strategy is not Strategy.CUSTOM:
        raise invalid("a resolver is for the strategy Custom")
    before = kept_merges.of_pair(repo, command.source, command.target)
    done = merging.merge(
        repo,
        command.source,
        command.target,
        strategy,
        author=order.by,
        now=tx.now,
        message=order.message,
        resolver=None if command.resolver is None else resolvers.named(command.resolver),
        number_rules=order.number_rules,
        dry_run=order.dry_run,
        meta=_facts(order),
    )
    if order.dry_run:
        return done, ""
    if not done.open:
        if before is not None and done.merge_id == before.id:
            announcing.publish_aborted(tx, before, order.by, "its source was merged otherwise")
        if order.is_command or done.changed:
            announcing.publish_merge(tx, repo, command, done)
        return done, ""
    return _waits(tx, repo, order, done, asks_model)


def _waits(tx: Transaction, repo: Repository, order: Order, done: Merge, asks_model: bool) -> tuple[Merge, str]:
    command = order.command
    auto = Strategy(command.strategy) is Strategy.AUTO_MERGE
    if not (command.keep or auto):
        if order.is_command:
            announcing.publish_conflicts(tx, command, done, None)
        return done, ""
    conflicts = sum(len(collision.open) for collision in done.collisions)
    state = MergeState.AWAITING_MODEL if auto and asks_model else MergeState.OPEN
    said = kept_merges.waiting(conflicts, "a model" if state is MergeState.AWAITING_MODEL else "decisions")
    reason = f"{said}: {NO_MODEL}" if auto and not asks_model else said
    wanted = Wanted(
        command.source,
        command.target,
        Strategy(command.strategy),
        order.by,
        order.message,
        order.number_rules,
        facts=_facts(order),
        cause=_cause(tx, order),
    )
    try:
        with tx.part():
            kept = open_merges.keep(
                repo, done, wanted, merge_id=f"merge-{tx.new_id()[-12:]}", state=state, reason=reason, now=tx.now
            )
    except Refusal as refusal:
        if refusal.code is not RefusalCode.TOO_LARGE or not order.is_command:
            raise
        announcing.publish_conflicts(tx, command, done, None, f"not kept: {refusal}"[:4096])
        return done, str(refusal)
    if state is MergeState.AWAITING_MODEL:
        announcing.publish_opened(tx, kept)
    else:
        announcing.publish_conflicts(tx, command, done, kept)
    return replace(done, merge_id=kept.id, state=kept.state), kept.reason


def announce(tx: Transaction, repo: Repository, kept: KeptMerge, done: Merge, by: str) -> None:
    """Say what became of a kept merge that was continued: merged, or still waiting."""
    command = command_of(kept)
    if done.open:
        announcing.publish_conflicts(tx, command, done, kept_merges.find(repo, kept.id))
    elif done.changed or kept.meta["cause"].get("is_command"):
        announcing.publish_merge(tx, repo, command, done)
    else:
        announcing.publish_aborted(tx, kept, by, "there is nothing left to merge")


def command_of(kept: KeptMerge) -> commands.MergeBranch:
    """The command that a kept merge was, or could have been, ordered by."""
    facts = kept.meta["facts"]
    return commands.MergeBranch(
        source=kept.source,
        target=kept.target,
        strategy=kept.strategy.value,
        experiment_id=facts.get("experiment_id"),
        reason=kept.meta["cause"].get("reason", ""),
        evidence=kept.meta["cause"].get("evidence", {}),
    )


def _facts(order: Order) -> dict[str, Any]:
    facts = {"experiment_id": order.command.experiment_id, "reason": order.command.reason[:FACT_CHARACTERS]}
    return {name: value for name, value in facts.items() if value}


def _cause(tx: Transaction, order: Order) -> dict[str, Any]:
    """What events later on say that they answer to."""
    return {
        "is_command": order.is_command,
        "message_id": tx.cause.message_id,
        "correlation_id": tx.cause.correlation_id,
        "traceparent": tx.cause.traceparent,
        "reason": order.command.reason,
        "evidence": order.command.evidence,
    }
