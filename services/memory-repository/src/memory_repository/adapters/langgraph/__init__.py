"""LangGraph's long-term store and checkpoints, kept in an agent's versioned memory.

    from memory_repository import MemoryRepository
    from memory_repository.adapters.langgraph import CheckpointSaver, MemoryStore

    with MemoryRepository.open("sqlite:///memory.db", agent="support") as memory:
        graph = builder.compile(checkpointer=CheckpointSaver(memory), store=MemoryStore(memory))

Both work from threads and from an event loop, and several processes may use one file.
"""

try:
    import langgraph.checkpoint.base
    import langgraph.store.base  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"memory_repository.adapters.langgraph needs {error.name}: pip install 'thymos-memory-repository[langgraph]'",
        name=error.name,
    ) from None

from memory_repository.adapters.langgraph.saver import CheckpointSaver
from memory_repository.adapters.langgraph.store import MemoryStore

__all__ = ["CheckpointSaver", "MemoryStore"]
