"""Who looks on while a store works: the metrics and the traces of its service."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from thymos.envelope import Envelope
from thymos.message import Message


@dataclass(frozen=True)
class Sent:
    """A message that was put into the outbox, the step of its trace before it, and steps of other traces."""

    envelope: Envelope[Message]
    parent: str | None
    links: tuple[str, ...] = ()


class StoreWatch(Protocol):
    """Is told what a store does, on its thread or the event loop's. It neither raises nor waits."""

    def wrote(self, sent: Sequence[Sent]) -> None:
        """A transaction was committed that put these messages into the outbox."""

    def relayed(self, kind: str) -> None:
        """A message of the outbox was published."""

    def relay_failed(self) -> None:
        """A message of the outbox could not be published."""

    def relay_refused(self) -> None:
        """A message of the outbox went to the dead letters."""

    def store_failed(self) -> None:
        """The store could not be used."""


class Nobody:
    """Looks away."""

    def wrote(self, sent: Sequence[Sent]) -> None:
        """See `StoreWatch`."""

    def relayed(self, kind: str) -> None:
        """See `StoreWatch`."""

    def relay_failed(self) -> None:
        """See `StoreWatch`."""

    def relay_refused(self) -> None:
        """See `StoreWatch`."""

    def store_failed(self) -> None:
        """See `StoreWatch`."""
