"""What `thymos doctor` may find, in words, each with its mend. What it looks at is in checks.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from thymos import subjects
from thymos.cli.output import count
from thymos.requests import AgentWorktree

SKEW_MAX = timedelta(seconds=2)
NTP = "synchronise both with NTP: outcomes count by their own time"
HELD = "another process holds it"
GOES_ON = "the service goes on by itself"


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, and how to mend it."""

    what: str
    mend: str


@dataclass(frozen=True)
class Check:
    """One question; without findings all is well, and `detail` says what was seen."""

    name: str
    findings: tuple[Finding, ...] = ()
    detail: str = ""


def of_service(name: str, module: str, said: Sequence[str] | None) -> tuple[Finding, ...]:
    """What a service says that it lacks; None is a service that does not answer."""
    if said is None:
        mend = f"start it: `thymos up`, or `python -m {module}`; its work waits on the bus"
        return (Finding(f"{name} does not answer", mend),)
    return tuple(_of_service(name, words) for words in said)


def _of_service(name: str, words: str) -> Finding:
    """One of its findings. Those about its store or the bus end with what to do, behind the last colon; those about
    consumers begin with the consumer."""
    problem, _, mend = words.rpartition(": ")
    if words.startswith("the stream "):
        return Finding(f"{name} is not ready: {problem}", mend)
    if words.startswith(("the store ", "the disk ")):
        if HELD in mend:
            problem, mend = f"{problem}: {HELD}", f"`fuser {name}.db` in the data folder names it: end it; {GOES_ON}"
        return Finding(f"{name} is not ready: {problem}", mend)
    if words.startswith(("NATS does not answer", "JetStream does not answer")):
        return Finding(f"{name} is not ready: {words}", f"see whether it reaches that server; {GOES_ON}")
    if words.startswith("what it has to publish "):
        return Finding(f"{name} is not ready: {words}", "see the log of NATS; what waits is published when it can be")
    if words == "starting":
        return Finding(f"{name} is not ready: {words}", "wait a moment; see its log if it stays so")
    return Finding(f"{name} is not ready: {words}", f"run `thymos provision`; {GOES_ON}")


def of_refusal(words: str) -> Finding:
    """What `thymos provision` cannot mend by itself: its error holds the problem, then what to do."""
    for sign in ("; ", ": set "):
        problem, found, mend = words.partition(sign)
        if found:
            return Finding(problem, f"{sign[2:]}{mend}")
    return Finding(words, "look at it with `nats stream info` and `nats consumer info`")


def mend_of_standstill(consumer: subjects.Consumer) -> str:
    """What to do about a durable that stands still."""
    log = f"see the log of {consumer.service} and restart it"
    paused = f"if it was paused, `nats consumer resume {consumer.stream.name} {consumer.durable}`"
    return f"{log}; {paused}; `thymos dead list` says what it gives up"


def skew_findings(whose: str, asked: datetime, told: datetime, answered: datetime) -> tuple[Finding, ...]:
    """Whether a clock that was read between two moments is skewed."""
    words = skew(asked, told, answered)
    return (Finding(f"{whose} is {words} this machine's", NTP),) if words else ()


def skew(asked: datetime, told: datetime, answered: datetime) -> str:
    """How far a clock that was read between two moments is from ours, in words; empty within `SKEW_MAX`. What the
    question took is not held against it."""
    early, late = asked - told, told - answered
    apart = max(early, late)
    return f"{apart.total_seconds():.1f} s {'behind' if early > late else 'ahead of'}" if apart > SKEW_MAX else ""


def crash_finding(crashed: Sequence[AgentWorktree], exit_code: int | None, data: Path) -> Finding:
    """One agent's processes that do not stay up: how many, why, and where the one that crashed most often writes."""
    worst = max(crashed, key=lambda each: (each.phase == "failed", each.crashes))
    failed = sum(each.phase == "failed" for each in crashed)
    state = f"{count(failed, 'worktree')} failed" if failed else f"{count(len(crashed), 'worktree')} crashed"
    why = f": {worst.reason}" if worst.reason else ""
    code = f" (exit code {exit_code})" if exit_code is not None else ""
    mend = f"see its log {data / 'agents' / f'{worst.worktree_id}.log'}"
    if exit_code is None:
        scaler = data / "log" / f"{subjects.WORKTREE_SCALER}.log"
        mend = f"`thymos config check FILE` says whether its program is there; {mend}, or {scaler}"
    return Finding(f"{worst.agent}: {state} on {worst.branch}{why}{code}", mend)
