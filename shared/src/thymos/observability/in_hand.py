"""What surrounds the handling of messages: the clock of the metrics, the ids in the logs, the spans of the traces."""

import json
import logging
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from thymos.bus import MESSAGE_ID_HEADER, Delivery, RequestHandler, Stored
from thymos.envelope import Envelope
from thymos.errors import RefusalCode
from thymos.logs import about
from thymos.message import Kind, Message
from thymos.observability.catalogue import OTHER
from thymos.observability.instruments import Instruments
from thymos.observability.tracing import Export, Span, attributes_of, now_ns, published
from thymos.store_watch import Sent
from thymos.subjects import Consumer
from thymos.trace_context import TraceContext, handled_as

log = logging.getLogger(__name__)
_CODES = frozenset(code.value for code in RefusalCode)
_CORRELATION = re.compile(rb'"correlationid"\s*:\s*"([!-~]{1,200}?)"')
_TRACEPARENT = re.compile(rb'"traceparent"\s*:\s*"([!-~]{1,200}?)"')
_WHAT = ("decision_id", "experiment_id", "worktree_id", "branch", "commit")
"""What an event may be about, beside its own ids."""
REASON_CHARACTERS_MAX = 500
"""How much of an event's reason is logged."""


class Observer:
    """Sees one service's messages come and go. `export` is None where no traces are wanted."""

    def __init__(self, instruments: Instruments) -> None:
        self.instruments = instruments
        self.export: Export | None = None

    @contextmanager
    def handling(self, consumer: Consumer, inbox: str, envelopes: Sequence[Envelope[Message]]) -> Iterator[None]:
        """Around the handling of one message, or of several in one transaction."""
        began_ns, error = now_ns(), ""
        try:
            with self.instruments.handling(consumer), about(**_ids(envelopes)):
                yield
        except Exception as failure:
            error = type(failure).__name__
            raise
        finally:
            if self.export is not None:
                ended_ns = now_ns()
                spans = (processed(envelope, inbox, began_ns, ended_ns, error) for envelope in envelopes)
                self.export(span for span in spans if span is not None)

    def answering(self, answer: RequestHandler) -> RequestHandler:
        """`answer`, timed and counted."""

        async def observed(subject: str, body: bytes) -> bytes:
            began = time.perf_counter()
            with about(request=subject[:200]):
                reply = await answer(subject, body)
            verb = subject.rpartition(".")[2]
            self.instruments.answered(verb, _code(reply), time.perf_counter() - began)
            return reply

        return observed

    def wrote(self, sent: Sequence[Sent]) -> None:
        """A transaction was committed that put these messages into the outbox."""
        if not sent:
            return
        self.instruments.wrote([each.envelope.data.NAME for each in sent])
        for each in sent:
            if each.envelope.data.KIND is Kind.EVENT:
                _log_event(each.envelope)
        if self.export is not None:
            at_ns = now_ns()
            self.export(span for span in (_published(each, at_ns) for each in sent) if span is not None)

    def relayed(self, kind: str) -> None:
        """A message of the outbox was published."""
        self.instruments.relayed(kind)

    def relay_failed(self) -> None:
        """A message of the outbox could not be published."""
        self.instruments.relay_failed()

    def relay_refused(self) -> None:
        """A message of the outbox went to the dead letters."""
        self.instruments.relay_refused()

    def store_failed(self) -> None:
        """The store could not be used."""
        self.instruments.store_failed()


def _code(reply: bytes) -> str:
    """`ok`, or the code of the refusal."""
    if reply.startswith(b'{"ok": true'):
        return "ok"
    code = json.loads(reply).get("error", {}).get("code")
    return code if code in _CODES else OTHER


def observed_ids(delivery: Delivery | Stored) -> dict[str, str | None]:
    """What is known of a delivery before it is read, and though it may be unreadable."""
    return {
        "stream_sequence": str(delivery.sequence),
        "delivery_id": (delivery.headers.get(MESSAGE_ID_HEADER) or "")[:200],
        "correlation_id": _found(_CORRELATION, delivery.body),
        "trace_id": _trace_id(_found(_TRACEPARENT, delivery.body)),
    }


def _found(pattern: re.Pattern[bytes], body: bytes) -> str | None:
    match = pattern.search(body)
    return match[1].decode("ascii") if match else None


def _trace_id(traceparent: str | None) -> str | None:
    context = TraceContext.parse(traceparent)
    return context.trace_id if context else None


def _log_event(envelope: Envelope[Message]) -> None:
    """One line for what was done: its ids and its reason, never what it carries."""
    event = envelope.data
    what = {name: getattr(event, name, None) for name in _WHAT}
    with about(event_id=envelope.id, **(_ids([envelope]) | {"message_id": None}), **what):
        reason = str(getattr(event, "reason", ""))[:REASON_CHARACTERS_MAX]
        log.info("%s: %s", event.NAME, reason) if reason else log.info("%s", event.NAME)


def _ids(envelopes: Sequence[Envelope[Message]]) -> dict[str, str | None]:
    """The ids of the one message; of several only how many there are."""
    if len(envelopes) != 1:
        return {"messages": str(len(envelopes))}
    (envelope,) = envelopes
    return {
        "message_id": envelope.id,
        "correlation_id": envelope.correlation_id,
        "tenant": envelope.tenant,
        "agent": envelope.agent,
        "trace_id": _trace_id(envelope.traceparent),
    }


def processed(
    envelope: Envelope[Message], inbox: str, began_ns: int, ended_ns: int, error: str = "", service: str = ""
) -> Span | None:
    """The span of handling a message; None where it is in no trace."""
    before = TraceContext.parse(envelope.traceparent)
    here = TraceContext.parse(handled_as(envelope.traceparent, inbox))
    if before is None or here is None:
        return None
    attributes = {**attributes_of(envelope), "messaging.operation.type": "process"}
    attributes["messaging.consumer.group.name"] = service or inbox.partition(":")[2]
    return Span(f"process {envelope.data.NAME}", "consumer", here, before, began_ns, ended_ns, attributes, (), error)


def _published(sent: Sent, at_ns: int) -> Span | None:
    here = TraceContext.parse(sent.envelope.traceparent)
    if here is None:
        return None
    return published(sent.envelope, TraceContext.parse(sent.parent), at_ns, sent.links)
