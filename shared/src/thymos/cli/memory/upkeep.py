"""Verbs that look after a memory: gc, verify, redact, redactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from thymos.cli.exit_codes import DONE, FAILED, UsageError
from thymos.cli.memory.asking import ask, key
from thymos.cli.memory.parameters import Agent, Limit, Skip, Switch
from thymos.cli.options import HERE, Json, Where, me
from thymos.cli.output import count, emit, say, short, table

if TYPE_CHECKING:
    from thymos.requests import CollectedAnswer, DependentsAnswer, ProblemAnswer, VerifiedAnswer

PROBLEMS_SHOWN = 20
COMMIT_DIGITS = 64


def register(verbs: App) -> None:
    """Add the verbs to `thymos memory`."""
    for verb in (gc, verify, redact, redactions):
        verbs.command(verb, name=verb.__name__)


async def gc(agent: Agent, /, *, dry_run: Switch = False, json: Json = False, where: Where = HERE) -> None:
    """Drop what is older than the retention of thymos.toml and what nothing reaches, as the service does by itself.

    Parameters
    ----------
    dry_run
        Only say what would go, looking at 10,000 commits at most.
    """
    from thymos.requests import CollectedAnswer, CollectGarbage

    done: CollectedAnswer | None = None
    while done is None or (done.more and not dry_run):
        request = CollectGarbage(dry_run=dry_run, idempotency_key=key())
        done = _sum(done, await ask(where, agent, "gc", request, CollectedAnswer))
    if json:
        emit(done)
        return
    would, more = ("would go", " at least") if dry_run else ("dropped", "")
    megabytes = done.content_bytes / 1_000_000
    say(
        f"{count(done.commits, 'commit')} {would}{more if done.more else ''}, {done.unreachable} of them unreachable;"
        f" {count(done.versions, 'version')} of memories that only they showed, {megabytes:.1f} MB"
    )


def _sum(before: CollectedAnswer | None, step: CollectedAnswer) -> CollectedAnswer:
    if before is None:
        return step
    added = ("commits", "unreachable", "entries", "versions", "content_bytes")
    return step.model_copy(update={name: getattr(before, name) + getattr(step, name) for name in added})


async def verify(
    agent: Agent,
    /,
    *,
    known: Annotated[list[str] | None, Parameter(negative=())] = None,
    json: Json = False,
    where: Where = HERE,
) -> int:
    """Recompute every hash of the history, part by part. Exits 1 when something is not as it was written.

    Parameters
    ----------
    known
        The whole id of a commit that was noted elsewhere and that the history must have. Repeat it for several.
    """
    from thymos.requests import VerifiedAnswer, VerifyMemory

    for each in known or []:
        if len(each) != COMMIT_DIGITS:
            raise UsageError(f"--known {each:.80}: give the whole id, its {COMMIT_DIGITS} digits: others may begin so")
    checked = dict.fromkeys(("commits", "headers", "versions", "redacted", "problems_count"), 0)
    problems: list[ProblemAnswer] = []
    bad: list[tuple[int, DependentsAnswer]] = []
    after: str | None = None
    while True:
        request = VerifyMemory(after=after, limit=2_000, known=known or [])
        part: VerifiedAnswer = await ask(where, agent, "verify", request, VerifiedAnswer)
        checked = {name: before + getattr(part, name) for name, before in checked.items()}
        problems = sorted([*problems, *part.problems], key=lambda each: (each.commit is None, each.order))[:100]
        if part.dependents is not None:
            bad.append((part.problems[0].order, part.dependents))
        after = part.next_after
        if after is None:
            break
    first = min(bad, key=lambda each: each[0], default=(0, None))[1]
    if json:
        emit({**checked, "problems": problems, "first": first})
    else:
        _print(checked, problems, first)
    return FAILED if checked["problems_count"] else DONE


def _print(checked: dict[str, int], problems: list[ProblemAnswer], first: DependentsAnswer | None) -> None:
    what = f"{count(checked['commits'], 'commit')} and {count(checked['versions'], 'version')}"
    also = f", {checked['headers']} headers of dropped commits" if checked["headers"] else ""
    erased = f", {checked['redacted']} erased" if checked["redacted"] else ""
    if not problems:
        say(f"{what} are as they were written{also}{erased}")
        return
    table(
        ("commit", "what is wrong"),
        [(short(each.commit) if each.commit else "-", each.what) for each in problems[:PROBLEMS_SHOWN]],
    )
    say(f"{count(checked['problems_count'], 'problem')} in {what}{also}{erased}")
    if first is not None:
        resting = ", ".join(first.refs) or "no branch"
        say(f"the first bad commit is {first.commit}; {count(first.commits, 'commit')} descend from it: {resting}")


async def redact(
    agent: Agent,
    memory: str,
    /,
    *,
    reason: str,
    ref: str | None = None,
    actor: str | None = None,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Erase what a memory held, from all history. It cannot be taken back.

    Parameters
    ----------
    memory
        The memory's id.
    reason
        Why, for the record; without what is to be erased.
    ref
        Only what is visible at this branch, commit or snapshot.
    actor
        Who, for the record [default: you].
    """
    from thymos.requests import RedactedAnswer, RedactMemory

    request = RedactMemory(id=memory, ref=ref, actor=actor or me(), reason=reason, idempotency_key=key())
    answer = await ask(where, agent, "redact", request, RedactedAnswer)
    if json:
        emit(answer)
        return
    before = f", {answer.already} were erased before" if answer.already else ""
    say(f"{count(answer.versions, 'version')} of {answer.id} erased{before}; commits keep their ids")
    if answer.unstaged:
        say(f"no longer staged in {', '.join(answer.unstaged)}")


async def redactions(
    agent: Agent, /, *, limit: Limit = 100, skip: Skip = 0, json: Json = False, where: Where = HERE
) -> None:
    """What was erased, by whom and why; the newest first."""
    from thymos.requests import ListRedactions, RedactionsAnswer

    answer = await ask(where, agent, "redactions", ListRedactions(limit=limit, skip=skip), RedactionsAnswer)
    if json:
        emit(answer.redactions)
        return
    table(
        ("memory", "version", "time", "actor", "reason"),
        [(each.id, short(each.hash), each.at, each.actor, each.reason) for each in answer.redactions],
        empty=f"nothing was erased before the newest {skip}" if skip else "nothing was erased",
    )
