"""`python -m metrics_collector`: the service as a process."""

from metrics_collector.app import build
from thymos import service


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    service.main(build)


if __name__ == "__main__":
    main()
