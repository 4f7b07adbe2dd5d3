"""Runs a service: its consumers, requests, ticks and relay, its readiness, and its end.

A service is a value (`Service`) that its `app.build(settings)` makes; this module is the shell around it. Every
message takes one path: decode, handle in one transaction, publish what it caused, settle (settlement.py).
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

from thymos import config as configuration
from thymos import nats_bus
from thymos.answering import Answers
from thymos.answering import Endpoint as Endpoint
from thymos.answering import error_reply as error_reply
from thymos.answering import reply as reply
from thymos.background import cancelled
from thymos.backup.copies import Copies
from thymos.bus import CONTENT_TYPE_HEADER, Bus, Delivery, Stored, Subscription
from thymos.commands import Command
from thymos.config import Config
from thymos.envelope import BATCH_CONTENT_TYPE, Envelope, decode, decode_batch
from thymos.errors import (
    ConfigError,
    PoisonError,
    Refusal,
    StoreUnavailableError,
    TransientError,
)
from thymos.events import CommandRefused
from thymos.logs import about, configure_logging, name_service
from thymos.message import Message
from thymos.observability.in_hand import Observer, observed_ids
from thymos.observability.instruments import Figures, Instruments, route_of
from thymos.observability.pages import Pages, shown, traced
from thymos.settlement import Fate, attempt, found_at, publish_dead_letter, settled
from thymos.subjects import Consumer
from thymos.unit_of_work import BatchHandler, Handler, ServiceStore, Transaction
from thymos.upkeep import Upkeep

log = logging.getLogger(__name__)

FETCH_TIMEOUT = timedelta(seconds=5)
TRANSACTION_EVENTS_MAX = 10_000
"""Events of a batch that go into one transaction: the store's thread is free for others in between."""
READINESS_PERIOD_SECONDS = 2.0
CONSUMER_RETRY_SECONDS = 0.5
SHUTDOWN_SECONDS = 10.0


@dataclass(frozen=True)
class Route:
    """Who handles the messages of a consumer: one at a time, or those fetched together in one transaction."""

    consumer: Consumer
    handle: Handler | None = None
    handle_batch: BatchHandler | None = None


@dataclass(frozen=True)
class Tick:
    """Work at intervals, in a transaction of its own."""

    name: str
    every: timedelta
    work: Callable[[Transaction], None]


@dataclass(frozen=True)
class Service:
    """A whole service, wired but not running. `background` tasks get the bus and run until cancelled; `stopping`
    is awaited before the bus is closed. `figures` reads gauges of its own from the store. `observer` sees what it does.
    """

    name: str
    store: ServiceStore
    routes: Sequence[Route]
    endpoints: Sequence[Endpoint] = ()
    ticks: Sequence[Tick] = ()
    background: Sequence[Callable[[Bus], Awaitable[None]]] = ()
    stopping: Callable[[], Awaitable[None]] | None = None
    figures: Figures | None = None
    observer: Observer = field(init=False, compare=False)

    def __post_init__(self) -> None:
        verbs, ticks = [each.verb for each in self.endpoints], [each.name for each in self.ticks]
        object.__setattr__(self, "observer", Observer(Instruments(self.name, verbs, ticks)))
        self.store.watch = self.observer


@dataclass(frozen=True)
class ServiceSettings:
    """What every service is given from outside, read once by `from_environment`."""

    nats_url: str
    data_dir: Path
    config: Config

    @staticmethod
    def from_environment() -> "ServiceSettings":
        """From THYMOS_CONFIG, THYMOS_DATA_DIR and what `thymos.config` reads. Raises ConfigError."""
        path = os.environ.get("THYMOS_CONFIG")
        config = configuration.load(Path(path) if path else None)
        data_dir = os.environ.get("THYMOS_DATA_DIR") or str(config.storage.directory)
        return ServiceSettings(config.nats.url, Path(data_dir), config)


@dataclass
class Readiness:
    """Whether everything a service needs exists and answers; `findings` say what does not."""

    findings: list[str] = field(default_factory=lambda: ["starting"])

    @property
    def ready(self) -> bool:
        """Ready to take events."""
        return not self.findings


HOW_CONFIGURED = """\
It takes no options. What it does is configured by the file that THYMOS_CONFIG names, else by ./thymos.toml, and by
THYMOS_… variables, such as THYMOS_NATS_URL, THYMOS_STORAGE__URL or THYMOS_OBSERVABILITY__PORT. `thymos config check`
and `thymos config show` say what that comes to; docs/reference/configuration.md lists all settings.

It runs until SIGTERM or SIGINT. `thymos up` runs all four services and a NATS server.
"""


def main(build: Callable[[ServiceSettings], Service], name: str, does: str) -> None:
    """Entry point of a service process: settings, build, run until SIGTERM or SIGINT. With `--help` it only says what
    the service `name` `does`; other arguments are refused (exit 2)."""
    argparse.ArgumentParser(
        prog=f"thymos-{name}",
        description=f"{name} {does}",
        epilog=HOW_CONFIGURED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    configure_logging()
    try:
        asyncio.run(_run_process(ServiceSettings.from_environment(), build))
    except (ConfigError, Refusal, StoreUnavailableError) as error:
        raise SystemExit(f"{error}") from error


async def _run_process(settings: ServiceSettings, build: Callable[[ServiceSettings], Service]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    service = build(settings)
    name_service(service.name)
    readiness = Readiness([f"NATS does not answer at {nats_bus.shown(settings.nats_url)}"])
    consumers = [route.consumer for route in service.routes]
    pages = Pages(service.observer.instruments, lambda: readiness.findings, consumers)
    try:
        async with shown(settings.config.observability, service, pages), traced(settings.config.observability, service):
            await _connected(settings, service, stop, readiness, pages)
    finally:
        await service.store.close()


async def _connected(
    settings: ServiceSettings, service: Service, stop: asyncio.Event, readiness: Readiness, pages: Pages
) -> None:
    """Connect, and run until `stop`."""
    connecting = asyncio.create_task(nats_bus.connect(settings.nats_url, service.name, wait=None))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({connecting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not connecting.done():
        connecting.cancel()
        return
    bus = pages.bus = await connecting
    try:
        await run(service, bus, stop, readiness)
    finally:
        await bus.close()


async def run(service: Service, bus: Bus, stop: asyncio.Event, readiness: Readiness | None = None) -> None:
    """Run a service on a bus until `stop` is set; what is in hand is finished first.

    Raises:
        ExceptionGroup: a part of the service failed for a reason that is not settled by its own loop (a bug).
    """
    readiness = readiness or Readiness()
    copies = Copies(service.store, bus)
    again = {route.consumer.stream.name: partial(_again, service, route) for route in service.routes}
    answers = Answers(service.store, service.endpoints, lambda: readiness.findings, Upkeep(service.name, again, copies))
    await bus.serve(service.name, answers.subjects(), service.observer.answering(answers.answer))
    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(_consume(service, bus, route, stop)) for route in service.routes]
        others = [
            group.create_task(service.store.run_relay(bus)),
            group.create_task(_watch_readiness(service, bus, readiness)),
            *(group.create_task(_tick(service, tick)) for tick in service.ticks),
            *(group.create_task(_coroutine(start, bus)) for start in service.background),
        ]
        relay, *rest = others
        log.info("%s started", service.name)
        try:
            await stop.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SHUTDOWN_SECONDS):
                    await asyncio.gather(*workers)
        finally:
            if service.stopping is not None:
                await service.stopping()
        await copies.close()
        await cancelled(relay)
        with contextlib.suppress(TransientError):
            await service.store.relay(bus)
        for task in (*workers, *rest):
            await cancelled(task)
    log.info("%s stopped", service.name)


async def _coroutine(start: Callable[[Bus], Awaitable[None]], bus: Bus) -> None:
    await start(bus)


async def _tick(service: Service, tick: Tick) -> None:
    said = ""
    while True:
        await asyncio.sleep(tick.every.total_seconds())
        try:
            with service.observer.instruments.ticking(tick.name):
                await service.store.tick(tick.name, tick.work)
            said = ""
        except Exception as error:
            if f"{error}" != said:
                said = f"{error}"
                bug = not isinstance(error, TransientError)
                log.error("%s: %s: %s", service.name, tick.name, said, exc_info=error if bug else None)


async def _watch_readiness(service: Service, bus: Bus, readiness: Readiness) -> None:
    while True:
        if service.store.problem and readiness.ready:  # said at once: to look again may wait long for whoever holds it
            readiness.findings = [service.store.problem]
        missing = await bus.missing([route.consumer for route in service.routes])
        findings = [*missing, *await service.store.findings()]
        if findings != readiness.findings:
            log.info("%s: %s", service.name, "; ".join(findings) or "ready")
        readiness.findings = findings
        await asyncio.sleep(READINESS_PERIOD_SECONDS if not findings else CONSUMER_RETRY_SECONDS)


# --- messages ------------------------------------------------------------------------------------------------------


async def _consume(service: Service, bus: Bus, route: Route, stop: asyncio.Event) -> None:
    """Pull and handle until stopped. A missing durable or an absent bus is waited for."""
    while not stop.is_set():
        try:
            subscription = await bus.subscribe(route.consumer)
            try:
                await _pull(service, bus, route, subscription, stop)
            finally:
                await subscription.close()
        except TransientError as error:
            log.warning("%s: %s", service.name, error)
            await _sleep_unless(stop, CONSUMER_RETRY_SECONDS)


async def _pull(service: Service, bus: Bus, route: Route, subscription: Subscription, stop: asyncio.Event) -> None:
    while not stop.is_set():
        fetching = asyncio.ensure_future(subscription.fetch(route.consumer.batch, FETCH_TIMEOUT))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait({fetching, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not fetching.done():
            fetching.cancel()
            return
        deliveries = fetching.result()
        service.observer.instruments.fetched(route.consumer)
        if route.handle_batch is not None and deliveries:
            await _handle_batch(service, bus, route, deliveries)
        else:
            for delivery in deliveries:
                await _settled(service, bus, route, delivery, partial(_handle, service, route, delivery))


async def _settled(
    service: Service, bus: Bus, route: Route, delivery: Delivery, work: Callable[[], Awaitable[None]]
) -> None:
    with about(**observed_ids(delivery)):
        settlement = await settled(bus, route.consumer, delivery, work)
    service.observer.instruments.settled(route.consumer, settlement.fate, delivery.attempts)


async def _sleep_unless(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def _handle(service: Service, route: Route, delivery: Delivery | Stored) -> None:
    envelope = decode(delivery.body, delivery.subject)
    handler = route.handle or _one_by_one(route)
    if isinstance(envelope.data, Command):
        handler = _refusing(handler)
    with service.observer.handling(route.consumer, _inbox_of(route), [envelope]):
        await service.store.handle(_inbox_of(route), envelope, handler)


def _inbox_of(route: Route) -> str:
    return f"{route.consumer.stream.name}:{route.consumer.durable}"


def _one_by_one(route: Route) -> Handler:
    batch = route.handle_batch
    if batch is None:
        raise TypeError(f"the route of {route.consumer.durable} has no handler")
    return lambda envelope, tx: batch([envelope], tx)


def _refusing(handler: Handler) -> Handler:
    """A refused command is answered by `command.refused`, and nothing else of it remains."""

    def handle(envelope: Envelope[Message], tx: Transaction) -> None:
        try:
            with tx.part():
                handler(envelope, tx)
        except Refusal as refusal:
            reason = str(refusal)[:4096]
            tx.publish(CommandRefused(command=envelope.type, code=refusal.code, reason=reason))

    return handle


async def _handle_batch(service: Service, bus: Bus, route: Route, deliveries: Sequence[Delivery]) -> None:
    """All that can be read in one transaction and acknowledged together; when that fails, one by one, so that one
    bad message harms no other."""
    readable: list[Delivery] = []
    envelopes: list[Envelope[Message]] = []
    for delivery in deliveries:
        try:
            found = _decode_any(delivery)
        except PoisonError:
            await _settled(service, bus, route, delivery, partial(_handle_each, service, route, delivery))
            continue
        if bad := [item for item in found if isinstance(item, PoisonError)]:
            await _bury(bus, route, delivery, bad)
            service.observer.instruments.buried(route_of(route.consumer.stream))
        readable.append(delivery)
        envelopes.extend(item for item in found if isinstance(item, Envelope))
        await asyncio.sleep(0)  # requests and acknowledgements go on meanwhile
    suspicious = any(delivery.attempts > route.consumer.deliver_max for delivery in readable)
    error = None if suspicious else await attempt(partial(_handle_together, service, route, envelopes), readable)
    if error is None and not suspicious:
        for delivery in readable:
            await delivery.ack(confirm=delivery is readable[-1])
            service.observer.instruments.settled(route.consumer, Fate.ACK, delivery.attempts)
        return
    log.warning("%s: a batch of %d failed (%s); one by one", service.name, len(readable), error)
    for delivery in readable:
        await _settled(service, bus, route, delivery, partial(_handle_each, service, route, delivery))


async def _handle_together(service: Service, route: Route, envelopes: Sequence[Envelope[Message]]) -> None:
    if route.handle_batch is None:
        raise TypeError(f"the route of {route.consumer.durable} handles no batches")
    for start in range(0, len(envelopes), TRANSACTION_EVENTS_MAX):
        part = envelopes[start : start + TRANSACTION_EVENTS_MAX]
        with service.observer.handling(route.consumer, _inbox_of(route), part):
            await service.store.handle_batch(_inbox_of(route), part, route.handle_batch)


def _decode_any(delivery: Delivery | Stored) -> list[Envelope[Message] | PoisonError]:
    if delivery.headers.get(CONTENT_TYPE_HEADER) == BATCH_CONTENT_TYPE:
        return decode_batch(delivery.body, delivery.subject)
    return [decode(delivery.body, delivery.subject)]


async def _handle_each(service: Service, route: Route, delivery: Delivery | Stored) -> None:
    """Each event of one message by itself. Raises the first failure that may pass, else the first, once all have had
    their turn; those that cannot be read are buried already."""
    problem: Exception | None = None
    for item in _decode_any(delivery):
        if not isinstance(item, Envelope):
            continue
        try:
            with service.observer.handling(route.consumer, _inbox_of(route), [item]):
                await service.store.handle(_inbox_of(route), item, _one_by_one(route))
        except StoreUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001  (raised below)
            if problem is None or isinstance(problem, PoisonError):
                problem = error
    if problem is not None:
        raise problem


async def _again(service: Service, route: Route, message: Stored) -> None:
    """A message that was given up, as if it were delivered. Raises the first problem, once all have had their turn."""
    if route.handle_batch is None:
        await _handle(service, route, message)
        return
    await _handle_each(service, route, message)
    for item in _decode_any(message):
        if not isinstance(item, Envelope):
            raise item


async def _bury(bus: Bus, route: Route, delivery: Delivery, errors: Sequence[PoisonError]) -> None:
    """A batch message with bad items goes to the dead letters once, with the first reason; its good items count."""
    if errors:
        await publish_dead_letter(
            bus,
            f"{route.consumer.service}:{route.consumer.stream.name}",
            delivery.subject,
            delivery.body,
            reason=f"{len(errors)} of the batch's events: {errors[0]}",
            attempts=delivery.attempts,
            key=f"{route.consumer.durable}:{delivery.sequence}:items",
            found=found_at(route.consumer, delivery),
        )
