"""Verbs of names for commits: branches and snapshots."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from thymos.cli.memory.asking import ask, key
from thymos.cli.memory.parameters import Agent, RefName, Switch, Why
from thymos.cli.options import HERE, Json, Where
from thymos.cli.output import emit, say, short, table


def register(verbs: App) -> None:
    """Add the verbs to `thymos memory`."""
    branches = App(name="branch", help="Branches of an agent's memory.")
    branches.default(branch_list)
    branches.command(branch_list, name="list")
    branches.command(branch_create, name="create")
    branches.command(branch_delete, name="delete")
    verbs.command(branches)
    verbs.command(snapshot, name="snapshot")


async def branch_list(agent: Agent, /, *, json: Json = False, where: Where = HERE) -> None:
    """All branches and their heads."""
    from thymos.requests import BranchesAnswer, ListBranches

    answer = await ask(where, agent, "branches", ListBranches(), BranchesAnswer)
    if json:
        emit(answer.branches)
        return
    table(("branch", "commit"), [(each.branch, short(each.commit)) for each in answer.branches])


async def branch_create(
    agent: Agent,
    name: str,
    /,
    *,
    from_ref: Annotated[str, Parameter(name="--from")] = "main",
    reason: Why = "",
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Begin a branch.

    Parameters
    ----------
    name
        Of the branch.
    from_ref
        Where it begins: a branch, a commit, a snapshot, or <branch>~<n>.
    """
    from thymos.requests import BranchAnswer, NewBranch

    request = NewBranch(branch=name, from_ref=from_ref, reason=reason, idempotency_key=key())
    answer = await ask(where, agent, "branch_create", request, BranchAnswer)
    if json:
        emit(answer)
    else:
        say(f"{answer.branch} begins at {short(answer.commit)}")


async def branch_delete(
    agent: Agent,
    name: str,
    /,
    *,
    force: Switch = False,
    reason: Why = "",
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Delete a branch.

    Parameters
    ----------
    name
        Of the branch.
    force
        Even if it holds commits that are nowhere else.
    """
    from thymos.requests import BranchAnswer, RemoveBranch

    request = RemoveBranch(branch=name, force=force, reason=reason, idempotency_key=key())
    answer = await ask(where, agent, "branch_delete", request, BranchAnswer)
    if json:
        emit(answer)
    else:
        say(f"{answer.branch} is deleted; it was at {short(answer.commit)}")


async def snapshot(
    agent: Agent, ref: RefName = "main", /, *, reason: Why = "", json: Json = False, where: Where = HERE
) -> None:
    """Keep a state of memory under a name."""
    from thymos.requests import Snapshot, SnapshotAnswer

    request = Snapshot(ref=ref, reason=reason, idempotency_key=key())
    answer = await ask(where, agent, "snapshot", request, SnapshotAnswer)
    if json:
        emit(answer)
    else:
        say(f"{answer.snapshot_id} keeps {short(answer.commit)}")
