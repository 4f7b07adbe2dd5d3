"""The verbs of `thymos memory` that change something. Each is named once, so that a retry has its effect once."""

from __future__ import annotations

import json as json_format
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from thymos.cli.exit_codes import CONFLICT, DONE, UsageError
from thymos.cli.memory_service import ask
from thymos.cli.options import HERE, Json, Where, me
from thymos.cli.output import cell, count, emit, say, short, table

if TYPE_CHECKING:
    from thymos.commands import MemoryChange
    from thymos.requests import CommitAnswer

Switch = Annotated[bool, Parameter(negative=(), show_default=False)]


def register(verbs: App, branches: App) -> None:
    """Add the verbs to `memory` and to `memory branch`."""
    for verb in (put, delete, commit, merge, rollback, snapshot):
        verbs.command(verb, name=verb.__name__)
    branches.command(branch_create, name="create")
    branches.command(branch_delete, name="delete")


async def put(
    agent: str,
    memory: str,
    content: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    kind: str | None = None,
    field: Annotated[list[str] | None, Parameter(negative=())] = None,
    branch: str = "main",
    message: str | None = None,
    author: str | None = None,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Write one memory, new or not, as a commit of its own.

    Parameters
    ----------
    agent
        The agent's name.
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
    message
        Of the commit.
    author
        Of the commit [default: you].
    """
    from thymos.commands import MemoryChange

    text = _standard_input() if content == "-" else content
    if text is None:
        raise UsageError("say what the memory holds: CONTENT, or - to read it from standard input")
    change = MemoryChange(op="put", id=memory, content=text, kind=kind, fields=_fields(field or []))
    await _commit(where, agent, branch, [change], message or f"put {memory}", author, None, json)


async def delete(
    agent: str,
    memory: str,
    /,
    *,
    branch: str = "main",
    message: str | None = None,
    author: str | None = None,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Delete one memory, as a commit of its own.

    Parameters
    ----------
    agent
        The agent's name.
    memory
        The memory's id.
    branch
        Where to commit.
    message
        Of the commit.
    author
        Of the commit [default: you].
    """
    from thymos.commands import MemoryChange

    change = MemoryChange(op="delete", id=memory)
    await _commit(where, agent, branch, [change], message or f"delete {memory}", author, None, json)


async def commit(
    agent: str,
    source: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    /,
    *,
    branch: str = "main",
    message: str = "",
    author: str | None = None,
    expected_head: str | None = None,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Commit changes: JSON lines of {"op": "put", "modify" or "delete", "id", "content", "kind", "fields"}.

    Parameters
    ----------
    agent
        The agent's name.
    source
        The file, or - for standard input.
    branch
        Where to commit.
    message
        Of the commit.
    author
        Of the commit [default: you].
    expected_head
        The commit that the changes were made on: if the branch has moved since, they are rebased, or refused (exit 5)
        when they collide.
    """
    changes = await _changes(source)
    await _commit(where, agent, branch, changes, message, author, expected_head, json)


async def merge(
    agent: str,
    source: str,
    target: str = "main",
    /,
    *,
    strategy: Literal["Ours", "Theirs", "Manual", "AutoMerge"] = "Manual",
    dry_run: Switch = False,
    reason: str = "",
    json: Json = False,
    where: Where = HERE,
) -> int:
    """Merge a branch into another. Conflicts are shown, change nothing, and exit 5.

    Parameters
    ----------
    agent
        The agent's name.
    source
        The branch that is merged.
    target
        The branch that it is merged into.
    strategy
        How what collides is settled: by the target's side, the source's side, or a person.
    dry_run
        Only say what would be.
    reason
        Why, for the record.
    """
    from thymos.requests import Merge, MergeAnswer

    request = Merge(
        source=source, target=target, strategy=strategy, dry_run=dry_run, reason=reason, idempotency_key=_key()
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


async def rollback(
    agent: str,
    to: str,
    /,
    *,
    branch: str = "main",
    reason: str = "",
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Bring a branch back to the state of a commit, by a revert commit: history stays.

    Parameters
    ----------
    agent
        The agent's name.
    to
        A commit, a snapshot, or <branch>~<n>.
    branch
        The branch to bring back.
    reason
        Why, for the record.
    """
    from thymos.requests import CommitAnswer, Rollback

    request = Rollback(branch=branch, to=to, reason=reason, idempotency_key=_key())
    _print_commit(await ask(where, agent, "rollback", request, CommitAnswer), json)


async def snapshot(
    agent: str, ref: str = "main", /, *, reason: str = "", json: Json = False, where: Where = HERE
) -> None:
    """Keep a state of memory under a name.

    Parameters
    ----------
    agent
        The agent's name.
    ref
        A branch, a commit, or <branch>~<n>.
    reason
        Why, for the record.
    """
    from thymos.requests import Snapshot, SnapshotAnswer

    request = Snapshot(ref=ref, reason=reason, idempotency_key=_key())
    answer = await ask(where, agent, "snapshot", request, SnapshotAnswer)
    if json:
        emit(answer)
    else:
        say(f"{answer.snapshot_id} keeps {short(answer.commit)}")


async def branch_create(
    agent: str,
    name: str,
    /,
    *,
    from_ref: Annotated[str, Parameter(name="--from")] = "main",
    reason: str = "",
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Begin a branch.

    Parameters
    ----------
    agent
        The agent's name.
    name
        Of the branch.
    from_ref
        Where it begins: a branch, a commit, a snapshot, or <branch>~<n>.
    reason
        Why, for the record.
    """
    from thymos.requests import BranchAnswer, NewBranch

    request = NewBranch(branch=name, from_ref=from_ref, reason=reason, idempotency_key=_key())
    answer = await ask(where, agent, "branch_create", request, BranchAnswer)
    if json:
        emit(answer)
    else:
        say(f"{answer.branch} begins at {short(answer.commit)}")


async def branch_delete(
    agent: str,
    name: str,
    /,
    *,
    force: Switch = False,
    reason: str = "",
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Delete a branch.

    Parameters
    ----------
    agent
        The agent's name.
    name
        Of the branch.
    force
        Even if it holds commits that are nowhere else.
    reason
        Why, for the record.
    """
    from thymos.requests import BranchAnswer, RemoveBranch

    request = RemoveBranch(branch=name, force=force, reason=reason, idempotency_key=_key())
    answer = await ask(where, agent, "branch_delete", request, BranchAnswer)
    if json:
        emit(answer)
    else:
        say(f"{answer.branch} is deleted; it was at {short(answer.commit)}")


async def _commit(
    where: Where,
    agent: str,
    branch: str,
    changes: list[MemoryChange],
    message: str,
    author: str | None,
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
        idempotency_key=_key(),
    )
    _print_commit(await ask(where, agent, "commit", request, CommitAnswer), json)


def _print_commit(answer: CommitAnswer, json: bool) -> None:
    if json:
        emit(answer)
    elif answer.commit == answer.previous_commit:
        say(f"nothing changed; {answer.branch} stays at {short(answer.commit)}")
    else:
        before = short(answer.previous_commit)
        say(f"{answer.branch} at {short(answer.commit)}: {count(answer.changes, 'change')}, before {before}")


async def _changes(source: str) -> list[MemoryChange]:
    """The changes of a file. Raises UsageError for a line that is none: a commit is whole or not at all."""
    from pydantic import ValidationError

    from thymos.cli.json_lines import read_lines
    from thymos.commands import MemoryChange
    from thymos.envelope import first_problem

    changes: list[MemoryChange] = []
    async with read_lines(source) as lines:
        async for number, text in lines:
            try:
                changes.append(MemoryChange.model_validate_json(text))
            except ValidationError as error:
                raise UsageError(f"line {number}: {first_problem(error)}; nothing was committed") from error
    if not changes:
        raise UsageError('no changes; a line is such as {"op": "put", "id": "refunds", "content": "…"}')
    return changes


def _fields(given: list[str]) -> dict[str, Any] | None:
    fields: dict[str, Any] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise UsageError(f"--field {each!r}: it is name=value")
        try:
            fields[name] = json_format.loads(value)
        except ValueError:
            fields[name] = value
    return fields or None


def _standard_input() -> str:
    import sys

    return sys.stdin.read()


def _key() -> str:
    return str(uuid.uuid4())
