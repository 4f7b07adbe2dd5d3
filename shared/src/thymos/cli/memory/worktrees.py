"""Verbs of worktrees."""

from __future__ import annotations

from cyclopts import App

from thymos.cli.memory.asking import ask
from thymos.cli.memory.parameters import Agent
from thymos.cli.options import HERE, Json, Where
from thymos.cli.output import emit, short, table


def register(verbs: App) -> None:
    """Add the verbs to `thymos memory`."""
    worktrees = App(name="worktree", help="Worktrees of an agent's memory.")
    worktrees.default(worktree_list)
    worktrees.command(worktree_list, name="list")
    verbs.command(worktrees)


async def worktree_list(agent: Agent, /, *, json: Json = False, where: Where = HERE) -> None:
    """All worktrees of the memory, and how many changes are staged in each."""
    from thymos.requests import ListWorktrees, WorktreesAnswer

    answer = await ask(where, agent, "worktrees", ListWorktrees(), WorktreesAnswer)
    if json:
        emit(answer.worktrees)
        return
    table(
        ("worktree", "branch", "commit", "staged"),
        [(each.worktree_id, each.branch, short(each.commit), each.staged) for each in answer.worktrees],
        empty="no worktrees",
    )
