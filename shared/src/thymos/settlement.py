"""What becomes of a delivered message: one pure decision and the one place that carries it out.

handled                     -> ack, after the effect is stored
PoisonError, ValidationError -> dead letter with the reason, then terminate
TransientError              -> retry with backoff; after the last attempt a dead letter
anything else               -> a bug: logged once with its traceback, then treated as transient
"""

import base64
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import ValidationError

from thymos import subjects
from thymos.bus import Bus, Delivery
from thymos.dead_letters import DeadLetter
from thymos.envelope import CONTENT_TYPE, Envelope
from thymos.errors import PoisonError, TransientError

log = logging.getLogger(__name__)

BACKOFF = tuple(timedelta(seconds=s) for s in (0.1, 0.5, 1, 2, 5, 10, 10))
"""Delays before the attempts after the first: together under 30 s, so that one message does not hold its agent long."""
ORIGINAL_BYTES_MAX = 512 * 1024
"""How much of a dead message is kept: base64 and the envelope must fit one message."""
UNKNOWN_TENANT = "unknown"


class Fate(StrEnum):
    """How a delivery is settled."""

    ACK = "ack"
    RETRY = "retry"
    DEAD = "dead"


@dataclass(frozen=True)
class Settlement:
    """The decision, with its reason in words."""

    fate: Fate
    delay: timedelta = timedelta(0)
    reason: str = ""


def settle(error: BaseException | None, attempts: int, deliver_max: int) -> Settlement:
    """Decide by how the handler ended. `attempts` counts this delivery too."""
    if error is None:
        return Settlement(Fate.ACK)
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, PoisonError | ValidationError):
        return Settlement(Fate.DEAD, reason=reason)
    if attempts >= deliver_max:
        return Settlement(Fate.DEAD, reason=f"given up after {attempts} attempts: {reason}")
    return Settlement(Fate.RETRY, BACKOFF[min(attempts, len(BACKOFF)) - 1], reason)


async def settled(
    bus: Bus, consumer: subjects.Consumer, delivery: Delivery, work: Callable[[], Awaitable[None]]
) -> Settlement:
    """Run `work` for a delivery and settle it. Raises only what the bus raises while settling, and cancellation."""
    error: Exception | None = None
    try:
        await work()
    except Exception as caught:  # noqa: BLE001  (every failure is settled here, and only here)
        error = caught
    settlement = settle(error, delivery.attempts, consumer.deliver_max)
    _report(error, settlement, consumer, delivery)
    await carry_out(bus, consumer, delivery, settlement)
    return settlement


async def carry_out(bus: Bus, consumer: subjects.Consumer, delivery: Delivery, settlement: Settlement) -> None:
    """Settle a delivery as decided. A dead letter is stored before the original is given up."""
    match settlement.fate:
        case Fate.ACK:
            await delivery.ack()
        case Fate.RETRY:
            await delivery.retry(settlement.delay)
        case Fate.DEAD:
            await publish_dead_letter(
                bus,
                f"{consumer.service}:{consumer.stream.name}",
                delivery.subject,
                delivery.body,
                reason=settlement.reason,
                attempts=delivery.attempts,
                key=f"{consumer.durable}:{delivery.sequence}",
            )
            await delivery.terminate()


async def publish_dead_letter(
    bus: Bus, handler: str, subject: str, body: bytes, *, reason: str, attempts: int, key: str
) -> None:
    """Store what could not be processed.

    Args:
        handler: `<service>:<what gave up>`.
        key: says which message it was, so that storing it a second time is a duplicate.
    """
    service = handler.split(":", 1)[0]
    try:
        where = subjects.address(subject)
        tenant, agent = where.tenant, where.agent
    except ValueError:
        tenant, agent = UNKNOWN_TENANT, subjects.WHOLE_SERVICE
    letter = DeadLetter(
        original=base64.b64encode(body[:ORIGINAL_BYTES_MAX]).decode(),
        subject=subject,
        reason=reason[:4096],
        handler=handler,
        attempts=attempts,
    )
    envelope: Envelope[DeadLetter] = Envelope(
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"dead:{handler}:{key}:{reason}")),
        source=service,
        time=datetime.now(UTC),
        tenant=tenant,
        agent=agent,
        data=letter,
    )
    await bus.publish(
        subjects.dead_subject(service, tenant),
        envelope.to_bytes(),
        envelope.message_id,
        {"content-type": CONTENT_TYPE},
    )


def _report(error: Exception | None, settlement: Settlement, consumer: subjects.Consumer, delivery: Delivery) -> None:
    if error is None:
        return
    bug = not isinstance(error, PoisonError | ValidationError | TransientError)
    log.log(
        logging.ERROR if bug or settlement.fate is Fate.DEAD else logging.WARNING,
        "%s: message %s on %s: %s (%s)",
        consumer.service,
        delivery.sequence,
        delivery.subject,
        settlement.reason,
        settlement.fate,
        exc_info=error if bug and delivery.attempts == 1 else None,
    )
