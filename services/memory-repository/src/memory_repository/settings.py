"""What the service is given from outside, beyond what every service is given (thymos.service.ServiceSettings)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from memory_repository.core.retention import Retention
from memory_repository.embedders import Embedder
from thymos.database import Database, postgresql_database
from thymos.llm import Model
from thymos.llm.configured import model_of
from thymos.service import ServiceSettings
from thymos.sqlite_file import SqliteFile

FILE_NAME = "memory-repository.db"


@dataclass(frozen=True)
class Settings:
    """The service's settings: where memories are kept, how much history it keeps, and whether it drops the rest on
    its own; the model for searches by meaning ("" for none); the one that is asked about merges, if there is one."""

    database: Database
    retention: Retention
    retains: bool
    embedder_name: str = ""
    model: Model | None = None

    def embedder(self) -> Embedder | None:
        """The model, loaded. Raises ConfigError when it is not installed."""
        if not self.embedder_name:
            return None
        from memory_repository.embedders.wordllama import WordLlamaEmbedder

        return WordLlamaEmbedder()

    @staticmethod
    def of(settings: ServiceSettings) -> Settings:
        """From what every service is given, and the variable that holds the model's key. Raises ConfigError; Refusal
        where PostgreSQL cannot be used."""
        url = settings.config.storage.url
        database = postgresql_database(url) if url else SqliteFile(settings.data_dir / FILE_NAME)
        wanted = settings.config.memory.retention
        retention = Retention(wanted.commits_max, wanted.age_max, wanted.reflog_age)
        embedder = settings.config.memory.embedder
        model = model_of(settings.config.llm, os.environ)
        return Settings(database, retention, wanted.enabled, embedder, model)
