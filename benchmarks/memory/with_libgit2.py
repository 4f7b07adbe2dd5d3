"""git through libgit2 (pygit2): one blob per memory, a hundred in a tree, a bare repository.

A hundred memories per tree, in the order of their ids, is the best case for git: a change writes two small trees, and
neighbours lie in one. While libgit2 makes objects durable it makes each one so; the bulk load writes them first and
then has the whole file system on the disk, as `core.fsyncMethod=batch` of git does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import cast

import pygit2
from pygit2.enums import FileMode, MergeFlag, Option

from .workload import PAGE, Changed, NotOffered, Record

WHO = pygit2.Signature("bench", "bench@example.org", 0, 0)
MAIN = "refs/heads/main"


class Libgit2:
    """A bare repository."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / "memory.git")
        pygit2.option(Option.ENABLE_FSYNC_GITDIR, True)
        self._repo = pygit2.init_repository(self._path, bare=True)

    def about(self) -> str:
        """See Peer."""
        durable = "fsync of every object and ref (bulk load: one sync per commit)"
        return f"libgit2 {pygit2.LIBGIT2_VERSION} (pygit2 {version('pygit2')}), loose objects, {durable}; no search"

    def load(self, records: Sequence[Record]) -> None:
        """See Peer."""
        pygit2.option(Option.ENABLE_FSYNC_GITDIR, False)
        commit = self._committed(self._head() if not self._repo.is_empty else None, records)
        os.sync()
        pygit2.option(Option.ENABLE_FSYNC_GITDIR, True)
        self._repo.references.create(MAIN, commit, force=True)

    def settle(self) -> None:
        """See Peer."""
        self._repo = pygit2.Repository(self._path)

    def branch(self, name: str) -> None:
        """See Peer."""
        self._repo.references.create(f"refs/heads/{name}", self._head())

    def tag(self, name: str) -> None:
        """See Peer."""
        self._repo.references.create(f"refs/tags/{name}", self._head())

    def snapshot(self, name: str) -> None:
        """See Peer."""
        raise NotOffered("a tag without metadata")

    def worktree(self, name: str) -> None:
        """See Peer."""
        raise NotOffered("writes all files")

    def commit(self, branch: str, records: Sequence[Record]) -> None:
        """See Peer."""
        ref = f"refs/heads/{branch}"
        self._move(ref, self._committed(self._head(ref), records))

    def get(self, memory_id: str) -> str:
        """See Peer."""
        return self._content(self._tree(self._head())[f"{memory_id[:-2]}/{memory_id}"])

    def page(self, after: str) -> list[str]:
        """See Peer."""
        found: list[str] = []
        for group in self._tree(self._head()):
            if (group.name or "") < after[:-2]:
                continue
            names = (entry for entry in cast(pygit2.Tree, group) if (entry.name or "") > after)
            found += [self._content(entry) for _, entry in zip(range(PAGE - len(found)), names, strict=False)]
            if len(found) == PAGE:
                break
        return found

    def search(self, word: str) -> list[str]:
        """See Peer."""
        raise NotOffered("no search")

    def diff(self, branch: str) -> list[Changed]:
        """See Peer."""
        before, after = self._tree(self._head()), self._tree(self._head(f"refs/heads/{branch}"))
        found = []
        for delta in before.diff_to_tree(after).deltas:
            old, new = self._repo[delta.old_file.id], self._repo[delta.new_file.id]
            found.append(Changed(delta.new_file.path.rpartition("/")[2], self._content(old), self._content(new)))
        return found

    def merge(self, branch: str) -> None:
        """See Peer."""
        ours, theirs = self._head(), self._head(f"refs/heads/{branch}")
        index = self._repo.merge_commits(ours, theirs, flags=MergeFlag(0))
        if index.conflicts:
            raise AssertionError("conflicts")
        tree = index.write_tree(self._repo)
        self._move(MAIN, self._repo.create_commit(None, WHO, WHO, "merge", tree, [ours, theirs]))

    def roll_back(self) -> None:
        """See Peer."""
        head = self._repo[self._head()].peel(pygit2.Commit)
        tree = head.parents[0].tree.id
        self._move(MAIN, self._repo.create_commit(None, WHO, WHO, "roll back", tree, [head.id]))

    def close(self) -> None:
        """See Peer."""
        self._repo.free()

    def _head(self, ref: str = MAIN) -> pygit2.Oid:
        return cast(pygit2.Oid, self._repo.references[ref].target)

    def _move(self, ref: str, commit: pygit2.Oid) -> None:
        self._repo.references[ref].set_target(commit)

    def _tree(self, commit: pygit2.Oid) -> pygit2.Tree:
        return self._repo[commit].peel(pygit2.Tree)

    def _content(self, blob: pygit2.Object) -> str:
        return str(json.loads(blob.peel(pygit2.Blob).data)["content"])

    def _committed(self, parent: pygit2.Oid | None, records: Sequence[Record]) -> pygit2.Oid:
        groups: dict[str, list[Record]] = {}
        for record in records:
            groups.setdefault(record.id[:-2], []).append(record)
        root = None if parent is None else self._tree(parent)
        top = self._repo.TreeBuilder() if root is None else self._repo.TreeBuilder(root)
        for group, members in groups.items():
            known = root is not None and group in root
            tree = (
                self._repo.TreeBuilder(cast(pygit2.Tree, root[group])) if root and known else self._repo.TreeBuilder()
            )
            for r in members:
                body = {"content": r.content, "kind": r.kind, "fields": {"topic": r.topic, "importance": r.importance}}
                tree.insert(r.id, self._repo.create_blob(json.dumps(body).encode()), FileMode.BLOB)
            top.insert(group, tree.write(), FileMode.TREE)
        parents = [] if parent is None else [parent]
        return self._repo.create_commit(None, WHO, WHO, "change", top.write(), parents)


def opened(folder: Path, name: str) -> Libgit2:
    """The store, empty."""
    del name
    return Libgit2(folder)
