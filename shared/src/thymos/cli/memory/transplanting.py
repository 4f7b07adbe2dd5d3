"""Verbs that bring changes to where they were not made: cherry-pick, revert, rebase."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from thymos.cli.memory.asking import ask, key
from thymos.cli.memory.parameters import Agent, Author, Message, RefName, Why
from thymos.cli.memory.printing import print_commit
from thymos.cli.options import HERE, Json, Where, me
from thymos.cli.output import count, emit, say, short

Favour = Literal["Ours", "Theirs", "Manual"]


def register(verbs: App) -> None:
    """Add the verbs to `thymos memory`."""
    verbs.command(cherry_pick, name="cherry-pick")
    verbs.command(revert, name="revert")
    verbs.command(rebase, name="rebase")


async def cherry_pick(
    agent: Agent,
    commit: RefName,
    /,
    *,
    branch: str = "main",
    message: Message = "",
    author: Author | None = None,
    strategy: Favour = "Manual",
    mainline: int = 1,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Make the changes of one commit once more, on a branch. What collides changes nothing, and exits 5.

    Parameters
    ----------
    branch
        Where.
    strategy
        Which side wins what collides.
    mainline
        Of a merge, the parent against which its changes are taken.
    """
    from thymos.requests import CherryPick, CommitAnswer

    request = CherryPick(
        commit=commit,
        branch=branch,
        author=author or me(),
        message=message,
        strategy=strategy,
        mainline=mainline,
        idempotency_key=key(),
    )
    print_commit(await ask(where, agent, "cherry_pick", request, CommitAnswer), json)


async def revert(
    agent: Agent,
    commit: RefName,
    /,
    *,
    branch: str = "main",
    reason: Why = "",
    author: Author | None = None,
    strategy: Favour = "Manual",
    mainline: int = 1,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Take the changes of one commit back, and of none after it. What collides changes nothing, and exits 5.

    Parameters
    ----------
    branch
        Where.
    strategy
        Which side wins what collides.
    mainline
        Of a merge, the parent to go back to.
    """
    from thymos.requests import CommitAnswer, Revert

    request = Revert(
        commit=commit,
        branch=branch,
        author=author or me(),
        reason=reason,
        strategy=strategy,
        mainline=mainline,
        idempotency_key=key(),
    )
    print_commit(await ask(where, agent, "revert", request, CommitAnswer), json)


async def rebase(
    agent: Agent,
    branch: str,
    onto: RefName = "main",
    /,
    *,
    reason: Why = "",
    author: Author | None = None,
    strategy: Favour = "Manual",
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Make the commits of a branch once more, on top of another. What collides changes nothing, and exits 5.

    Parameters
    ----------
    branch
        Which branch; not main, whose history is not rewritten.
    strategy
        Which side wins what collides.
    """
    from thymos.requests import Rebase, RebaseAnswer

    request = Rebase(
        branch=branch, onto=onto, author=author or me(), reason=reason, strategy=strategy, idempotency_key=key()
    )
    answer = await ask(where, agent, "rebase", request, RebaseAnswer)
    if json:
        emit(answer)
    elif answer.commit == answer.previous_commit:
        say(f"{branch} stands on {short(answer.onto)} already")
    else:
        dropped = f", {len(answer.dropped)} dropped: they change nothing any more" if answer.dropped else ""
        replayed = answer.replayed_count or len(answer.replayed)
        said = f"{count(replayed, 'commit')} made anew on {short(answer.onto)}{dropped}"
        say(f"{branch} at {short(answer.commit)}: {said}; before {short(answer.previous_commit)}")
