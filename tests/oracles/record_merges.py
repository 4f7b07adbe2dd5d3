"""Random histories in our store and in libgit2 side by side: each merge has the same result and the same conflicts.

A memory is a file, its content one line, so that git has nothing to merge within it: record by record. Both stores hold
the same commits. What is compared, at every merge of a history:

- the merge bases, with sets of ancestors, and with `git merge-base --all` where there are several;
- with one base: `merge_trees` of libgit2, renames off;
- with several bases (criss-cross): `merge_commits` of libgit2, which merges the bases into a virtual one as we do.
  Where the bases collide, libgit2 takes the file with its conflict marks, or the side that was not deleted, for the
  base; for us such a base is unknown and equals nothing. So we may see a conflict where libgit2 sees none (`cautious`),
  but never the other way round, and never with another result.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pygit2
from pygit2.enums import FileMode, MergeFlag

from memory_repository.core.memory import Change, Delete, Memory, Put
from memory_repository.core.merge import Conflict, Strategy
from memory_repository.operations import branching, committing, merging, reading
from memory_repository.storage import store
from thymos.database import open_sqlite

from .tally import Tally

State = dict[str, str]
Entry = tuple[str | None, str | None, str | None]
"""A conflict: content at the base, ours, theirs; None where absent."""

BRANCHES: Final = ("main", "b1", "b2", "b3")
MEMORIES: Final = tuple(f"m{number}" for number in range(8))
CONTENTS: Final = ("red", "green", "blue", "naïve 日本語", "<<<<<<< ours")
MERGES_PER_HISTORY: Final = 10
NO_RENAMES: Final = MergeFlag(0)


@dataclass(frozen=True)
class Merged:
    """A merge's outcome: what both sides agree on, and what collides."""

    clean: State
    conflicts: Mapping[str, Entry]


class Git:
    """A bare repository through libgit2: commits, and merges that change nothing."""

    def __init__(self, folder: Path) -> None:
        self._repo = pygit2.init_repository(str(folder), bare=True)
        self._folder = folder
        self._who = pygit2.Signature("oracle", "oracle@example.org", 0, 0)
        self._commits = 0
        self._blobs = {content: self._repo.create_blob(content.encode()) for content in CONTENTS}

    def commit(self, state: State, parents: list[str]) -> str:
        """A commit that holds a state; its id."""
        tree = self._repo.TreeBuilder()
        for name, content in state.items():
            blob = self._blobs.get(content) or self._repo.create_blob(content.encode())
            tree.insert(name, blob, FileMode.BLOB)
        self._commits += 1
        message = str(self._commits)
        return str(self._repo.create_commit(None, self._who, self._who, message, tree.write(), list(parents)))

    def bases(self, ours: str, theirs: str) -> set[str]:
        """All best common ancestors."""
        command = ["git", "merge-base", "--all", ours, theirs]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    def merge(self, bases: set[str], ours: str, theirs: str) -> Merged:
        """What libgit2 makes of it."""
        if len(bases) == 1:
            base, our, their = (self._repo[commit].peel(pygit2.Tree) for commit in (*bases, ours, theirs))
            index = self._repo.merge_trees(base, our, their, flags=NO_RENAMES)
        else:
            index = self._repo.merge_commits(pygit2.Oid(hex=ours), pygit2.Oid(hex=theirs), flags=NO_RENAMES)
        conflicts: dict[str, Entry] = {}
        for entries in index.conflicts or ():
            name = next(entry.path for entry in entries if entry)
            was, ours_is, theirs_is = (None if entry is None else self._content(entry) for entry in entries)
            conflicts[name] = (was, ours_is, theirs_is)
        clean = {entry.path: self._content(entry) for entry in index if entry.path not in conflicts}
        return Merged(clean, conflicts)

    def _content(self, entry: pygit2.IndexEntry) -> str:
        return self._repo[entry.id].peel(pygit2.Blob).data.decode()


class History:
    """A random history, made in both stores at once."""

    def __init__(self, seed: int, git: Git) -> None:
        self.seed = seed
        self.tally = Tally()
        self._random = random.Random(f"records {seed}")
        self._time = datetime(2025, 3, 1, tzinfo=UTC)
        self._git = git
        self._db = open_sqlite(":memory:")
        self._db.executescript(store.SCHEMA)
        opened = store.open_repository(self._db, "t", "a", now=self._now(), key=b"k" * 32)
        assert opened.created is not None
        self._repo = opened.repository
        self._twins: dict[str, str] = {}
        self._ancestors: dict[str, frozenset[str]] = {}
        self._enter(opened.created.id, {}, [])
        for branch in BRANCHES[1:]:
            branching.create_branch(self._repo, branch, actor="x", now=self._now())

    def run(self) -> Tally:
        """Make the history, until it holds enough merges or there is something wrong."""
        while self.tally.counts["merges"] < MERGES_PER_HISTORY and not self.tally.problems:
            if self._random.random() < 0.5:
                self._commit(self._random.choice(BRANCHES))
            else:
                source, target = self._random.sample(BRANCHES, 2)
                self._merge(source, target)
        self._db.close()
        return self.tally

    def _now(self) -> datetime:
        self._time += timedelta(seconds=1)
        return self._time

    def _state(self, ref: str) -> State:
        return {memory.id: memory.content for memory in reading.memories(self._repo, ref)}

    def _commit(self, branch: str) -> None:
        state = self._state(branch)
        changes: list[Change] = []
        for name in self._random.sample(MEMORIES, self._random.randint(1, 4)):
            if name in state and self._random.random() < 0.3:
                changes.append(Delete(name))
            else:
                changes.append(Put(Memory(name, self._random.choice(CONTENTS))))
        done = committing.commit(self._repo, branch, changes, author="x", now=self._now())
        if done.changed:
            self._enter(done.commit.id, self._state(branch), [self._twins[done.previous.id]])

    def _enter(self, commit: str, state: State, parents: list[str]) -> None:
        """Make the same commit in git."""
        twin = self._twins[commit] = self._git.commit(state, parents)
        self._ancestors[twin] = frozenset({twin}).union(*(self._ancestors[parent] for parent in parents))

    def _bases(self, ours: str, theirs: str) -> set[str]:
        common = self._ancestors[ours] & self._ancestors[theirs]
        best = set(common).difference(*(self._ancestors[commit] - {commit} for commit in common))
        if len(best) > 1:
            self._expect("best common ancestors", best, self._git.bases(ours, theirs))
        return best

    def _merge(self, source: str, target: str) -> None:
        before, strategy = self._state(target), self._random.choice([Strategy.OURS, Strategy.THEIRS])
        done = merging.merge(self._repo, source, target, strategy, author="x", now=self._now())
        ours, theirs = self._twins[done.previous.id], self._twins[done.source.id]
        bases = self._bases(ours, theirs)
        self._expect("merge bases", {self._twins[base] for base in done.bases}, bases)
        if theirs in bases:
            self._expect("nothing to merge", (done.changed, done.conflicts), (False, ()))
            return
        self.tally.counts["merges"] += 1
        self.tally.counts["with several bases"] += len(bases) > 1
        after = self._state(target)
        self._compare(self._git.merge(bases, ours, theirs), done, before, after, strategy, several=len(bases) > 1)
        if done.changed:
            self._enter(done.commit.id, after, [ours, theirs])

    def _compare(
        self, git: Merged, done: merging.Merge, before: State, after: State, strategy: Strategy, *, several: bool
    ) -> None:
        found = {conflict.id: shown(conflict) for conflict in done.conflicts}
        self.tally.counts["conflicts"] += len(found)
        self.tally.counts["merges with conflicts"] += bool(found)
        cautious = found.keys() - git.conflicts.keys() if several else set()
        self.tally.counts["cautious"] += len(cautious)
        if several:
            # The base of a conflict is virtual, and each has its own way to write one that is no version at all.
            self._expect("sides of conflicts", sides(found, cautious), sides(git.conflicts, set()))
        else:
            self._expect("conflicts", found, git.conflicts)
        favoured = 2 if strategy is Strategy.THEIRS else 1
        expected: dict[str, str | None] = {**dict.fromkeys(before), **git.clean}
        expected |= {name: entry[favoured] for name, entry in found.items()}
        self._expect("state", after, {name: value for name, value in expected.items() if value is not None})

    def _expect(self, what: str, ours: object, git: object) -> None:
        if ours != git:
            self.tally.problems.append(f"seed {self.seed}, {what}:\n  ours {ours}\n  git  {git}")


def shown(conflict: Conflict) -> Entry:
    """A conflict as git writes it: three contents."""
    base, ours, theirs = (
        value["content"] if isinstance(value, Mapping) else value
        for value in (conflict.base, conflict.ours, conflict.theirs)
    )
    return base, ours, theirs


def sides(conflicts: Mapping[str, Entry], without: set[str]) -> dict[str, tuple[str | None, str | None]]:
    """Both sides of each conflict."""
    return {name: (ours, theirs) for name, (_, ours, theirs) in conflicts.items() if name not in without}


def compare(seeds: Iterable[int], folder: Path) -> Tally:
    """Histories from seeds, in one repository of git in `folder`."""
    tally, git = Tally(), Git(folder)
    for seed in seeds:
        tally.add(History(seed, git).run())
    return tally
