"""An agent's branches as a few lines of text: main's commits in a row, the experiment's branches below."""

from collections.abc import Iterable

from thymos.events import BranchCreated, BranchDeleted, BranchMerged, BranchRolledBack, CommitCreated
from thymos.message import Message

MAIN = "main"
COMMIT, MERGE, UNDONE, ROLLBACK = "●", "◆", "✗", "↺"
COMMITS_SHOWN_MAX = 24
BRANCHES_SHOWN_MAX = 8


def branch_graph(events: Iterable[Message]) -> list[str]:
    """The picture after these events: ● a commit, ◆ a merge, ✗ a commit that was undone, ↺ the rollback."""
    commits: dict[str, str] = {}
    branches: dict[str, str] = {}
    for event in events:
        _draw(event, commits, branches)
    row = "─".join(list(commits.values())[-COMMITS_SHOWN_MAX:])
    shown = list(branches.items())[-BRANCHES_SHOWN_MAX:]
    return [f"{MAIN} {row}", *(f"  └─ {name}{state}" for name, state in shown)] if commits else []


def _draw(event: Message, commits: dict[str, str], branches: dict[str, str]) -> None:
    match event:
        case CommitCreated(branch="main"):
            commits.setdefault(event.commit, COMMIT)
        case BranchMerged(target="main"):
            commits[event.commit] = MERGE
            branches[event.source] = " ◆ merged"
        case BranchRolledBack(branch="main"):
            _undo(commits, event)
        case BranchCreated() if event.branch != MAIN:
            branches[event.branch] = ""
        case BranchDeleted() if "merged" not in branches.get(event.branch, ""):
            branches[event.branch] = " deleted"


def _undo(commits: dict[str, str], event: BranchRolledBack) -> None:
    """Commits between the restored one and the rollback are undone."""
    known = list(commits)
    if event.restored_commit in commits:
        for commit in known[known.index(event.restored_commit) + 1 :]:
            if commit != event.revert_commit:
                commits[commit] = UNDONE
    commits[event.revert_commit] = ROLLBACK
