"""Verbs about where memories come from: history, blame, merge-base, bisect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from thymos.cli.exit_codes import DONE, FAILED
from thymos.cli.memory.asking import ask, ask_all
from thymos.cli.memory.parameters import Agent, Limit, RefName
from thymos.cli.memory.printing import commit_row, print_commits, shortened
from thymos.cli.options import HERE, Json, Where
from thymos.cli.output import count, emit, say, short, table

if TYPE_CHECKING:
    from thymos.requests import BisectAnswer

Many = Annotated[list[str] | None, Parameter(negative=(), show_default=False)]
UNTESTABLE = 125
"""The exit code of a test that cannot tell, as in `git bisect run`."""
STOPS_FROM = 126
"""Exit codes that end the search: the shell cannot run the test (126) or find it (127), or the test was killed."""

_CANNOT_RUN = {126: " (it cannot be run: is it executable?)", 127: " (there is no such command)"}


def register(verbs: App) -> None:
    """Add the verbs to `thymos memory`."""
    for verb in (history, blame, bisect):
        verbs.command(verb, name=verb.__name__)
    verbs.command(merge_base, name="merge-base")


async def history(
    agent: Agent, memory: str, /, *, ref: RefName = "main", limit: Limit = 50, json: Json = False, where: Where = HERE
) -> None:
    """The commits that changed one memory, newest first.

    Parameters
    ----------
    memory
        The memory's id.
    """
    from thymos.requests import HistoryAnswer, ReadHistory

    answer = await ask(where, agent, "history", ReadHistory(id=memory, ref=ref, limit=limit), HistoryAnswer)
    if json:
        emit(answer)
        return
    table(
        ("commit", "time", "author", "message", "content"),
        [
            (*commit_row(each.commit), "(deleted)" if each.after is None else shortened(each.after.content))
            for each in answer.changes
        ],
    )


async def blame(
    agent: Agent, memory: str, /, *, ref: RefName = "main", json: Json = False, where: Where = HERE
) -> None:
    """Who wrote each line of a memory, its kind and each of its fields.

    Parameters
    ----------
    memory
        The memory's id.
    """
    from thymos.requests import BlameAnswer, ReadBlame

    request = ReadBlame(id=memory, ref=ref)
    answer = await ask_all(where, agent, "blame", request, BlameAnswer, "parts", "commits")
    if json:
        emit(answer)
        return
    commits = {commit.commit: commit for commit in answer.commits}
    rows = []
    for part in answer.parts:
        what = part.part if part.line is None else f"{part.line:>4}  {part.text}"
        rows.append((*commit_row(commits[part.commit])[:3], what))
    table(("commit", "time", "author", "what"), rows)
    if not answer.whole:
        say("the history of this memory is too long to be looked through: the oldest parts may be older than is said")


async def merge_base(
    agent: Agent, a: RefName, b: RefName = "main", /, *, json: Json = False, where: Where = HERE
) -> None:
    """The best common ancestors of two revisions: several after merges in both directions."""
    from thymos.requests import LogAnswer, ReadMergeBase

    answer = await ask(where, agent, "merge_base", ReadMergeBase(a=a, b=b), LogAnswer)
    if json:
        emit(answer.commits)
    else:
        print_commits(answer.commits)


async def bisect(
    agent: Agent,
    /,
    *,
    good: Annotated[list[str], Parameter(negative=())],
    bad: RefName = "main",
    skip: Many = None,
    run: str | None = None,
    json: Json = False,
    where: Where = HERE,
) -> int:
    """Find the first bad commit: says which commit to test next, or tests each by a command.

    Exits 1 where it cannot say, because commits could not be tested.

    Parameters
    ----------
    good
        A commit that is known to be good; repeat it for several.
    skip
        A commit that cannot be tested; repeat it for several.
    run
        Test by this shell command, which finds the commit in THYMOS_COMMIT and its agent in THYMOS_AGENT: exit 0 is
        good, 125 cannot tell, 126 and more ends the search (the test cannot be run, or was killed), anything else is
        bad. THYMOS_NATS_URL and THYMOS_TENANT lead the command to the same suite.
    """
    known_good, skipped = list(good), list(skip or [])
    while True:
        answer = await _step(where, agent, known_good, bad, skipped)
        if run is None or answer.next is None:
            break
        commit = answer.next.commit
        code = await _tested(run, where, agent, commit)
        if code == DONE:
            known_good.append(commit)
        elif code == UNTESTABLE:
            skipped.append(commit)
        elif 0 < code < STOPS_FROM:
            bad = commit
        else:
            say(f"the test of {short(commit)} ended with {code}{_CANNOT_RUN.get(code, '')}: nothing is known of it")
            return FAILED
        verdict = {DONE: "good", UNTESTABLE: "cannot be tested"}.get(code, "bad")
        say(f"{short(commit)} is {verdict}; {count(answer.remaining, 'commit')} were left")
    if json:
        emit(answer)
    else:
        _print_step(answer)
    return FAILED if len(answer.suspects) > 1 else DONE


async def _step(where: Where, agent: str, good: list[str], bad: str, skip: list[str]) -> BisectAnswer:
    from thymos.requests import Bisect, BisectAnswer

    return await ask(where, agent, "bisect", Bisect(good=good, bad=bad, skip=skip), BisectAnswer)


async def _tested(command: str, where: Where, agent: str, commit: str) -> int:
    """The exit code of the test; below 0 for one that was killed."""
    import asyncio
    import os

    environment = {**os.environ, **where.environment(), "THYMOS_AGENT": agent, "THYMOS_COMMIT": commit}
    process = await asyncio.create_subprocess_shell(command, env=environment)
    return await process.wait()


def _print_step(answer: BisectAnswer) -> None:
    if answer.next is not None:
        left = f"{count(answer.remaining, 'commit')} left, {count(answer.steps, 'test')} to go"
        say(f"test {answer.next.commit} ({answer.next.message}); then say --good or --bad of it too: {left}")
        return
    if len(answer.suspects) == 1:
        say("the first bad commit is")
    else:
        say(f"the first bad commit is one of these {answer.remaining}: the others could not be tested")
    print_commits(answer.suspects)
