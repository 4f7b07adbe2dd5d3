"""Verbs of names for commits: branches and snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from thymos.cli.memory.asking import ask, ask_all, key
from thymos.cli.memory.parameters import Agent, Limit, RefName, Skip, Switch, Why, named_values
from thymos.cli.memory.printing import shortened
from thymos.cli.options import HERE, Json, Where, me
from thymos.cli.output import count, emit, say, short, table

if TYPE_CHECKING:
    from thymos.requests import NamedCommit


def register(verbs: App) -> None:
    """Add the verbs to `thymos memory`."""
    branches = App(name="branch", help="Branches of an agent's memory.")
    branches.default(branch_list)
    branches.command(branch_list, name="list")
    branches.command(branch_create, name="create")
    branches.command(branch_rename, name="rename")
    branches.command(branch_delete, name="delete")
    branches.command(branch_protect, name="protect")
    branches.command(branch_unprotect, name="unprotect")
    verbs.command(branches)
    tags = App(name="tag", help="Names for commits, for good.")
    tags.default(tag_list)
    tags.command(tag_list, name="list")
    tags.command(tag_create, name="create")
    tags.command(tag_delete, name="delete")
    verbs.command(tags)
    snapshots = App(name="snapshots", help="Snapshots of an agent's memory.")
    snapshots.default(snapshot_list)
    snapshots.command(snapshot_list, name="list")
    snapshots.command(snapshot_delete, name="delete")
    verbs.command(snapshots)
    verbs.command(snapshot, name="snapshot")
    verbs.command(reflog, name="reflog")


async def branch_list(agent: Agent, /, *, json: Json = False, where: Where = HERE) -> None:
    """All branches and their heads."""
    from thymos.requests import BranchesAnswer, ListBranches

    answer = await ask_all(where, agent, "branches", ListBranches(), BranchesAnswer, "branches")
    if json:
        emit(answer.branches)
        return
    rows = [(each.branch, short(each.commit), "protected" if each.protected else "") for each in answer.branches]
    table(("branch", "commit", ""), rows)


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
        Where it begins: a branch, tag, snapshot or commit; ~3, ^2, @{2h} behind it.
    """
    from thymos.requests import BranchAnswer, NewBranch

    request = NewBranch(branch=name, from_ref=from_ref, by=me(), reason=reason, idempotency_key=key())
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
    """Delete a branch whose commits another branch, a tag or a snapshot reaches, too.

    Parameters
    ----------
    name
        Of the branch.
    force
        Even if it holds commits that are nowhere else (its reflog finds them for a while), if changes are staged on it,
        or if a kept merge waits for it.
    """
    from thymos.requests import BranchAnswer, RemoveBranch

    request = RemoveBranch(branch=name, force=force, by=me(), reason=reason, idempotency_key=key())
    answer = await ask(where, agent, "branch_delete", request, BranchAnswer)
    if json:
        emit(answer)
    else:
        say(f"{answer.branch} is deleted; it was at {short(answer.commit)}")


async def branch_protect(
    agent: Agent,
    name: str,
    /,
    *,
    reason: Why = "",
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Protect a branch: it is not deleted, and what a model decides about a merge into it waits for approval.

    Parameters
    ----------
    name
        Of the branch.
    """
    from thymos.requests import BranchAnswer, ProtectBranch

    request = ProtectBranch(branch=name, by=me(), reason=reason, idempotency_key=key())
    answer = await ask(where, agent, "branch_protect", request, BranchAnswer)
    if json:
        emit(answer)
    else:
        say(f"{answer.branch} is protected")


async def branch_unprotect(
    agent: Agent,
    name: str,
    /,
    *,
    reason: Why = "",
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Protect a branch no longer.

    Parameters
    ----------
    name
        Of the branch.
    """
    from thymos.requests import BranchAnswer, UnprotectBranch

    request = UnprotectBranch(branch=name, by=me(), reason=reason, idempotency_key=key())
    answer = await ask(where, agent, "branch_unprotect", request, BranchAnswer)
    if json:
        emit(answer)
    else:
        say(f"{answer.branch} is not protected")


async def snapshot(
    agent: Agent,
    ref: RefName = "main",
    /,
    *,
    snapshot_id: Annotated[str | None, Parameter(name="--id")] = None,
    metadata: Annotated[list[str] | None, Parameter(name="--meta", negative=())] = None,
    reason: Why = "",
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Keep a state of memory under a name.

    Parameters
    ----------
    snapshot_id
        The name; a new one unless you say which.
    metadata
        What to know about it, as name=value; a value that is JSON is taken as such. Repeat it for several.
    """
    from thymos.requests import Snapshot, SnapshotAnswer

    request = Snapshot(
        ref=ref,
        snapshot_id=snapshot_id,
        metadata=named_values("--meta", metadata or []),
        by=me(),
        reason=reason,
        idempotency_key=key(),
    )
    answer = await ask(where, agent, "snapshot", request, SnapshotAnswer)
    if json:
        emit(answer)
    else:
        say(f"{answer.snapshot_id} keeps {short(answer.commit)}")


async def branch_rename(
    agent: Agent, name: str, new_name: str, /, *, reason: Why = "", json: Json = False, where: Where = HERE
) -> None:
    """Give a branch another name; its commits, worktrees and reflog go with it.

    Parameters
    ----------
    name
        Of the branch; main keeps its own.
    new_name
        What it is called from now on.
    """
    from thymos.requests import BranchAnswer, RenameBranch

    request = RenameBranch(branch=name, new_name=new_name, by=me(), reason=reason, idempotency_key=key())
    answer = await ask(where, agent, "branch_rename", request, BranchAnswer)
    if json:
        emit(answer)
    else:
        say(f"{name} is called {answer.branch} now, at {short(answer.commit)}")


async def reflog(
    agent: Agent,
    branch: str = "main",
    /,
    *,
    limit: Limit = 50,
    skip: Skip = 0,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Where a branch has stood, newest first, also after it was deleted; row n is <branch>@{n}.

    Parameters
    ----------
    branch
        Of the branch, its name.
    """
    from thymos.requests import ReadReflog, ReflogAnswer

    answer = await ask(where, agent, "reflog", ReadReflog(branch=branch, limit=limit, skip=skip), ReflogAnswer)
    if json:
        emit(answer.moves)
        return
    table(
        ("", "commit", "time", "by", "what", "why"),
        [
            (f"@{{{number}}}", short(each.new or ""), each.at, each.actor, each.operation, shortened(each.reason))
            for number, each in enumerate(answer.moves, start=skip)
        ],
        empty=f"{branch} has not moved more than {count(skip, 'time')}",
    )


async def tag_list(agent: Agent, /, *, json: Json = False, where: Where = HERE) -> None:
    """All tags and their commits."""
    await _list_named(where, agent, "tags", json)


async def tag_create(
    agent: Agent, name: str, ref: RefName = "main", /, *, reason: Why = "", json: Json = False, where: Where = HERE
) -> None:
    """Name a commit for good.

    Parameters
    ----------
    name
        Of the tag.
    """
    from thymos.requests import NamedCommit, NewTag

    request = NewTag(tag=name, ref=ref, by=me(), reason=reason, idempotency_key=key())
    _print_named(await ask(where, agent, "tag_create", request, NamedCommit), "names", json)


async def tag_delete(agent: Agent, name: str, /, *, reason: Why = "", json: Json = False, where: Where = HERE) -> None:
    """Forget a tag; its commit stays while anything else leads to it.

    Parameters
    ----------
    name
        Of the tag.
    """
    from thymos.requests import NamedCommit, RemoveTag

    request = RemoveTag(tag=name, by=me(), reason=reason, idempotency_key=key())
    _print_named(await ask(where, agent, "tag_delete", request, NamedCommit), "is forgotten; it named", json)


async def snapshot_list(agent: Agent, /, *, json: Json = False, where: Where = HERE) -> None:
    """All snapshots and their commits."""
    await _list_named(where, agent, "snapshots", json)


async def snapshot_delete(
    agent: Agent, snapshot_id: str, /, *, reason: Why = "", json: Json = False, where: Where = HERE
) -> None:
    """Forget a snapshot; its commit stays while anything else leads to it.

    Parameters
    ----------
    snapshot_id
        Its id.
    """
    from thymos.requests import NamedCommit, RemoveSnapshot

    request = RemoveSnapshot(snapshot_id=snapshot_id, by=me(), reason=reason, idempotency_key=key())
    _print_named(await ask(where, agent, "snapshot_delete", request, NamedCommit), "is forgotten; it kept", json)


async def _list_named(where: Where, agent: str, verb: str, json: bool) -> None:
    from thymos.requests import ListSnapshots, ListTags, NamedCommitsAnswer

    request = ListTags() if verb == "tags" else ListSnapshots()
    answer = await ask_all(where, agent, verb, request, NamedCommitsAnswer, "named")
    if json:
        emit(answer.named)
        return
    rows = [
        (each.name, short(each.commit), each.created_at, shortened(each.reason), shortened(each.metadata))
        for each in answer.named
    ]
    columns = ("name", "commit", "since", "why", "metadata")
    table(columns if verb == "snapshots" else columns[:-1], [row[: len(columns)] for row in rows], empty=f"no {verb}")


def _print_named(answer: NamedCommit, what: str, json: bool) -> None:
    if json:
        emit(answer)
    else:
        say(f"{answer.name} {what} {short(answer.commit)}")
