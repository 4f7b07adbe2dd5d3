"""The only place that wires the service together."""

from datetime import timedelta

from metrics_collector import store
from metrics_collector.collector import Collector
from metrics_collector.gauges import figures
from metrics_collector.handlers import Handlers
from metrics_collector.settings import Settings
from thymos import subjects
from thymos.requests import ListAgents, ReadMetrics
from thymos.service import Endpoint, Route, Service, ServiceSettings, Tick
from thymos.unit_of_work import ServiceStore, StoreFactory

NAME = subjects.METRICS_COLLECTOR
SNAPSHOT_EVERY = timedelta(milliseconds=250)
SWEEP_EVERY = timedelta(seconds=5)


def build(service_settings: ServiceSettings, open_store: StoreFactory = ServiceStore) -> Service:
    """metrics-collector, wired but not running; its state is one SQLite file in the data directory."""
    settings = Settings.of(service_settings)
    handlers = Handlers(Collector(baseline_samples=settings.baseline_samples))
    return Service(
        name=NAME,
        store=open_store(settings.database, NAME, store.SCHEMA),
        routes=(
            Route(subjects.consumer(NAME, subjects.TELEMETRY), handle_batch=handlers.telemetry),
            Route(subjects.consumer(NAME, subjects.EVENTS), handle=handlers.event),
        ),
        endpoints=(
            Endpoint("metrics", ReadMetrics, handlers.metrics),
            Endpoint("agents", ListAgents, handlers.agents),
        ),
        ticks=(
            Tick("snapshots", SNAPSHOT_EVERY, handlers.snapshots),
            Tick("sweep", SWEEP_EVERY, handlers.sweep),
        ),
        figures=figures,
    )
