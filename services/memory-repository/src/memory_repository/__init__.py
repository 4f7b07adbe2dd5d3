"""Remembers: a versioned store of agent memory.

As a library: `MemoryRepository.open("sqlite:///memory.db")`. As a service on the bus: `python -m memory_repository`.
"""

from memory_repository.core.memory import Delete, Difference, Memory, Modify, Put
from memory_repository.core.merge import Conflict, ConflictKind, MergeState, Strategy
from memory_repository.core.resolution import Resolution, Take
from memory_repository.core.retention import Retention
from memory_repository.library import MemoryRepository
from memory_repository.operations.searching import Mode

__all__ = [
    "Conflict",
    "ConflictKind",
    "Delete",
    "Difference",
    "Memory",
    "MemoryRepository",
    "MergeState",
    "Mode",
    "Modify",
    "Put",
    "Resolution",
    "Retention",
    "Strategy",
    "Take",
]
