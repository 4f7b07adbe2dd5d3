"""A store keeps the same promises on every engine: its unit tests once more on PostgreSQL, and both side by side."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memory_repository.core.memory import Change, Delete, Memory, Modify, Put
from memory_repository.core.merge import Strategy
from memory_repository.operations import branching, committing, merging, reading, searching, verify
from memory_repository.storage import store
from memory_repository.storage.store import Repository
from thymos.database import Connection, open_postgresql, open_sqlite

ROOT = Path(__file__).parents[2]
NOW = datetime(2025, 3, 1, tzinfo=UTC)


UNIT_TESTS = (
    "tests/unit/memory-repository",
    "tests/unit/thymos/test_unit_of_work.py",
    "tests/unit/thymos/test_kept_answers.py",
)


def test_the_unit_tests_of_stores_pass_on_postgresql(postgresql_database: str) -> None:
    environment = {"THYMOS_TEST_ENGINE": "postgresql", "THYMOS_TEST_POSTGRESQL": postgresql_database}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *UNIT_TESTS],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]


# --- side by side ----------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "B", "b", "a-b", "a/b", "a.b", "Ab", "z9"])
WORDS = st.sampled_from(
    ["refund", "Refund", "days", "thirty", "Ärger", "arger", "straße", "STRASSE", "日本", "x1", "😀"]
)
TEXTS = st.lists(WORDS, max_size=6).map(" ".join)
CHANGES = st.one_of(
    st.builds(lambda name, text: Put(Memory(name, text, fields={"also": text[:9]})), NAMES, TEXTS),
    st.builds(Delete, NAMES),
    st.builds(lambda name, text: Modify(name, content=text), NAMES, TEXTS),
)
STEPS = st.tuples(
    st.sampled_from(["main", "idea"]), st.lists(CHANGES, min_size=1, max_size=4, unique_by=lambda c: c.id)
)


@pytest.fixture(scope="module")
def engines(postgresql_database: str) -> Iterator[tuple[Connection, Connection]]:
    with closing(open_sqlite(":memory:")) as sqlite, closing(open_postgresql(postgresql_database)) as postgresql:
        for db in (sqlite, postgresql):
            db.executescript(store.SCHEMA)
        yield sqlite, postgresql


def lived(db: Connection, agent: str, steps: list[tuple[str, list[Change]]], query: str) -> list[object]:
    """All that can be seen of a repository to which this happened."""
    repo = store.open_repository(db, "acme", agent, now=NOW, key=b"k" * 32).repository
    branching.create_branch(repo, "idea", actor="x", now=NOW)
    for number, (branch, changes) in enumerate(steps):
        at = NOW + timedelta(seconds=number + 1)
        known = {memory.id for memory in reading.memories(repo, branch)}
        possible = [change for change in changes if isinstance(change, Put) or change.id in known]
        if possible:
            committing.commit(repo, branch, possible, author="x", now=at)
    merged = merging.merge(repo, "idea", "main", Strategy.THEIRS, author="x", now=NOW + timedelta(hours=1))
    return [merged.conflicts, merged.bases, *(seen(repo, branch, query) for branch in ("main", "idea"))]


def seen(repo: Repository, branch: str, query: str) -> list[object]:
    hits = searching.search(repo, query, branch).hits
    page = reading.page(repo, branch, 3)
    return [
        reading.memories(repo, branch),
        (page.memories, page.next_after),
        [(commit.id, commit.state_id, commit.memories, commit.words) for commit in reading.log(repo, branch)],
        reading.diff(repo, "main", branch, symmetric=True).changes,
        [(hit.memory, hit.commit, hit.score) for hit in hits],
        [(ref.name, ref.head.id) for ref in reading.branches(repo)],
        verify.verify(repo).problems,
    ]


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, max_size=8), query=TEXTS)
def test_both_engines_hold_and_find_the_same_to_the_last_bit(
    engines: tuple[Connection, Connection], steps: list[tuple[str, list[Change]]], query: str
) -> None:
    """Ids of commits and states, orders, pages, differences, hits and their scores. The salts' key is the same."""
    histories = []
    for db in engines:
        db.execute("BEGIN IMMEDIATE")
        try:
            histories.append(lived(db, "support", steps, query))
        finally:
            db.execute("ROLLBACK")
    assert histories[0] == histories[1]
