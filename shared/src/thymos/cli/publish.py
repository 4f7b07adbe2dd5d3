"""`thymos publish`: telemetry, commands and tasks from the command line, one event or a stream of JSON lines."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from cyclopts import App, Parameter

from thymos.cli.exit_codes import FAILED, UsageError
from thymos.cli.options import HERE, Json, Where, agent_name
from thymos.cli.output import emit, say

Switch = Annotated[bool, Parameter(negative=(), show_default=False)]
OUTCOMES = ("succeeded", "failed", "errored", "timed_out", "cancelled")


def register(app: App) -> None:
    """Add the verbs to the command line."""
    verbs = App(name="publish", help="Publish one event, or JSON lines of events.")
    verbs.default(lines)
    verbs.command(task, name="task")
    app.command(verbs)


async def task(
    agent: str,
    /,
    *,
    success: Annotated[Switch, Parameter(help="The task was done right.")] = False,
    failure: Annotated[Switch, Parameter(help="It was not.")] = False,
    outcome: str | None = None,
    task_id: str | None = None,
    branch: str = "main",
    commit: str | None = None,
    latency_ms: float | None = None,
    cost_usd: float | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    llm_calls: int | None = None,
    quality: float | None = None,
    experiment_id: str | None = None,
    arm: str | None = None,
    input: str | None = None,
    output: str | None = None,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Report one finished task of an agent. An outcome counts once per task id.

    Parameters
    ----------
    agent
        The agent's name.
    outcome
        Instead of --success or --failure: succeeded, failed, errored, timed_out or cancelled.
    task_id
        The task's identity [default: a new one].
    branch
        The memory branch that the agent worked on.
    commit
        The commit of memory that the agent stood on.
    latency_ms
        How long it took, in milliseconds; required, since a time left out would count as none at all.
    cost_usd
        What it cost, in US dollars.
    input_tokens
        Tokens read by language models.
    output_tokens
        Tokens written by language models.
    llm_calls
        Calls of language models.
    quality
        Quality of the output, from 0 to 1.
    experiment_id
        The experiment that the task belongs to.
    arm
        The arm of that experiment.
    input
        What was asked.
    output
        What was answered.
    """
    from thymos.telemetry import Outcome, TaskFinished

    ended = Outcome(_outcome(success, failure, outcome))
    name = agent_name(agent)
    if latency_ms is None:
        raise UsageError("say how long the task took: --latency-ms MILLISECONDS")
    message = TaskFinished(
        task_id=task_id or str(uuid.uuid4()),
        outcome=ended,
        branch=branch,
        commit=commit,
        latency_ms=latency_ms,
        cost_usd=cost_usd,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        llm_calls=llm_calls,
        quality={} if quality is None else {"output_quality": quality},
        experiment_id=experiment_id,
        arm=arm,
        input=input,
        output=output,
    )
    async with where.client() as client:
        envelope = client.envelope(message, name)
        ack = await client.publish(envelope)
    if json:
        emit({"id": envelope.id, "task_id": message.task_id, "subject": envelope.subject, "sequence": ack.sequence})
    else:
        say(f"task {message.task_id} of {name}: {message.outcome.value}")


async def lines(
    source: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    agent: str | None = None,
    json: Json = False,
    where: Where = HERE,
) -> int:
    """Publish JSON lines from a file, or from standard input with `-`.

    Each line is a CloudEvent, or {"type", "agent", "data"} for short; an object may also be spread over lines, from
    `{` to `}` at their beginning. A line that is wrong is reported by its number and left out; the others are
    published, and the exit code is 1. The order of the lines is kept. A line with an `id` is stored once, however
    often it is sent.

    Parameters
    ----------
    source
        The file, or - for standard input.
    agent
        The agent of lines that name none.
    """
    from thymos.cli.json_lines import documents, read_lines

    if source is None:
        raise UsageError("name a file, or - for standard input; `thymos publish task AGENT --success` sends one event")
    fallback = agent_name(agent) if agent else None
    async with read_lines(source) as given, where.client() as client:
        report = await _publish_all(client, documents(given), fallback)
    if json:
        emit(report)
    else:
        say(f"{report['published']} published, {report['duplicates']} known already, {len(report['refused'])} refused")
    return FAILED if report["refused"] else 0


def _outcome(success: bool, failure: bool, outcome: str | None) -> str:
    given = [
        *(["--success"] if success else []), *(["--failure"] if failure else []), *(["--outcome"] if outcome else [])
    ]  # fmt: skip
    if len(given) > 1:
        raise UsageError(f"choose one of {' and '.join(given)}: a task ends in one way")
    if not given:
        raise UsageError("say how the task ended: --success, --failure, or --outcome " + "|".join(OUTCOMES))
    if outcome is None:
        return "succeeded" if success else "failed"
    if outcome not in OUTCOMES:
        raise UsageError(f"--outcome {outcome!r}: it is one of {', '.join(OUTCOMES)}")
    return outcome


async def _publish_all(client: Any, given: Any, agent: str | None) -> dict[str, Any]:
    """One after the other, so that their order is kept. Raises UnavailableError, which says how far it came."""
    from thymos.cli.event_lines import envelope_of
    from thymos.errors import PoisonError, UnavailableError

    published = duplicates = 0
    refused: list[dict[str, Any]] = []
    async for number, text in given:
        try:
            ack = await client.publish(envelope_of(text, client, agent))
        except (PoisonError, ValueError) as error:
            say(f"line {number}: {error}")
            refused.append({"line": number, "reason": str(error)})
        except UnavailableError as error:
            raise UnavailableError(
                f"line {number} and the lines after it were not published: {error}; send them again when it is back"
            ) from error
        else:
            published += not ack.duplicate
            duplicates += ack.duplicate
    return {"published": published, "duplicates": duplicates, "refused": refused}
