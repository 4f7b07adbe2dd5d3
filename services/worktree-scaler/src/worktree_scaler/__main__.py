"""`python -m worktree_scaler`: the service process."""

from thymos import service, subjects
from worktree_scaler.app import build


def main() -> None:
    """Run until SIGTERM or SIGINT; agents are drained before it ends."""
    service.main(build, subjects.WORKTREE_SCALER, "runs agents in worktrees, as many as there is work for.")


if __name__ == "__main__":
    main()
