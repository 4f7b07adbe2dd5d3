"""WordLlama: static token embeddings of 256 numbers, averaged. Its weights come with the package, it needs no network.

It knows synonyms ("refund", "money back") and nothing of word order: good for short memories, weaker than a transformer
on long ones, some hundred times faster. Needs the extra `thymos-memory-repository[embeddings]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from thymos.errors import ConfigError

DIMENSIONS = 256


class WordLlamaEmbedder:
    """The model that comes with the package `wordllama`. Raises ConfigError when that is not installed."""

    def __init__(self) -> None:
        try:
            import wordllama
        except ImportError as error:
            mend = "pip install 'thymos-memory-repository[embeddings]'"
            raise ConfigError(f"the embedder wordllama is not installed: {mend}") from error
        # The package holds its tokenizer in a folder that it only looks for in a cache: so it is its own cache.
        folder = Path(wordllama.__file__).parent
        self._model: Any = wordllama.WordLlama.load(dim=DIMENSIONS, disable_download=True, cache_dir=folder)
        self.name = f"wordllama-{version('wordllama')}-{DIMENSIONS}"
        self.dimensions = DIMENSIONS

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """See `Embedder`."""
        vectors: Sequence[Sequence[float]] = self._model.embed(list(texts))
        return vectors
