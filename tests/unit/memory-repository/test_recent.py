"""What is known of a line that was written to for long, so that a search looks at its latest versions alone."""

import random
from contextlib import suppress
from datetime import timedelta

import pytest
from tests.engines import examples

from memory_repository import Delete, Memory, MemoryRepository, Put, Retention, Strategy
from memory_repository.core.ranking import memory_words
from memory_repository.operations import searching
from memory_repository.storage import recent, timeline
from thymos.errors import Refusal

WORDS = ("red", "green", "blue", "refund", "days")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """After few commits, and whenever the index holds anything."""
    monkeypatch.setattr(recent, "COMMITS_LEAST", 4)
    monkeypatch.setattr(recent, "OLD_MAX", 2)
    monkeypatch.setattr(searching, "HISTORY_MAX", 0)


def noted(memory: MemoryRepository, ref: str = "main") -> tuple[int, set[int]] | None:
    return memory.read(lambda repo: recent.versions_above(repo.db, timeline.view_of(repo.db, repo.resolve(ref).place)))


def rewritten(memory: MemoryRepository, times: int, branch: str = "main") -> None:
    for number in range(times):
        memory.commit([Put(Memory("often", f"red {branch} {number}"))], branch=branch)


def found(memory: MemoryRepository, query: str, ref: str = "main") -> set[str]:
    return {hit.memory.id for hit in memory.search(query, ref, limit=100).hits}


def test_what_was_never_touched_again_is_found_beside_what_was_rewritten(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("old", "red and old")), Put(Memory("older", "blue"))])
    rewritten(memory, 20)
    known = noted(memory)
    assert known is not None
    assert len(known[1]) == 1, "of three that are visible, the oldest alone is named"
    assert found(memory, "red") == {"old", "often"}
    assert found(memory, "blue") == {"older"}
    assert found(memory, "0") == set(), "what was is not"


def test_what_comes_back_is_found(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("gone", "blue one")), Put(Memory("kept", "green"))])
    rewritten(memory, 5)
    then = memory.resolve().id
    memory.commit([Delete("gone")])
    rewritten(memory, 20)
    assert found(memory, "blue") == set()
    memory.rollback(then)
    assert found(memory, "blue") == {"gone"}
    assert found(memory, "4") == {"often"}


def test_a_branch_and_an_older_commit_are_searched_as_they_are(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("old", "blue"))])
    rewritten(memory, 3)
    early = memory.resolve().id
    rewritten(memory, 20)
    memory.create_branch("idea")
    memory.commit([Put(Memory("new", "blue"))], branch="idea")
    rewritten(memory, 2, "idea")
    assert noted(memory, "idea") is not None, "what is noted of main holds for what forked from it"
    assert noted(memory, early) is None
    assert (found(memory, "blue", "idea"), found(memory, "blue")) == ({"old", "new"}, {"old"})
    assert (found(memory, "2", early), found(memory, "19", early)) == ({"often"}, set())


@pytest.mark.parametrize("seed", range(examples(16)))
def test_searches_find_what_reading_everything_finds(memory: MemoryRepository, seed: int) -> None:
    chance = random.Random(seed)
    branches = ["main"]
    for number in range(60):
        branch = chance.choice(branches)
        with suppress(Refusal):
            match chance.choice(("put", "put", "put", "put", "delete", "rollback", "merge", "fork", "revert", "gc")):
                case "put":
                    text = " ".join(chance.choices(WORDS, k=3))
                    memory.commit([Put(Memory(f"m{chance.randrange(6)}", text))], branch=branch)
                case "delete":
                    memory.commit([Delete(f"m{chance.randrange(6)}")], branch=branch)
                case "rollback":
                    memory.rollback(chance.choice(memory.log(branch, 20)).id, branch=branch)
                case "merge":
                    memory.merge(chance.choice(branches), branch, Strategy.THEIRS)
                case "fork":
                    memory.create_branch(f"b{number}", chance.choice(memory.log(branch, 20)).id)
                    branches.append(f"b{number}")
                case "revert":
                    memory.revert(chance.choice(memory.log(branch, 20)).id, branch, strategy=Strategy.THEIRS)
                case _:
                    memory.gc(Retention(commits_max=20, reflog_age=timedelta(0)))
    used = set()
    for ref in (*branches, *(row.id for branch in branches for row in memory.log(branch, 10))):
        used.add(noted(memory, ref) is not None)
        for word in WORDS:
            expected = {m.id for m in memory.memories(ref) if word in memory_words(m.content, m.fields)}
            assert found(memory, word, ref) == expected
    assert not memory.verify().problems
