"""Random histories against plain dictionaries: every commit ever made must read as the model says, for ever.

The model keeps a whole copy of the state per commit and merges record by record with the rule of the truth table.
"""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from tests.engines import examples
from tests.histories.git_trees import GitCopy

from memory_repository import MemoryRepository
from memory_repository.core.memory import Delete, Memory, Modify, Put
from memory_repository.core.merge import Strategy
from memory_repository.core.transfer.fast_export import fast_export
from memory_repository.core.transfer.files import put_of
from memory_repository.core.transfer.lines import decode
from memory_repository.core.transfer.paths import memory_id_of
from memory_repository.operations import (
    branching,
    committing,
    export_order,
    exporting,
    merging,
    reading,
    searching,
    transplanting,
    verify,
    worktrees,
)
from memory_repository.operations.exporting import Cursor, Options
from memory_repository.storage import store
from memory_repository.storage.store import Repository
from thymos.database import Connection
from thymos.errors import Refusal

State = dict[str, str]
IDS = st.sampled_from([f"m{n}" for n in range(6)])
TEXTS = st.sampled_from(["red", "green", "blue", "red green"])
NAMES = st.sampled_from(["b1", "b2", "b3", "b4"])
NOW = datetime(2025, 3, 1, tzinfo=UTC)


def truth(base: str | None, ours: str | None, theirs: str | None) -> tuple[str | None, bool]:
    """The merged value, and whether it is a conflict: the record-level truth table."""
    if ours == theirs or base == theirs:
        return ours, False
    return (theirs, False) if base == ours else (None, True)


class Histories(RuleBasedStateMachine):
    """A repository and its model side by side."""

    commits = Bundle("commits")

    @staticmethod
    def connect() -> Connection:
        """A new, empty store: the fixture `connected` says on which engine."""
        raise NotImplementedError

    @initialize(target=commits)
    def begin(self) -> str:
        self.db = self.connect()
        self.db.execute("BEGIN IMMEDIATE")
        self.time = NOW
        opened = store.open_repository(self.db, "t", "a", now=self.now(), key=b"k" * 32)
        assert opened.created is not None
        self.repo = opened.repository
        self.states: dict[str, State] = {opened.created.id: {}}
        self.parents: dict[str, list[str]] = {opened.created.id: []}
        self.heads = {"main": opened.created.id}
        self.mains = [opened.created.id]
        self.staged: dict[str, tuple[str, str, State, set[str]]] = {}
        return opened.created.id

    def now(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time

    def record(self, branch: str, commit: str, parents: list[str], state: State) -> str:
        if commit not in self.states:
            self.states[commit], self.parents[commit] = state, parents
        assert self.states[commit] == state
        self.heads[branch] = commit
        if branch == "main":
            self.mains.append(commit)
        return commit

    @rule(name=NAMES, data=st.data(), at=commits)
    def branch(self, name: str, data: st.DataObject, at: str) -> None:
        if name in self.heads:
            if self.heads[name] != at:
                with pytest.raises(Refusal, match="exists already"):
                    branching.create_branch(self.repo, name, at, actor="x", now=self.now())
            return
        ref = data.draw(st.sampled_from([at, at[:20], *(b for b, head in self.heads.items() if head == at)]))
        branching.create_branch(self.repo, name, ref, actor="x", now=self.now())
        self.heads[name] = at

    @rule(name=NAMES)
    def delete_branch(self, name: str) -> None:
        if name in self.heads:
            branching.delete_branch(self.repo, name, actor="x", now=self.now(), force=True)
            del self.heads[name]
            self.staged = {tree: held for tree, held in self.staged.items() if held[0] != name}

    @rule(target=commits, data=st.data(), changes=st.dictionaries(IDS, st.none() | TEXTS, min_size=1, max_size=4))
    def commit(self, data: st.DataObject, changes: dict[str, str | None]) -> str:
        branch = data.draw(st.sampled_from(sorted(self.heads)))
        head = self.heads[branch]
        state = dict(self.states[head])
        asked: list[Put | Modify | Delete] = []
        for memory_id, text in changes.items():
            if text is None and memory_id in state:
                asked.append(Delete(memory_id))
                del state[memory_id]
            elif text is not None:
                known = memory_id in state
                asked.append(Modify(memory_id, content=text) if known else Put(Memory(memory_id, text)))
                state[memory_id] = text
        done = committing.commit(self.repo, branch, asked, author="x", now=self.now())
        assert done.changed == (state != self.states[head])
        return self.record(branch, done.commit.id, [head], state) if done.changed else head

    @rule(target=commits, data=st.data(), strategy=st.sampled_from([Strategy.MANUAL, Strategy.OURS, Strategy.THEIRS]))
    def merge(self, data: st.DataObject, strategy: Strategy) -> str:
        source, target = (data.draw(st.sampled_from(sorted(self.heads))) for _ in range(2))
        ours, theirs = self.heads[target], self.heads[source]
        done = merging.merge(self.repo, source, target, strategy, author="x", now=self.now())
        best = self.best_common(ours, theirs)
        assert set(done.bases) == best
        if len(best) == 1 or theirs in best:
            expected, conflicts = self.merged(self.states[min(best)], ours, theirs, strategy)
            assert {conflict.id for conflict in done.conflicts} == conflicts
            assert done.open == (bool(conflicts) and strategy is Strategy.MANUAL)
            if not done.open:
                # A merge that decides conflicts is recorded, even if all of them for what was there.
                assert done.changed == (bool(conflicts) or expected != self.states[ours])
        else:
            expected = self.read(done.commit.id)
        return self.record(target, done.commit.id, [ours, theirs], expected) if done.changed else ours

    def merged(self, base: State, ours: str, theirs: str, strategy: Strategy) -> tuple[State, set[str]]:
        one, other = self.states[ours], self.states[theirs]
        expected, conflicts = {}, set()
        for memory_id in base.keys() | one.keys() | other.keys():
            value, conflict = truth(base.get(memory_id), one.get(memory_id), other.get(memory_id))
            if conflict:
                conflicts.add(memory_id)
                value = (other if strategy is Strategy.THEIRS else one).get(memory_id)
            if value is not None:
                expected[memory_id] = value
        return expected, conflicts

    def reachable(self, commit: str) -> set[str]:
        return {commit}.union(*(self.reachable(parent) for parent in self.parents[commit]))

    def best_common(self, one: str, other: str) -> set[str]:
        common = self.reachable(one) & self.reachable(other)
        return {c for c in common if not any(c != d and c in self.reachable(d) for d in common)}

    @rule(target=commits, data=st.data(), to=commits)
    def roll_back(self, data: st.DataObject, to: str) -> str:
        branch = data.draw(st.sampled_from(sorted(self.heads)))
        head = self.heads[branch]
        if to not in self.reachable(head):
            with pytest.raises(Refusal, match="not in the history"):
                committing.rollback(self.repo, branch, to, author="x", now=self.now())
            return head
        done = committing.rollback(self.repo, branch, to, author="x", now=self.now())
        assert done.changed == (self.states[head] != self.states[to])
        return self.record(branch, done.commit.id, [head], self.states[to]) if done.changed else head

    @rule(target=commits, data=st.data(), at=commits, back=st.booleans(), wins=st.booleans())
    def transplant(self, data: st.DataObject, at: str, back: bool, wins: bool) -> str:
        """A cherry-pick, or a revert."""
        branch = data.draw(st.sampled_from(sorted(self.heads)))
        head, strategy = self.heads[branch], Strategy.THEIRS if wins else Strategy.MANUAL
        work = transplanting.revert if back else transplanting.cherry_pick
        if not self.parents[at]:
            with pytest.raises(Refusal, match="first commit"):
                work(self.repo, branch, at, author="x", now=self.now(), strategy=strategy)
            return head
        parent = self.parents[at][0]
        base, theirs = (at, parent) if back else (parent, at)
        expected, conflicts = self.merged(self.states[base], head, theirs, strategy)
        if conflicts and not wins:
            with pytest.raises(Refusal, match="collide"):
                work(self.repo, branch, at, author="x", now=self.now(), strategy=strategy)
            return head
        done = work(self.repo, branch, at, author="x", now=self.now(), strategy=strategy)
        assert done.changed == (expected != self.states[head])
        return self.record(branch, done.commit.id, [head], expected) if done.changed else head

    @rule(target=commits, name=NAMES, onto=commits)
    def rebase(self, name: str, onto: str) -> str:
        """Of a branch without merges and without staged changes; the replayed commit wins."""
        if name not in self.heads or any(held[0] == name for held in self.staged.values()):
            return self.heads["main"]
        head = self.heads[name]
        missing = self.reachable(head) - self.reachable(onto)
        if any(len(self.parents[commit]) > 1 for commit in missing):
            return head
        done = transplanting.rebase(self.repo, name, onto, author="x", now=self.now(), strategy=Strategy.THEIRS)
        if onto in self.reachable(head):
            assert done.commit.id == head
            return head
        made, top = iter(done.replayed), onto
        for commit in sorted(missing, key=lambda commit: len(self.reachable(commit))):
            state, _ = self.merged(self.states[self.parents[commit][0]], top, commit, Strategy.THEIRS)
            if state != self.states[top]:
                top = self.record(name, next(made).id, [top], state)
        assert next(made, None) is None
        self.heads[name] = top
        return top

    @rule(name=NAMES, to=NAMES)
    def rename(self, name: str, to: str) -> None:
        if name in self.heads and to not in self.heads:
            branching.rename_branch(self.repo, name, to, actor="x", now=self.now())
            self.heads[to] = self.heads.pop(name)
            self.staged = {tree: (to if held[0] == name else held[0], *held[1:]) for tree, held in self.staged.items()}

    @rule(moves=st.integers(0, 9))
    def look_back(self, moves: int) -> None:
        if moves < len(self.mains):
            assert self.read(f"main@{{{moves}}}") == self.states[self.mains[-1 - moves]]
        else:
            with pytest.raises(Refusal, match="did not stand anywhere"):
                self.read(f"main@{{{moves}}}")

    @rule(
        tree=st.sampled_from(["w1", "w2"]), data=st.data(), changes=st.dictionaries(IDS, TEXTS, min_size=1, max_size=3)
    )
    def stage(self, tree: str, data: st.DataObject, changes: State) -> None:
        if tree not in self.staged:
            branch = data.draw(st.sampled_from(sorted(self.heads)))
            worktrees.open_worktree(self.repo, tree, branch, owner="x", now=self.now())
            self.staged[tree] = (branch, self.heads[branch], dict(self.states[self.heads[branch]]), set())
        worktrees.stage(self.repo, tree, [Put(Memory(memory_id, text)) for memory_id, text in changes.items()])
        self.staged[tree][2].update(changes)
        self.staged[tree][3].update(changes)

    @rule(target=commits, tree=st.sampled_from(["w1", "w2"]))
    def commit_worktree(self, tree: str) -> str:
        if tree not in self.staged:
            return self.heads["main"]
        branch, base, mine, touched = self.staged[tree]
        head = self.heads[branch]
        state, before, conflicts = dict(self.states[head]), self.states[base], False
        for memory_id in touched:
            value, conflict = truth(before.get(memory_id), state.get(memory_id), mine[memory_id])
            conflicts |= conflict
            if value is None:
                state.pop(memory_id, None)
            else:
                state[memory_id] = value
        if conflicts:
            with pytest.raises(Refusal, match="collide"):
                worktrees.commit_worktree(self.repo, tree, author="x", now=self.now())
            return head
        done = worktrees.commit_worktree(self.repo, tree, author="x", now=self.now())
        worktrees.close_worktree(self.repo, tree)
        del self.staged[tree]
        assert done.changed == (state != self.states[head])
        return self.record(branch, done.commit.id, [head], state) if done.changed else head

    @rule(one=commits, other=commits)
    def compare(self, one: str, other: str) -> None:
        changes = reading.diff(self.repo, one, other).changes
        before, after = self.states[one], self.states[other]
        differing = {m for m in before.keys() | after.keys() if before.get(m) != after.get(m)}
        assert [change.id for change in changes] == sorted(differing)
        assert all((c.before.content if c.before else None) == before.get(c.id) for c in changes)
        assert all((c.after.content if c.after else None) == after.get(c.id) for c in changes)

    @rule(at=commits, word=st.sampled_from(["red", "green", "blue"]))
    def find(self, at: str, word: str) -> None:
        hits = searching.search(self.repo, word, at).hits
        assert {hit.memory.id for hit in hits} == {m for m, text in self.states[at].items() if word in text.split()}

    def read(self, ref: str) -> State:
        return {found.id: found.content for found in reading.memories(self.repo, ref)}

    @invariant()
    def branches_are_where_the_model_says(self) -> None:
        assert {branch.name: branch.head.id for branch in reading.branches(self.repo)} == self.heads
        for branch, head in self.heads.items():
            assert self.read(branch) == self.states[head]

    def teardown(self) -> None:
        by_state: dict[str, State] = {}
        for commit, state in self.states.items():
            assert self.read(commit) == state
            row = reading.log(self.repo, commit, 1)[0]
            assert row.memories == len(state)
            assert by_state.setdefault(row.state_id, state) == state
        assert len({tuple(sorted(state.items())) for state in self.states.values()}) == len(by_state)
        assert verify.verify(self.repo).problems == ()
        self.db.execute("ROLLBACK")


@pytest.fixture
def connected(connect: Callable[[], Connection], monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine runs on the engine under test."""
    monkeypatch.setattr(Histories, "connect", staticmethod(connect))


Histories.TestCase.settings = settings(
    max_examples=int(os.environ.get("THYMOS_TEST_HISTORIES") or examples(30)),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
test_random_histories_read_as_the_model_says = pytest.mark.usefixtures("connected")(Histories.TestCase)


def said(line: bytes) -> object:
    """What a line of an export says, but for who wrote first: of several the copy may name another."""
    return {name: value for name, value in json.loads(line).items() if name != "by"}


class ExportedHistories(Histories):
    """The same histories, taken out in each format and in again: every commit must read as the model says there too."""

    def teardown(self) -> None:
        reached = set().union(*map(self.reachable, self.heads.values()))
        self.with_the_key(reached)
        self.through_git(reached)
        super().teardown()

    def exported(self, options: Options) -> list[bytes]:
        return self.exported_from(self.repo, options)

    def exported_from(self, repo: Repository, options: Options) -> list[bytes]:
        among = export_order.order(repo)
        lines: list[bytes] = []
        cursor: Cursor | None = None
        while True:
            page = exporting.page(repo, among, cursor, options, bytes_max=900)
            lines += page.lines
            if page.next_after is None:
                return lines
            cursor = Cursor.read(str(page.next_after))

    def with_the_key(self, reached: set[str]) -> None:
        with MemoryRepository.open("sqlite://", agent="copy") as copy:
            copy.import_lines(BytesIO(b"\n".join(self.exported(Options(with_key=True)))))
            assert {branch.name: branch.head.id for branch in copy.branches()} == self.heads
            for commit in reached:
                assert {found.id: found.content for found in copy.memories(commit)} == self.states[commit]
                self.check_writers(copy, commit, reached)
            assert copy.verify().problems == ()
            whole = Options(with_key=True, whole=True)
            again = copy.read(lambda repo: self.exported_from(repo, whole))
            assert [said(line) for line in again[1:-1]] == [said(line) for line in self.exported(whole)[1:-1]]

    def check_writers(self, copy: MemoryRepository, commit: str, reached: set[str]) -> None:
        """The copy names who wrote what is visible, where one commit did and was exported; else one that had it."""
        named = {found.memory.id: found.commit for found in copy.page(commit).memories}
        for found in reading.page(self.repo, commit).memories:
            name, content = found.memory.id, found.memory.content
            wrote = {
                each
                for each in reached
                if self.states[each].get(name) == content
                and not any(self.states[parent].get(name) == content for parent in self.parents[each])
            }
            if found.commit in reached and len(wrote) == 1:
                assert named[name] == found.commit
            else:
                assert named[name] in reached
                assert self.states[named[name]].get(name) == content

    def through_git(self, reached: set[str]) -> None:
        stream = fast_export(decode(line) for line in self.exported(Options(whole=True)))
        with TemporaryDirectory() as folder, MemoryRepository.open("sqlite://", agent="copy") as copy:
            git = GitCopy(Path(folder) / "git")
            git.take_in(stream)
            found = git.commits()
            assert {commit: parents for commit, (_, parents) in found.items()} == {c: self.parents[c] for c in reached}
            assert git.refs() == {f"refs/heads/{name}": head for name, head in self.heads.items()}
            files = git.files(there for there, _ in found.values())
            for commit, (there, _) in found.items():
                puts = {path: put_of(memory_id_of(path), data) for path, data in files[there].items()}
                assert {put.id: put.memory and put.memory.content for put in puts.values()} == self.states[commit]
            for one, other in combinations(sorted(self.heads.values()), 2):
                bases = git.run("merge-base", "--all", found[one][0], found[other][0]).split()
                assert set(bases) == {found[base][0] for base in self.best_common(one, other)}
            copy.import_git(BytesIO(git.stream()))
            again = {str(row.meta["original_commit"]): row for name in self.heads for row in copy.log(name, 1000)}
            assert again.keys() == reached
            for commit, row in again.items():
                assert {found.id: found.content for found in copy.memories(row.id)} == self.states[commit]
            assert copy.verify().problems == ()


ExportedHistories.TestCase.settings = settings(
    max_examples=max(examples(15), int(os.environ.get("THYMOS_TEST_HISTORIES", 0)) // 20),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
test_random_histories_are_the_same_after_an_export_and_an_import = pytest.mark.usefixtures("connected")(
    ExportedHistories.TestCase
)
