"""The only place that wires the service: settings, store, routes, endpoints, ticks."""

from __future__ import annotations

from decision_engine import store
from decision_engine.answers import ENDPOINTS
from decision_engine.gauges import Gauges
from decision_engine.handlers import TICK, Handlers
from decision_engine.settings import Settings
from thymos import subjects
from thymos.audit.sealer import Sealer
from thymos.service import Route, Service, ServiceSettings, Tick
from thymos.unit_of_work import ServiceStore, StoreFactory

NAME = subjects.DECISION_ENGINE


def build(settings: ServiceSettings, open_store: StoreFactory = ServiceStore) -> Service:
    """The service, wired but not running. Raises ConfigError."""
    own = Settings.of(settings)
    gauges = Gauges()
    handlers = Handlers(own, looked=gauges.looked)
    return Service(
        name=NAME,
        store=open_store(own.database, NAME, store.SCHEMA),
        routes=(
            Route(subjects.consumer(NAME, subjects.METRICS), handlers.on_fact),
            Route(subjects.consumer(NAME, subjects.EVENTS), handlers.on_fact),
            Route(subjects.consumer(NAME, subjects.COMMANDS), handlers.on_command),
        ),
        endpoints=ENDPOINTS,
        ticks=(Tick("deadlines", TICK, handlers.on_tick),),
        background=(Sealer().run,),
        figures=gauges.read,
    )
