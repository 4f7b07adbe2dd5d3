"""Checkpoints as rows: threads, checkpoints with their channels, and the writes of tasks.

A thread is a name and a namespace. What came first is told by the order of storing, never by comparing ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from memory_repository.storage.checkpoint_values import Typed, drop_unused
from thymos.database import Connection

_COLUMNS = (
    "c.checkpoint_no, c.thread_no, t.thread, t.namespace, c.checkpoint_id, c.parent_id, c.generation, c.unsettled,"
    " c.body_type, c.body, c.metadata_type, c.metadata"
)
NO_MAX: Final = 2**63 - 1
"""Above every number of a row."""
_FROM = "FROM checkpoint c JOIN checkpoint_thread t ON t.thread_no = c.thread_no"


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """One checkpoint without its channels.

    Attributes:
        no: its number within the store, in the order of storing; internal.
        thread_no: its thread and namespace; internal.
        generation: which writes at its parent led to it.
        unsettled: channels whose value has to be replayed from its ancestors.
        body: what the caller stored, as the caller encoded it; `metadata` likewise.
    """

    no: int
    thread_no: int
    thread: str
    namespace: str
    id: str
    parent_id: str | None
    generation: int
    unsettled: tuple[str, ...]
    body: Typed
    metadata: Typed


@dataclass(frozen=True, slots=True)
class Binding:
    """The value of a channel in one checkpoint."""

    version: str
    value_no: int


@dataclass(frozen=True, slots=True)
class WriteRow:
    """One write of a task."""

    task: str
    position: int
    task_path: str
    channel: str
    value_no: int


def thread_of(db: Connection, repo_id: int, thread: str, namespace: str) -> int | None:
    """The number of a thread; None when nothing was ever stored in it."""
    row = db.execute(
        "SELECT thread_no FROM checkpoint_thread WHERE repo_id = ? AND thread = ? AND namespace = ?",
        (repo_id, thread, namespace),
    ).fetchone()
    return None if row is None else int(row[0])


def new_thread(db: Connection, repo_id: int, thread: str, namespace: str) -> int:
    """The number of a thread, begun if need be."""
    db.execute(
        "INSERT INTO checkpoint_thread (repo_id, thread, namespace) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (repo_id, thread, namespace),
    )
    number = thread_of(db, repo_id, thread, namespace)
    assert number is not None
    return number


def namespaces(db: Connection, repo_id: int, thread: str) -> list[tuple[int, str]]:
    """Number and namespace of everything stored for a thread's name."""
    rows = db.execute(
        "SELECT thread_no, namespace FROM checkpoint_thread WHERE repo_id = ? AND thread = ? ORDER BY namespace",
        (repo_id, thread),
    )
    return [(number, namespace) for number, namespace in rows]


def find(db: Connection, thread_no: int, checkpoint_id: str) -> CheckpointRow | None:
    """The checkpoint of that id."""
    row = db.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE c.thread_no = ? AND c.checkpoint_id = ?", (thread_no, checkpoint_id)
    ).fetchone()
    return None if row is None else _row(row)


def newest(db: Connection, thread_no: int, limit: int, below: int = NO_MAX) -> list[CheckpointRow]:
    """The checkpoints of a thread stored last, the last one first; with `below`, those stored before that number."""
    rows = db.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE c.thread_no = ? AND c.checkpoint_no < ?"
        " ORDER BY c.checkpoint_no DESC LIMIT ?",
        (thread_no, below, limit),
    )
    return [_row(row) for row in rows]


def newest_of_all(
    db: Connection, repo_id: int, thread: str | None, limit: int, below: int = NO_MAX
) -> list[CheckpointRow]:
    """The same over all namespaces of a thread, or over all threads."""
    scope, values = ("", ()) if thread is None else ("AND t.thread = ? ", (thread,))
    rows = db.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE t.repo_id = ? {scope}AND c.checkpoint_no < ?"
        " ORDER BY c.checkpoint_no DESC LIMIT ?",
        (repo_id, *values, below, limit),
    )
    return [_row(row) for row in rows]


def of_runs(db: Connection, repo_id: int, run: str) -> list[CheckpointRow]:
    """The checkpoints that a run made, in the order of storing."""
    rows = db.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE c.run = ? AND t.repo_id = ? ORDER BY c.checkpoint_no", (run, repo_id)
    )
    return [_row(row) for row in rows]


def give_up(db: Connection, checkpoint_nos: Iterable[int]) -> None:
    """Say that checkpoints stay only for as long as others are replayed from them."""
    db.executemany(
        "INSERT INTO checkpoint_given_up (checkpoint_no) VALUES (?) ON CONFLICT DO NOTHING",
        [(number,) for number in checkpoint_nos],
    )


def given_up(db: Connection, thread_no: int) -> list[CheckpointRow]:
    """The checkpoints of a thread that stay only for others."""
    rows = db.execute(
        f"SELECT {_COLUMNS} {_FROM} JOIN checkpoint_given_up g ON g.checkpoint_no = c.checkpoint_no"
        " WHERE c.thread_no = ?",
        (thread_no,),
    )
    return [_row(row) for row in rows]


def replayed(db: Connection, thread_no: int) -> list[CheckpointRow]:
    """The checkpoints of a thread that are not given up and have channels that are replayed from ancestors."""
    rows = db.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE c.thread_no = ? AND c.unsettled <> '[]'"
        " AND NOT EXISTS (SELECT 1 FROM checkpoint_given_up g WHERE g.checkpoint_no = c.checkpoint_no)",
        (thread_no,),
    )
    return [_row(row) for row in rows]


def next_generation(db: Connection, thread_no: int, checkpoint_id: str) -> int:
    """Which generation of writes the next child of a checkpoint follows from: one more than that of its last child."""
    row = db.execute(
        "SELECT max(generation) FROM checkpoint WHERE thread_no = ? AND parent_id = ?", (thread_no, checkpoint_id)
    ).fetchone()
    return 0 if row[0] is None else int(row[0]) + 1


def insert(
    db: Connection,
    thread_no: int,
    checkpoint_id: str,
    *,
    parent_id: str | None,
    generation: int,
    run: str | None,
    unsettled: Iterable[str],
    body: Typed,
    metadata: Typed,
) -> int:
    """Store a checkpoint's row; one of that id is replaced where it stands, given up or not. Returns its number."""
    (number,) = db.execute(
        "INSERT INTO checkpoint (thread_no, checkpoint_id, parent_id, generation, run, unsettled, body_type, body,"
        " metadata_type, metadata) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (thread_no, checkpoint_id) DO UPDATE SET parent_id = excluded.parent_id,"
        " generation = excluded.generation, run = excluded.run, unsettled = excluded.unsettled,"
        " body_type = excluded.body_type, body = excluded.body, metadata_type = excluded.metadata_type,"
        " metadata = excluded.metadata RETURNING checkpoint_no",
        (thread_no, checkpoint_id, parent_id, generation, run, json.dumps(sorted(unsettled)), *body, *metadata),
    ).fetchone()
    db.execute("DELETE FROM checkpoint_given_up WHERE checkpoint_no = ?", (number,))
    return int(number)


def bindings(db: Connection, checkpoint_no: int) -> dict[str, Binding]:
    """The channels of a checkpoint."""
    rows = db.execute(
        "SELECT channel, version, value_no FROM checkpoint_channel WHERE checkpoint_no = ?", (checkpoint_no,)
    )
    return {channel: Binding(version, value_no) for channel, version, value_no in rows}


def bind(db: Connection, checkpoint_no: int, channels: Mapping[str, Binding]) -> None:
    """Say what the channels of a checkpoint hold, in place of what was said before."""
    before = [binding.value_no for binding in bindings(db, checkpoint_no).values()]
    db.execute("DELETE FROM checkpoint_channel WHERE checkpoint_no = ?", (checkpoint_no,))
    db.executemany(
        "INSERT INTO checkpoint_channel (checkpoint_no, channel, version, value_no) VALUES (?, ?, ?, ?)",
        [(checkpoint_no, channel, b.version, b.value_no) for channel, b in channels.items()],
    )
    drop_unused(db, before)


def write(db: Connection, thread_no: int, checkpoint_id: str, generation: int, row: WriteRow, replace: bool) -> None:
    """Keep a task's write. One that is there already stays, or with `replace` gives way."""
    key = (thread_no, checkpoint_id, generation, row.task, row.position)
    before = db.execute(
        "SELECT value_no FROM checkpoint_write"
        " WHERE thread_no = ? AND checkpoint_id = ? AND generation = ? AND task = ? AND position = ?",
        key,
    ).fetchone()
    action = (
        "UPDATE SET task_path = excluded.task_path, channel = excluded.channel, value_no = excluded.value_no"
        if replace
        else "NOTHING"
    )
    db.execute(
        "INSERT INTO checkpoint_write (thread_no, checkpoint_id, generation, task, position, task_path, channel,"
        " value_no) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        f" ON CONFLICT (thread_no, checkpoint_id, generation, task, position) DO {action}",
        (*key, row.task_path, row.channel, row.value_no),
    )
    drop_unused(db, [row.value_no, *(before or ())])


def writes(db: Connection, thread_no: int, checkpoint_id: str, generation: int | None = None) -> list[WriteRow]:
    """The writes at a checkpoint in the order of their tasks: of one generation, or of each task its newest one as a
    whole. A task that was run anew may have written less."""
    scope, values = ("", ()) if generation is None else ("AND generation = ? ", (generation,))
    rows = db.execute(
        "SELECT generation, task, position, task_path, channel, value_no FROM checkpoint_write"
        f" WHERE thread_no = ? AND checkpoint_id = ? {scope}ORDER BY generation",
        (thread_no, checkpoint_id, *values),
    )
    newest: dict[str, int] = {}
    kept: dict[str, list[WriteRow]] = {}
    for made, task, *rest in rows.fetchall():
        if newest.get(task) != made:
            newest[task], kept[task] = made, []
        kept[task].append(WriteRow(task, *rest))
    return sorted(chain.from_iterable(kept.values()), key=lambda row: (row.task_path, row.task, row.position))


def delete(db: Connection, rows: Sequence[CheckpointRow]) -> None:
    """Delete checkpoints with their channels, their writes, and values that nobody else holds.

    The children of a deleted checkpoint become those of its parent, so that no history ends in the middle.
    """
    values: list[int] = []
    for row in rows:
        values += (binding.value_no for binding in bindings(db, row.no).values())
        values += _delete_writes(db, row.thread_no, row.id)
        db.execute("DELETE FROM checkpoint_channel WHERE checkpoint_no = ?", (row.no,))
        (parent_id, generation) = db.execute(
            "SELECT parent_id, generation FROM checkpoint WHERE checkpoint_no = ?", (row.no,)
        ).fetchone()
        db.execute(
            "UPDATE checkpoint SET parent_id = ?, generation = ? WHERE thread_no = ? AND parent_id = ?",
            (parent_id, generation, row.thread_no, row.id),
        )
        db.execute("DELETE FROM checkpoint WHERE checkpoint_no = ?", (row.no,))
    drop_unused(db, values)


def delete_late_writes(db: Connection, thread_no: int, before_id: str) -> None:
    """Delete the writes at checkpoints that are not there and have an id before this one, compared as text.

    One of a later id may belong to a checkpoint that is still to be stored.
    """
    rows = db.execute(
        "DELETE FROM checkpoint_write WHERE thread_no = ? AND checkpoint_id < ? AND NOT EXISTS (SELECT 1 FROM"
        " checkpoint c WHERE c.thread_no = checkpoint_write.thread_no AND c.checkpoint_id ="
        " checkpoint_write.checkpoint_id) RETURNING value_no",
        (thread_no, before_id),
    )
    drop_unused(db, [number for (number,) in rows.fetchall()])


def delete_thread(db: Connection, thread_no: int) -> None:
    """Delete a thread and everything in it."""
    in_thread = (
        "FROM checkpoint_channel WHERE checkpoint_no IN (SELECT checkpoint_no FROM checkpoint WHERE thread_no = ?)"
    )
    values = db.execute(
        f"SELECT value_no {in_thread} UNION SELECT value_no FROM checkpoint_write WHERE thread_no = ?",
        (thread_no, thread_no),
    ).fetchall()
    db.execute(f"DELETE {in_thread}", (thread_no,))
    for table in ("checkpoint_write", "checkpoint", "checkpoint_thread"):
        db.execute(f"DELETE FROM {table} WHERE thread_no = ?", (thread_no,))
    drop_unused(db, [number for (number,) in values])


def copy(db: Connection, source: int, target: int) -> None:
    """Copy the rows of a thread into an empty one. The values are shared: O(checkpoints), whatever they hold."""
    columns = "checkpoint_id, parent_id, generation, run, unsettled, body_type, body, metadata_type, metadata"
    db.execute(
        f"INSERT INTO checkpoint (thread_no, {columns}) SELECT ?, {columns} FROM checkpoint"
        " WHERE thread_no = ? ORDER BY checkpoint_no",
        (target, source),
    )
    db.execute(
        "INSERT INTO checkpoint_channel (checkpoint_no, channel, version, value_no)"
        " SELECT n.checkpoint_no, b.channel, b.version, b.value_no FROM checkpoint o"
        " JOIN checkpoint n ON n.thread_no = ? AND n.checkpoint_id = o.checkpoint_id"
        " JOIN checkpoint_channel b ON b.checkpoint_no = o.checkpoint_no WHERE o.thread_no = ?",
        (target, source),
    )
    db.execute(
        "INSERT INTO checkpoint_given_up (checkpoint_no) SELECT n.checkpoint_no FROM checkpoint o"
        " JOIN checkpoint_given_up g ON g.checkpoint_no = o.checkpoint_no"
        " JOIN checkpoint n ON n.thread_no = ? AND n.checkpoint_id = o.checkpoint_id WHERE o.thread_no = ?",
        (target, source),
    )
    columns = "checkpoint_id, generation, task, position, task_path, channel, value_no"
    db.execute(
        f"INSERT INTO checkpoint_write (thread_no, {columns}) SELECT ?, {columns} FROM checkpoint_write"
        " WHERE thread_no = ?",
        (target, source),
    )


def _delete_writes(db: Connection, thread_no: int, checkpoint_id: str) -> list[int]:
    rows = db.execute(
        "DELETE FROM checkpoint_write WHERE thread_no = ? AND checkpoint_id = ? RETURNING value_no",
        (thread_no, checkpoint_id),
    )
    return [number for (number,) in rows.fetchall()]


def _row(row: tuple[int, int, str, str, str, str | None, int, str, str, bytes, str, bytes]) -> CheckpointRow:
    unsettled = tuple(json.loads(row[7]))
    return CheckpointRow(*row[:7], unsettled, (row[8], bytes(row[9])), (row[10], bytes(row[11])))
