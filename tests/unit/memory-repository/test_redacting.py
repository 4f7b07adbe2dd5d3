"""What a memory held is erased from all history, and from the files; the chain still verifies."""

from pathlib import Path

import pytest

from memory_repository import Delete, Memory, MemoryRepository, Modify, Put
from memory_repository.core.retention import Retention
from thymos.errors import Refusal, RefusalCode

SECRET = "Grete Mustermann lives in Lindenstrasse"


@pytest.fixture
def told(memory: MemoryRepository) -> MemoryRepository:
    """A memory that has told of a person, on main and on a branch, and no longer does."""
    memory.commit([Put(Memory("a", SECRET, fields={"phone": "0301234567"})), Put(Memory("b", "harmless"))])
    memory.create_branch("idea")
    memory.commit([Modify("a", content="somebody lives somewhere", fields={"phone": None})])
    memory.commit([Modify("a", content=f"{SECRET} since May")], branch="idea")
    return memory


def test_a_memory_is_erased_everywhere_and_everything_else_stays(told: MemoryRepository) -> None:
    heads = [branch.head for branch in told.branches()]
    done = told.redact("a", reason="asked to", actor="jo")
    assert (done.versions, done.already, done.changed) == (3, 0, True)
    for ref in ("main", "main~1", "idea", "idea~1"):
        assert told.get("a", ref).memory == Memory("a", "", "redacted")
        assert told.get("b", ref).memory.content == "harmless"
        assert told.search("grete mustermann lives 0301234567", ref).hits == ()
    assert told.show("main").changes[0].after == Memory("a", "", "redacted")
    assert [branch.head for branch in told.branches()] == heads
    found = told.verify()
    assert (found.ok, found.redacted) == (True, 3)
    log = told.redactions()
    assert [(each.memory_id, each.actor, each.reason) for each in log] == [("a", "jo", "asked to")] * 3
    assert told.redactions(2) + told.redactions(2, skip=2) == log, "a page after the other"


def test_only_what_one_commit_shows_is_erased_if_that_is_asked(told: MemoryRepository) -> None:
    assert told.redact("a", ref="main~1", reason="asked to").versions == 1
    assert told.get("a", "main~1").memory.content == ""
    assert told.get("a").memory.content == "somebody lives somewhere"
    assert told.get("a", "idea").memory.content == f"{SECRET} since May"
    assert told.verify().ok


def test_erasing_twice_changes_nothing(told: MemoryRepository) -> None:
    told.redact("a", reason="asked to")
    again = told.redact("a", reason="asked again")
    assert (again.versions, again.already, again.changed) == (0, 3, False)
    assert len(told.redactions()) == 3


def test_what_was_never_there_cannot_be_erased(told: MemoryRepository) -> None:
    for ref in (None, "main"):
        with pytest.raises(Refusal, match="no memory nobody") as caught:
            told.redact("nobody", ref=ref, reason="x")
        assert caught.value.code is RefusalCode.NOT_FOUND
    with pytest.raises(Refusal, match="needs a reason"):
        told.redact("a", reason=" ")


def test_another_memory_that_says_the_same_is_another_version(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("a", SECRET)), Put(Memory("b", SECRET))])
    assert memory.redact("a", reason="asked to").versions == 1
    assert memory.get("b").memory.content == SECRET


def test_writing_the_same_again_is_a_new_decision(told: MemoryRepository) -> None:
    told.redact("a", reason="asked to")
    told.commit([Put(Memory("a", SECRET, fields={"phone": "0301234567"}))])
    assert told.get("a", "main~2").memory.content == SECRET
    assert {hit.memory.id for hit in told.search("grete", "main").hits} == {"a"}
    assert told.verify().ok
    assert told.redact("a", reason="asked to").versions == 1


def test_what_is_staged_of_it_is_staged_no_more(told: MemoryRepository) -> None:
    told.open_worktree("w1", "main")
    told.stage("w1", [Put(Memory("a", SECRET, fields={"x": 1})), Put(Memory("b", "better"))])
    assert told.redact("a", reason="asked to").unstaged == ("w1",)
    assert told.commit_worktree("w1").commit.changes == 1
    assert told.get("b").memory.content == "better"


def test_no_draft_brings_back_what_was_erased(told: MemoryRepository) -> None:
    told.redact("a", reason="asked to")
    erased = Put(Memory("a", SECRET, fields={"phone": "0301234567"}))
    told.open_worktree("w1", "main")
    with pytest.raises(Refusal, match="a was erased with what it would hold") as refused:
        told.stage("w1", [Put(Memory("b", "better")), erased])
    assert refused.value.code is RefusalCode.REFUSED
    assert (told.staged("w1"), told.get("a", "main~1").memory.content) == ({}, "")
    assert told.search("grete", "main~1").hits == ()
    told.stage("w1", [Put(Memory("a", "something else"))])
    assert told.commit_worktree("w1").changed
    told.commit([erased])
    assert told.get("a", "main~3").memory.content == SECRET
    told.stage("w1", [erased])
    assert told.verify().ok


def test_a_commit_says_who_wrote_again_what_stands_there_erased(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("a", SECRET))])
    memory.redact("a", reason="asked to")
    done = memory.commit([Put(Memory("a", SECRET))], author="jo")
    assert (done.changed, done.commit.changes, done.commit.author) == (True, 0, "jo")
    assert memory.get("a").memory.content == SECRET
    assert not memory.commit([Put(Memory("a", SECRET))]).changed
    assert memory.verify().ok


def test_what_was_erased_can_be_deleted_rolled_back_merged_and_dropped(told: MemoryRepository) -> None:
    told.redact("a", reason="asked to")
    told.rollback("main~1")
    told.commit([Delete("a")])
    told.commit([Put(Memory("c", "new"))], branch="idea")
    told.merge("idea")
    assert told.verify().ok
    told.gc(Retention(commits_max=1))
    found = told.verify()
    assert (found.ok, found.redacted) == (True, 2)  # what `idea` and a conflict's base show


@pytest.mark.sqlite
def test_the_bytes_are_in_no_file_afterwards(tmp_path: Path) -> None:
    """Neither in the rows, nor in the index of words, nor in the log beside the file, nor in free pages."""
    long = " ".join(f"secretword{n}" for n in range(4_000))
    with MemoryRepository.open(f"sqlite:///{tmp_path}/memory.db") as memory:
        for number in range(40):
            memory.commit([Put(Memory(f"m{number}", f"harmless words about number{number}"))])
            memory.commit([Put(Memory("a", f"{SECRET} version{number}", fields={"phone": f"0301234567{number}"}))])
        memory.commit([Put(Memory("a", long))])
        assert b"Mustermann" in written(tmp_path)
        assert b"mustermann" in written(tmp_path)
        memory.redact("a", reason="asked to")
        found = written(tmp_path)
        for word in (b"Mustermann", b"mustermann", b"0301234567", b"secretword"):
            assert word not in found
        assert b"harmless" in found
        assert memory.search("number7").hits[0].memory.id == "m7"
        assert memory.verify().ok


@pytest.mark.sqlite
def test_so_it_is_with_what_the_retention_drops(tmp_path: Path) -> None:
    with MemoryRepository.open(f"sqlite:///{tmp_path}/memory.db") as memory:
        memory.commit([Put(Memory("a", SECRET)), Put(Memory("b", "stays"))])
        for number in range(20):
            memory.commit([Put(Memory("a", f"version{number}"))])
        memory.gc(Retention(commits_max=5))
        assert b"ustermann" not in written(tmp_path)
        memory.compact()
        assert memory.verify().ok


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
