"""What becomes of a delivered message: one pure decision and the one place that carries it out.

handled                      -> ack, after the effect is stored
PoisonError, ValidationError -> dead letter with the reason, then terminate
StoreUnavailableError        -> wait with the message in hand: nothing is given up because a disk is full
TransientError               -> retry with backoff; after the last attempt a dead letter
anything else                -> a bug: logged with its traceback, then treated as transient

A message whose handling ends the process never comes to an answer; it is given up after twice as many deliveries.
"""

import asyncio
import base64
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import ValidationError

from thymos import subjects
from thymos.bus import CONTENT_TYPE_HEADER, MESSAGE_ID_HEADER, Bus, Delivery
from thymos.dead_letters import DeadLetter
from thymos.envelope import CONTENT_TYPE, Envelope
from thymos.errors import PoisonError, StoreUnavailableError, TransientError
from thymos.names import check_agent, check_tenant

log = logging.getLogger(__name__)

BACKOFF = tuple(timedelta(seconds=s) for s in (0.1, 0.5, 1, 2, 5, 10, 10))
"""Delays before the attempts after the first: together under 30 s, so that one message does not hold its agent long."""
ORIGINAL_BYTES_MAX = 512 * 1024
"""How much of a dead message is kept: base64 and the envelope must fit one message."""
ORIGINAL_BYTES_KEPT_AT_LEAST = 16 * 1024
"""What is kept when the server refuses a letter of full size."""
UNKNOWN_TENANT = "unknown"
STORE_RETRY_SECONDS = 2.0


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
    if delivery.attempts > 2 * consumer.deliver_max:
        reason = f"given up: {delivery.attempts - 1} deliveries ended without an answer (does it end the process?)"
        settlement = Settlement(Fate.DEAD, reason=reason)
        log.error("%s: message %s on %s: %s", consumer.service, delivery.sequence, delivery.subject, reason)
    else:
        error = await attempt(work, [delivery])
        settlement = settle(error, delivery.attempts, consumer.deliver_max)
        _report(error, settlement, consumer, delivery)
    await carry_out(bus, consumer, delivery, settlement)
    return settlement


async def attempt(work: Callable[[], Awaitable[None]], in_hand: Sequence[Delivery]) -> Exception | None:
    """Run `work`; how it failed, or None. While the store is unusable the deliveries in hand wait for it."""
    said = ""
    while True:
        try:
            await work()
        except StoreUnavailableError as error:
            if str(error) != said:
                said = str(error)
                log.error("waiting, with %d messages in hand: %s", len(in_hand), said)
            for delivery in in_hand:
                await delivery.in_progress()
            await asyncio.sleep(STORE_RETRY_SECONDS)
        except Exception as error:  # noqa: BLE001  (every failure is settled by the caller, and only there)
            return error
        else:
            return None


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
                found=found_at(consumer, delivery),
            )
            await delivery.terminate()


@dataclass(frozen=True)
class Found:
    """Where a message was found, as far as that is known."""

    stream: str | None = None
    sequence: int | None = None
    message_id: str | None = None
    content_type: str | None = None


def found_at(consumer: subjects.Consumer, delivery: Delivery) -> Found:
    """Where a delivered message lies."""
    headers = delivery.headers
    return Found(
        consumer.stream.name, delivery.sequence, headers.get(MESSAGE_ID_HEADER), headers.get(CONTENT_TYPE_HEADER)
    )


NOWHERE = Found()


async def publish_dead_letter(
    bus: Bus,
    handler: str,
    subject: str,
    body: bytes | None,
    *,
    reason: str,
    attempts: int,
    key: str,
    found: Found = NOWHERE,
) -> None:
    """Store what could not be processed.

    Args:
        handler: `<service>:<what gave up>`.
        body: None when it is gone.
        key: says which message it was, so that storing it a second time is a duplicate.
        found: where it lies, and what its headers say.
    """
    letter = DeadLetter(
        original=base64.b64encode((body or b"")[:ORIGINAL_BYTES_MAX]).decode(),
        subject=subject[:500],
        reason=reason[:4096],
        handler=handler,
        attempts=attempts,
        original_bytes=None if body is None else len(body),
        stream=found.stream,
        sequence=found.sequence,
        message_id=found.message_id and found.message_id[:1024],
        content_type=found.content_type and found.content_type[:200],
    )
    try:
        await _store_letter(bus, letter, key)
    except PoisonError as error:
        kept = base64.b64encode((body or b"")[:ORIGINAL_BYTES_KEPT_AT_LEAST]).decode()
        shorter = {"original": kept, "reason": f"{reason} (cut: {error})"[:4096]}
        await _store_letter(bus, letter.model_copy(update=shorter), key)


async def _store_letter(bus: Bus, letter: DeadLetter, key: str) -> None:
    service = letter.handler.split(":", 1)[0]
    tenant, agent = _owner(letter.subject)
    envelope: Envelope[DeadLetter] = Envelope(
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"dead:{letter.handler}:{key}")),
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


def _owner(subject: str) -> tuple[str, str]:
    """Tenant and agent of a subject; the unknown tenant when it names none that may exist."""
    try:
        where = subjects.address(subject)
        tenant = check_tenant(where.tenant)
    except ValueError:
        return UNKNOWN_TENANT, subjects.WHOLE_SERVICE
    try:
        return tenant, check_agent(where.agent)
    except ValueError:
        return tenant, subjects.WHOLE_SERVICE


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
        exc_info=error if bug and (delivery.attempts == 1 or settlement.fate is Fate.DEAD) else None,
    )
