"""`python -m metrics_collector`: the service as a process."""

from metrics_collector.app import build
from thymos import service, subjects


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    service.main(build, subjects.METRICS_COLLECTOR, "measures how agents do, from their telemetry.")


if __name__ == "__main__":
    main()
