"""Checkpoints of an agent's graph: what a run can be resumed from, kept in the same file as its memory.

A checkpoint names its parent, and a checkpoint may have several children: that is a fork. A task's write belongs to a
checkpoint and to the child that it leads to; a write after the first child was stored is of the next generation and
leads to the next child. So whoever walks back from one child reads what led there, and nothing of the others.

Everything here works inside the caller's transaction and raises Refusal (invalid, too_large) for names and values over
their limits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from memory_repository.core import limits
from memory_repository.storage import checkpoint_values, checkpoints
from memory_repository.storage.checkpoint_values import Typed
from memory_repository.storage.checkpoints import Binding, CheckpointRow, WriteRow
from memory_repository.storage.store import Repository

Value = tuple[str, Typed]
"""The name of a channel, and its value."""


@dataclass(frozen=True, slots=True)
class NewCheckpoint:
    """A checkpoint to be stored.

    Attributes:
        thread, namespace, id: its name.
        parent_id: the checkpoint that it follows from.
        run: which run made it.
        body: everything but the values of its channels, encoded by the caller; `metadata` likewise.
        versions: the version of every channel, as text.
        values: the channels that changed; None for one that is empty now. Another one has the value that it has in
            the parent at the same version.
        held: the channels whose value the caller has, for where the parent does not; any other one is empty then.
        unsettled: channels whose value has to be replayed from ancestors.
    """

    thread: str
    namespace: str
    id: str
    parent_id: str | None
    run: str | None
    body: Typed
    metadata: Typed
    versions: Mapping[str, str]
    values: Mapping[str, Typed | None]
    held: Collection[str] = ()
    unsettled: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class NewWrite:
    """A task's write; with `replace` it takes the place of one at the same position, else that one stays."""

    position: int
    channel: str
    value: Typed
    replace: bool = False


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """A task's write, as stored."""

    task: str
    channel: str
    value: Typed


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A stored checkpoint with the values of its channels, and the writes of the tasks that ran on it."""

    row: CheckpointRow
    values: Mapping[str, Typed]
    writes: tuple[PendingWrite, ...]


@dataclass(slots=True)
class ChannelHistory:
    """What led to a channel's value: the writes since the nearest ancestor that holds a value, oldest first."""

    writes: list[PendingWrite] = field(default_factory=list)
    seed: Typed | None = None


def put(repo: Repository, new: NewCheckpoint) -> tuple[str, ...]:
    """Store a checkpoint; one of the same id is replaced. O(channels) in rows, and the bytes of what changed.

    Returns the channels of `held` whose value neither `values` nor the parent has: then nothing is stored, and the
    caller has to say what they hold.
    """
    _check_names(new.thread, new.namespace, new.id, *new.versions)
    thread_no = checkpoints.new_thread(repo.db, repo.id, new.thread, new.namespace)
    parent = None if new.parent_id is None else checkpoints.find(repo.db, thread_no, new.parent_id)
    above = {} if parent is None else checkpoints.bindings(repo.db, parent.no)
    inherited = {
        channel: above[channel]
        for channel, version in new.versions.items()
        if channel not in new.values and channel in above and above[channel].version == version
    }
    if missing := tuple(sorted(set(new.held) - new.values.keys() - inherited.keys())):
        return missing
    known = checkpoints.find(repo.db, thread_no, new.id)
    if known is not None and known.parent_id == new.parent_id:
        generation = known.generation
    else:
        generation = 0 if new.parent_id is None else checkpoints.next_generation(repo.db, thread_no, new.parent_id)
    for data in (new.body[1], new.metadata[1]):
        limits.check_checkpoint_value(data)
    number = checkpoints.insert(
        repo.db,
        thread_no,
        new.id,
        parent_id=new.parent_id,
        generation=generation,
        run=new.run,
        unsettled=new.unsettled,
        body=new.body,
        metadata=new.metadata,
    )
    stored = {
        channel: Binding(new.versions[channel], checkpoint_values.store_value(repo.db, repo.id, value))
        for channel, value in new.values.items()
        if value is not None
    }
    checkpoints.bind(repo.db, number, {**inherited, **stored})
    return ()


def put_writes(
    repo: Repository,
    thread: str,
    namespace: str,
    checkpoint_id: str,
    task: str,
    task_path: str,
    writes: Iterable[NewWrite],
) -> None:
    """Keep what a task wrote; the checkpoint that it ran on may be stored later."""
    _check_names(thread, namespace, checkpoint_id, task, task_path)
    thread_no = checkpoints.new_thread(repo.db, repo.id, thread, namespace)
    generation = checkpoints.next_generation(repo.db, thread_no, checkpoint_id)
    for new in writes:
        _check_names(new.channel)
        value_no = checkpoint_values.store_value(repo.db, repo.id, new.value)
        row = WriteRow(task, new.position, task_path, new.channel, value_no)
        checkpoints.write(repo.db, thread_no, checkpoint_id, generation, row, new.replace)


def get(repo: Repository, thread: str, namespace: str, checkpoint_id: str | None = None) -> Checkpoint | None:
    """A checkpoint, without an id the one stored last; None when there is none."""
    thread_no = checkpoints.thread_of(repo.db, repo.id, thread, namespace)
    if thread_no is None:
        return None
    if checkpoint_id is None:
        found = checkpoints.newest(repo.db, thread_no, 1)
        return load(repo, found[0]) if found else None
    row = checkpoints.find(repo.db, thread_no, checkpoint_id)
    return None if row is None else load(repo, row)


def load(repo: Repository, row: CheckpointRow) -> Checkpoint:
    """A checkpoint with everything that belongs to it."""
    bound = checkpoints.bindings(repo.db, row.no)
    values = {name: checkpoint_values.load_value(repo.db, binding.value_no) for name, binding in bound.items()}
    writes = checkpoints.writes(repo.db, row.thread_no, row.id)
    return Checkpoint(row, values, tuple(_pending(repo, write) for write in writes))


def page(
    repo: Repository, thread: str | None, namespace: str | None, limit: int, below: int = checkpoints.NO_MAX
) -> list[CheckpointRow]:
    """Checkpoints, the one stored last first: of a thread and namespace, of all its namespaces, or of all threads.

    `below` is the number of the last one on the page before.
    """
    limits.check_page(limit)
    if thread is None or namespace is None:
        return checkpoints.newest_of_all(repo.db, repo.id, thread, limit, below)
    thread_no = checkpoints.thread_of(repo.db, repo.id, thread, namespace)
    return [] if thread_no is None else checkpoints.newest(repo.db, thread_no, limit, below)


def row_of(repo: Repository, thread: str, namespace: str, checkpoint_id: str) -> CheckpointRow | None:
    """A checkpoint's row; None when there is none."""
    thread_no = checkpoints.thread_of(repo.db, repo.id, thread, namespace)
    return None if thread_no is None else checkpoints.find(repo.db, thread_no, checkpoint_id)


def channel_histories(
    repo: Repository, thread: str, namespace: str, checkpoint_id: str, channels: Sequence[str]
) -> dict[str, ChannelHistory]:
    """What led to the values of channels at a checkpoint, along its parents, each once. O(way back)."""
    found = {channel: ChannelHistory() for channel in channels}
    open_channels = set(channels)
    child = row_of(repo, thread, namespace, checkpoint_id)
    seen: set[int] = set()
    while child is not None and child.parent_id is not None and open_channels and child.no not in seen:
        seen.add(child.no)
        parent = checkpoints.find(repo.db, child.thread_no, child.parent_id)
        if parent is None:
            break
        for write in reversed(checkpoints.writes(repo.db, parent.thread_no, parent.id, child.generation)):
            if write.channel in open_channels:
                found[write.channel].writes.append(_pending(repo, write))
        for channel, binding in checkpoints.bindings(repo.db, parent.no).items():
            if channel in open_channels:
                found[channel].seed = checkpoint_values.load_value(repo.db, binding.value_no)
                open_channels.discard(channel)
        child = parent
    for history in found.values():
        history.writes.reverse()
    return found


def delete_thread(repo: Repository, thread: str) -> None:
    """Delete a thread with all its namespaces: rows and values are gone at once."""
    for thread_no, _ in checkpoints.namespaces(repo.db, repo.id, thread):
        checkpoints.delete_thread(repo.db, thread_no)


def copy_thread(repo: Repository, source: str, target: str) -> None:
    """Make `target` the copy of a thread, in place of what it held. O(checkpoints): rows are copied, values shared.

    From then on the two have nothing to do with each other: what is written to, pruned from or deleted in one leaves
    the other as it is.
    """
    _check_names(target)
    if source == target:
        return
    delete_thread(repo, target)
    for thread_no, namespace in checkpoints.namespaces(repo.db, repo.id, source):
        checkpoints.copy(repo.db, thread_no, checkpoints.new_thread(repo.db, repo.id, target, namespace))


def delete_runs(repo: Repository, runs: Sequence[str]) -> None:
    """Delete the checkpoints that runs made, with their writes; later ones then follow from what was there before.

    One from which a channel of a checkpoint of another run is replayed stays, with its writes, until a later call in
    its thread finds that no other needs it, or `prune` does. O(checkpoints of the threads).
    """
    made = [row for run in dict.fromkeys(runs) for row in checkpoints.of_runs(repo.db, repo.id, run)]
    checkpoints.give_up(repo.db, (row.no for row in made))
    for thread_no in sorted({row.thread_no for row in made}):
        needed = _needed(repo, checkpoints.replayed(repo.db, thread_no))
        checkpoints.delete(repo.db, [row for row in checkpoints.given_up(repo.db, thread_no) if row.no not in needed])


def prune(repo: Repository, thread: str) -> None:
    """Keep of each namespace of a thread only the checkpoint stored last.

    Where that one has channels that are replayed from ancestors, the ancestors that this takes stay too. Writes that
    came for a checkpoint after it was gone go, as far as ids tell: those at an id before the one that is kept.
    """
    for thread_no, _ in checkpoints.namespaces(repo.db, repo.id, thread):
        last = checkpoints.newest(repo.db, thread_no, 1)
        kept = {row.no for row in last} | _needed(repo, last)
        below = checkpoints.NO_MAX
        while rows := checkpoints.newest(repo.db, thread_no, limits.PAGE_MAX, below):
            below = rows[-1].no
            checkpoints.delete(repo.db, [row for row in rows if row.no not in kept])
        for row in last:
            checkpoints.delete_late_writes(repo.db, thread_no, row.id)


def _needed(repo: Repository, rows: Iterable[CheckpointRow]) -> set[int]:
    """The numbers of the ancestors that the unsettled channels of checkpoints are replayed from.

    An ancestor is looked at again only for channels that nobody asked it for: ways back that join are walked once,
    and one that comes back to itself ends.
    """
    asked: dict[int, set[str]] = {}
    ways = [(row, set(row.unsettled)) for row in rows]
    while ways:
        child, channels = ways.pop()
        channels = channels - checkpoints.bindings(repo.db, child.no).keys()
        if not channels or child.parent_id is None:
            continue
        parent = checkpoints.find(repo.db, child.thread_no, child.parent_id)
        if parent is None:
            continue
        known = asked.setdefault(parent.no, set())
        if new := channels - known:
            known |= new
            ways.append((parent, new))
    return set(asked)


def _pending(repo: Repository, write: WriteRow) -> PendingWrite:
    return PendingWrite(write.task, write.channel, checkpoint_values.load_value(repo.db, write.value_no))


def _check_names(*names: str) -> None:
    for name in names:
        limits.check_checkpoint_name("the name", name)
