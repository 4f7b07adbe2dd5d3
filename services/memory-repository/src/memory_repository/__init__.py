"""Remembers: a versioned store of agent memory.

As a library: `MemoryRepository.open("sqlite:///memory.db")`. As a service on the bus: `python -m memory_repository`.
"""

from memory_repository.library import MemoryRepository
from memory_repository.memory import Delete, Difference, Memory, Modify, Put
from memory_repository.merge import Conflict, ConflictKind, Strategy

__all__ = [
    "Conflict",
    "ConflictKind",
    "Delete",
    "Difference",
    "Memory",
    "MemoryRepository",
    "Modify",
    "Put",
    "Strategy",
]
