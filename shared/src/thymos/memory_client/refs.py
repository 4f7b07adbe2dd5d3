"""Names for commits."""

from collections.abc import Mapping

from pydantic import JsonValue

from thymos import requests as r
from thymos.memory_client.asking import Asking


class Refs(Asking):
    """What names commits; see MemoryClient."""

    async def create_branch(self, name: str, from_ref: str | None = None, reason: str = "") -> r.BranchAnswer:
        """Begin a branch, where this one stands or at `from_ref`; the client stays on its own."""
        return await self._ask(
            r.BranchAnswer,
            "branch_create",
            lambda: r.NewBranch(branch=name, from_ref=from_ref or self.branch, reason=reason, by=self._author),
        )

    async def delete_branch(self, name: str, *, force: bool = False, reason: str = "") -> r.BranchAnswer:
        """Delete a branch; without `force` only one whose commits another branch, a tag or a snapshot reaches, with
        nothing staged on it and no kept merge."""
        return await self._ask(
            r.BranchAnswer,
            "branch_delete",
            lambda: r.RemoveBranch(branch=name, force=force, reason=reason, by=self._author),
        )

    async def rename_branch(self, name: str, reason: str = "") -> r.BranchAnswer:
        """Another name for the branch; the client stays on it."""
        renamed = await self._ask(
            r.BranchAnswer,
            "branch_rename",
            lambda: r.RenameBranch(branch=self.branch, new_name=name, reason=reason, by=self._author),
        )
        self.branch = renamed.branch
        return renamed

    async def reflog(self, limit: int = 50, skip: int = 0) -> list[r.RefMove]:
        """Where the branch has stood, newest first, without the newest `skip`."""
        answer = await self._ask(
            r.ReflogAnswer, "reflog", lambda: r.ReadReflog(branch=self.branch, limit=limit, skip=skip)
        )
        return answer.moves

    async def tag(self, tag: str, ref: str | None = None, reason: str = "") -> r.NamedCommit:
        """A name for a commit, for good."""
        return await self._ask(
            r.NamedCommit,
            "tag_create",
            lambda: r.NewTag(tag=tag, ref=ref or self.branch, reason=reason, by=self._author),
        )

    async def tags(self) -> list[r.NamedCommit]:
        """All tags."""
        return (await self._all(r.NamedCommitsAnswer, "tags", r.ListTags, "named")).named

    async def delete_tag(self, tag: str, reason: str = "") -> r.NamedCommit:
        """Forget a tag."""
        return await self._ask(
            r.NamedCommit, "tag_delete", lambda: r.RemoveTag(tag=tag, reason=reason, by=self._author)
        )

    async def snapshot(
        self,
        ref: str | None = None,
        reason: str = "",
        *,
        snapshot_id: str | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
    ) -> r.SnapshotAnswer:
        """Keep a state under a name, a new one unless `snapshot_id` says which, with what to know about it."""
        return await self._ask(
            r.SnapshotAnswer,
            "snapshot",
            lambda: r.Snapshot(
                ref=ref or self.branch,
                reason=reason,
                metadata=dict(metadata or {}),
                by=self._author,
                snapshot_id=snapshot_id,
            ),
        )

    async def snapshots(self) -> list[r.NamedCommit]:
        """All snapshots."""
        return (await self._all(r.NamedCommitsAnswer, "snapshots", r.ListSnapshots, "named")).named

    async def delete_snapshot(self, snapshot_id: str, reason: str = "") -> r.NamedCommit:
        """Forget a snapshot."""
        return await self._ask(
            r.NamedCommit,
            "snapshot_delete",
            lambda: r.RemoveSnapshot(snapshot_id=snapshot_id, reason=reason, by=self._author),
        )

    async def branches(self) -> list[r.BranchAnswer]:
        """All branches."""
        return (await self._all(r.BranchesAnswer, "branches", r.ListBranches, "branches")).branches

    async def protect(self, branch: str, reason: str = "") -> r.BranchAnswer:
        """Protect a branch: it is not deleted, and no model merges into it without a person's approval."""
        return await self._ask(
            r.BranchAnswer, "branch_protect", lambda: r.ProtectBranch(branch=branch, by=self._author, reason=reason)
        )

    async def unprotect(self, branch: str, reason: str = "") -> r.BranchAnswer:
        """Protect a branch no longer."""
        return await self._ask(
            r.BranchAnswer, "branch_unprotect", lambda: r.UnprotectBranch(branch=branch, by=self._author, reason=reason)
        )
