"""What the service is given from outside, beyond what every service is given (thymos.service.ServiceSettings)."""

from __future__ import annotations

from dataclasses import dataclass

from memory_repository.core.retention import Retention
from memory_repository.embedders import Embedder
from thymos.database import Database, postgresql_database
from thymos.service import ServiceSettings
from thymos.sqlite_file import SqliteFile

FILE_NAME = "memory-repository.db"


@dataclass(frozen=True)
class Settings:
    """The service's settings: where memories are kept, how much history it keeps, and whether it drops the rest on
    its own; the model for searches by meaning ("" for none)."""

    database: Database
    retention: Retention
    retains: bool
    embedder_name: str = ""

    def embedder(self) -> Embedder | None:
        """The model, loaded. Raises ConfigError when it is not installed."""
        if not self.embedder_name:
            return None
        from memory_repository.embedders.wordllama import WordLlamaEmbedder

        return WordLlamaEmbedder()

    @staticmethod
    def of(settings: ServiceSettings) -> Settings:
        """From the settings that every service is given. Raises Refusal where PostgreSQL cannot be used."""
        url = settings.config.storage.url
        database = postgresql_database(url) if url else SqliteFile(settings.data_dir / FILE_NAME)
        wanted = settings.config.memory.retention
        retention = Retention(wanted.commits_max, wanted.age_max, wanted.reflog_age)
        embedder = settings.config.memory.embedder
        return Settings(database, retention, wanted.enabled, embedder)
