"""Checkpoints of LangGraph threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from memory_repository.adapters.retrying import retried
from memory_repository.core.limits import invalid
from memory_repository.library import MemoryRepository
from memory_repository.operations import checkpointing
from memory_repository.operations.checkpointing import NewCheckpoint, NewWrite, PendingWrite
from memory_repository.storage.checkpoints import NO_MAX, CheckpointRow
from memory_repository.storage.store import Repository

PAGE: Final = 64
"""Checkpoints that `list` reads at once: nobody's write waits longer than for one page."""

Page = tuple[list[CheckpointTuple], int | None]


class CheckpointSaver(BaseCheckpointSaver[int]):
    """A `BaseCheckpointSaver` on an agent's memory file.

    The newest checkpoint of a thread is the one stored last, and history follows parents: ids need not grow. A value
    is stored once however many checkpoints hold it, and a list that grows costs what was added. What is pruned or
    deleted is gone from the file's pages at once.

    Methods raise `thymos.errors.Refusal` for names over 1 KiB and values over 64 MiB.
    """

    def __init__(self, memory: MemoryRepository, *, serde: SerializerProtocol | None = None) -> None:
        """Keep checkpoints beside the memories of `memory`, which the caller closes."""
        super().__init__(serde=serde)
        self.memory = memory

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that `config` names, without an id the one stored last; None when there is none."""
        thread, namespace, checkpoint_id = _named(config)
        found = self.memory.read(lambda repo: checkpointing.get(repo, thread, namespace, checkpoint_id))
        return None if found is None else self._tuple(found)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Checkpoints, the one stored last first.

        Args:
            config: the thread and, if given, namespace and id; None for all threads of the agent.
            filter: values that the metadata must have.
            before: only those stored before this one.
            limit: how many at most; None for all.
        """
        below: int | None = None
        left = limit
        while left is None or left > 0:
            found, below = self._page(config, filter, before, below)
            yield from found if left is None else found[:left]
            if below is None:
                return
            left = None if left is None else left - len(found)

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint as the child of the one that `config` names."""
        thread, namespace, parent_id = _named(config)
        values = checkpoint["channel_values"]
        versions = checkpoint["channel_versions"]
        facts: dict[str, Any] = dict(get_checkpoint_metadata(config, metadata))
        counted = facts.get("counters_since_delta_snapshot") or {}
        body = {name: part for name, part in checkpoint.items() if name != "channel_values"}
        run = facts.get("run_id")
        changed = new_versions.keys() | (values.keys() - versions.keys())
        while True:
            new = NewCheckpoint(
                thread=thread,
                namespace=namespace,
                id=checkpoint["id"],
                parent_id=parent_id,
                run=None if run is None else str(run),
                body=self.serde.dumps_typed(body),
                metadata=self.serde.dumps_typed(facts),
                versions={name: str(versions.get(name, "")) for name in versions.keys() | changed},
                values={name: self.serde.dumps_typed(values[name]) if name in values else None for name in changed},
                held=values.keys(),
                unsettled=sorted(counted.keys() - values.keys()),
            )
            missing = self._write(checkpointing.put, new)
            if not missing:
                return _config(thread, namespace, checkpoint["id"])
            changed |= set(missing)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Keep what a task wrote on the checkpoint that `config` names; what it wrote there before stays."""
        thread, namespace, checkpoint_id = _named(config)
        if checkpoint_id is None:
            raise invalid("the writes belong to no checkpoint", "give a config with a checkpoint_id")
        rows = [
            NewWrite(
                WRITES_IDX_MAP.get(channel, position),
                channel,
                self.serde.dumps_typed(value),
                replace=channel in WRITES_IDX_MAP,
            )
            for position, (channel, value) in enumerate(writes)
        ]
        self._write(checkpointing.put_writes, thread, namespace, checkpoint_id, task_id, task_path, rows)

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread's checkpoints and writes in all namespaces."""
        self._write(checkpointing.delete_thread, str(thread_id))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Make one thread the copy of another, in place of what it held. O(checkpoints), whatever they hold."""
        self._write(checkpointing.copy_thread, str(source_thread_id), str(target_thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete what runs have stored; later checkpoints then follow from what was there before.

        What the delta channels of other runs' checkpoints are replayed from stays until none of them needs it.
        """
        self._write(checkpointing.delete_runs, [str(run) for run in run_ids])

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Keep only the newest checkpoint of each namespace and what it takes to replay its delta channels
        ("keep_latest"), or nothing ("delete")."""
        operations = {"keep_latest": checkpointing.prune, "delete": checkpointing.delete_thread}
        if strategy not in operations:
            raise invalid(f"there is no strategy {strategy!r:.40} of pruning", f"give one of {', '.join(operations)}")
        for thread in thread_ids:
            self._write(operations[strategy], str(thread))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """What led to the values of channels: along parents, each with the writes that led to this very child."""
        thread, namespace, checkpoint_id = _named(config)

        def histories(repo: Repository) -> dict[str, checkpointing.ChannelHistory]:
            target = checkpoint_id
            if target is None:
                target = next((row.id for row in checkpointing.page(repo, thread, namespace, 1)), "")
            return checkpointing.channel_histories(repo, thread, namespace, target, channels)

        return {name: self._history(found) for name, found in self.memory.read(histories).items()}

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """`get_tuple`, from an event loop."""
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """`list`, from an event loop."""
        below: int | None = None
        left = limit
        while left is None or left > 0:
            found, below = await asyncio.to_thread(self._page, config, filter, before, below)
            for one in found if left is None else found[:left]:
                yield one
            if below is None:
                return
            left = None if left is None else left - len(found)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """`put`, from an event loop."""
        return await asyncio.to_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """`put_writes`, from an event loop."""
        await asyncio.to_thread(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """`delete_thread`, from an event loop."""
        await asyncio.to_thread(self.delete_thread, thread_id)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """`copy_thread`, from an event loop."""
        await asyncio.to_thread(self.copy_thread, source_thread_id, target_thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """`delete_for_runs`, from an event loop."""
        await asyncio.to_thread(self.delete_for_runs, run_ids)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """`prune`, from an event loop."""
        await asyncio.to_thread(self.prune, thread_ids, strategy=strategy)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """`get_delta_channel_history`, from an event loop."""
        return await asyncio.to_thread(self.get_delta_channel_history, config=config, channels=channels)

    def _write(self, operation: Any, *arguments: Any) -> Any:
        return retried(lambda: self.memory.write(lambda repo, _: operation(repo, *arguments)))

    def _page(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        below: int | None,
    ) -> Page:
        # The matching ones of a page, and where the next page begins; None after the last one.
        thread = None if config is None else str(config["configurable"]["thread_id"])
        namespace = None if config is None else config["configurable"].get("checkpoint_ns")
        wanted = None if config is None else config["configurable"].get("checkpoint_id")

        def page(repo: Repository) -> Page:
            start, below_id = _before(repo, before)
            rows = checkpointing.page(repo, thread, namespace, PAGE, start if below is None else below)
            found = [
                self._tuple(checkpointing.load(repo, row))
                for row in rows
                if wanted in (None, row.id) and (below_id is None or row.id < below_id) and self._matches(row, filter)
            ]
            return found, rows[-1].no if len(rows) == PAGE else None

        return self.memory.read(page)

    def _matches(self, row: CheckpointRow, filter: dict[str, Any] | None) -> bool:
        if not filter:
            return True
        metadata = self.serde.loads_typed(row.metadata)
        return all(metadata.get(name) == value for name, value in filter.items())

    def _tuple(self, found: checkpointing.Checkpoint) -> CheckpointTuple:
        row = found.row
        checkpoint: Checkpoint = self.serde.loads_typed(row.body)
        checkpoint["channel_values"] = {name: self.serde.loads_typed(value) for name, value in found.values.items()}
        return CheckpointTuple(
            config=_config(row.thread, row.namespace, row.id),
            checkpoint=checkpoint,
            metadata=self.serde.loads_typed(row.metadata),
            parent_config=None if row.parent_id is None else _config(row.thread, row.namespace, row.parent_id),
            pending_writes=[self._pending(write) for write in found.writes],
        )

    def _history(self, found: checkpointing.ChannelHistory) -> DeltaChannelHistory:
        history: DeltaChannelHistory = {"writes": [self._pending(write) for write in found.writes]}
        if found.seed is not None:
            history["seed"] = self.serde.loads_typed(found.seed)
        return history

    def _pending(self, write: PendingWrite) -> tuple[str, str, Any]:
        return write.task, write.channel, self.serde.loads_typed(write.value)


def _named(config: RunnableConfig) -> tuple[str, str, str | None]:
    named = config["configurable"]
    return str(named["thread_id"]), named.get("checkpoint_ns", ""), named.get("checkpoint_id")


def _config(thread: str, namespace: str, checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}}


def _before(repo: Repository, before: RunnableConfig | None) -> tuple[int, str | None]:
    # The number below which a listing begins. Of a checkpoint that is gone only its id is left to compare with.
    if before is None or (checkpoint_id := _named(before)[2]) is None:
        return NO_MAX, None
    row = checkpointing.row_of(repo, *_named(before)[:2], checkpoint_id)
    return (NO_MAX, checkpoint_id) if row is None else (row.no, None)
