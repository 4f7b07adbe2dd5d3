"""Verbs that read: log, show, diff, search, get, list."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from thymos.cli.exit_codes import UsageError
from thymos.cli.memory.asking import ask
from thymos.cli.memory.parameters import Agent, Hits, Limit, RefName
from thymos.cli.memory.printing import print_changes, shortened
from thymos.cli.options import HERE, Json, Where
from thymos.cli.output import emit, line, pairs, say, short, table


def register(verbs: App) -> None:
    """Add the verbs to `thymos memory`."""
    for verb in (log, show, diff, search, get):
        verbs.command(verb, name=verb.__name__)
    verbs.command(list_memories, name="list")


async def log(
    agent: Agent, ref: RefName = "main", /, *, limit: Limit = 50, json: Json = False, where: Where = HERE
) -> None:
    """Commits, newest first."""
    from thymos.requests import LogAnswer, ReadLog

    answer = await ask(where, agent, "log", ReadLog(ref=ref, limit=limit), LogAnswer)
    if json:
        emit(answer.commits)
        return
    table(
        ("commit", "time", "kind", "author", "branches", "message"),
        [(short(c.commit), c.time, c.kind, c.author, " ".join(c.branches), c.message) for c in answer.commits],
    )


async def show(agent: Agent, ref: RefName = "main", /, *, json: Json = False, where: Where = HERE) -> None:
    """One commit, with its changes against its first parent."""
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
    print_changes(answer.changes)


async def diff(
    agent: Agent,
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
    print_changes(answer.changes)
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
    agent: Agent,
    query: str,
    /,
    *,
    ref: RefName = "main",
    kind: str | None = None,
    limit: Hits = 10,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Full text over what is visible at a ref, best first.

    Parameters
    ----------
    query
        Plain words.
    kind
        Only memories of this kind.
    """
    from thymos.requests import SearchAnswer, SearchMemories

    request = SearchMemories(query=query, ref=ref, limit=limit, kind=kind)
    answer = await ask(where, agent, "search", request, SearchAnswer)
    if json:
        emit(answer)
        return
    table(
        ("score", "id", "kind", "content"),
        [(hit.score, hit.id, hit.kind, shortened(hit.content)) for hit in answer.results],
        empty=f"no memory on {ref} holds any of these words",
    )


async def get(agent: Agent, memory: str, /, *, ref: RefName = "main", json: Json = False, where: Where = HERE) -> None:
    """One memory as it is at a ref.

    Parameters
    ----------
    memory
        The memory's id.
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
    agent: Agent,
    /,
    *,
    ref: RefName = "main",
    after: str | None = None,
    limit: Limit = 100,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Memories at a ref, in the order of their ids.

    Parameters
    ----------
    after
        Begin after this id.
    """
    from thymos.requests import ListMemories, MemoryPage

    page = await ask(where, agent, "list", ListMemories(ref=ref, after=after, limit=limit), MemoryPage)
    if json:
        emit(page)
        return
    table(("id", "kind", "content"), [(m.id, m.kind, shortened(m.content)) for m in page.memories], "no memories")
    if page.next_after is not None:
        say(f"there are more: --after {page.next_after}")
