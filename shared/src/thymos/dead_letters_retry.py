"""Once more: the handler that gave a message up is given it again, and nobody else is.

The message is not stored a second time: its service is asked to handle it (`retry`), under the same inbox as the first
time. A handler that had done its work meanwhile does nothing, other readers of the stream hear nothing, and the event
log stays as it is. The answer says at once whether it worked. Tasks are the exception: whoever works on the branch
takes them from the queue, so that a task is put there again.
"""

from dataclasses import dataclass

from thymos import subjects
from thymos.bus import CONTENT_TYPE_HEADER, Bus
from thymos.client import Client
from thymos.dead_letters import DeadLetter
from thymos.dead_letters_kept import UNREADABLE
from thymos.envelope import BATCH_CONTENT_TYPE, CONTENT_TYPE, decode
from thymos.errors import PoisonError, Refusal, RefusalCode
from thymos.requests.base import Answer, Request

TASK_DOTS = subjects.task_subject("*", "*", "*").count(".")
OUTBOX = "outbox"
"""What gave up when the server refused a message that a service had to say."""


class RetryMessage(Request):
    """`retry`: handle a message that was given up; answered by `RetryAnswer`, or refused with the reason."""

    stream: str
    subject: str
    original: str
    content_type: str | None = None


class RetryAnswer(Answer):
    """It has been handled, now or before."""

    handled: bool


@dataclass(frozen=True)
class Retry:
    """What a retry would do, or why there can be none."""

    service: str
    what: str
    refused: str = ""

    @property
    def possible(self) -> bool:
        """Whether there is something to try."""
        return not self.refused


def plan(letter: DeadLetter, tenant: str) -> Retry:
    """Who is to be given the original of a tenant's letter, or why nobody can be."""
    service, _, what = letter.handler.partition(":")
    if what == UNREADABLE:
        return Retry(service, what, "it is no letter: nobody knows whose message it was")
    if letter.original_bytes is None and not letter.kept:
        return Retry(service, what, "its original was gone before it could be kept")
    if letter.cut:
        return Retry(service, what, f"only {len(letter.kept)} of its {letter.original_bytes} bytes were kept")
    if service not in subjects.SERVICES:
        return Retry(service, what, f"there is no service {service!r}")
    try:
        whose = subjects.address(letter.subject)
    except ValueError as error:
        return Retry(service, what, str(error))
    if whose.tenant != tenant:
        return Retry(service, what, f"{letter.subject} is not of tenant {tenant}")
    if what == subjects.TASKS.name and (whose.kind != "task" or letter.subject.count(".") != TASK_DOTS):
        return Retry(service, what, f"{letter.subject} is no queue of tasks")
    known = what == OUTBOX or what in {stream.name for stream in subjects.STREAMS}
    return Retry(service, what, "" if known else f"its handler {letter.handler!r} is none of today's")


async def retry(client: Client, letter: DeadLetter, letter_id: str) -> bool:
    """Give a dead letter's original to its handler again. Doing so twice has one effect.

    True when it has been handled; False when it was put into its stream again, where its reader may yet give it up.

    Raises:
        Refusal: `refused`: it cannot be tried, or failed again; the text says why.
        UnavailableError, TransientError: the service does not answer, or the bus is away or takes nothing.
    """
    planned = plan(letter, client.tenant)
    if not planned.possible:
        raise Refusal(RefusalCode.REFUSED, planned.refused, "`thymos dead drop` forgets it")
    if planned.what == subjects.TASKS.name:
        await _queued_again(client.bus, letter, letter_id)
        return False
    if planned.what == OUTBOX:
        await _published(client.bus, letter)
        return False
    request = RetryMessage(
        stream=planned.what,
        subject=letter.subject,
        original=letter.original,
        content_type=letter.content_type or _batch_type(letter.kept),
    )
    await client.ask(planned.service, subjects.WHOLE_SERVICE, "retry", request)
    return True


async def _queued_again(bus: Bus, letter: DeadLetter, letter_id: str) -> None:
    """A task under an id of its own: the first one is known to the queue and would be passed over."""
    tenant, agent, branch = letter.subject.split(".")[2:5]
    if await bus.depth(subjects.task_consumer(tenant, agent, branch)) is None:
        raise Refusal(RefusalCode.REFUSED, f"nobody takes tasks of {agent} on {branch} any more")
    await bus.publish(letter.subject, letter.kept, f"retry/{letter_id}", {CONTENT_TYPE_HEADER: CONTENT_TYPE})


async def _published(bus: Bus, letter: DeadLetter) -> None:
    """What a service had to say, under its own id: whoever has it already passes it over."""
    try:
        envelope = decode(letter.kept, letter.subject)
        await bus.publish(letter.subject, letter.kept, envelope.message_id, {CONTENT_TYPE_HEADER: CONTENT_TYPE})
    except PoisonError as error:
        raise Refusal(RefusalCode.REFUSED, f"it failed again: {error}") from error


def _batch_type(original: bytes) -> str | None:
    """The content type of a letter from before it was kept: an array is a batch."""
    return BATCH_CONTENT_TYPE if original.lstrip().startswith(b"[") else None
