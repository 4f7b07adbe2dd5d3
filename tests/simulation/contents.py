"""What merges and rollbacks left in memory, against what it must be, computed anew from the commits they were made of.

Only whole trees are read here, memory by memory, and the graph of the commits: nothing of how memory-repository finds
differences, merge bases or what is to be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from memory_repository.core.memory import Memory
from memory_repository.core.merge import Strategy, merge_memory
from memory_repository.operations import reading
from memory_repository.storage import commits
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import Repository
from thymos.events import BranchMerged, CommitCreated, Event

Tree = Mapping[str, Memory]
SHOWN = 3


@dataclass
class Contents:
    """Reads an agent's commits, each tree once."""

    repo: Repository
    checked: int = 0
    """Merges and rollbacks that were computed anew."""
    _trees: dict[int, Tree] = field(default_factory=dict)

    def wrong(self, after: int = 0) -> Iterator[str]:
        """What is wrong with the merges and rollbacks whose row number is higher than `after`."""
        rows = self.repo.db.execute(
            "SELECT commit_no FROM commits WHERE repo_id = ? AND commit_no > ? AND kind IN ('merge', 'rollback')"
            " ORDER BY commit_no",
            (self.repo.id, after),
        ).fetchall()
        for (number,) in rows:
            commit = commits.by_no(self.repo.db, number)
            self.checked += 1
            yield from self._wrong_rollback(commit) if commit.kind == "rollback" else self._wrong_merge(commit)

    def _wrong_rollback(self, commit: CommitRow) -> Iterator[str]:
        (restored,) = commits.by_prefix(self.repo.db, self.repo.id, str(commit.meta["restored_commit"]))
        wrong = _differing(self._tree(commit.no), self._tree(restored.no))
        if wrong or commit.state_id != restored.state_id:
            yield f"the rollback {commit.id[:12]} does not hold what {restored.id[:12]} holds: {wrong}"

    def _wrong_merge(self, commit: CommitRow) -> Iterator[str]:
        ours, theirs = commits.parents_of(self.repo.db, commit.no)
        strategy = Strategy(str(commit.meta["strategy"]))
        if wrong := self._unlike_a_merge(ours, theirs, strategy, self._tree(commit.no)):
            yield f"the merge {commit.id[:12]} does not hold what its sides come to: {wrong}"

    def wrong_without_commit(self, events: Sequence[Event]) -> Iterator[str]:
        """Merges that were told of and made no commit: the target must have held all of it. `events` are the agent's,
        in their order."""
        heads: dict[str, str] = {}
        for event in events:
            if isinstance(event, CommitCreated):
                heads[event.branch] = event.commit
            elif isinstance(event, BranchMerged) and event.commit == event.previous_commit and event.source in heads:
                ours, theirs = (self._number(each) for each in (event.commit, heads[event.source]))
                self.checked += 1
                if wrong := self._unlike_a_merge(ours, theirs, Strategy(event.strategy), self._tree(ours)):
                    yield f"{event.source} was merged into {event.commit[:12]}, which does not hold it: {wrong}"

    def _unlike_a_merge(self, ours: int, theirs: int, strategy: Strategy, result: Tree) -> str:
        """Memories that are not as the merge of two commits must have them, in words. What somebody decided by hand,
        and what several merge bases disagree about, cannot be said."""
        trees = self._tree(ours), self._tree(theirs)
        bases = [self._tree(base) for base in self._bases(ours, theirs)]
        wrong = []
        for memory_id in sorted({*trees[0], *trees[1], *result, *(each for base in bases for each in base)}):
            mine, their = (tree.get(memory_id) for tree in trees)
            base = bases[0].get(memory_id)
            if any(not _same(base, other.get(memory_id)) for other in bases[1:]):
                continue
            merged = merge_memory(memory_id, base, mine, their, strategy.favour)
            decided = not merged.conflicts or strategy.favour is not None
            expected = mine if _same(base, their) else their if _same(base, mine) else merged.value
            if decided and not _same(expected, result.get(memory_id)):
                wrong.append(memory_id)
        return _shown(wrong)

    def _bases(self, one: int, other: int) -> list[int]:
        """The common ancestors that are no ancestor of another common one."""
        common = self._ancestors(one) & self._ancestors(other)
        below = {above for each in common for above in self._ancestors(each) - {each}}
        return sorted(common - below)

    def _ancestors(self, number: int) -> set[int]:
        found, left = {number}, [number]
        while left:
            above = set(commits.parents_of(self.repo.db, left.pop())) - found
            found |= above
            left += above
        return found

    def _number(self, commit_id: str) -> int:
        (commit,) = commits.by_prefix(self.repo.db, self.repo.id, commit_id)
        return commit.no

    def _tree(self, number: int) -> Tree:
        if number not in self._trees:
            identity = commits.by_no(self.repo.db, number).id
            self._trees[number] = {memory.id: memory for memory in reading.memories(self.repo, identity)}
        return self._trees[number]


def _differing(one: Tree, other: Tree) -> str:
    return _shown(each for each in sorted({*one, *other}) if not _same(one.get(each), other.get(each)))


def _same(one: Memory | None, other: Memory | None) -> bool:
    return other is None if one is None else one.same_as(other)


def _shown(memory_ids: Iterable[str]) -> str:
    listed = list(memory_ids)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more
