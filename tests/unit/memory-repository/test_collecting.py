"""What is older than the retention goes; all that stays reads, differs and merges as it did."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engines import examples

from memory_repository import MemoryRepository
from memory_repository.core.memory import Change, Delete, Memory, Put
from memory_repository.core.merge import Strategy
from memory_repository.core.retention import Retention
from memory_repository.operations import branching, collecting, committing, merging, reading, searching, verify
from memory_repository.operations import worktrees as worktree_operations
from memory_repository.storage import commits, store
from memory_repository.storage.store import Repository
from thymos.database import Connection
from thymos.errors import Refusal, RefusalCode

NOW = datetime(2025, 3, 1, tzinfo=UTC)
WORDS = ["red", "green", "blue"]
YEARS = timedelta(days=3650)


class Life:
    """A repository to which random things happen, and what was read of every commit when it was new."""

    def __init__(self, db: Connection, seed: int) -> None:
        self.choose = random.Random(seed)
        self.time = NOW
        self.repo = store.open_repository(db, "t", "a", now=NOW, key=b"k" * 32).repository
        self.states: dict[int, list[tuple[Memory, str]]] = {}
        self.rows: dict[int, commits.CommitRow] = {}
        self.full: dict[int, list[int]] = {}
        self.note("main")

    def now(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time

    def branch(self) -> str:
        return self.choose.choice([branch.name for branch in reading.branches(self.repo)])

    def note(self, branch: str) -> None:
        head = next(each.head for each in reading.branches(self.repo) if each.name == branch)
        if head.no not in self.rows or self.rows[head.no].id != head.id:  # SQLite gives the last numbers anew
            self.rows[head.no] = head
            self.full[head.no] = commits.parents_of(self.repo.db, head.no)
            self.states[head.no] = seen(self.repo, head.id)

    def live(self, steps: int) -> None:
        for _ in range(steps):
            weights = [8, 2, 2, 1, 1, 1]
            acts: list[Callable[[], None]] = [
                self.commit, self.begin, self.merge, self.roll_back, self.delete, self.work
            ]  # fmt: skip
            self.choose.choices(acts, weights)[0]()

    def changes(self, branch: str) -> list[Change]:
        known = {memory.id for memory in reading.memories(self.repo, branch)}
        found: dict[str, Change] = {}
        for _ in range(self.choose.choice((1, 1, 2, 3))):
            name = f"m{self.choose.randrange(6)}"
            deleted = name in known and self.choose.random() < 0.4
            text = f"{self.choose.choice(WORDS)} {self.choose.randrange(4)}"
            found[name] = Delete(name) if deleted else Put(Memory(name, text))
        return list(found.values())

    def commit(self) -> None:
        branch = self.branch()
        committing.commit(self.repo, branch, self.changes(branch), author="x", now=self.now())
        self.note(branch)

    def begin(self) -> None:
        name = f"b{self.choose.randrange(5)}"
        at = self.rows[self.choose.choice([*self.rows])]
        if commits.by_prefix(self.repo.db, self.repo.id, at.id) and name not in {
            branch.name for branch in reading.branches(self.repo)
        }:
            try:
                branching.create_branch(self.repo, name, at.id, actor="x", now=self.now())
            except Refusal:
                assert not is_kept(self.repo, at.no)

    def merge(self) -> None:
        source, target = self.branch(), self.branch()
        strategy = self.choose.choice((Strategy.OURS, Strategy.THEIRS))
        merging.merge(self.repo, source, target, strategy, author="x", now=self.now())
        self.note(target)

    def roll_back(self) -> None:
        branch = self.branch()
        log = reading.log(self.repo, branch, 5)
        committing.rollback(self.repo, branch, self.choose.choice(log).id, author="x", now=self.now())
        self.note(branch)

    def delete(self) -> None:
        branch = self.branch()
        if branch != "main":
            branching.delete_branch(self.repo, branch, actor="x", now=self.now(), force=True)

    def work(self) -> None:
        branch, name = self.branch(), f"w{self.choose.randrange(3)}"
        if any(each.id == name for each in worktree_operations.list_worktrees(self.repo)):
            worktree_operations.close_worktree(self.repo, name, force=True)
        else:
            worktree_operations.open_worktree(self.repo, name, branch, owner="x", now=self.now())
            worktree_operations.stage(self.repo, name, self.changes(branch))

    def kept(self) -> list[commits.CommitRow]:
        return [row for number, row in self.rows.items() if is_kept(self.repo, number)]


def is_kept(repo: Repository, number: int) -> bool:
    row = repo.db.execute(
        "SELECT 1 FROM commits WHERE commit_no = ? AND line_id NOT IN (SELECT line_id FROM attic)", (number,)
    )
    return row.fetchone() is not None


def seen(repo: Repository, ref: str) -> list[tuple[Memory, str]]:
    return [(found.memory, found.commit) for found in reading.page(repo, ref, 100).memories]


def ancestors(parents: dict[int, list[int]], commit: int) -> set[int]:
    found, waiting = set[int](), [commit]
    while waiting:
        if (commit := waiting.pop()) not in found:
            found.add(commit)
            waiting += parents[commit]
    return found


def check(life: Life) -> None:
    """All that stays is what it was."""
    repo, kept = life.repo, life.kept()
    numbers = {row.no for row in kept}
    above = {row.no: ancestors(life.full, row.no) for row in kept}
    for row in kept:
        assert seen(repo, row.id) == life.states[row.no]
        for word in WORDS:
            hits = {hit.memory.id for hit in searching.search(repo, word, row.id).hits}
            assert hits == {memory.id for memory, _ in life.states[row.no] if word in memory.content}
        logged = [each.no for each in reading.log(repo, row.id, 1000)]
        assert set(logged) == above[row.no] & numbers
    some = life.choose.sample(kept, min(len(kept), 10))
    for one in some:
        for other in some:
            before, after = dict_of(life.states[one.no]), dict_of(life.states[other.no])
            changes = {c.id: (c.before, c.after) for c in reading.diff(repo, one.id, other.id).changes}
            assert changes == {
                name: (before.get(name), after.get(name))
                for name in before.keys() | after.keys()
                if before.get(name) != after.get(name)
            }
            common = above[one.no] & above[other.no]
            best = {c for c in common if not any(c != d and c in ancestors(life.full, d) for d in common)}
            assert set(reading.merge_bases(repo, one, other)) == best
            assert reading.is_ancestor(repo, one, other) == (one.no in above[other.no])
    assert verify.verify(repo).problems == ()


def dict_of(state: list[tuple[Memory, str]]) -> dict[str, Memory]:
    return {memory.id: memory for memory, _ in state}


def no_row_is_left_over(db: Connection) -> None:
    """Every entry is seen by a commit or a fork, every version is named, every header is somebody's."""
    unseen = db.execute(
        "SELECT count(*) FROM entry e WHERE NOT EXISTS (SELECT 1 FROM"
        " (SELECT line_id AS line, seq AS place FROM commits UNION SELECT anc_line, max_seq FROM lineage) eye"
        " WHERE eye.line = e.line_id AND eye.place >= e.seq AND NOT EXISTS (SELECT 1 FROM entry n"
        " WHERE n.line_id = e.line_id AND n.memory_id = e.memory_id AND n.seq > e.seq AND n.seq <= eye.place))"
    )
    assert unseen.fetchone() == (0,)
    for sql in (
        "SELECT count(*) FROM header_only h WHERE NOT EXISTS (SELECT 1 FROM entry e WHERE e.commit_no = h.commit_no)",
        "SELECT count(*) FROM header_only WHERE versions <>"
        " (SELECT count(*) FROM (SELECT DISTINCT version_id FROM entry e WHERE e.commit_no = header_only.commit_no) d)",
        "SELECT count(*) FROM commits WHERE line_id IN (SELECT line_id FROM attic)"
        " AND commit_no NOT IN (SELECT commit_no FROM header_only)",
        "SELECT count(*) FROM entry WHERE commit_no NOT IN (SELECT commit_no FROM commits)",
        "SELECT count(*) FROM reflog WHERE new_commit NOT IN (SELECT commit_no FROM commits)",
        "SELECT count(*) FROM reflog WHERE old_commit NOT IN (SELECT commit_no FROM commits)",
        "SELECT count(*) FROM held WHERE commit_no NOT IN (SELECT commit_no FROM commits)",
        "SELECT count(*) FROM cut_parent WHERE commit_no NOT IN (SELECT commit_no FROM commits)",
        "SELECT count(*) FROM dropping",
    ):
        assert db.execute(sql).fetchone() == (0,), sql


@settings(max_examples=examples(6), suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), steps=st.integers(5, 40))
def test_what_stays_reads_differs_and_merges_as_it_did(
    connect: Callable[[], Connection], seed: int, steps: int
) -> None:
    db = connect()
    db.execute("BEGIN IMMEDIATE")
    life = Life(db, seed)
    for _ in range(3):
        life.live(steps)
        most = life.choose.choice((1, 7, 500))
        retention = Retention(life.choose.choice((1, 5, 20)), YEARS, timedelta(seconds=life.choose.choice((0, 30))))
        before = len(life.kept())
        planned = collecting.dry_run(life.repo, retention, now=life.time)
        assert len(life.kept()) == before
        done = collecting.Collected(more=True)
        while done.more:
            done = done.plus(collecting.collect(life.repo, retention, now=life.time, most=most))
        assert done.commits == before - len(life.kept())
        assert most != 500 or (planned.commits, planned.versions) == (done.commits, done.versions)
        check(life)
        no_row_is_left_over(db)


def test_who_wrote_a_memory_stays_known_when_the_commit_is_gone(memory: MemoryRepository) -> None:
    first = memory.commit([Put(Memory("old", "one\ntwo"))], author="jo", message="the beginning").commit
    for number in range(30):
        memory.commit([Put(Memory("new", f"version {number}"))])
    memory.tag("kept", "main~3")
    memory.gc(Retention(commits_max=2))
    assert [commit.message for commit in memory.log()] == ["", "", ""]
    assert memory.get("old").commit == first.id
    assert [part.commit.id for part in memory.blame("old").parts] == [first.id] * 3
    assert [change.commit.id for change in memory.history("old")] == [first.id]
    with pytest.raises(Refusal, match="older than what the retention keeps") as caught:
        memory.memories(first.id)
    assert caught.value.code is RefusalCode.NOT_FOUND
    memory.commit([Delete("old")])
    memory.delete_tag("kept")
    memory.gc(Retention(commits_max=1, reflog_age=timedelta(0)))
    with pytest.raises(Refusal, match="there is no branch, tag, snapshot or commit"):
        memory.memories(first.id)


def test_where_a_branch_stood_is_not_known_where_its_commits_are_gone(memory: MemoryRepository) -> None:
    times = []
    for number in range(12):
        commit = memory.commit([Put(Memory("m", f"{number}"))]).commit
        times.append(f"{commit.at:%Y-%m-%dT%H:%M:%SZ}")
    memory.tag("kept", "main~8")
    kept, head = memory.log("kept", 1)[0], memory.log("main", 1)[0]
    memory.gc(Retention(commits_max=2))
    assert memory.log(f"main@{{{times[3]}}}", 1) == [kept]
    assert memory.log(f"main@{{{times[11]}}}", 1) == [head]
    for gone in (0, 2, 5, 8):
        with pytest.raises(Refusal, match="did not stand anywhere then"):
            memory.log(f"main@{{{times[gone]}}}")


def test_a_commit_that_is_made_again_after_it_was_dropped_is_whole_again(connect: Callable[[], Connection]) -> None:
    db = connect()
    db.execute("BEGIN IMMEDIATE")
    repo = store.open_repository(db, "t", "a", now=NOW, key=b"k" * 32).repository
    again = [Put(Memory("a", "x")), Put(Memory("b", "y"))]

    def on_idea() -> commits.CommitRow:
        branching.create_branch(repo, "idea", actor="x", now=NOW)
        done = committing.commit(repo, "idea", again, author="x", now=NOW)
        merging.merge(repo, "idea", "side", Strategy.MANUAL, author="x", now=NOW)
        branching.delete_branch(repo, "idea", actor="x", now=NOW, force=True)
        return done.commit

    branching.create_branch(repo, "side", actor="x", now=NOW)
    committing.commit(repo, "side", [Put(Memory("c", "z"))], author="x", now=NOW)
    first = on_idea()
    done = collecting.collect(repo, Retention(1, YEARS, timedelta(0)), now=NOW + timedelta(days=1))
    assert done.commits
    assert commits.is_header(db, repo.id, commits.by_prefix(db, repo.id, first.id)[0])
    second = on_idea()
    assert (second.id, second.no > first.no) == (first.id, True)
    assert [(memory.id, commit) for memory, commit in seen(repo, first.id)] == [("a", first.id), ("b", first.id)]
    assert verify.verify(repo).ok
    no_row_is_left_over(db)


def test_limits(memory: MemoryRepository) -> None:
    with memory._writing() as (repo, now):
        for most in (0, 10_001):
            with pytest.raises(Refusal, match="limit is"):
                collecting.collect(repo, Retention(), now=now, most=most)
