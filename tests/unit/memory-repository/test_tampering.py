"""Each kind of tampering is found, and named: the first bad commit, what is wrong with it, what rests on it."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest

from memory_repository import Delete, Memory, MemoryRepository, Modify, Put
from memory_repository.core.proof import Position
from memory_repository.core.retention import Retention
from memory_repository.operations.verify import Verification, verify_part
from memory_repository.storage import word_index
from thymos.errors import Refusal

# What was done, to the commit "third" or to what it wrote -> the words by which the problem is told.
FORGED = {
    "content": ("UPDATE version SET content = 'forged' WHERE content = 'third'", "is not what was written"),
    "fields": ("UPDATE version SET fields = '{{\"x\":1}}' WHERE content = 'third'", "is not what was written"),
    "kind": ("UPDATE version SET kind = 'forged' WHERE content = 'third'", "is not what was written"),
    "salt": (
        "UPDATE version SET salt = (SELECT salt FROM version WHERE content = 'second') WHERE content = 'third'",
        "is not what was written",
    ),
    "only the salt is gone": ("UPDATE version SET salt = NULL WHERE content = 'third'", "is not what was written"),
    "entry removed": ("DELETE FROM entry WHERE commit_no = {third}", "its memories are not"),
    "entry moved": ("UPDATE entry SET memory_id = 'moved' WHERE commit_no = {third}", "its memories are not"),
    "entry of another version": (
        "UPDATE entry SET version_id = (SELECT version_id FROM version WHERE content = 'second')"
        " WHERE commit_no = {third}",
        "its memories are not",
    ),
    "parent swapped": (
        "UPDATE commit_parent SET parent_no = {first} WHERE commit_no = {third}",
        "its id does not follow",
    ),
    "message": ("UPDATE commits SET message = 'forged' WHERE commit_no = {third}", "its id does not follow"),
    "author": ("UPDATE commits SET author = 'forged' WHERE commit_no = {third}", "its id does not follow"),
    "time": (
        "UPDATE commits SET at = '2020-01-01T00:00:00.000000Z' WHERE commit_no = {third}",
        "its id does not follow",
    ),
    "no time": ("UPDATE commits SET at = 'forged' WHERE commit_no = {third}", "cannot be read"),
    "kind of commit": ("UPDATE commits SET kind = 'merge' WHERE commit_no = {third}", "its id does not follow"),
    "metadata": ("UPDATE commits SET meta = '{{\"x\":1}}' WHERE commit_no = {third}", "its id does not follow"),
    "id": ("UPDATE commits SET commit_id = '{forged}' WHERE commit_no = {third}", "its id does not follow"),
    "count": ("UPDATE commits SET memories = 77 WHERE commit_no = {third}", "counts another number"),
    "count of words": ("UPDATE commits SET words = 5000 WHERE commit_no = {third}", "another number of words"),
    "count of changes": ("UPDATE commits SET changes = 77 WHERE commit_no = {third}", "another number of changes"),
    "words of a version": ("UPDATE version SET words = 99 WHERE content = 'third'", "counts another number of words"),
    "writer": ("UPDATE entry SET commit_no = {fourth} WHERE commit_no = {third}", "named as its writer"),
    "a writer that is none": ("UPDATE entry SET commit_no = 999 WHERE commit_no = {third}", "named as its writer"),
    "generation": ("UPDATE commits SET generation = 77 WHERE commit_no = {third}", "its place among"),
}

# What rows belong to, of a repository that is nobody's, and of nothing at all -> the words by which that is told.
MISLAID = {
    "version": (
        "UPDATE version SET repo_id = 77 WHERE content = 'third'",
        "the version of third that it shows is gone",
    ),
    "version of another memory": (
        "UPDATE version SET memory_id = 'moved' WHERE content = 'third'",
        "the version of third that it shows is gone",
    ),
    "no version": ("DELETE FROM version WHERE content = 'third'", "the version of third that it shows is gone"),
    "an entry of no version": ("UPDATE entry SET version_id = 999 WHERE commit_no = {third}", "that it shows is gone"),
}


@pytest.fixture
def told(memory: MemoryRepository) -> MemoryRepository:
    """Commits first to fifth, each of a memory of its own; one that is redacted before them, and some that are gone."""
    for number in range(20):
        memory.commit([Put(Memory("old", f"old {number}"))])
    memory.commit([Put(Memory("secret", "secret"))])
    for name in ("first", "second", "third", "fourth", "fifth"):
        memory.commit([Put(Memory(name, name))], message=name)
    memory.tag("v1", "main~1")
    return memory


def tampered(memory: MemoryRepository, sql: str) -> Verification:
    numbers = {row.message: row.no for row in memory.log() if row.message}
    assert memory.verify().ok
    memory._connection.execute(sql.format(**numbers, forged="f" * 64))
    return memory.verify()


BEGINNING = Position()


def verified(memory: MemoryRepository, most: int, at: Position | None = BEGINNING) -> Verification:
    """In parts of so many rows, as over the bus."""
    found = Verification()
    while at is not None:
        part = memory.read(partial(verify_part, at=at, most=most))
        found, at = found.plus(part), part.following
    return found


@pytest.mark.sqlite  # PostgreSQL does not let it happen
@pytest.mark.parametrize("how", MISLAID)
def test_a_row_that_is_laid_elsewhere_is_found(told: MemoryRepository, how: str) -> None:
    sql, words = MISLAID[how]
    told._connection.execute("PRAGMA foreign_keys = OFF")
    third = next(row for row in told.log() if row.message == "third")
    found = tampered(told, sql)
    assert found.first is not None
    assert found.first.commit == third.id
    assert any(words in problem.what for problem in found.problems if problem.commit == third.id)


@pytest.mark.sqlite
def test_a_commit_that_is_laid_to_another_repository_is_missed_by_the_next(told: MemoryRepository) -> None:
    told._connection.execute("PRAGMA foreign_keys = OFF")
    third = next(row for row in told.log() if row.message == "third")
    found = tampered(told, "UPDATE commits SET repo_id = 77, author = 'mallory' WHERE commit_no = {third}")
    assert found.first is not None
    assert f"its parent {third.id[:12]} is laid to another repository" in found.first.what


@pytest.mark.parametrize("also", ["nothing else", "a redaction and gc"])
@pytest.mark.parametrize("how", FORGED)
def test_it_is_found_and_named(told: MemoryRepository, how: str, also: str) -> None:
    sql, words = FORGED[how]
    if also == "a redaction and gc":
        told.redact("secret", reason="asked to")
        assert told.gc(Retention(commits_max=5)).commits
    third = next(row for row in told.log() if row.message == "third")
    found = tampered(told, sql)
    assert not found.ok
    assert found.first is not None
    assert found.first.order == third.no
    assert any(words in str(problem) for problem in found.problems if problem.order == third.no)
    assert found.dependents is not None
    if how != "parent swapped":  # the fourth still descends from it
        assert (found.dependents.commits, found.dependents.refs) == (2, ("main", "tag v1"))


def test_an_added_entry_is_laid_to_the_first_commit_that_sees_it(told: MemoryRepository) -> None:
    found = tampered(
        told,
        "INSERT INTO entry SELECT line_id, 'planted', seq, version_id, commit_no FROM entry WHERE commit_no = {third}",
    )
    assert found.first is not None
    third = next(row for row in told.log() if row.message == "third")
    assert found.first.commit == third.id


def test_an_entry_for_a_commit_still_to_come_is_found_before_it_comes(told: MemoryRepository) -> None:
    sql = (
        "INSERT INTO entry SELECT line_id, 'planted', 1000, version_id, commit_no FROM entry WHERE commit_no = {third}"
    )
    found = tampered(told, sql)
    assert [str(problem) for problem in found.problems] == [
        "planted waits beyond the last commit of a line: the next one would bring it in"
    ]


def test_a_ref_that_was_moved_to_a_forged_commit_rests_on_it(told: MemoryRepository) -> None:
    """A commit of somebody's making, with an id that does not follow, and a branch that names it."""
    copied = "commit_id, repo_id, line_id, seq, generation, delta, state_id, author, at, message, kind, meta, changes"
    forged = copied.replace("commit_id", "'" + "f" * 64 + "'").replace("seq", "seq + 500")
    rest = "memories, words, state"
    told._connection.execute(
        f"INSERT INTO commits ({copied}, {rest}) SELECT {forged}, {rest} FROM commits WHERE message = 'fifth'"
    )
    told._connection.execute("INSERT INTO commit_parent SELECT max(commit_no), 0, max(commit_no) - 1 FROM commits")
    told.create_branch("idea")
    told._connection.execute("UPDATE ref SET commit_no = (SELECT max(commit_no) FROM commits) WHERE name = 'idea'")
    found = told.verify()
    assert found.first is not None
    assert found.first.commit == "f" * 64
    assert found.dependents is not None
    assert found.dependents.refs == ("idea",)


def test_what_was_kept_of_dropped_commits_cannot_be_forged(told: MemoryRepository) -> None:
    told.gc(Retention(commits_max=3))
    assert told.verify().headers
    second = "(SELECT commit_id FROM commits WHERE message = 'second')"
    for sql, mended in (
        (
            "UPDATE cut_parent SET parent_id = '{forged}' WHERE commit_no = {third}",
            f"UPDATE cut_parent SET parent_id = {second} WHERE parent_id = '{'f' * 64}'",
        ),
        (
            "UPDATE commits SET author = 'forged' WHERE message = 'first'",
            "UPDATE commits SET author = 'test' WHERE message = 'first'",
        ),
    ):
        found = tampered(told, sql)
        assert found.first is not None
        assert "its id does not follow" in found.first.what
        told._connection.execute(mended)


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("UPDATE ref SET commit_no = {third} WHERE name = 'main'", "the branch main stands elsewhere"),
        ("UPDATE ref SET commit_no = {third} WHERE name = 'v1'", "the tag v1 stands elsewhere"),
        ("DELETE FROM ref WHERE name = 'v1'", "the tag v1 is gone, and its reflog says nothing of it"),
        ("DELETE FROM reflog WHERE name = 'main'", "the branch main has no reflog"),
        ("UPDATE reflog SET actor = 'mallory', new_commit = {third}", "the branch main stands elsewhere"),
    ],
)
def test_names_stand_where_their_reflog_ends(told: MemoryRepository, sql: str, problem: str) -> None:
    assert problem in "; ".join(str(each) for each in tampered(told, sql).problems)


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("DELETE FROM ref; DELETE FROM reflog", "there is no branch main, which every repository has"),
        ("UPDATE reflog SET at = 'x'", "the branch main or its reflog cannot be read"),
        ("UPDATE ref SET name = CAST(x'ff' AS TEXT)", "cannot be read"),
        ("UPDATE version SET content = CAST(x'ff61' AS TEXT) WHERE content = 'third'", "is not what was written"),
        ("UPDATE version SET memory_id = CAST(x'ff61' AS TEXT)", "is not what was written"),
        ("UPDATE commits SET message = CAST(x'ff61' AS TEXT) WHERE message = 'third'", "its id does not follow"),
    ],
)
@pytest.mark.parametrize("most", [1, 500])
def test_what_cannot_be_read_is_told_and_the_rest_is_checked(
    tmp_path: Path, untouched: Path, sql: str, problem: str, most: int
) -> None:
    file = tmp_path / "memory.db"
    shutil.copy(untouched, file)
    with closing(sqlite3.connect(file)) as db:
        db.executescript(sql)
    with MemoryRepository.open(f"sqlite:///{file}", agent="support") as memory:
        found = verified(memory, most)
    assert problem in "; ".join(str(each) for each in found.problems)
    assert found.commits == 5


def test_names_that_were_renamed_deleted_and_made_again_are_as_their_reflog_says(told: MemoryRepository) -> None:
    told.create_branch("idea", "main~2")
    told.rename_branch("idea", "plan")
    told.delete_branch("plan")
    told.create_branch("idea", "main~1")
    told.rename_branch("idea", "plan")
    told.delete_tag("v1")
    told.gc(Retention(commits_max=3))
    assert told.verify().problems == ()


def test_main_that_was_moved_back_no_longer_leads_to_the_head_that_was_noted(told: MemoryRepository) -> None:
    """Whoever moves it back and cuts the reflog off as well is found by the head that was noted elsewhere."""
    head = told.resolve("main").id
    found = tampered(
        told,
        "UPDATE ref SET commit_no = {third} WHERE name IN ('main', 'v1')",
    )
    assert not found.ok
    told._connection.execute(
        "DELETE FROM reflog WHERE new_commit > (SELECT commit_no FROM ref WHERE name = 'main') AND name = 'main'"
    )
    told._connection.execute("UPDATE reflog SET new_commit = (SELECT commit_no FROM ref WHERE name = 'v1')")
    assert told.verify().ok
    (problem,) = told.verify(known=[head]).problems
    assert "is stored, but no branch, tag or snapshot leads to it" in problem.what


def test_a_noted_head_that_the_retention_dropped_is_no_problem_while_its_header_is_kept(
    memory: MemoryRepository,
) -> None:
    noted = memory.commit([Put(Memory("kept", "x"))]).commit.id
    for number in range(9):
        memory.commit([Put(Memory("a", f"{number}"))])
    memory.gc(Retention(commits_max=3))
    assert memory.verify(known=[noted]).ok


def test_a_repository_key_that_was_replaced_is_found(told: MemoryRepository) -> None:
    told._connection.execute("UPDATE repository SET key = ?", (b"another key of 16",))
    assert "does not follow from the repository's key" in str(told.verify().problems[0])


@pytest.mark.parametrize("value", ["text", 5, 0.5])
def test_a_repository_key_that_is_none_is_told(tmp_path: Path, untouched: Path, value: object) -> None:
    file = tmp_path / "memory.db"
    shutil.copy(untouched, file)
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE repository SET key = ?", (value,))
        db.commit()
    with pytest.raises(Refusal, match=r"none any more.*from a backup"):
        MemoryRepository.open(f"sqlite:///{file}", agent="support").verify()


def test_what_came_in_erased_and_was_written_again_is_as_it_was_written(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("secret", "four words and more"))])
    memory.redact("secret", reason="asked to")
    with MemoryRepository.open("sqlite://", tenant="acme", agent="support") as other:
        other.import_lines(BytesIO(b"".join(memory.export_lines(with_key=True))))
        other.commit([Put(Memory("a", "x"))])
        other.commit([Put(Memory("secret", "four words and more"))])
        other.commit([Put(Memory("secret", "other words"))])
        assert other.get("secret", "main~2").memory.content == "four words and more"
        assert other.verify().problems == ()


def test_a_version_that_was_taken_out_of_the_word_index_is_found(told: MemoryRepository) -> None:
    (row,) = told._connection.execute("SELECT version_id, repo_id FROM version WHERE content = 'third'").fetchall()
    word_index.remove(told._connection, row[1], row[0], ["third"])
    assert not told.search("third").hits
    assert "is not found by its words" in str(told.verify().problems[0])


def test_writers_are_right_after_merges_and_rollbacks(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("a", "one"))])
    memory.create_branch("idea")
    memory.commit([Put(Memory("a", "two"))], branch="idea")
    memory.commit([Put(Memory("b", "both"))], branch="idea")
    memory.commit([Put(Memory("b", "both"))])
    memory.merge("idea")
    memory.commit([Delete("a")])
    memory.commit([Put(Memory("a", "two"))])
    memory.rollback("main~2")
    memory.revert("main~2")
    assert memory.verify().problems == ()
    memory.gc(Retention(commits_max=3))
    assert memory.verify().problems == ()


@pytest.mark.parametrize("most", [1, 500])
def test_checking_goes_on_beyond_commits_that_cannot_be_read(told: MemoryRepository, most: int) -> None:
    told._connection.execute("UPDATE commits SET at = 'garbage' WHERE message = 'second'")
    told._connection.execute("UPDATE commits SET message = 'forged' WHERE message = 'fifth'")
    problems = [str(problem) for problem in verified(told, most).problems]
    assert sum("cannot be read" in problem for problem in problems) == 2  # itself, and as the parent of the third
    assert any("its id does not follow" in problem for problem in problems)


def test_a_head_that_was_noted_elsewhere_has_to_be_there(memory: MemoryRepository) -> None:
    noted = memory.commit([Put(Memory("a", "x"))]).commit.id
    memory.commit([Modify("a", content="y")])
    assert memory.verify(known=[noted]).ok
    found = memory.verify(known=["0" * 64])
    assert [problem.commit for problem in found.problems] == [None]


def test_progress_is_told(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory(f"m{n}", "x")) for n in range(1_200)])
    told: list[int] = []
    assert memory.verify(progress=lambda found: told.append(found.versions)).ok
    assert told[:3] == [500, 1_000, 1_200]


CELLS = {
    "version": ("repo_id", "memory_id", "hash", "salt", "content", "kind", "fields", "words"),
    "commits": (
        *("commit_id", "repo_id", "line_id", "seq", "generation", "delta", "state_id", "author", "at", "message"),
        *("kind", "meta", "changes", "memories", "words", "state"),
    ),
    "entry": ("line_id", "memory_id", "seq", "version_id", "commit_no"),
    "commit_parent": ("commit_no", "parent_no"),  # the position of an only parent says nothing
}
KEYED = ("entry", "commit_parent")
"""Tables without row numbers."""
VALUES: tuple[object, ...] = ("x", "5", "[]", "2020-01-01T00:00:00", b"\xff\x00", 5, 0, -(2**62), 0.5, "", None)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("untouched") / "memory.db"
    with MemoryRepository.open(f"sqlite:///{file}", agent="support") as memory:
        for name in ("first", "second", "third", "fourth"):
            memory.commit([Put(Memory(name, name, fields={"of": name}))], message=name)
    return file


def changed(file: Path, table: str, column: str, value: object) -> bool:
    """Whether the cell of what the third commit wrote can be, and was, changed to another value."""
    where = "content = 'third'" if table == "version" else "commit_no = 4"
    cell = f"SELECT rowid, typeof({column}), {column} FROM {table}".replace(
        "rowid, ", "" if table in KEYED else "rowid, "
    )
    with closing(sqlite3.connect(file)) as db:
        before = db.execute(cell).fetchall()
        db.execute(f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {where}", (value,))
        db.commit()
        return db.execute(cell).fetchall() != before


@pytest.mark.parametrize(("table", "column"), [(table, column) for table in CELLS for column in CELLS[table]])
def test_whatever_one_cell_of_the_history_is_changed_to_is_found(
    tmp_path: Path, untouched: Path, table: str, column: str
) -> None:
    tried = 0
    for value in VALUES:
        file = tmp_path / "memory.db"
        shutil.copy(untouched, file)
        if (column, value) != ("state", 0) and changed(file, table, column, value):  # it reads as none, as most do
            tried += 1
            with MemoryRepository.open(f"sqlite:///{file}", agent="support") as memory:
                found = memory.verify()
            assert not found.ok, f"{column} = {value!r} of {table}"
            assert found.first is not None
            # The next one, where the third is nowhere to be found; the first, where it sees now what the third wrote.
            assert found.first.order in ((1, 4, 5) if column == "seq" else (4, 5)), found.problems
    assert tried


LEAST = Retention(commits_max=1, reflog_age=timedelta(0))


def write_and_collect(memory: MemoryRepository) -> None:
    """The header of the head of before stays, for what it wrote is still visible. The new memory comes before all."""
    memory.commit([Put(Memory("a", "a memory before those"))])
    memory.gc(LEAST)


def replace_and_collect(memory: MemoryRepository) -> None:
    """Nothing stays of the head of before."""
    memory.commit([Modify("m5", "another"), Put(Memory("a", "a memory before those"))])
    memory.gc(LEAST)


def redact(memory: MemoryRepository) -> None:
    for name in ("m0", "m4"):
        memory.redact(name, reason="asked to")


def redact_and_collect(memory: MemoryRepository) -> None:
    redact(memory)
    write_and_collect(memory)


def halfway(memory: MemoryRepository) -> Position:
    """Where checking goes on in the midst of the memories of the last commit without parents."""
    at: Position | None = BEGINNING
    stops = []
    while at is not None:
        part = memory.read(partial(verify_part, at=at, most=3))
        assert part.problems == ()
        at = part.following
        stops += [at] if at is not None and at.seen else []
    return stops[-1]


@pytest.mark.parametrize("between", [write_and_collect, replace_and_collect, redact, redact_and_collect])
def test_nothing_is_found_whatever_happens_while_a_commit_is_being_counted(
    memory: MemoryRepository, between: Callable[[MemoryRepository], None]
) -> None:
    for number in range(6):
        memory.commit([Put(Memory(f"m{number}", f"words of {number}"))])
    memory.gc(LEAST)
    at = halfway(memory)
    assert at.after[0] == memory.resolve("main").id
    between(memory)
    found = verified(memory, 3, Position.decoded(at.encoded()))
    assert (found.problems, memory.verify().problems) == ((), ())
