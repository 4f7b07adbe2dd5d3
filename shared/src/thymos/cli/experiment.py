"""`thymos experiment`: list, show, start, approve, abort, wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from thymos.cli.exit_codes import DONE, TimedOutError, UsageError, of_verdict
from thymos.cli.options import HERE, Json, Where, agent_name, duration, me
from thymos.cli.output import emit, pairs, say, short, table

if TYPE_CHECKING:
    from thymos.client import Client
    from thymos.commands import Command
    from thymos.envelope import Envelope
    from thymos.message import Message
    from thymos.requests import ExperimentRecord

Switch = Annotated[bool, Parameter(negative=(), show_default=False)]
ANSWER_WAIT = timedelta(seconds=30)
ASK_AGAIN_SECONDS = 0.5
EXITS = "Exits 0 merge, 10 rollback, 11 inconclusive, 12 invalid, 13 error, 14 aborted, 124 when the time is up."


def register(app: App) -> None:
    """Add the verbs to the command line."""
    verbs = App(name="experiment", help="Experiments: what runs, what was decided, and why.")
    verbs.command(list_experiments, name="list")
    for verb in (show, start, approve, abort):
        verbs.command(verb, name=verb.__name__)
    verbs.command(wait, name="wait", help_epilogue=EXITS)
    app.command(verbs)


async def list_experiments(
    *,
    agent: str | None = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=1_000))] = 50,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Experiments, newest first.

    Parameters
    ----------
    agent
        Only of this agent.
    limit
        At most so many.
    """
    owner = agent_name(agent) if agent else None
    async with where.client() as client:
        newest = await _experiments(client, owner, limit)
    if json:
        emit(newest)
        return
    columns = ("experiment_id", "agent", "opened_at", "phase", "verdict", "winner", "reason")
    table(
        ("experiment", "agent", "began", "phase", "verdict", "winner", "reason"),
        [[getattr(each, name) for name in columns] for each in newest],
        empty="no experiments yet; `thymos experiment start AGENT` begins one",
    )


async def show(experiment: str, /, *, json: Json = False, where: Where = HERE) -> None:
    """One experiment: its arms, and the evidence for each.

    Parameters
    ----------
    experiment
        The experiment's id.
    """
    async with where.client() as client:
        found = await _experiment(client, experiment)
    if json:
        emit(found)
    else:
        _print(found)


async def start(
    agent: str,
    /,
    *,
    generator: Annotated[list[str] | None, Parameter(negative=())] = None,
    reason: str = "",
    wait: Switch = False,
    timeout: str | None = None,
    json: Json = False,
    where: Where = HERE,
) -> int:
    """Start an experiment on an agent's memory.

    Parameters
    ----------
    agent
        The agent's name.
    generator
        Who writes a variant: learn-from-success, cautious, aggressive [default: the configured ones]. Repeat it.
    reason
        Why, for the record.
    wait
        Wait for the end, and exit by its verdict.
    timeout
        With --wait: not longer than this, such as 10m.
    """
    from thymos.commands import StartExperiment
    from thymos.errors import ThymosError

    limit = duration("--timeout", timeout)
    if limit is not None and not wait:
        raise UsageError("--timeout bounds the wait for the end: it needs --wait")
    _check_generators(generator or ())
    command = StartExperiment(by=me(), reason=reason, generators=generator or [])
    async with where.client() as client:
        answer = await _command(client, command, agent_name(agent))
        experiment_id = getattr(answer.data, "experiment_id", None)
        if not isinstance(experiment_id, str):
            raise ThymosError(f"the answer was {answer.data.NAME}, which names no experiment; `thymos experiment list`")
        if not json:
            say(f"experiment {experiment_id} of {agent}: {getattr(answer.data, 'reason', '') or 'begins'}")
        if wait:
            return await _wait(client, experiment_id, limit, json)
    if json:
        emit({"experiment_id": experiment_id, "answer": answer.to_dict()})
    else:
        say(f"`thymos experiment wait {experiment_id}` waits for its end")
    return DONE


async def approve(
    decision: str, /, *, reject: Switch = False, agent: str | None = None, json: Json = False, where: Where = HERE
) -> None:
    """Answer a decision that waits for a person.

    Parameters
    ----------
    decision
        The decision's id, from the event approval.requested.
    reject
        The answer is no.
    agent
        Whose decision it is [default: looked up].
    """
    from thymos.commands import ApproveDecision
    from thymos.errors import Refusal, RefusalCode

    async with where.client() as client:
        owner = agent_name(agent) if agent else await _owner(client, decision)
        if owner is None:
            message, hint = f"there is no decision {decision}", "`thymos watch approval --since 7d` shows what waits"
            raise Refusal(RefusalCode.NOT_FOUND, message, hint)
        command = ApproveDecision(decision_id=decision, by=me(), answer="rejected" if reject else "approved")
        answer = await _command(client, command, owner)
    _print_answer(answer, json, f"{decision} is {command.answer}")


async def abort(
    experiment: str,
    /,
    *,
    reason: str = "",
    agent: str | None = None,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """End an experiment without a verdict; its worktrees and branches are removed.

    Parameters
    ----------
    experiment
        The experiment's id.
    reason
        Why, for the record.
    agent
        Whose experiment it is [default: looked up].
    """
    from thymos.commands import AbortExperiment

    async with where.client() as client:
        owner = agent_name(agent) if agent else (await _experiment(client, experiment)).agent
        command = AbortExperiment(experiment_id=experiment, by=me(), reason=reason)
        answer = await _command(client, command, owner)
    _print_answer(answer, json, f"experiment {experiment} is being aborted")


async def wait(experiment: str, /, *, timeout: str | None = None, json: Json = False, where: Where = HERE) -> int:
    """Wait until an experiment is closed, and exit by its verdict: for CI.

    Parameters
    ----------
    experiment
        The experiment's id.
    timeout
        Not longer than this, such as 10m.
    """
    limit = duration("--timeout", timeout)
    async with where.client() as client:
        return await _wait(client, experiment, limit, json)


def _check_generators(names: Sequence[str]) -> None:
    """Raises UsageError for one that there is none of."""
    from thymos.config import GENERATORS

    for name in names:
        if name not in GENERATORS:
            raise UsageError(f"--generator {name!r}: it is one of {', '.join(GENERATORS)}")


# --- waiting and asking --------------------------------------------------------------------------------------------


async def _experiments(client: Client, agent: str | None, limit: int) -> list[ExperimentRecord]:
    """The newest experiments of one agent, or of all of the tenant's."""
    from thymos import subjects
    from thymos.requests import ExperimentsAnswer, ListExperiments

    owner, request = agent or subjects.WHOLE_SERVICE, ListExperiments(limit=limit)
    answer = await client.ask_as(ExperimentsAnswer, subjects.DECISION_ENGINE, owner, "experiments", request)
    return answer.experiments


async def _experiment(client: Client, experiment_id: str) -> ExperimentRecord:
    """One experiment, whole. Raises Refusal (`not_found`)."""
    from thymos import subjects
    from thymos.requests import ExperimentRecord, ReadExperiment

    request = ReadExperiment(experiment_id=experiment_id)
    return await client.ask_as(
        ExperimentRecord, subjects.DECISION_ENGINE, subjects.WHOLE_SERVICE, "experiment", request
    )


async def _owner(client: Client, decision_id: str) -> str | None:
    """The agent of a decision, or of an experiment that asks a question under that id."""
    from thymos import subjects
    from thymos.requests import PAGE_MAX, DecisionsAnswer, ListDecisions

    for experiment in await _experiments(client, None, PAGE_MAX):
        if experiment.question == decision_id:
            return experiment.agent
    request = ListDecisions(limit=PAGE_MAX)
    answer = await client.ask_as(
        DecisionsAnswer, subjects.DECISION_ENGINE, subjects.WHOLE_SERVICE, "decisions", request
    )
    return next((made.agent for made in answer.decisions if made.decision_id == decision_id), None)


async def _wait(client: Client, experiment_id: str, limit: timedelta | None, json: bool) -> int:
    """Until the experiment is closed; the exit code of its verdict. What happens meanwhile is told.

    With a limit, a service that is away is waited for, too: it may be on its way back.
    """
    from thymos import subjects

    since = await client.bus.last_sequence(subjects.EVENTS) + 1
    experiment: ExperimentRecord | None = None
    try:
        async with asyncio.timeout(limit.total_seconds() if limit is not None else None):
            experiment = await _found(client, experiment_id, patient=limit is not None)
            if experiment.closed_at is None:
                say(f"{experiment.phase}: {experiment.reason}")
                await _closed(client, experiment_id, experiment.agent, since)
                experiment = await _found(client, experiment_id, patient=True)
    except TimeoutError as error:
        assert limit is not None, "without a limit there is no time-out"
        state = "is still open" if experiment else f"could not be looked up: {subjects.DECISION_ENGINE} is away"
        raise TimedOutError(f"experiment {experiment_id} {state} after {limit.total_seconds():g} s") from error
    if json:
        emit(experiment)
    else:
        _print(experiment)
    return of_verdict(experiment.verdict)


async def _found(client: Client, experiment_id: str, *, patient: bool) -> ExperimentRecord:
    """One experiment, whole. Where nobody answers, the patient ask again until somebody does.

    Raises:
        Refusal: `not_found`.
        UnavailableError: nobody answers.
    """
    from thymos.errors import Refusal, RefusalCode, UnavailableError

    told = False
    while True:
        try:
            return await _experiment(client, experiment_id)
        except (Refusal, UnavailableError) as error:
            away = isinstance(error, UnavailableError) or error.code == RefusalCode.UNAVAILABLE
            if not patient or not away:
                raise
            if not told:
                say(f"{error}; asking again")
                told = True
            await asyncio.sleep(ASK_AGAIN_SECONDS)


async def _closed(client: Client, experiment_id: str, agent: str, since: int) -> None:
    """Until the event that closes it, telling of every phase on the way."""
    from thymos import subjects
    from thymos.errors import UnavailableError
    from thymos.events import ExperimentClosed, ExperimentProgress

    pattern = subjects.event_subject(client.tenant, agent, "experiment.*")
    async with aclosing(client.follow(subjects.EVENTS, pattern, from_sequence=since)) as events:
        async for envelope in events:
            data = envelope.data
            if isinstance(data, ExperimentProgress) and data.experiment_id == experiment_id:
                say(f"{data.phase}: {data.reason}")
                if isinstance(data, ExperimentClosed):
                    return
    raise UnavailableError("the event stream ended")


async def _command(client: Client, command: Command, agent: str) -> Envelope[Message]:
    """The first event that a command causes. Raises Refusal when it is not carried out, UnavailableError."""
    from thymos.errors import Refusal, RefusalCode
    from thymos.events import CommandRefused

    answer = await client.command(command, agent, ANSWER_WAIT)
    if isinstance(answer.data, CommandRefused):
        known = answer.data.code in set(RefusalCode)
        raise Refusal(answer.data.code if known else RefusalCode.REFUSED, answer.data.reason)
    return answer


# --- showing -------------------------------------------------------------------------------------------------------


_SHOWN = (
    "experiment_id", "agent", "phase", "verdict", "winner", "improvement", "opened_at", "closed_at", "deadline",
    "alpha", "tasks", "min_pairs", "cause", "reason", "question",
)  # fmt: skip


def _print(experiment: ExperimentRecord) -> None:
    pairs((name.removesuffix("_at").removesuffix("_id"), getattr(experiment, name)) for name in _SHOWN)
    columns = ("arm", "verdict", "pairs", "wins", "losses", "ties", "e_value", "threshold", "more_pairs_needed")
    if experiment.arms:
        headings = ("arm", "verdict", "pairs", "wins", "losses", "ties", "evidence", "needed", "more pairs")
        table(headings, [[getattr(arm, name) for name in columns] for arm in experiment.arms])
    elif experiment.branches:
        table(("arm", "branch"), list(experiment.branches.items()))


def _print_answer(answer: Envelope[Message], json: bool, words: str) -> None:
    if json:
        emit(answer.to_dict())
    else:
        say(f"{words} ({answer.data.NAME} {short(answer.id)})")
