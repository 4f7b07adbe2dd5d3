"""`python -m decision_engine`: run the service until it is told to stop."""

from decision_engine.app import build
from thymos import service


def main() -> None:
    """Run the service; settings come from the environment (thymos.service.ServiceSettings)."""
    service.main(build)


if __name__ == "__main__":
    main()
