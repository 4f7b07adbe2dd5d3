"""`python -m decision_engine`: run the service until it is told to stop."""

from decision_engine.app import build
from thymos import service, subjects


def main() -> None:
    """Run the service; settings come from the environment (thymos.service.ServiceSettings)."""
    service.main(
        build,
        subjects.DECISION_ENGINE,
        "decides on experiments, merges and rollbacks, by rules and evidence.",
    )


if __name__ == "__main__":
    main()
