"""Checkpoints of threads to test on, stored by hand or by a graph, and what a store holds of them."""

from typing import Annotated, Any, TypedDict, cast

from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver, Checkpoint, CheckpointMetadata, empty_checkpoint
from langgraph.graph import END, START, StateGraph

from memory_repository import MemoryRepository
from memory_repository.adapters.langgraph import CheckpointSaver


def config(thread: str = "t", checkpoint_id: str | None = None, namespace: str = "") -> RunnableConfig:
    named = {"thread_id": thread, "checkpoint_ns": namespace}
    return {"configurable": named if checkpoint_id is None else {**named, "checkpoint_id": checkpoint_id}}


def checkpoint(checkpoint_id: str, values: dict[str, Any] | None = None, version: int = 1) -> Checkpoint:
    made = empty_checkpoint()
    made["id"] = checkpoint_id
    made["channel_values"] = values or {}
    made["channel_versions"] = dict.fromkeys(values or {}, version)
    return made


def put(
    saver: CheckpointSaver,
    checkpoint_id: str,
    parent_id: str | None = None,
    values: dict[str, Any] | None = None,
    *,
    thread: str = "t",
    **metadata: Any,
) -> RunnableConfig:
    """Store a checkpoint of which every channel has changed."""
    made = checkpoint(checkpoint_id, values)
    facts = cast(CheckpointMetadata, {"source": "loop", "step": 0, "parents": {}, **metadata})
    return saver.put(config(thread, parent_id), made, facts, made["channel_versions"])


def ids(saver: CheckpointSaver, thread: str = "t", **asked: Any) -> list[str]:
    return [found.checkpoint["id"] for found in saver.list(config(thread), **asked)]


def count(memory: MemoryRepository, table: str) -> int:
    return int(memory.read(lambda repo: repo.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]))


def bytes_of_values(memory: MemoryRepository) -> int:
    sql = (
        "SELECT (SELECT coalesce(sum(length(ends)), 0) FROM checkpoint_value)"
        " + (SELECT coalesce(sum(length(data)), 0) FROM checkpoint_block)"
    )
    return int(memory.read(lambda repo: repo.db.execute(sql).fetchone()[0]))


def appended(current: list[str] | None, writes: list[Any]) -> list[str]:
    return [*(current or []), *(part for write in writes for part in (write if isinstance(write, list) else [write]))]


class Log(TypedDict):
    log: Annotated[list[str], DeltaChannel(appended, snapshot_frequency=1000)]
    turns: int


def agent(saver: BaseCheckpointSaver[Any], says: str) -> Any:
    builder = StateGraph(Log)
    builder.add_node("speak", lambda state: {"log": [says], "turns": state.get("turns", 0) + 1})
    builder.add_edge(START, "speak")
    builder.add_edge("speak", END)
    return builder.compile(checkpointer=saver)
