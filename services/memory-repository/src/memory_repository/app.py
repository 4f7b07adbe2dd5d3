"""The only place that wires the service: store, routes, endpoints."""

from __future__ import annotations

import time
from functools import partial

from memory_repository import upkeep
from memory_repository.answers import endpoints
from memory_repository.answers.searching import Stopwatch
from memory_repository.auto_merge import AutoMerge
from memory_repository.gauges import figures
from memory_repository.handlers import handle_command, handle_metrics
from memory_repository.sampling import EVERY, MemoryUse
from memory_repository.settings import Settings
from memory_repository.storage import outcomes, schema
from thymos import subjects
from thymos.database import Connection
from thymos.service import Route, Service, ServiceSettings, Tick
from thymos.unit_of_work import ServiceStore, StoreFactory

NAME = subjects.MEMORY_REPOSITORY


def build(
    settings: ServiceSettings, open_store: StoreFactory = ServiceStore, stopwatch: Stopwatch = time.perf_counter
) -> Service:
    """The service, wired but not running. Raises ConfigError when the configured embedder is not installed."""
    own, use = Settings.of(settings), MemoryUse()
    database = open_store(own.database, NAME, _prepare)
    asks_model = own.model is not None
    return Service(
        name=NAME,
        store=database,
        routes=(
            Route(subjects.consumer(NAME, subjects.COMMANDS), partial(handle_command, asks_model=asks_model)),
            Route(subjects.consumer(NAME, subjects.METRICS), handle_metrics),
        ),
        endpoints=endpoints(own.retention, own.embedder(), use, stopwatch, asks_model=asks_model),
        ticks=(
            Tick("upkeep", upkeep.EVERY, upkeep.work(own.retention if own.retains else None)),
            Tick("memory use", EVERY, use.report),
        ),
        background=(AutoMerge(database, own.model).run,),
        figures=figures,
    )


def _prepare(db: Connection) -> None:
    schema.prepare(db)
    db.executescript(outcomes.SCHEMA)
