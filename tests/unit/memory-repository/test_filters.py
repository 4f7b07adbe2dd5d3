"""Conditions on fields: what each operator holds for, and what is no condition."""

import json
import sys
from collections.abc import Callable
from json import JSONEncoder
from types import FrameType
from typing import Any

import pytest

from memory_repository import Memory, MemoryRepository, Put
from memory_repository.core import filters
from memory_repository.core.canonical import same_json
from memory_repository.operations import reading
from thymos.errors import Refusal

FIELDS = {
    "topic": "refunds",
    "weight": 3,
    "tags": ["a", 1],
    "author": {"name": "jo"},
    "none": None,
    "sure": True,
    "lists": [["a"]],
}


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
        ({"topic": {"$in": ("x", "refunds")}}, True),
        ({"tags": ("a", 1)}, True),
        ({"lists": {"$contains": ("a",)}}, True),
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
        ({"$or": [{"a": 1}, {"b": 2}]}, "'$or' is no path into fields"),
        ({"a": 1, "$not": {"b": 2}}, "all conditions have to hold"),
        ({"$eq": 1}, "for the value of a path there are .eq, $ne"),
        ({"$ref": "x"}, "a field whose own name begins with $ cannot be asked for"),
        ({f"f{n}": n for n in range(33)}, "33 conditions"),
        ({"a": float("nan")}, "finite"),
    ],
)
def test_what_is_no_condition_says_what_is(where: dict[str, Any], words: str) -> None:
    with pytest.raises(Refusal) as caught:
        filters.parse(where)
    assert words.replace(".eq", "$eq") in f"{caught.value} {caught.value.hint}"


ODD: list[Any] = json.loads(r"""[
    null, true, false, 0, 0.0, -0.0, 1, 1.0, 10000000000000000, 1e16, 5e-324, 9007199254740993, 9007199254740992.0,
    "", "1", "1.0", "true", "null", "[1]", "\u00e9", "e\u0301", "\ue000", "\ud83d\ude00",
    [], {}, [1], [1.0], [true], ["1"], [[1]], [1, 2], [2, 1], [{}], [[]],
    {"a": 1}, {"a": 1.0}, {"a": true}, {"a": null}, {"a": [0.0]}, {"a": [-0.0]},
    {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"b": 2, "a": true}
]""")


def test_all_pairs_are_equal_as_json_is() -> None:
    for wanted in ODD:
        same = [same_json(each, wanted) for each in ODD]
        found = {
            sign: [filters.parse({"x": {sign: listed}}).holds({"x": each}) for each in ODD]
            for sign, listed in {"$eq": wanted, "$ne": wanted, "$in": ["?", wanted], "$nin": [wanted, "?"]}.items()
        }
        other = [not each for each in same]
        assert found == {"$eq": same, "$ne": other, "$in": same, "$nin": other}, wanted
        contains = filters.parse({"x": {"$contains": wanted}})
        assert [contains.holds({"x": ["?", each]}) for each in ODD] == same, wanted
        assert contains.holds({"x": [each for each in ODD if not same_json(each, wanted)]}) is False, wanted


def test_what_a_filter_lists_is_encoded_once_and_what_is_found_once_for_each_condition() -> None:
    listed = [{"n": n} for n in range(1_000)]
    parsed = filters.parse({f"f{n}": {"$in": listed, "$nin": [0, 2], "$ne": 5} for n in range(10)})
    memories = [{f"f{n}": {"n": 999} for n in range(10)} for _ in range(50)]
    assert encodings_in(lambda: [parsed.holds(fields) for fields in memories]) == 50 * 30


@pytest.mark.parametrize(("element", "wanted"), [("a", "b"), (1, True), ([[1]], [[1.0]])])
def test_a_long_list_is_not_encoded_element_by_element(element: Any, wanted: Any) -> None:
    parsed = filters.parse({"tags": {"$contains": wanted}})
    assert parsed.holds({"tags": [*[element] * 1_000, wanted]})
    assert encodings_in(lambda: parsed.holds({"tags": [element] * 1_000})) <= 2


def encodings_in(work: Callable[[], object]) -> int:
    """How often values are encoded meanwhile."""
    count = 0

    def called(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event == "call" and frame.f_code is JSONEncoder.encode.__code__

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


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
    for wrong in (True, -1):
        with pytest.raises(Refusal, match=f"cannot skip {wrong}.*from 0 to 1,000"):
            memory.search("refund", skip=wrong)


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
