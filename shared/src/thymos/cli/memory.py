"""`thymos memory`: git-shaped verbs on an agent's memory. Reading is here, changing in memory_changes.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import App, Parameter
from cyclopts.validators import Number
from pydantic import BaseModel

from thymos.cli import memory_changes
from thymos.cli.exit_codes import UsageError
from thymos.cli.memory_service import ask
from thymos.cli.options import HERE, Json, Where
from thymos.cli.output import cell, emit, line, pairs, say, short, table

if TYPE_CHECKING:
    from thymos import requests

A = TypeVar("A", bound=BaseModel)
Limit = Annotated[int, Parameter(validator=Number(gte=1, lte=1_000))]
Hits = Annotated[int, Parameter(validator=Number(gte=1, lte=100))]
CONTENT_WIDTH = 72


def register(app: App) -> None:
    """Add the verbs to the command line."""
    verbs = App(name="memory", help="An agent's memory: search, log, diff, branch, commit, merge, roll back.")
    for verb in (log, show, diff, search, get):
        verbs.command(verb, name=verb.__name__)
    verbs.command(list_memories, name="list")
    branches = App(name="branch", help="Branches of an agent's memory.")
    branches.default(branch_list)
    branches.command(branch_list, name="list")
    worktrees = App(name="worktree", help="Worktrees of an agent's memory.")
    worktrees.default(worktree_list)
    worktrees.command(worktree_list, name="list")
    memory_changes.register(verbs, branches)
    verbs.command(branches)
    verbs.command(worktrees)
    app.command(verbs)


async def log(agent: str, ref: str = "main", /, *, limit: Limit = 50, json: Json = False, where: Where = HERE) -> None:
    """Commits, newest first.

    Parameters
    ----------
    agent
        The agent's name.
    ref
        A branch, a commit, a snapshot, or <branch>~<n>.
    limit
        At most so many.
    """
    from thymos.requests import LogAnswer, ReadLog

    answer = await ask(where, agent, "log", ReadLog(ref=ref, limit=limit), LogAnswer)
    if json:
        emit(answer.commits)
        return
    table(
        ("commit", "time", "kind", "author", "branches", "message"),
        [(short(c.commit), c.time, c.kind, c.author, " ".join(c.branches), c.message) for c in answer.commits],
    )


async def show(agent: str, ref: str = "main", /, *, json: Json = False, where: Where = HERE) -> None:
    """One commit, with its changes against its first parent.

    Parameters
    ----------
    agent
        The agent's name.
    ref
        A branch, a commit, a snapshot, or <branch>~<n>.
    """
    from thymos.requests import ShowAnswer, ShowCommit

    answer = await ask(where, agent, "show", ShowCommit(ref=ref), ShowAnswer)
    if json:
        emit(answer)
        return
    commit = answer.commit
    pairs(
        (
            ("commit", commit.commit),
            ("parents", " ".join(commit.parents)),
            ("author", commit.author),
            ("time", commit.time),
            ("kind", commit.kind),
            ("branches", " ".join(commit.branches)),
            ("message", commit.message),
        )
    )
    _print_changes(answer.changes)


async def diff(
    agent: str,
    a: str,
    b: str | None = None,
    /,
    *,
    symmetric: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    limit: Limit = 1_000,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """What changed from A to B.

    Parameters
    ----------
    agent
        The agent's name.
    a
        A branch, a commit, a snapshot, or <branch>~<n>; or both as A..B, or as A...B for --symmetric.
    b
        Another.
    symmetric
        From where A and B parted to B, instead.
    limit
        At most so many changes.
    """
    from thymos.requests import DiffAnswer, DiffRefs

    a, b, parted = two_refs(a, b)
    symmetric = symmetric or parted
    answer = await ask(where, agent, "diff", DiffRefs(a=a, b=b, symmetric=symmetric, limit=limit), DiffAnswer)
    if json:
        emit(answer)
        return
    _print_changes(answer.changes)
    if answer.truncated:
        say(f"there are more than these {len(answer.changes)} changes; --limit shows more")


def two_refs(a: str, b: str | None) -> tuple[str, str, bool]:
    """Both refs, also where they are written as one: `A..B`, or `A...B` for symmetric. An end left out is main.

    Raises:
        UsageError: there is one only, or more than two.
    """
    dots = next((dots for dots in ("...", "..") if dots in a), "")
    if b is None and dots:
        before, after = a.split(dots, 1)
        a, b = before or "main", after or "main"
    if b is None:
        raise UsageError("name two refs, such as `main tryout` or `main..tryout`")
    if ".." in a or ".." in b:
        raise UsageError(f"{a} {b}: name two refs, such as `main tryout` or `main..tryout`")
    return a, b, dots == "..."


async def search(
    agent: str,
    query: str,
    /,
    *,
    ref: str = "main",
    kind: str | None = None,
    limit: Hits = 10,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Full text over what is visible at a ref, best first.

    Parameters
    ----------
    agent
        The agent's name.
    query
        Plain words.
    ref
        A branch, a commit, a snapshot, or <branch>~<n>.
    kind
        Only memories of this kind.
    limit
        At most so many.
    """
    from thymos.requests import SearchAnswer, SearchMemories

    request = SearchMemories(query=query, ref=ref, limit=limit, kind=kind)
    answer = await ask(where, agent, "search", request, SearchAnswer)
    if json:
        emit(answer)
        return
    table(
        ("score", "id", "kind", "content"),
        [(hit.score, hit.id, hit.kind, _shortened(hit.content)) for hit in answer.results],
        empty=f"no memory on {ref} holds any of these words",
    )


async def get(agent: str, memory: str, /, *, ref: str = "main", json: Json = False, where: Where = HERE) -> None:
    """One memory as it is at a ref.

    Parameters
    ----------
    agent
        The agent's name.
    memory
        The memory's id.
    ref
        A branch, a commit, a snapshot, or <branch>~<n>.
    """
    from thymos.requests import GetMemory, Memory

    answer = await ask(where, agent, "get", GetMemory(id=memory, ref=ref), Memory)
    if json:
        emit(answer)
        return
    pairs((("id", answer.id), ("kind", answer.kind), ("commit", answer.commit), ("fields", answer.fields)))
    for text in answer.content.splitlines():
        line(text)


async def list_memories(
    agent: str,
    /,
    *,
    ref: str = "main",
    after: str | None = None,
    limit: Limit = 100,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Memories at a ref, in the order of their ids.

    Parameters
    ----------
    agent
        The agent's name.
    ref
        A branch, a commit, a snapshot, or <branch>~<n>.
    after
        Begin after this id.
    limit
        At most so many.
    """
    from thymos.requests import ListMemories, MemoryPage

    page = await ask(where, agent, "list", ListMemories(ref=ref, after=after, limit=limit), MemoryPage)
    if json:
        emit(page)
        return
    table(("id", "kind", "content"), [(m.id, m.kind, _shortened(m.content)) for m in page.memories], "no memories")
    if page.next_after is not None:
        say(f"there are more: --after {page.next_after}")


async def branch_list(agent: str, /, *, json: Json = False, where: Where = HERE) -> None:
    """All branches and their heads.

    Parameters
    ----------
    agent
        The agent's name.
    """
    from thymos.requests import BranchesAnswer, ListBranches

    answer = await ask(where, agent, "branches", ListBranches(), BranchesAnswer)
    if json:
        emit(answer.branches)
        return
    table(("branch", "commit"), [(each.branch, short(each.commit)) for each in answer.branches])


async def worktree_list(agent: str, /, *, json: Json = False, where: Where = HERE) -> None:
    """All worktrees of the memory, and how many changes are staged in each.

    Parameters
    ----------
    agent
        The agent's name.
    """
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


def _print_changes(changes: list[requests.Change]) -> None:
    table(("", "memory", "what"), [_change_row(change) for change in changes], empty="no changes")


def _change_row(change: requests.Change) -> tuple[str, str, str]:
    """`+` added, `-` deleted, `~` changed; and what it says, or said, or says instead."""
    before, after = change.before, change.after
    if before is None or after is None:
        only = after or before
        return ("+" if after else "-", change.id, _shortened(only.content if only else ""))
    differing: list[str] = []
    if before.content != after.content:
        differing.append(f"{_shortened(before.content)} → {_shortened(after.content)}")
    if before.kind != after.kind:
        differing.append(f"kind: {before.kind or '-'} → {after.kind or '-'}")
    for name in sorted({*before.fields, *after.fields}):
        old, new = before.fields.get(name), after.fields.get(name)
        if old != new:
            differing.append(f"{name}: {_shortened(cell(old))} → {_shortened(cell(new))}")
    return ("~", change.id, "; ".join(differing))


def _shortened(text: Any) -> str:
    words = cell(text)
    return words if len(words) <= CONTENT_WIDTH else words[: CONTENT_WIDTH - 1] + "…"
