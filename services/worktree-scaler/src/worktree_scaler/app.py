"""Wires the service; the only place that does."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from thymos import dead_letters_net, subjects
from thymos.service import Service, ServiceSettings
from thymos.unit_of_work import Clock, ServiceStore, StoreFactory
from worktree_scaler import scenario_runs, store
from worktree_scaler.gauges import figures
from worktree_scaler.handlers import Handlers
from worktree_scaler.processes import BackendFactory, ProcessBackend
from worktree_scaler.settings import ScalerSettings, scaler_settings
from worktree_scaler.supervision import Supervision, Wakeup


def build(settings: ServiceSettings) -> Service:
    """The service, ready to run."""
    return build_with(scaler_settings(settings, os.environ))


def build_with(
    settings: ScalerSettings,
    open_store: StoreFactory = ServiceStore,
    open_backend: BackendFactory = ProcessBackend,
    clock: Clock = lambda: datetime.now(UTC),
) -> Service:
    """The service from its own settings; what it stands on may be given, by simulations."""
    service_store = open_store(
        settings.data_dir / "worktree-scaler.db",
        subjects.WORKTREE_SCALER,
        store.SCHEMA + scenario_runs.SCHEMA,
    )
    wakeup = Wakeup()
    supervision = Supervision(settings, service_store, wakeup, clock, open_backend)
    handlers = Handlers(settings, wakeup.notify)
    return Service(
        name=subjects.WORKTREE_SCALER,
        store=service_store,
        routes=handlers.routes(),
        endpoints=handlers.endpoints(),
        background=(supervision.run, dead_letters_net.run),
        stopping=supervision.drain,
        figures=figures,
    )
