"""What the service is told from outside."""

from dataclasses import dataclass
from pathlib import Path

from thymos.service import ServiceSettings


@dataclass(frozen=True)
class Settings:
    """Where the state lives, and how many outcomes make a baseline."""

    database: Path
    baseline_samples: int

    @staticmethod
    def of(settings: ServiceSettings) -> "Settings":
        """From what every service is given: the data directory and `thymos.toml`."""
        return Settings(
            settings.data_dir / "metrics-collector.db", settings.config.versioning.experiments.baseline_samples
        )
