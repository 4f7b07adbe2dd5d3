"""The collector's state: the fleet in memory and, row by row, in the service's SQLite file.

One call of the collector is one `Work`: it reads what it needs, changes memory, and writes the same changes
to the file. If the transaction is undone, the file's version no longer matches and memory is read from the
file again; so after kill -9, a rollback or an exception at any point both say the same.
"""

import logging
from dataclasses import dataclass, field

from metrics_collector import store
from metrics_collector.event_time import SECOND_US
from metrics_collector.fleet import AgentKey, Fleet, FleetLimits
from metrics_collector.samples import AnySample, Finished, Kind
from metrics_collector.schedule import LOAD_CHANGED_US, Schedule
from metrics_collector.window import Beat, Placed, Window, WindowKey
from thymos.database import Connection

log = logging.getLogger(__name__)

IDLE_US = 3_600 * SECOND_US
"""A window that is empty and was not used for so long is forgotten (never that of main)."""


@dataclass(slots=True)
class Work:
    """One transaction under way."""

    connection: Connection
    now_us: int
    changes: store.Changes = field(default_factory=store.Changes)
    touched: set[WindowKey] = field(default_factory=set)


class State:
    """Memory and file together. One thread only."""

    def __init__(self, limits: FleetLimits) -> None:
        self._limits = limits
        self._version: int | None = None
        self._clear()

    def _clear(self) -> None:
        self.fleet = Fleet(self._limits)
        self.schedule = Schedule()
        self.seen_us: dict[AgentKey, int] = {}
        """When each agent was last heard of, by our own clock; heartbeats count until the next restart."""
        self._ids: dict[WindowKey, int] = {}
        self._used_us: dict[WindowKey, int] = {}
        self._next_id = 1

    # -- memory and file

    def begin(self, connection: Connection, now_us: int) -> Work:
        """Starts a piece of work on memory that agrees with the file."""
        self.synchronise(connection)
        # Until `finish` memory is ahead of the file; if anything fails in between it has to be read again.
        self._version = None
        return Work(connection, now_us)

    def finish(self, work: Work) -> None:
        """Keeps the limits and writes what the work has changed."""
        windows, agents = self.fleet.excess()
        for key in windows:
            log.warning("too many windows of %s/%s: dropped that of %s %s", key.tenant, key.agent, key.branch, key.arm)
            self.drop(work, key)
        for agent in agents:
            log.warning("too many agents or samples: dropped %s/%s, heard of least recently", *agent)
            self._forget_agent(work, agent)
        for key in work.touched:
            window = self.fleet.get(key)
            if window is not None:
                work.changes.windows[self._ids[key]] = self._row(key, window, work.now_us)
        if work.changes:
            self._version = store.write(work.connection, work.changes)
        else:
            self._version = store.version(work.connection)

    def advance(self, connection: Connection) -> None:
        """Memory changed in a way that must not outlive a rollback, but nothing of it is stored."""
        self._version = store.advance(connection)

    def synchronise(self, connection: Connection) -> None:
        """Reads memory from the file unless it is of the same version."""
        if self._version is not None and self._version == store.version(connection):
            return
        self._clear()
        by_id: dict[int, Window] = {}
        for row in store.windows(connection):
            window = by_id[row.window_id] = self.fleet.use(row.key)
            window.newest_us, window.late = row.newest_us, row.late
            self._ids[row.key], self._used_us[row.key] = row.window_id, row.used_us
            self._next_id = max(self._next_id, row.window_id + 1)
            self.schedule.changed(row.key)
        for window_id, kind, sample in store.samples(connection):
            self.fleet.samples += by_id[window_id].restore(kind, sample) is not None
        for window_id, task, at_us in store.begun(connection):
            by_id[window_id].begin(task, at_us)
        for (tenant, agent), baseline in store.baselines(connection):
            self.fleet.keep_baseline(tenant, agent, baseline)
        self.seen_us = store.last_seen(connection)
        self._version = store.version(connection)

    # -- windows

    def window(self, work: Work, key: WindowKey) -> Window:
        """The window of `key`, created and numbered if need be."""
        window = self.fleet.use(key)
        self._used_us[key] = work.now_us
        if key not in self._ids:
            self._ids[key] = self._next_id
            self._next_id += 1
            work.touched.add(key)
        return window

    def place(self, work: Work, key: WindowKey, kind: Kind, sample: AnySample) -> Placed:
        """Adds a sample to a window, in memory and in the file."""
        window = self.window(work, key)
        placed = window.add(kind, sample, work.now_us)
        work.touched.add(key)
        if placed.added:
            self.fleet.samples += 1 - len(placed.dropped)
            work.changes.samples_in.append((self._ids[key], kind, sample))
            work.changes.samples_out += [(self._ids[key], kind, dropped) for dropped in placed.dropped]
            self.schedule.changed(key)
        return placed

    def start_task(self, work: Work, key: WindowKey, task: str, at_us: int) -> None:
        """A task began; nothing happens if it is known to have ended."""
        forgotten = self.window(work, key).begin(task, at_us)
        if forgotten is None:
            return
        work.changes.begun[(self._ids[key], task)] = at_us
        work.changes.begun.update({(self._ids[key], name): None for name in forgotten})
        self.schedule.changed(key)

    def end_task(self, work: Work, key: WindowKey, task: str) -> None:
        """A task ended."""
        if self.window(work, key).end(task):
            work.changes.begun[(self._ids[key], task)] = None

    def beat(self, work: Work, key: WindowKey, worktree: str, beat: Beat) -> None:
        """A heartbeat: kept in memory only, the next one comes within a second or two."""
        if self.window(work, key).beat(worktree, beat, work.now_us):
            self.schedule.changed(key, LOAD_CHANGED_US)

    def expire(self, work: Work, key: WindowKey, window: Window) -> bool:
        """Lets go of what has become too old; returns whether the window shows something else now."""
        gone = window.expire(work.now_us)
        self.fleet.samples -= len(gone)
        window_id = self._ids[key]
        work.changes.samples_out += [(window_id, kind, sample) for kind, sample in gone]
        forgotten = window.forget_begun(work.now_us)
        work.changes.begun.update({(window_id, task): None for task in forgotten})
        silent = window.forget_beats(work.now_us)
        idle = self._used_us.get(key, 0) <= work.now_us - IDLE_US
        if idle and not key.is_main and not len(window) and not window.in_progress:
            self.drop(work, key)
            return False
        return bool(gone or forgotten or silent)

    def drop(self, work: Work, key: WindowKey) -> None:
        """Forgets a window with all it holds."""
        self.fleet.drop(key)
        self.schedule.forget(key)
        self._used_us.pop(key, None)
        window_id = self._ids.pop(key, None)
        if window_id is not None:
            work.changes.windows_out.append(window_id)

    def _forget_agent(self, work: Work, agent: AgentKey) -> None:
        for key in self.fleet.of_agent(*agent):
            self.drop(work, key)
        self.fleet.forget(*agent)
        self.seen_us.pop(agent, None)
        self._write_no_baseline(work, agent)

    def _row(self, key: WindowKey, window: Window, now_us: int) -> store.WindowRow:
        return store.WindowRow(self._ids[key], key, window.newest_us, window.late, now_us)

    # -- baselines

    def restart_baseline(self, work: Work, agent: AgentKey, at_us: int, *, keep_frozen: bool = False) -> bool:
        """Begins a new epoch; False if the current one is as new, or frozen and to be kept."""
        baseline = self.fleet.baseline(*agent)
        if (keep_frozen and baseline.frozen) or not baseline.restart(at_us):
            return False
        self._write_no_baseline(work, agent)
        work.changes.baselines[agent] = (baseline.since_us, baseline.frozen)
        return True

    def baseline_grew(self, work: Work, agent: AgentKey, row: int, sample: Finished) -> None:
        """The agent's epoch has taken a sample; if that froze it, its samples are not needed any more."""
        baseline = self.fleet.baseline(*agent)
        if baseline.frozen:
            self._write_no_baseline(work, agent)
        else:
            work.changes.baseline_samples.append((agent, row, sample))
        work.changes.baselines[agent] = (baseline.since_us, baseline.frozen)

    @staticmethod
    def _write_no_baseline(work: Work, agent: AgentKey) -> None:
        work.changes.baselines_out.add(agent)
        work.changes.baselines.pop(agent, None)
        work.changes.baseline_samples = [kept for kept in work.changes.baseline_samples if kept[0] != agent]
