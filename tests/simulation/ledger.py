"""What the stores of the services really committed, noted from outside: messages handled, messages sent, ids minted."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

from thymos import subjects, unit_of_work
from thymos.envelope import Envelope
from thymos.message import Message
from thymos.service import Route, Service
from thymos.store_watch import Sent, StoreWatch
from thymos.subjects import Consumer
from thymos.unit_of_work import BatchHandler, Handler, Transaction

Handled = tuple[str, str, str]
"""Service, stream and message id."""
Minted = tuple[str, str, int]
"""Source, cause, and which of its ids."""


@dataclass
class Ledger:
    """Of a whole run, over all starts of all services.

    Attributes:
        handled: how often a message's handling was committed.
        order: per ordered consumer and agent, the message ids in the order of their handling.
        sent: ids of committed outbox messages, and which service sent them.
        waiting: those of each service that no stream holds yet.
        problems: what cannot be explained, in words.
    """

    handled: Counter[Handled] = field(default_factory=Counter)
    order: dict[tuple[str, str, str, str], list[str]] = field(default_factory=dict)
    sent: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, dict[str, None]] = field(default_factory=lambda: {name: {} for name in subjects.SERVICES})
    problems: list[str] = field(default_factory=list)
    again: int = 0
    """How many ids were minted a second time, after the first transaction had been cut off."""
    _open: list[tuple[Consumer, Envelope[Message]]] = field(default_factory=list)
    _minted: dict[Minted, str] = field(default_factory=dict)

    def settle(self, well: bool) -> None:
        """The piece of work that the last messages were handled in is over."""
        for consumer, envelope in self._open if well else ():
            key = consumer.service, consumer.stream.name, envelope.message_id
            self.handled[key] += 1
            if self.handled[key] > 1:
                self.problems.append(f"{consumer.service} handled {envelope.type} {envelope.message_id} twice")
            if consumer.ordered:
                place = consumer.service, consumer.stream.name, envelope.tenant, envelope.agent
                self.order.setdefault(place, []).append(envelope.message_id)
        self._open.clear()

    def stored(self, message_id: str) -> None:
        """A stream holds the message."""
        service = self.sent.get(message_id)
        if service is not None:
            self.waiting[service].pop(message_id, None)

    # --- where it is noted ------------------------------------------------------------------------------------------

    def observe(self, service: Service, at_end: Callable[[], None]) -> None:
        """Note from now on what a service handles and sends; `at_end` is called at the end of each handling, within
        its transaction."""
        object.__setattr__(service, "routes", [self._observed(route, at_end) for route in service.routes])
        service.store.watch = _Watch(service.store.watch, service.name, self)

    def _observed(self, route: Route, at_end: Callable[[], None]) -> Route:
        if route.handle_batch is not None:
            return replace(route, handle_batch=self._batch(route.consumer, route.handle_batch, at_end))
        assert route.handle is not None
        return replace(route, handle=self._one(route.consumer, route.handle, at_end))

    def _one(self, consumer: Consumer, real: Handler, at_end: Callable[[], None]) -> Handler:
        def handle(envelope: Envelope[Message], tx: Transaction) -> None:
            self._open.append((consumer, envelope))
            real(envelope, tx)
            at_end()

        return handle

    def _batch(self, consumer: Consumer, real: BatchHandler, at_end: Callable[[], None]) -> BatchHandler:
        def handle(envelopes: Sequence[Envelope[Message]], tx: Transaction) -> None:
            self._open.extend((consumer, envelope) for envelope in envelopes)
            real(envelopes, tx)
            at_end()

        return handle

    @contextlib.contextmanager
    def minting(self) -> Iterator[None]:
        """Note each id that a transaction mints, committed or not, while the block runs."""
        real: Callable[[Transaction], str] = Transaction.new_id
        counted: WeakKeyDictionary[Transaction, int] = WeakKeyDictionary()

        def new_id(tx: Transaction) -> str:
            identity = real(tx)
            counted[tx] = counted.get(tx, 0) + 1
            self._mint((tx.source, tx.cause.key, counted[tx]), identity)
            return identity

        unit_of_work.Transaction.new_id = new_id  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            unit_of_work.Transaction.new_id = real  # type: ignore[method-assign, assignment]

    def _mint(self, which: Minted, identity: str) -> None:
        before = self._minted.get(which)
        if before is None:
            self._minted[which] = identity
            return
        self.again += 1
        if before != identity:
            source, cause, number = which
            self.problems.append(f"{source}: id {number} of {cause} was {before}, and done again it is {identity}")


class _Watch:
    """See `StoreWatch`: notes what is sent, and passes it on."""

    def __init__(self, real: StoreWatch, service: str, ledger: Ledger) -> None:
        self._real = real
        self._service = service
        self._ledger = ledger

    def wrote(self, sent: Sequence[Sent]) -> None:
        """See `StoreWatch`."""
        for each in sent:
            self._ledger.sent[each.envelope.message_id] = self._service
            self._ledger.waiting[self._service][each.envelope.message_id] = None
        self._real.wrote(sent)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
