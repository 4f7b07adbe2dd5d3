"""The net under the dead letters: the server's own word that it delivers a message no more.

`thymos.settlement` stores a dead letter before it gives a message up, and says so to the server. What ends in another
way is found here: somebody terminated it without a letter (a program of another make), or a consumer has a limit of
deliveries that Thymos did not set. The server does not promise its advisories: they are the net, not the rule.

Runs in the background of one service (worktree-scaler).
"""

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from thymos import nats_bus, subjects
from thymos.bus import Bus
from thymos.errors import PoisonError, TransientError
from thymos.settlement import Found, publish_dead_letter, settled
from thymos.stored_message import message_at

log = logging.getLogger(__name__)

CONSUMER = subjects.consumer(subjects.WORKTREE_SCALER, subjects.ADVISORIES)
FETCH_TIMEOUT = timedelta(seconds=5)
AGAIN_SECONDS = 0.5
GONE_SUBJECT = "gone"
DELETED = "Unacknowledged message was deleted"
WORK_QUEUES = frozenset(s.name for s in subjects.STREAMS if s.retention is subjects.Retention.WORK_QUEUE)
"""From these a message goes when it is done, or when its work was called off and purged. A cluster that elects a new
leader may say of one that was done just then that it was deleted unacknowledged (observed): nobody gave it up."""


@dataclass(frozen=True)
class Advisory:
    """A message that is delivered no more, after `attempts` deliveries to a durable."""

    stream: str
    durable: str
    sequence: int
    attempts: int
    why: str


def advisory(body: bytes) -> Advisory | None:
    """What the server says; None when Thymos itself gave the message up, or nobody did. Raises PoisonError when it says
    nothing."""
    try:
        said = json.loads(body)
        found = Advisory(
            str(said["stream"]), str(said["consumer"]), int(said["stream_seq"]), int(said["deliveries"]), ""
        )
        terminated = str(said["type"]).endswith(".terminated")
    except (ValueError, KeyError, TypeError) as error:
        raise PoisonError(f"no advisory of a consumer: {error!r}") from error
    reason = str(said.get("reason") or "")
    if terminated and (reason == nats_bus.TERMINATED or (reason == DELETED and found.stream in WORK_QUEUES)):
        return None
    if terminated:
        words = f"terminated by a consumer of another make{f': {reason}' if reason else ', which gave no reason'}"
    else:
        words = f"the server gave it up after {found.attempts} deliveries: the consumer has a limit of its own"
    return Advisory(found.stream, found.durable, found.sequence, max(found.attempts, 1), words)


def service_of(durable: str) -> str:
    """The service that a durable works for: tasks are worktree-scaler's."""
    return durable if durable in subjects.SERVICES else subjects.WORKTREE_SCALER


def subject_of_gone(durable: str) -> str:
    """The subject of a message that is gone, as far as its durable tells: a branch's tasks have one of their own."""
    kind, *names = durable.split(":")
    return subjects.task_subject(*names) if kind == "task" and len(names) == 3 else GONE_SUBJECT


async def run(bus: Bus) -> None:
    """Turn advisories into dead letters, for ever."""
    said = ""
    while True:
        try:
            subscription = await bus.subscribe(CONSUMER)
            try:
                while True:
                    for delivery in await subscription.fetch(1, FETCH_TIMEOUT):
                        await settled(bus, CONSUMER, delivery, partial(catch, bus, delivery.body))
                    said = ""
            finally:
                with contextlib.suppress(TransientError):
                    await subscription.close()
        except TransientError as error:
            if str(error) != said:
                said = str(error)
                log.warning("dead letters: advisories cannot be read: %s", said)
            await asyncio.sleep(AGAIN_SECONDS)


async def catch(bus: Bus, body: bytes) -> None:
    """Store the dead letter of one advisory; a second time it is a duplicate. Raises PoisonError, TransientError."""
    found = advisory(body)
    if found is None:
        return
    message = await message_at(bus, found.stream, found.sequence)
    handler = f"{service_of(found.durable)}:{found.stream}"
    log.error("message %d of %s is delivered no more: %s", found.sequence, found.stream, found.why)
    await publish_dead_letter(
        bus,
        handler,
        message.subject if message else subject_of_gone(found.durable),
        message.body if message else None,
        reason=found.why if message else f"{found.why}; the message was gone before it could be kept",
        attempts=found.attempts,
        key=f"{found.durable}:{found.sequence}",
        found=Found(
            found.stream,
            found.sequence,
            message.message_id if message else None,
            message.content_type if message else None,
        ),
    )
