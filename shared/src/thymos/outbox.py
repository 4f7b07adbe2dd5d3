"""The outbox of a service's store: what its transactions have caused, published in order per stream, each message once.

Replicas of a service that share a store take turns: whoever has claimed the relay makes one pass and gives it up. What
one of them leaves behind when it dies, another publishes: the database gives up the claim of a connection that ended.
Even two at once would keep the order, for each goes through the same rows one by one, and the ids of a message that was
published twice are known to its stream for an hour.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from thymos.bus import CONTENT_TYPE_HEADER, Bus
from thymos.database import Connection, Database
from thymos.envelope import CONTENT_TYPE
from thymos.errors import PoisonError, StoreUnavailableError, TransientError
from thymos.settlement import publish_dead_letter
from thymos.store_watch import StoreWatch

log = logging.getLogger(__name__)
T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox(
    position INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, subject TEXT NOT NULL,
    message_id TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS outbox_by_stream ON outbox(stream, position);
"""
OUTBOX_MAX = 100_000
"""Unpublished messages a service may hold; beyond it nothing more is handled until the bus is back."""
RELAY_BATCH = 64
RELAY_FORGET_EVERY = 8
"""Published messages that may be published again after a kill; their ids are known to the stream for an hour."""
CLAIM = "relay"
ELSEWHERE = timedelta(milliseconds=50)
"""After this a replica looks again, when another one was publishing."""
LEFT_BEHIND = timedelta(seconds=1)
"""After this a replica with nothing of its own looks for what another one has left behind."""


class Outbox:
    """The part of a `ServiceStore` that publishes."""

    service: str
    watch: StoreWatch
    database: Database

    def __init__(self) -> None:
        self.outbox_filled = asyncio.Event()
        self._relaying = asyncio.Lock()
        self._relay_error: TransientError | None = None

    @property
    def _connection(self) -> Connection:
        raise NotImplementedError

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` on the store's thread."""
        raise NotImplementedError

    def _check_outbox(self) -> None:
        # By the index, half a millisecond when it is full. Positions would not do: what waits for one stream stays
        # while those of the others go on.
        if self._connection.execute("SELECT 1 FROM outbox LIMIT 1 OFFSET ?", (OUTBOX_MAX - 1,)).fetchone():
            raise StoreUnavailableError(
                f"{OUTBOX_MAX} messages wait for the bus; nothing more is handled until it takes them"
            )

    async def relay(self, bus: Bus) -> int:
        """Publish what the outbox holds, in order per stream: a stream that takes nothing holds up no other.

        Returns how many were published; none when another replica is publishing. Raises TransientError when some were
        not; the first reason.
        """
        async with self._relaying:
            return await self._relay(bus) or 0

    async def hold_relay(self, bus: Bus) -> None:
        """Nothing more is published until `release_relay`; what is left in the outbox never was.

        A killed process may leave messages in the outbox that it had published; they are the oldest, so that one pass
        gets rid of them. Raises TransientError when that pass fails.
        """
        await self._relaying.acquire()
        try:
            await self._relay(bus)
        except BaseException:
            self._relaying.release()
            raise

    def release_relay(self) -> None:
        """Publish again. Only after `hold_relay`."""
        self._relaying.release()

    async def _relay(self, bus: Bus) -> int | None:
        """One pass; None when another replica is making one."""
        if self.database.shared and not await self.run(lambda: self._connection.claim(CLAIM)):
            return None
        try:
            return await self._relay_all(bus)
        finally:
            if self.database.shared:
                with contextlib.suppress(StoreUnavailableError):  # then the claim is gone with the connection
                    await self.run(lambda: self._connection.release(CLAIM))

    async def _relay_all(self, bus: Bus) -> int:
        streams = await self.run(lambda: self._connection.execute("SELECT DISTINCT stream FROM outbox").fetchall())
        results = await asyncio.gather(
            *(self._relay_stream(bus, stream) for (stream,) in streams), return_exceptions=True
        )
        for failed in results:
            if isinstance(failed, BaseException):
                raise failed
        return sum(count for count in results if isinstance(count, int))

    async def _relay_stream(self, bus: Bus, stream: str) -> int:
        rows = await self.run(
            lambda: self._connection.execute(
                "SELECT position, subject, message_id, body FROM outbox WHERE stream = ? ORDER BY position LIMIT ?",
                (stream, RELAY_BATCH),
            ).fetchall()
        )
        done: list[tuple[int]] = []
        try:
            for position, subject, message_id, body in rows:
                await self._publish(bus, subject, message_id, body)
                self.watch.relayed(stream)
                done.append((position,))
                if len(done) == RELAY_FORGET_EVERY:
                    await self._forget(done)
                    done = []
        finally:
            if done:
                await self._forget(done)
        return len(rows)

    async def _forget(self, positions: Sequence[tuple[int]]) -> None:
        def work() -> None:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany("DELETE FROM outbox WHERE position = ?", positions)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

        await self.run(work)

    async def _publish(self, bus: Bus, subject: str, message_id: str, body: bytes) -> None:
        try:
            await bus.publish(subject, body, message_id, {CONTENT_TYPE_HEADER: CONTENT_TYPE})
        except TransientError:
            self.watch.relay_failed()
            raise
        except PoisonError as error:
            self.watch.relay_refused()
            # Keeping a message that the server refuses for ever would stop everything behind it.
            log.error("%s: the server refuses a message to %s: %s", self.service, subject, error)
            await publish_dead_letter(
                bus, f"{self.service}:outbox", subject, body, reason=str(error), attempts=1, key=message_id
            )

    async def run_relay(self, bus: Bus, pause: timedelta = timedelta(milliseconds=200)) -> None:
        """Publish for ever: at once when something was put into the outbox, and again after `pause` when some of it
        could not be published."""
        while True:
            self.outbox_filled.clear()
            try:
                async with self._relaying:
                    published = await self._relay(bus)
                self._say(None)
                if published is None:
                    await asyncio.sleep(ELSEWHERE.total_seconds())
                elif not published:
                    await self._something_to_publish()
            except TransientError as error:
                self._say(error)
                await asyncio.sleep(pause.total_seconds())

    async def _something_to_publish(self) -> None:
        if not self.database.shared:
            await self.outbox_filled.wait()
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.outbox_filled.wait(), LEFT_BEHIND.total_seconds())

    @property
    def waits_for_bus(self) -> str:
        """Why what is in the outbox waits, if it is the bus that does not take it; the store speaks for itself."""
        return "" if isinstance(self._relay_error, StoreUnavailableError) else str(self._relay_error or "")

    def _say(self, error: TransientError | None) -> None:
        """Log a problem of the relay once, not at every try."""
        if error is not None and str(error) != str(self._relay_error):
            log.warning("%s: %s", self.service, error)
        self._relay_error = error
