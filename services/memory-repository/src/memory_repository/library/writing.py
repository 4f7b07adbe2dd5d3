"""Writing to branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from memory_repository.core.limits import PARENTS_MAX, check_choice, check_object, check_whole
from memory_repository.core.memory import Change
from memory_repository.core.merge import Strategy
from memory_repository.library.opening import OpenRepository
from memory_repository.operations import branching, committing, transplanting
from memory_repository.operations.branching import Named
from memory_repository.operations.committing import Committed
from memory_repository.operations.transplanting import Rebased
from memory_repository.storage.store import MAIN


class Writing(OpenRepository):
    """What changes a branch; see MemoryRepository."""

    def commit(
        self,
        changes: Sequence[Change],
        *,
        branch: str = MAIN,
        message: str = "",
        author: str | None = None,
        expected_head: str | None = None,
    ) -> Committed:
        """Commit changes; with `expected_head`, a commit id, they are rebased if the branch has moved on since, or
        refused if they collide."""
        with self._writing() as (repo, now):
            return committing.commit(
                repo,
                branch,
                changes,
                author=self._by(author),
                message=message,
                now=now,
                expected_head=expected_head,
            )

    def rollback(self, target: str, *, branch: str = MAIN, reason: str = "") -> Committed:
        """Bring a branch back to the state of an earlier commit of it, by a new commit."""
        with self._writing() as (repo, now):
            return committing.rollback(repo, branch, target, author=self._author, reason=reason, now=now)

    def cherry_pick(
        self,
        commit: str,
        branch: str = MAIN,
        *,
        message: str = "",
        strategy: Strategy | str = Strategy.MANUAL,
        mainline: int = 1,
    ) -> Committed:
        """Make the changes of one commit once more, on a branch."""
        with self._writing() as (repo, now):
            return transplanting.cherry_pick(
                repo,
                branch,
                commit,
                author=self._author,
                now=now,
                message=message,
                strategy=check_choice("strategy", Strategy, strategy),
                mainline=check_whole("the parent's number", mainline, 1, PARENTS_MAX),
            )

    def revert(
        self,
        commit: str,
        branch: str = MAIN,
        *,
        reason: str = "",
        strategy: Strategy | str = Strategy.MANUAL,
        mainline: int = 1,
    ) -> Committed:
        """Take the changes of one commit back, and of none after it."""
        with self._writing() as (repo, now):
            return transplanting.revert(
                repo,
                branch,
                commit,
                author=self._author,
                now=now,
                reason=reason,
                strategy=check_choice("strategy", Strategy, strategy),
                mainline=check_whole("the parent's number", mainline, 1, PARENTS_MAX),
            )

    def rebase(self, branch: str, onto: str = MAIN, *, strategy: Strategy | str = Strategy.MANUAL) -> Rebased:
        """Make the commits of a branch once more, on top of `onto`; `main` never."""
        with self._writing() as (repo, now):
            wanted = check_choice("strategy", Strategy, strategy)
            return transplanting.rebase(repo, branch, onto, author=self._author, now=now, strategy=wanted)

    def rename_branch(self, branch: str, name: str, *, reason: str = "") -> Named:
        """Give a branch another name; `main` never."""
        with self._writing() as (repo, now):
            return branching.rename_branch(repo, branch, name, actor=self._author, now=now, reason=reason)

    def create_branch(self, branch: str, from_ref: str = MAIN, *, reason: str = "") -> Named:
        """Begin a branch. O(1)."""
        with self._writing() as (repo, now):
            return branching.create_branch(repo, branch, from_ref, actor=self._author, now=now, reason=reason)

    def delete_branch(self, branch: str, *, force: bool = False, reason: str = "") -> Named:
        """Delete a branch; `main` never, and what is nowhere else only when it is forced."""
        with self._writing() as (repo, now):
            return branching.delete_branch(repo, branch, actor=self._author, now=now, force=force, reason=reason)

    def snapshot(
        self, snapshot_id: str, ref: str = MAIN, *, reason: str = "", metadata: Mapping[str, Any] | None = None
    ) -> Named:
        """Keep a commit under an id. O(1)."""
        if metadata is not None:
            check_object("the metadata", metadata)
        with self._writing() as (repo, now):
            return branching.create_snapshot(
                repo, snapshot_id, ref, actor=self._author, now=now, reason=reason, meta=metadata
            )

    def tag(self, tag: str, ref: str = MAIN, *, reason: str = "") -> Named:
        """Name a commit for good. O(1)."""
        with self._writing() as (repo, now):
            return branching.create_tag(repo, tag, ref, actor=self._author, now=now, reason=reason)

    def delete_tag(self, tag: str, *, reason: str = "") -> Named:
        """Forget a tag; the commit stays while anything else leads to it."""
        with self._writing() as (repo, now):
            return branching.delete_named(repo, "tag", tag, actor=self._author, now=now, reason=reason)

    def delete_snapshot(self, snapshot_id: str, *, reason: str = "") -> Named:
        """Forget a snapshot; the commit stays while anything else leads to it."""
        with self._writing() as (repo, now):
            return branching.delete_named(repo, "snapshot", snapshot_id, actor=self._author, now=now, reason=reason)
