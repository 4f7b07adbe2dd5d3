"""A client shaped like mem0's (2.2), on an agent's versioned memory: needs no model, no vector store and no mem0.

from memory_repository import MemoryRepository
from memory_repository.adapters.mem0 import Memory

with MemoryRepository.open("sqlite:///memory.db", agent="support") as repository:
    memory = Memory(repository)
    memory.add("I like green tea", user_id="ada")
    memory.search("tea", filters={"user_id": "ada"})["results"]
"""

from memory_repository.adapters.mem0.client import AsyncMemory, Memory

__all__ = ["AsyncMemory", "Memory"]
