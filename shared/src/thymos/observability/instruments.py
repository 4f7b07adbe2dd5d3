"""The metrics of one service, and the pages that show them."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Gauge, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from thymos import __version__
from thymos.observability.http import Answer


class Instruments:
    """The metrics of one service in a registry of its own, so that several live in one process."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        build = Gauge("thymos_build_info", "Which version runs.", ["service", "version"], registry=self.registry)
        build.labels(service, __version__).set(1)
        self._ready = Gauge("thymos_ready", "1 while it takes events.", ["service"], registry=self.registry)
        self._ready.labels(service).set(0)

    def ready(self, ready: bool) -> None:
        """Whether the service takes events right now."""
        self._ready.labels(self.service).set(ready)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


class Pages:
    """What a service answers over HTTP. `findings` says what keeps it from taking events."""

    def __init__(self, instruments: Instruments, findings: Callable[[], Sequence[str]]) -> None:
        self._instruments = instruments
        self._findings = findings
        self.by_path = {"/metrics": self.metrics, "/ready": self.ready, "/live": self.live}

    async def metrics(self) -> Answer:
        """Prometheus' text format."""
        self._instruments.ready(not self._findings())
        return Answer(200, self._instruments.text(), CONTENT_TYPE_PLAIN_0_0_4)

    async def ready(self) -> Answer:
        """200 while the service takes events, else 503; both say why."""
        findings = list(self._findings())
        return Answer.of_json(503 if findings else 200, {"ready": not findings, "findings": findings})

    async def live(self) -> Answer:
        """200 while the process runs and its event loop turns."""
        return Answer.of_json(200, {"live": True})
