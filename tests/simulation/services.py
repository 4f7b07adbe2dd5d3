"""The four services as they are, on a simulated bus, store and machine: started, killed, paused and started again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import decision_engine.app
import memory_repository.app
import metrics_collector.app
import worktree_scaler.app
from thymos import config, subjects
from thymos.database import Database
from thymos.errors import TransientError
from thymos.service import Service, ServiceSettings, run
from thymos.unit_of_work import Schema, ServiceStore
from worktree_scaler.settings import scaler_settings

from .agents import Machine
from .faults import Faults
from .ledger import Ledger
from .simulated_bus import Connection, Server
from .thread_of_store import StoreThread
from .virtual_time import Owner

WORKTREES_MAX = 5
CONFIG = f"""
[supervisor.versioning]
experiment_timeout = "60s"

[supervisor.versioning.success_criteria]
min_success_rate = 0.75

[supervisor.versioning.failure_criteria]
min_success_rate = 0.3

[supervisor.versioning.evidence]
budget = "each"

[supervisor.versioning.experiments]
baseline_samples = 100
learning_outcomes = 25
learning_timeout = "20s"
preparing_timeout = "30s"
task_timeout = "10s"
generators = ["learn-from-success", "aggressive"]

[supervisor.versioning.worktree_scaling]
max_worktrees = {WORKTREES_MAX}
scale_period_seconds = 1
scale_down_window_seconds = 5

[agents.support]
command = ["agent"]
capacity = 4
scenario = "scenario.jsonl"
drain_timeout = "5s"

[agents.billing]
command = ["agent"]
capacity = 4
scenario = "scenario.jsonl"
drain_timeout = "5s"
"""
Committed = Callable[[str, str, bool], None]


class Suite:
    """The services of one folder. `committed` is told of each piece of work of a store: service, kind, success."""

    def __init__(
        self, folder: Path, server: Server, faults: Faults, machine: Machine, committed: Committed, ledger: Ledger
    ) -> None:
        path = folder / "thymos.toml"
        path.write_text(CONFIG, encoding="utf-8")
        self.settings = ServiceSettings("", folder, config.load(path, {}))
        self.skews: dict[str, timedelta] = {}
        self.owners: dict[str, Owner] = {}
        self.threads: dict[str, StoreThread] = {}
        self.failures: list[BaseException] = []
        self._server = server
        self._faults = faults
        self._machine = machine
        self._committed = committed
        self._ledger = ledger

    def start(self, name: str) -> None:
        """Start a service on its file as it is."""
        owner = Owner(name, self.skews.get(name, timedelta(0)))
        thread = StoreThread(owner, self._faults, lambda kind, well: self._committed(name, kind, well))
        self.owners[name], self.threads[name] = owner, thread

        def open_store(place: Path | Database, service: str, schema: Schema) -> ServiceStore:
            return ServiceStore(place, service, schema, owner.now, thread)

        service = owner.context.run(self._build, name, open_store, owner)
        self._ledger.observe(service, self._sometimes_fails)
        owner.start(self._run(service, owner))

    def _sometimes_fails(self) -> None:
        if self._faults.happens("handling_fails"):
            raise TransientError("not now, for once")

    def _build(self, name: str, open_store: Any, owner: Owner) -> Service:
        if name == subjects.WORKTREE_SCALER:
            own = scaler_settings(self.settings, {})
            return worktree_scaler.app.build_with(own, open_store, self._machine.backend, owner.now)
        if name == subjects.MEMORY_REPOSITORY:  # a search takes no virtual time
            return memory_repository.app.build(self.settings, open_store, stopwatch=lambda: 0.0)
        apps = {
            subjects.METRICS_COLLECTOR: metrics_collector.app,
            subjects.DECISION_ENGINE: decision_engine.app,
        }
        service: Service = apps[name].build(self.settings, open_store)
        return service

    async def _run(self, service: Service, owner: Owner) -> None:
        try:
            await run(service, Connection(self._server, owner), asyncio.Event())
        except Exception as error:  # noqa: BLE001  (said at the end of the run, where a service may not have ended)
            if not owner.dead:
                self.failures.append(error)

    def is_up(self, name: str) -> bool:
        """Whether it runs and is not paused."""
        owner = self.owners[name]
        return not owner.dead and owner.resumed.is_set()
