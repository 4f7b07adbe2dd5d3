"""Verbs that change a branch. Each request is named once, so that a retry has its effect once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from thymos.cli.exit_codes import UsageError
from thymos.cli.memory.asking import ask, key
from thymos.cli.memory.changes import read_changes
from thymos.cli.memory.parameters import Agent, Author, Message, RefName, Why, named_values
from thymos.cli.memory.printing import print_commit
from thymos.cli.options import HERE, Json, Where, me

if TYPE_CHECKING:
    from thymos.commands import MemoryChange


def register(verbs: App) -> None:
    """Add the verbs to `thymos memory`."""
    for verb in (put, delete, commit, rollback):
        verbs.command(verb, name=verb.__name__)


async def put(
    agent: Agent,
    memory: str,
    content: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    kind: str | None = None,
    field: Annotated[list[str] | None, Parameter(negative=())] = None,
    branch: str = "main",
    message: Message | None = None,
    author: Author | None = None,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Write one memory, new or not, as a commit of its own. It replaces all of it: content, kind and fields.

    Parameters
    ----------
    memory
        The memory's id.
    content
        What it says; - reads standard input.
    kind
        What kind of memory it is.
    field
        A field, as name=value; a value that is JSON is taken as such. Repeat it for several.
    branch
        Where to commit.
    """
    from thymos.commands import MemoryChange

    text = _standard_input() if content == "-" else content
    if text is None:
        raise UsageError("say what the memory holds: CONTENT, or - to read it from standard input")
    change = MemoryChange(
        op="put", id=memory, content=text, kind=kind, fields=named_values("--field", field or []) or None
    )
    await _commit(where, agent, branch, [change], message or f"put {memory}", author, None, json)


async def delete(
    agent: Agent,
    memory: str,
    /,
    *,
    branch: str = "main",
    message: Message | None = None,
    author: Author | None = None,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Delete one memory, as a commit of its own.

    Parameters
    ----------
    memory
        The memory's id.
    branch
        Where to commit.
    """
    from thymos.commands import MemoryChange

    change = MemoryChange(op="delete", id=memory)
    await _commit(where, agent, branch, [change], message or f"delete {memory}", author, None, json)


async def commit(
    agent: Agent,
    source: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    /,
    *,
    branch: str = "main",
    message: Message = "",
    author: Author | None = None,
    expected_head: str | None = None,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Commit changes: JSON lines of {"op": "put", "modify" or "delete", "id", "content", "kind", "fields"}.

    A put replaces all of a memory; a modify leaves what it does not name, and sets fields one by one.

    Parameters
    ----------
    source
        The file, or - for standard input.
    branch
        Where to commit.
    expected_head
        The id of the commit that the changes were made on: if the branch has moved since, they are rebased, or refused
        (exit 5) when they collide.
    """
    read = await read_changes(source, "committed")
    with read.asked():
        await _commit(where, agent, branch, read.changes, message, author, expected_head, json)


async def rollback(
    agent: Agent,
    to: RefName,
    /,
    *,
    branch: str = "main",
    reason: Why = "",
    author: Author | None = None,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Bring a branch back to the state of a commit, by a revert commit: history stays.

    Parameters
    ----------
    branch
        The branch to bring back.
    """
    from thymos.requests import CommitAnswer, Rollback

    request = Rollback(branch=branch, to=to, author=author or me(), reason=reason, idempotency_key=key())
    print_commit(await ask(where, agent, "rollback", request, CommitAnswer), json)


async def _commit(
    where: Where,
    agent: Agent,
    branch: str,
    changes: list[MemoryChange],
    message: str,
    author: Author | None,
    expected_head: str | None,
    json: bool,
) -> None:
    from thymos.requests import CommitAnswer, CommitChanges

    request = CommitChanges(
        branch=branch,
        changes=changes,
        author=author or me(),
        message=message,
        expected_head=expected_head,
        idempotency_key=key(),
    )
    print_commit(await ask(where, agent, "commit", request, CommitAnswer), json)


def _standard_input() -> str:
    import sys

    return sys.stdin.read()
