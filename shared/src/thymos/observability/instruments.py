"""The metrics of one service: what its runtime counts as it goes, and the figures read from its store when asked.

Counting costs about a microsecond and is always on; figures are read only for whoever asks `/metrics`, on a read-only
connection and a thread of their own, so that the store's thread never waits for them.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from thymos import __version__
from thymos.bus import Bus, QueueDepth
from thymos.database import Connection, Database
from thymos.message import REGISTRY
from thymos.observability.catalogue import METRICS, OTHER, SECONDS, TENANTS_MAX, Type
from thymos.subjects import Consumer, Stream

log = logging.getLogger(__name__)

FIGURES_AGE_SECONDS = 2.0
"""Figures as fresh as this are not read anew: two scrapers cost as much as one."""
FIGURES_SECONDS = 3.0
"""The longest that a scrape waits for them; then it shows those from before."""
LAG_SECONDS = 2.0
"""The longest that a scrape waits for the bus to tell what waits."""


@dataclass(frozen=True)
class Figure:
    """One value of a gauge in the catalogue, with its labels in the catalogue's order."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


Figures = Callable[[Connection], Iterable[Figure]]
"""Reads a service's own figures from its store. Few and cheap queries: it is called for every scrape."""


def route_of(stream: Stream) -> str:
    """The label `route` of a stream: `telemetry` for telemetry's."""
    return stream.name.partition("_")[2].lower()


class TenantLabels:
    """The label `tenant`: the first `TENANTS_MAX` have series of their own for as long as the process runs, and all who
    come later are `other`, whatever they are called: who invents tenants adds no series and takes nobody's away."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def of(self, tenant: str) -> str:
        """The label's value for a tenant."""
        if len(self._known) < TENANTS_MAX:
            self._known.add(tenant)
        return tenant if tenant in self._known else OTHER


class Instruments:
    """The metrics of one service in a registry of its own, so that several services live in one process."""

    def __init__(self, service: str, verbs: Sequence[str] = (), ticks: Sequence[str] = ()) -> None:
        self.service = service
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._metrics: dict[str, Any] = {
            name: self._made(name) for name, metric in METRICS.items() if service in (metric.services or (service,))
        }
        self._verbs = frozenset(verbs)
        self._ticks = frozenset(ticks)
        self._types = frozenset(message.NAME for message in REGISTRY.values())
        self._fetched_at: dict[str, float] = {}
        self._shown: set[str] = set()
        self.of("thymos_build_info", __version__).set(1)
        for name in ("thymos_relay_failed_total", "thymos_store_errors_total", "thymos_figures_failures_total"):
            self.of(name)

    def _made(self, name: str) -> Any:
        metric = METRICS[name]
        labels = ("service", *metric.labels)
        match metric.type:
            case Type.COUNTER:
                return Counter(name.removesuffix("_total"), metric.help, labels, registry=self.registry)
            case Type.GAUGE:
                return Gauge(name, metric.help, labels, registry=self.registry)
            case _:
                return Histogram(name, metric.help, labels, registry=self.registry, buckets=SECONDS)

    def of(self, name: str, *labels: str) -> Any:
        """One series of a metric. Raises KeyError for a metric that the catalogue does not give this service."""
        return self._metrics[name].labels(self.service, *labels)

    # --- what the runtime tells ------------------------------------------------------------------------------------

    def fetched(self, consumer: Consumer) -> None:
        """A fetch ended without error."""
        self._fetched_at[route_of(consumer.stream)] = time.monotonic()

    def settled(self, consumer: Consumer, outcome: str, attempts: int) -> None:
        """A delivery was settled: `ack`, `retry` or `dead`."""
        route = route_of(consumer.stream)
        self.of("thymos_messages_handled_total", route, outcome).inc()
        if attempts > 1:
            self.of("thymos_redeliveries_total", route).inc()
        if outcome == "dead":
            self.buried(route)

    def buried(self, route: str) -> None:
        """A dead letter was written."""
        self.of("thymos_dead_letters_total", route).inc()

    @contextmanager
    def handling(self, consumer: Consumer) -> Iterator[None]:
        """Times what is inside."""
        with self.of("thymos_handler_seconds", route_of(consumer.stream)).time():
            yield

    def answered(self, verb: str, code: str, seconds: float) -> None:
        """A request was answered."""
        verb = verb if verb in self._verbs else OTHER
        self.of("thymos_requests_total", verb, code).inc()
        self.of("thymos_request_seconds", verb).observe(seconds)

    @contextmanager
    def ticking(self, tick: str) -> Iterator[None]:
        """Times what is inside, and counts its failure."""
        name = tick if tick in self._ticks else OTHER
        with self.of("thymos_tick_seconds", name).time():
            try:
                yield
            except Exception:
                self.of("thymos_tick_failures_total", name).inc()
                raise

    # --- what the store tells (unit_of_work.StoreWatch) ------------------------------------------------------------

    def wrote(self, names: Sequence[str]) -> None:
        """Messages of these names were put into the outbox, and the transaction was committed."""
        for name in names:
            self.of("thymos_messages_published_total", name if name in self._types else OTHER).inc()

    def relayed(self, kind: str) -> None:
        """A message of the outbox was published."""
        self.of("thymos_relay_published_total", kind).inc()

    def relay_failed(self) -> None:
        """A message of the outbox could not be published."""
        self.of("thymos_relay_failed_total").inc()

    def relay_refused(self) -> None:
        """A message of the outbox went to the dead letters."""
        self.buried("outbox")

    def store_failed(self) -> None:
        """The store could not be used."""
        self.of("thymos_store_errors_total").inc()

    # --- what is shown ---------------------------------------------------------------------------------------------

    def show_ready(self, ready: bool) -> None:
        """Whether the service takes events right now."""
        self.of("thymos_ready").set(ready)

    async def show_lag(self, bus: Bus, consumers: Sequence[Consumer]) -> None:
        """What waits for each durable; of those that cannot be asked for nothing is shown."""
        depths: list[QueueDepth | BaseException | None] = [None] * len(consumers)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAG_SECONDS):
                depths = await asyncio.gather(*(bus.depth(each) for each in consumers), return_exceptions=True)
        for consumer, depth in zip(consumers, depths, strict=True):
            route = route_of(consumer.stream)
            if route in self._fetched_at:
                age = time.monotonic() - self._fetched_at[route]
                self.of("thymos_last_fetch_age_seconds", route).set(age)
            for name in ("pending", "ack_pending"):
                metric = self._metrics[f"thymos_consumer_{name}_messages"]
                if isinstance(depth, QueueDepth):
                    metric.labels(self.service, route).set(getattr(depth, name))
                else:
                    with suppress(KeyError):
                        metric.remove(self.service, route)

    def show(self, figures: Sequence[Figure]) -> None:
        """Replace all figures read from the store; what is no more is no longer shown."""
        names = {figure.name for figure in figures}
        for name in self._shown | names:
            self._metrics[name].clear()
        self._shown = names
        for figure in figures:
            self.of(figure.name, *figure.labels).set(figure.value)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


class FigureReader:
    """Reads figures from a store while the service works on it: over a connection of its own, in one snapshot."""

    def __init__(self, database: Database, instruments: Instruments, own: Figures | None) -> None:
        self._database = database
        self._instruments = instruments
        self._own = own
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="figures")
        self._reading: asyncio.Future[list[Figure]] | None = None
        self._read_at = 0.0

    async def refresh(self) -> None:
        """Show figures that are at most two seconds old; those from before, when the store takes too long to read."""
        if time.monotonic() - self._read_at < FIGURES_AGE_SECONDS:
            return
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().run_in_executor(self._thread, self._read)
        try:
            figures = await asyncio.wait_for(asyncio.shield(self._reading), FIGURES_SECONDS)
        except Exception as error:  # noqa: BLE001  (a row that cannot be read hides nothing but the figures)
            self._instruments.of("thymos_figures_failures_total").inc()
            log.warning("%s: no figures from the store: %s", self._instruments.service, str(error) or "too slow")
            return
        self._read_at = time.monotonic()
        self._instruments.show(figures)

    def _read(self) -> list[Figure]:
        with closing(self._database.opened_to_read()) as it:
            it.execute("BEGIN")
            figures = [*_of_store(it), Figure("thymos_store_bytes", self._database.size_bytes(it))]
            return [*figures, *(self._own(it) if self._own else ())]

    def close(self) -> None:
        """Wait for no reading."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _of_store(connection: Connection) -> Iterator[Figure]:
    waiting, first = connection.execute("SELECT count(*), min(position) FROM outbox").fetchone()
    yield Figure("thymos_outbox_messages", waiting)
    age = 0.0
    if first is not None:
        found = connection.execute("SELECT body FROM outbox WHERE position = ?", (first,)).fetchone()
        if found:
            age = (datetime.now(UTC) - datetime.fromisoformat(json.loads(found[0])["time"])).total_seconds()
    yield Figure("thymos_outbox_oldest_age_seconds", max(0.0, age))
    span = connection.execute("SELECT (SELECT max(position) FROM inbox) - (SELECT min(position) FROM inbox)").fetchone()
    yield Figure("thymos_inbox_messages", 0 if span[0] is None else span[0] + 1)
