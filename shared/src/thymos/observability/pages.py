"""The three pages of a service: `/metrics`, `/ready`, `/live`."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from thymos.bus import Bus
from thymos.config.sections import Observability
from thymos.observability.http import Answer, serving
from thymos.observability.in_hand import Observer
from thymos.observability.instruments import FigureReader, Figures, Instruments
from thymos.observability.tracing import endpoint, exporter_to
from thymos.subjects import Consumer
from thymos.unit_of_work import ServiceStore

log = logging.getLogger(__name__)


class Pages:
    """What a service answers over HTTP. `findings` says what keeps it from taking events; `bus` and `figures` are set
    once they are there."""

    def __init__(
        self,
        instruments: Instruments,
        findings: Callable[[], Sequence[str]],
        consumers: Sequence[Consumer] = (),
    ) -> None:
        self.bus: Bus | None = None
        self.figures: FigureReader | None = None
        self._instruments = instruments
        self._findings = findings
        self._consumers = consumers
        self.by_path = {"/metrics": self.metrics, "/ready": self.ready, "/live": self.live}

    async def metrics(self) -> Answer:
        """Prometheus' text format."""
        self._instruments.show_ready(not self._findings())
        if self.figures is not None:
            await self.figures.refresh()
        if self.bus is not None:
            await self._instruments.show_lag(self.bus, self._consumers)
        return Answer(200, self._instruments.text(), CONTENT_TYPE_PLAIN_0_0_4)

    async def ready(self) -> Answer:
        """200 while the service takes events, else 503; both say why."""
        findings = list(self._findings())
        return Answer.of_json(503 if findings else 200, {"ready": not findings, "findings": findings})

    async def live(self) -> Answer:
        """200 while the process runs and its event loop turns."""
        return Answer.of_json(200, {"live": True})


class Shown(Protocol):
    """What is shown of a service (`thymos.service.Service`)."""

    @property
    def name(self) -> str:
        """The service's."""

    @property
    def store(self) -> ServiceStore:
        """Its store."""

    @property
    def figures(self) -> Figures | None:
        """Reads its own gauges."""

    @property
    def observer(self) -> Observer:
        """Sees what it does."""


@asynccontextmanager
async def shown(wanted: Observability, service: Shown, pages: Pages) -> AsyncIterator[None]:
    """Serve the pages where that is configured, while the context is open. Raises ConfigError for a port taken."""
    if not wanted.port:
        yield
        return
    pages.figures = FigureReader(service.store.database, service.observer.instruments, service.figures)
    try:
        async with serving(wanted.host, wanted.port, pages.by_path):
            log.info("%s: metrics and health at http://%s:%d", service.name, wanted.host, wanted.port)
            yield
    finally:
        pages.figures.close()


@asynccontextmanager
async def traced(wanted: Observability, service: Shown) -> AsyncIterator[None]:
    """Export spans where that is configured, while the context is open; what waits is sent at its end.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """
    url = endpoint(os.environ, wanted.otlp_endpoint)
    if url is None:
        yield
        return
    exporter = exporter_to(url, service.name)
    service.observer.export = exporter.export
    log.info("%s: traces go to %s", service.name, url)
    try:
        yield
    finally:
        service.observer.export = None
        await asyncio.to_thread(exporter.close)
