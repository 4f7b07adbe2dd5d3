"""What the service does on its own to keep its store small: retention, and getting rid of erased bytes.

Every few seconds one bounded step, so that messages and requests are never held up for long. Which repositories are due
is asked of those that were written to, and once an hour of all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from memory_repository.core.retention import Retention
from memory_repository.handlers import publish_collected
from memory_repository.operations import collecting
from memory_repository.storage import erasing, store
from thymos.database import Connection, turn_of
from thymos.unit_of_work import Transaction

EVERY: Final = timedelta(seconds=5)
LOOKS_MAX: Final = 20
"""Repositories that are asked at once whether they are due."""
COMMITS_LEAST: Final = 100
"""With fewer that may go, a repository waits for the look at all."""
ALL_EVERY: Final = timedelta(hours=1)


class Retaining:
    """Drops what is older than the retention, of one repository at a time."""

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self._waiting: deque[tuple[int, int]] = deque()
        self._newest = 0
        self._all_at: datetime | None = None

    def __call__(self, tx: Transaction) -> None:
        """One step of one repository that is due, if there is one."""
        self._find(tx)
        for _ in range(min(LOOKS_MAX, len(self._waiting))):
            repo_id, least = self._waiting.popleft()
            repo = store.repository_of(tx.connection, repo_id)
            if repo is None or not collecting.is_due(repo, self._retention, now=tx.now, least=least):
                continue
            tx.connection.take_turn(turn_of(repo.tenant, repo.agent))
            done = collecting.collect(repo, self._retention, now=tx.now)
            publish_collected(tx, repo, done)
            if done.more:
                self._waiting.appendleft((repo_id, 1))
            return

    def _find(self, tx: Transaction) -> None:
        (newest,) = tx.connection.execute("SELECT coalesce(max(commit_no), 0) FROM commits").fetchone()
        self._newest = min(self._newest, newest)  # the last ones went, and SQLite gives their numbers anew
        if self._all_at is None or tx.now - self._all_at >= ALL_EVERY:
            self._all_at = tx.now
            self._waiting = deque((repo_id, 1) for repo_id in store.repository_ids(tx.connection))
        elif newest - self._newest >= COMMITS_LEAST:
            known = {repo_id for repo_id, _ in self._waiting}
            written = store.repository_ids(tx.connection, self._newest)
            self._waiting += [(repo_id, COMMITS_LEAST) for repo_id in written if repo_id not in known]
        else:
            return
        self._newest = newest


class Erasing:
    """Merges the word index after something was erased, then cuts off the log beside the file."""

    def __init__(self) -> None:
        self._cut = False

    def __call__(self, tx: Transaction) -> None:
        """One step, if something was erased."""
        if not erasing.is_pending(tx.connection):
            return
        if not erasing.step(tx.connection):
            self._cut = False
        elif self._cut:
            erasing.finish(tx.connection)
            self._cut = False
        else:
            tx.afterwards(self._cut_log)

    def _cut_log(self, connection: Connection) -> None:
        self._cut = erasing.cut_log(connection)


def work(retention: Retention | None) -> Callable[[Transaction], None]:
    """All of it, one piece after the other; without retention nothing is dropped."""
    pieces: list[Callable[[Transaction], None]] = [Erasing()]
    if retention is not None:
        pieces.append(Retaining(retention))

    def look_after(tx: Transaction) -> None:
        for piece in pieces:
            piece(tx)

    return look_after
