"""What the service is given from outside, beyond what every service is given (thymos.service.ServiceSettings)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thymos.service import ServiceSettings

FILE_NAME = "memory-repository.db"


@dataclass(frozen=True)
class Settings:
    """The service's settings: where its SQLite file lies."""

    database: Path

    @staticmethod
    def of(settings: ServiceSettings) -> Settings:
        """From the settings that every service is given."""
        return Settings(settings.data_dir / FILE_NAME)
