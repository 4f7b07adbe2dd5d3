"""`python -m memory_repository`: run the service until it is told to stop."""

from memory_repository.app import build
from thymos import service, subjects


def main() -> None:
    """Run the service; settings come from the environment (thymos.service.ServiceSettings)."""
    service.main(build, subjects.MEMORY_REPOSITORY, "keeps the versioned memory of agents and answers for it.")


if __name__ == "__main__":
    main()
