"""Conditions on fields: what each operator holds for, and what is no condition."""

from typing import Any

import pytest

from memory_repository import Memory, MemoryRepository, Put
from memory_repository.core import filters
from memory_repository.operations import reading
from thymos.errors import Refusal

FIELDS = {"topic": "refunds", "weight": 3, "tags": ["a", 1], "author": {"name": "jo"}, "none": None, "sure": True}


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({}, True),
        ({"topic": "refunds"}, True),
        ({"topic": "refunds", "weight": 4}, False),
        ({"author.name": "jo"}, True),
        ({"author": {"name": "jo"}}, True),
        ({"author.name.first": "jo"}, False),
        ({"weight": 3.0}, False),
        ({"sure": 1}, False),
        ({"none": None}, True),
        ({"missing": None}, False),
        ({"weight": {"$gt": 2, "$lte": 3}}, True),
        ({"weight": {"$lt": 2.5}}, False),
        ({"weight": {"$gt": "2"}}, False),
        ({"topic": {"$gte": "re"}}, True),
        ({"sure": {"$gt": 0}}, False),
        ({"topic": {"$in": ["x", "refunds"]}}, True),
        ({"topic": {"$nin": ["x"]}}, True),
        ({"missing": {"$nin": ["x"]}}, True),
        ({"missing": {"$ne": 1}}, True),
        ({"missing": {"$in": [None]}}, False),
        ({"tags": {"$contains": 1}}, True),
        ({"tags": {"$contains": True}}, False),
        ({"topic": {"$contains": "fund"}}, True),
        ({"weight": {"$contains": 3}}, False),
        ({"missing": {"$exists": False}}, True),
        ({"none": {"$exists": True}}, True),
    ],
)
def test_a_condition_holds_as_json_is_equal(where: dict[str, Any], holds: bool) -> None:
    assert filters.parse(where).holds(FIELDS) is holds


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"a": {"$near": 1}}, "there are .eq"),
        ({"a": {"$gt": 1, "b": 2}}, "unknown operator 'b'"),
        ({"a": {"$in": "x"}}, "needs a list"),
        ({"a": {"$exists": 1}}, "needs true or false"),
        ({"": 1}, "no path"),
        ({f"f{n}": n for n in range(33)}, "33 conditions"),
        ({"a": float("nan")}, "finite"),
    ],
)
def test_what_is_no_condition_says_what_is(where: dict[str, Any], words: str) -> None:
    with pytest.raises(Refusal) as caught:
        filters.parse(where)
    assert words.replace(".eq", "$eq") in f"{caught.value} {caught.value.hint}"


def fill(memory: MemoryRepository, count: int = 30) -> None:
    changes = [
        Put(Memory(f"m{n:02}", f"a refund, number {n}", "even" if n % 2 == 0 else "odd", {"n": n}))
        for n in range(count)
    ]
    memory.commit(changes)


def test_a_search_is_narrowed_and_paged(memory: MemoryRepository) -> None:
    fill(memory)
    first = memory.search("refund", limit=4, where={"n": {"$lt": 10}})
    rest = memory.search("refund", limit=100, where={"n": {"$lt": 10}}, skip=4)
    assert (first.total, len(first.hits), len(rest.hits), rest.skipped) == (10, 4, 6, 4)
    found = [hit.memory.fields["n"] for hit in (*first.hits, *rest.hits)]
    assert sorted(found) == list(range(10))
    assert memory.search("refund", kind="odd", where={"n": {"$lt": 10}}).total == 5
    with pytest.raises(Refusal, match="cannot skip 1001"):
        memory.search("refund", skip=1001)


def test_a_listing_is_narrowed_and_looks_at_so_many_at_most(
    memory: MemoryRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(memory)
    page = memory.page(kind="even", where={"n": {"$gte": 20}})
    assert [found.memory.fields["n"] for found in page.memories] == [20, 22, 24, 26, 28]
    monkeypatch.setattr(reading, "LOOKED_AT_MAX", 10)
    found: list[str] = []
    after = ""
    while True:
        page = memory.page(where={"n": 25}, after=after)
        found += [each.memory.id for each in page.memories]
        if page.next_after is None:
            break
        after = page.next_after
    assert found == ["m25"]


def test_narrowing_takes_nobodys_place(memory: MemoryRepository) -> None:
    """A hundred better hits of another kind do not hide the one that was asked for."""
    better = [Put(Memory(f"x{n:03}", "refund refund refund", fields={"n": 0})) for n in range(100)]
    memory.commit([*better, Put(Memory("y", "one refund among many other words", fields={"n": 1}))])
    assert [hit.memory.id for hit in memory.search("refund", where={"n": 1}).hits] == ["y"]
