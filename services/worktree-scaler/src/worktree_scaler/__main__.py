"""`python -m worktree_scaler`: the service process."""

from thymos import service
from worktree_scaler.app import build


def main() -> None:
    """Run until SIGTERM or SIGINT; agents are drained before it ends."""
    service.main(build)


if __name__ == "__main__":
    main()
