"""The demo's picture of branches."""

from thymos.demo.branch_graph import branch_graph
from thymos.events import BranchCreated, BranchDeleted, BranchMerged, BranchRolledBack, CommitCreated
from thymos.message import Message


def commit(name: str, branch: str = "main") -> CommitCreated:
    return CommitCreated(branch=branch, commit=name, parents=[], author="a", message="m")


def test_nothing_is_drawn_before_the_first_commit() -> None:
    assert branch_graph([]) == []


def test_an_experiment_its_merge_and_a_rollback() -> None:
    story: list[Message] = [
        commit("c1"),
        BranchCreated(branch="e-control", from_commit="c1"),
        BranchCreated(branch="e-bold", from_commit="c1"),
        commit("x1", branch="e-bold"),
        commit("c2"),
        BranchMerged(source="e-bold", target="main", commit="c2", previous_commit="c1", strategy="Manual"),
        BranchDeleted(branch="e-control", from_commit="c1"),
        BranchDeleted(branch="e-bold", from_commit="x1"),
        commit("c3"),
        commit("c4"),
        BranchRolledBack(branch="main", restored_commit="c2", revert_commit="c4"),
    ]
    assert branch_graph(story) == ["main ●─◆─✗─↺", "  └─ e-control deleted", "  └─ e-bold ◆ merged"]
