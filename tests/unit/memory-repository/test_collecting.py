"""What is older than the retention goes; all that stays reads, differs and merges as it did."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memory_repository.core.memory import Change, Delete, Memory, Put
from memory_repository.core.merge import Strategy
from memory_repository.core.retention import Retention
from memory_repository.operations import branching, collecting, committing, merging, reading, searching, verify
from memory_repository.operations import worktrees as worktree_operations
from memory_repository.storage import commits, store
from memory_repository.storage.store import Repository
from thymos.database import Connection
from thymos.errors import Refusal

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
        if head.no not in self.rows:
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
    for one in kept:
        for other in kept:
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


@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), steps=st.integers(5, 60))
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
