"""prollytree's VersionedKvStore on its default backend, git. Runs in an environment of its own (make bench-memory).

It has no rollback: its way is to write the old values again. It reads and writes what is checked out.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from prollytree import VersionedKvStore

from .workload import PAGE, Changed, NotOffered, Record


class Prollytree:
    """A store in a repository of git."""

    def __init__(self, folder: Path) -> None:
        for command in (
            ["init", "-q", "-b", "main"],
            ["config", "user.name", "b"],
            ["config", "user.email", "b@example.org"],
        ):
            subprocess.run(["git", *command], cwd=folder, check=True)
        self._path = folder / "data"
        self._path.mkdir()
        self._store = VersionedKvStore(str(self._path))
        self._undo: list[tuple[bytes, bytes]] = []

    def about(self) -> str:
        """See Peer."""
        return f"prollytree {version('prollytree')}, git backend, no fsync (it has no setting for it); no search"

    def load(self, records: Sequence[Record]) -> None:
        """See Peer."""
        for record in records:
            self._store.insert(record.id.encode(), _value(record))
        self._store.commit("load")

    def settle(self) -> None:
        """See Peer."""
        self._store = VersionedKvStore.open(str(self._path))

    def branch(self, name: str) -> None:
        """See Peer."""
        self._store.branch(name)

    def tag(self, name: str) -> None:
        """See Peer."""
        raise NotOffered("no tags")

    def snapshot(self, name: str) -> None:
        """See Peer."""
        raise NotOffered("no snapshots")

    def worktree(self, name: str) -> None:
        """See Peer."""
        raise NotOffered("not in Python")

    def commit(self, branch: str, records: Sequence[Record]) -> None:
        """See Peer."""
        if branch != "main":
            self._store.checkout(branch)
        self._undo = [(r.id.encode(), self._store.get(r.id.encode()) or b"") for r in records]
        for record in records:
            self._store.update(record.id.encode(), _value(record))
        self._store.commit("change")
        if branch != "main":
            self._store.checkout("main")

    def get(self, memory_id: str) -> str:
        """See Peer."""
        return _content(self._store.get(memory_id.encode()))

    def page(self, after: str) -> list[str]:
        """See Peer."""
        keys = sorted(key for key in self._store.list_keys() if key > after.encode())[:PAGE]
        return [_content(self._store.get(key)) for key in keys]

    def search(self, word: str) -> list[str]:
        """See Peer."""
        raise NotOffered("no search")

    def diff(self, branch: str) -> list[Changed]:
        """See Peer."""
        return [
            Changed(one.key.decode(), _content(one.operation.old_value), _content(one.operation.new_value))
            for one in self._store.diff("main", branch)
        ]

    def merge(self, branch: str) -> None:
        """See Peer."""
        self._store.merge(branch)

    def roll_back(self) -> None:
        """See Peer."""
        for key, value in self._undo:
            self._store.update(key, value)
        self._store.commit("roll back")

    def close(self) -> None:
        """See Peer."""


def _value(r: Record) -> bytes:
    fields = {"topic": r.topic, "importance": r.importance}
    return json.dumps({"content": r.content, "kind": r.kind, "fields": fields}).encode()


def _content(value: bytes | None) -> str:
    return str(json.loads(value or b"{}")["content"])


def opened(folder: Path, name: str) -> Prollytree:
    """The store, empty."""
    del name
    return Prollytree(folder)
