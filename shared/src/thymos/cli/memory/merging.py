"""Verbs that bring one branch into another."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from thymos.cli.exit_codes import CONFLICT, DONE
from thymos.cli.memory.asking import ask, key
from thymos.cli.memory.parameters import Agent, Switch, Why
from thymos.cli.options import HERE, Json, Where
from thymos.cli.output import cell, count, emit, say, short, table


def register(verbs: App) -> None:
    """Add the verbs to `thymos memory`."""
    verbs.command(merge, name="merge")


async def merge(
    agent: Agent,
    source: str,
    target: str = "main",
    /,
    *,
    strategy: Literal["Ours", "Theirs", "Manual", "AutoMerge"] = "Manual",
    dry_run: Switch = False,
    reason: Why = "",
    json: Json = False,
    where: Where = HERE,
) -> int:
    """Merge a branch into another. Conflicts are shown, change nothing, and exit 5.

    Parameters
    ----------
    source
        The branch that is merged.
    target
        The branch that it is merged into.
    strategy
        How what collides is settled: by the target's side, the source's side, or a person.
    dry_run
        Only say what would be.
    """
    from thymos.requests import Merge, MergeAnswer

    request = Merge(
        source=source, target=target, strategy=strategy, dry_run=dry_run, reason=reason, idempotency_key=key()
    )
    answer = await ask(where, agent, "merge", request, MergeAnswer)
    conflicting = answer.result == "conflicts"
    if json:
        emit(answer)
    elif conflicting:
        table(
            ("memory", "kind", "field", "base", target, source),
            [(c.memory_id, c.kind, c.field, cell(c.base), cell(c.ours), cell(c.theirs)) for c in answer.conflicts],
        )
        say(f"{count(len(answer.conflicts), 'conflict')}, nothing was changed; --strategy Ours or Theirs settles them")
    elif answer.result == "unchanged":
        say(f"nothing to merge: {target} has all of {source}")
    else:
        what = count(answer.changes, "change")
        say(f"{source} would bring {what} to {target}" if dry_run
            else f"{source} merged into {target}: {what}, {target} at {short(answer.commit)}")  # fmt: skip
    return CONFLICT if conflicting else DONE
