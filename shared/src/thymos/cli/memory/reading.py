"""Verbs that read: log, show, diff, search, get, list."""

from __future__ import annotations

import json as json_format
from typing import Any, Literal

from cyclopts import App

from thymos.cli.exit_codes import UsageError
from thymos.cli.memory.asking import ask
from thymos.cli.memory.parameters import After, Agent, Fields, Hits, HitsSkipped, Kind, Limit, RefName, Switch
from thymos.cli.memory.printing import print_changes, provenance, say_more, shortened
from thymos.cli.options import HERE, Json, Where
from thymos.cli.output import emit, line, pairs, say, short, table
from thymos.errors import Refusal, RefusalCode


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


async def show(
    agent: Agent,
    ref: RefName = "main",
    /,
    *,
    after: After = None,
    limit: Limit = 1_000,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """One commit: who made it, who decided and approved what in a merge, and its changes against its first parent."""
    from thymos.requests import ShowAnswer, ShowCommit

    answer = await ask(where, agent, "show", ShowCommit(ref=ref, limit=limit, after=after), ShowAnswer)
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
            *provenance(answer.meta),
        )
    )
    print_changes(answer.changes)
    say_more(answer.next_after, short(commit.commit))


async def diff(
    agent: Agent,
    a: str,
    b: str | None = None,
    /,
    *,
    symmetric: Switch = False,
    after: After = None,
    limit: Limit = 1_000,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """What changed from A to B.

    Parameters
    ----------
    a
        A branch, tag, snapshot or commit, ~3, ^2, @{2h} behind it; or both as A..B, or as A...B for --symmetric.
    b
        Another.
    symmetric
        From where A and B parted to B, instead.
    """
    from thymos.requests import DiffAnswer, DiffRefs

    a, b, parted = two_refs(a, b)
    symmetric = symmetric or parted
    request = DiffRefs(a=a, b=b, symmetric=symmetric, limit=limit, after=after)
    answer = await ask(where, agent, "diff", request, DiffAnswer)
    if json:
        emit(answer)
        return
    print_changes(answer.changes)
    say_more(answer.next_after, f"{short(answer.a)}..{short(answer.b)}")


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
    kind: Kind = None,
    field: Fields = None,
    mode: Literal["words", "meaning", "both"] = "words",
    skip: HitsSkipped = 0,
    limit: Hits = 10,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """What is visible at a ref and goes with a query, best first.

    Parameters
    ----------
    query
        Plain words.
    mode
        By the words, by the meaning (needs an embedder: `[memory] embedder`), or both.
    """
    from thymos.requests import SearchAnswer, SearchMemories

    conditions = field_conditions(field)
    request = SearchMemories(query=query, ref=ref, limit=limit, kind=kind, where=conditions, skip=skip, mode=mode)
    answer = await ask(where, agent, "search", request, SearchAnswer)
    if answer.commit is None:  # to an agent that is no error: it finds nothing yet; who types a name may have mistyped
        raise Refusal(RefusalCode.NOT_FOUND, f"the agent {agent} has no memory yet", "it begins with the first commit")
    if json:
        emit(answer)
        return
    table(
        ("score", "id", "kind", "content"),
        [(hit.score, hit.id, hit.kind, shortened(hit.content)) for hit in answer.results],
        empty=f"no more: {answer.total} in all" if answer.total else f"nothing on {ref} goes with that",
    )
    if answer.total > skip + len(answer.results) and answer.results:
        say(f"{answer.total} in all: --skip {skip + len(answer.results)} shows more")


def field_conditions(given: list[str] | None) -> dict[str, Any]:
    """`name=value` and JSON objects, as one condition on fields. Raises UsageError for anything else."""
    found: dict[str, Any] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if text.lstrip().startswith("{"):
            try:
                found |= json_format.loads(text)
            except ValueError as error:
                raise UsageError(f"--field {text!r}: it is not JSON: {error}") from error
        elif name and equals:
            try:
                found[name] = json_format.loads(value)
            except ValueError:
                found[name] = value
        else:
            raise UsageError(f"--field {text!r}: it is name=value, or a JSON object")
    return found


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
    after: After = None,
    kind: Kind = None,
    field: Fields = None,
    limit: Limit = 100,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Memories at a ref, in the order of their ids."""
    from thymos.requests import ListMemories, MemoryPage

    conditions = field_conditions(field)
    request = ListMemories(ref=ref, after=after, limit=limit, kind=kind, where=conditions)
    page = await ask(where, agent, "list", request, MemoryPage)
    if json:
        emit(page)
        return
    table(("id", "kind", "content"), [(m.id, m.kind, shortened(m.content)) for m in page.memories], "no memories")
    say_more(page.next_after, f"--ref {short(page.commit)}")
