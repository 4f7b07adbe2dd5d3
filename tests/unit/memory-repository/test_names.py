"""A name means one commit: none is given twice, whatever it names; names that older stores share stay readable."""

from collections.abc import Callable
from datetime import datetime

import pytest

from memory_repository import Memory, MemoryRepository, Put
from memory_repository.storage import refs
from memory_repository.storage.store import Repository
from thymos.errors import Refusal, RefusalCode

GIVEN: dict[str, Callable[[MemoryRepository], object]] = {
    "branch": lambda m: m.create_branch("v1"),
    "tag": lambda m: m.tag("v1"),
    "snapshot": lambda m: m.snapshot("v1"),
}


@pytest.mark.parametrize("first", GIVEN)
@pytest.mark.parametrize("second", GIVEN)
def test_a_name_is_not_given_twice(memory: MemoryRepository, first: str, second: str) -> None:
    GIVEN[first](memory)
    before = memory.resolve("v1").id
    if first == second:
        GIVEN[second](memory)  # for the same commit it is no error
    memory.commit([Put(Memory("a", "x"))])
    with pytest.raises(Refusal, match="already") as refused:
        GIVEN[second](memory)
    assert refused.value.code is RefusalCode.CONFLICT
    assert memory.resolve("v1").id == before


def test_a_branch_does_not_become_what_a_tag_is(memory: MemoryRepository) -> None:
    memory.tag("v1")
    memory.create_branch("idea")
    with pytest.raises(Refusal, match="there is a tag v1 already"):
        memory.rename_branch("idea", "v1")


def test_of_names_that_an_older_store_shares_the_branch_comes_first_and_then_the_tag(memory: MemoryRepository) -> None:
    ids = {}
    for number, type_ in enumerate(("snapshot", "tag", "branch")):
        commit = memory.commit([Put(Memory("a", str(number)))]).commit

        def older(repo: Repository, now: datetime, type_: refs.RefType = type_) -> None:  # type: ignore[assignment]
            refs.create(repo.db, repo.id, type_, "v1", repo.resolve("main"), actor="x", now=now)

        memory.write(older)
        ids[type_] = commit.id
        assert memory.resolve("v1").id == commit.id
    assert memory.verify().ok
    memory.delete_branch("v1")
    assert memory.resolve("v1").id == ids["tag"]
    memory.delete_tag("v1")
    assert memory.resolve("v1").id == ids["snapshot"]


def test_a_place_before_the_reflog_begins_says_where_it_begins(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("a", "x"))])
    with pytest.raises(Refusal, match="did not stand anywhere then") as refused:
        memory.resolve("main@{99}")
    assert refused.value.hint.startswith("its reflog goes back to main@{1}, 20")
