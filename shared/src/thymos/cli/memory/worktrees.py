"""Verbs of worktrees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from thymos.cli.memory.asking import ask, key
from thymos.cli.memory.changes import read_changes
from thymos.cli.memory.parameters import After, Agent, Author, Message, Switch
from thymos.cli.memory.printing import print_commit, say_more, shortened
from thymos.cli.options import HERE, Json, Where, me
from thymos.cli.output import count, emit, say, short, table

if TYPE_CHECKING:
    from thymos.requests import WorktreeAnswer


def register(verbs: App) -> None:
    """Add the verbs to `thymos memory`."""
    worktrees = App(name="worktree", help="Worktrees of an agent's memory.")
    worktrees.default(worktree_list)
    for verb in (worktree_list, worktree_open, worktree_stage, worktree_show, worktree_commit, worktree_close):
        worktrees.command(verb, name=verb.__name__.removeprefix("worktree_"))
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


async def worktree_open(
    agent: Agent,
    worktree: str,
    /,
    *,
    branch: str = "main",
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Open a worktree: changes that nobody else sees until they are committed.

    Parameters
    ----------
    worktree
        Its id: any name.
    branch
        On this branch's head.
    """
    from thymos.requests import OpenWorktree, WorktreeAnswer

    request = OpenWorktree(worktree_id=worktree, branch=branch, by=me(), idempotency_key=key())
    _print_worktree(await ask(where, agent, "worktree_open", request, WorktreeAnswer), json)


async def worktree_stage(
    agent: Agent,
    worktree: str,
    source: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    /,
    *,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Stage changes: JSON lines as `thymos memory commit` takes them.

    Parameters
    ----------
    worktree
        Its id.
    source
        The file, or - for standard input.
    """
    from thymos.requests import StageChanges, WorktreeAnswer

    read = await read_changes(source, "staged")
    request = StageChanges(worktree_id=worktree, changes=read.changes, idempotency_key=key())
    with read.asked():
        _print_worktree(await ask(where, agent, "worktree_stage", request, WorktreeAnswer), json)


async def worktree_show(
    agent: Agent, worktree: str, /, *, after: After = None, json: Json = False, where: Where = HERE
) -> None:
    """What is staged in a worktree.

    Parameters
    ----------
    worktree
        Its id.
    """
    from thymos.requests import ReadStaged, StagedAnswer

    answer = await ask(where, agent, "staged", ReadStaged(worktree_id=worktree, after=after), StagedAnswer)
    if json:
        emit(answer)
        return
    rows = [(each.id, "(deleted)" if each.memory is None else shortened(each.memory.content)) for each in answer.staged]
    table(("memory", "content"), rows, empty="nothing is staged")
    say_more(answer.next_after, worktree)


async def worktree_commit(
    agent: Agent,
    worktree: str,
    /,
    *,
    message: Message = "",
    author: Author | None = None,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Commit what is staged to the worktree's branch; what collides stays staged, and exits 5.

    Parameters
    ----------
    worktree
        Its id.
    """
    from thymos.requests import CommitAnswer, CommitWorktree

    request = CommitWorktree(worktree_id=worktree, author=author or me(), message=message, idempotency_key=key())
    print_commit(await ask(where, agent, "worktree_commit", request, CommitAnswer), json)


async def worktree_close(
    agent: Agent, worktree: str, /, *, force: Switch = False, json: Json = False, where: Where = HERE
) -> None:
    """Close a worktree.

    Parameters
    ----------
    worktree
        Its id.
    force
        Even if changes are staged, which are lost.
    """
    from thymos.requests import CloseWorktree, WorktreeAnswer

    request = CloseWorktree(worktree_id=worktree, force=force, idempotency_key=key())
    answer = await ask(where, agent, "worktree_close", request, WorktreeAnswer)
    if json:
        emit(answer)
    else:
        say(f"{answer.worktree_id} is closed" + (f"; {count(answer.staged, 'change')} lost" if answer.staged else ""))


def _print_worktree(answer: WorktreeAnswer, json: bool) -> None:
    if json:
        emit(answer)
    else:
        staged = count(answer.staged, "change")
        say(f"{answer.worktree_id} on {answer.branch} at {short(answer.commit)}: {staged} staged")
