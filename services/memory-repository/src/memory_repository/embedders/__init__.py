"""What turns text into vectors whose closeness is closeness of meaning: the port, and local models behind it.

from memory_repository.embedders.wordllama import WordLlamaEmbedder

with MemoryRepository.open("sqlite:///memory.db", embedder=WordLlamaEmbedder()) as memory:
    memory.search("how do I get my money back", mode=Mode.BOTH)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

DIMENSIONS_MAX: Final = 65_536


class Embedder(Protocol):
    """A model. It is called with at most 256 texts at once, on the thread of whoever searches."""

    @property
    def name(self) -> str:
        """Its name and version: a change of either makes all vectors anew."""
        ...

    @property
    def dimensions(self) -> int:
        """Numbers in a vector, at most 65,536."""
        ...

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """A vector of finite numbers for each text, of any length but 0 for text that says something."""
        ...
