"""LangGraph's long-term store on a branch of the memory."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchItem,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

from memory_repository import Memory, MemoryRepository, Put
from memory_repository.adapters.langgraph import MemoryStore, naming
from memory_repository.core import limits
from thymos.errors import Refusal, RefusalCode


@pytest.fixture
def store(memory: MemoryRepository) -> MemoryStore:
    return MemoryStore(memory)


def keys(found: list[SearchItem]) -> list[str]:
    return [item.key for item in found]


# --- put, get, delete -------------------------------------------------------------------------------------------------


def test_an_item_is_what_was_put_until_it_is_put_again_or_deleted(store: MemoryStore) -> None:
    store.put(("users", "ada"), "tea", {"text": "Ada likes tea", "cups": 2, "with": ["milk", {"sugar": None}]})
    first = store.get(("users", "ada"), "tea")
    assert first is not None
    assert first.value == {"text": "Ada likes tea", "cups": 2, "with": ["milk", {"sugar": None}]}
    assert (first.namespace, first.key) == (("users", "ada"), "tea")
    assert first.created_at == first.updated_at
    store.put(("users", "ada"), "tea", {"cups": 3})
    second = store.get(("users", "ada"), "tea")
    assert second is not None
    assert second.value == {"cups": 3}
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at
    store.delete(("users", "ada"), "tea")
    store.delete(("users", "ada"), "tea")
    assert store.get(("users", "ada"), "tea") is None
    assert store.get(("users",), "tea") is None


def test_every_batch_is_one_commit_with_a_message(store: MemoryStore, memory: MemoryRepository) -> None:
    store.put(("a",), "1", {"n": 1})
    store.batch([PutOp(("a",), "1", None), PutOp(("a",), "2", {"n": 2}), PutOp(("b",), "3", {"n": 3})])
    store.put(("a",), "2", {"n": 2})
    store.delete(("a",), "never there")
    assert [(commit.message, commit.author) for commit in memory.log()[:-1]] == [
        ("put 2 items, delete 1", "langgraph"),
        ("put lg/a:1", "langgraph"),
    ]


def test_a_batch_answers_in_its_order_from_what_was_there_before_it(store: MemoryStore) -> None:
    store.put(("a",), "old", {"n": 1})
    answers = store.batch(
        [
            PutOp(("a",), "old", {"n": 2}),
            GetOp(("a",), "old"),
            PutOp(("a",), "new", {"n": 3}),
            SearchOp(("a",)),
            ListNamespacesOp(),
            PutOp(("a",), "old", {"n": 4}),
            GetOp(("a",), "new"),
        ]
    )
    assert answers[1].value == {"n": 1}  # type: ignore[union-attr]
    assert keys(answers[3]) == ["old"]  # type: ignore[arg-type]
    assert [answers[place] for place in (0, 2, 4, 5, 6)] == [None, None, [("a",)], None, None]
    assert {item.key: item.value for item in store.search(("a",))} == {"old": {"n": 4}, "new": {"n": 3}}


async def test_the_same_from_an_event_loop(store: MemoryStore) -> None:
    await asyncio.gather(*(store.aput(("a", str(n % 3)), str(n), {"text": f"number {n}"}) for n in range(30)))
    item = await store.aget(("a", "1"), "4")
    assert item is not None
    assert item.value == {"text": "number 4"}
    assert keys(await store.asearch(("a",), query="4")) == ["4"]
    await store.adelete(("a", "1"), "4")
    assert len(await store.asearch(("a",), limit=100)) == 29
    assert await store.alist_namespaces(prefix=("a",)) == [("a", "0"), ("a", "1"), ("a", "2")]


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"text": "long " * 10_000, "n": 1},
        {"list": ["long " * 8_000]},
        {"deep": [[[[[[[[[[[[[[[[["down"]]]]]]]]]]]]]]]]]},
        {"nul": "a\x00b", "lone": "\ud800", "big": 2**200, "emoji": "☃"},
        {"content": 1, "text": "b", "memory": "c"},
        {"value": {"slot": {"text": 0}}, "json": True, "name": "x", "ttl_minutes": 1, "created_us": 5},
    ],
)
def test_values_come_back_as_they_were(store: MemoryStore, value: dict[str, Any]) -> None:
    store.put(("a",), "1", value)
    item = store.get(("a",), "1")
    assert item is not None
    assert item.value == value


def test_what_is_no_json_or_over_the_limit_is_refused_and_the_batch_leaves_nothing(store: MemoryStore) -> None:
    for bad, code in (
        ({"a": object()}, RefusalCode.INVALID),
        ({"a": {1, 2}}, RefusalCode.INVALID),
        ({"a": ["x" * limits.CONTENT_BYTES_MAX]}, RefusalCode.TOO_LARGE),
    ):
        with pytest.raises(Refusal) as refused:
            store.batch([PutOp(("a",), "good", {"n": 1}), PutOp(("a",), "bad", bad)])
        assert refused.value.code is code
    assert store.search(()) == []


@pytest.mark.parametrize("namespace", [(), ("a.b",), ("",), ("langgraph", "a"), (1,)])
def test_namespaces_that_langgraph_refuses_are_refused(store: MemoryStore, namespace: Any) -> None:
    with pytest.raises(InvalidNamespaceError):
        store.put(namespace, "key", {"n": 1})
    with pytest.raises(InvalidNamespaceError):
        store.batch([PutOp(("a.b",), "key", {"n": 1})])


# --- names ------------------------------------------------------------------------------------------------------------

LABELS = st.text(st.characters(exclude_characters=".\x00", exclude_categories=["Cs"]), min_size=1, max_size=60)
NAMES = st.tuples(st.lists(LABELS, min_size=1, max_size=4).map(tuple), st.text(max_size=120))


@settings(max_examples=40)
@given(NAMES, NAMES)
def test_a_name_is_the_id_of_one_memory_and_no_other(one: naming.Name, other: naming.Name) -> None:
    identity = limits.check_memory_id(naming.memory_id(*one))
    assert (identity == naming.memory_id(*other)) == (one == other)
    assert naming.parsed(naming.full_name(*one)) == one
    for depth in range(len(one[0]) + 1):
        assert any(first <= identity < end for first, end in naming.ranges(one[0][:depth]))


STRANGE = [
    (("users", "ada"), "k" * 5_000),
    (("users", "n" * 300), "key"),
    (("users", "n" * 300), "k" * 300),
    (("users", "ünï/cödé:☃", "a b\n"), "%_*[?'\"; DROP TABLE entry"),
    (("users",), ""),
    (("users",), "@"),
    (("users", "UPPER"), "a/b:c@d+e"),
    (("users", "upper"), "a.b\x00\ud800"),
]


def test_strange_names_are_found_by_name_by_namespace_and_by_query(store: MemoryStore) -> None:
    for place, (namespace, key) in enumerate(STRANGE):
        store.put(namespace, key, {"text": f"found {place}"})
    store.put(("users2",), "other", {"text": "found elsewhere"})
    for place, (namespace, key) in enumerate(STRANGE):
        item = store.get(namespace, key)
        assert item is not None
        assert (item.namespace, item.key, item.value) == (namespace, key, {"text": f"found {place}"})
        assert (namespace, key) in [(one.namespace, one.key) for one in store.search(namespace)]
    assert len(store.search(("users",), limit=100)) == len(STRANGE)
    assert len(store.search(("users",), query="found", limit=100)) == len(STRANGE)
    assert store.list_namespaces(prefix=("users",)) == sorted({namespace for namespace, _ in STRANGE})


def test_namespaces_part_at_labels_and_not_within_them(store: MemoryStore) -> None:
    for namespace in (("user",), ("users",), ("users", "a"), ("users-2",), ("users0",), ("Users",)):
        store.put(namespace, "k", {"text": "same"})
    assert {item.namespace for item in store.search(("users",))} == {("users",), ("users", "a")}
    assert {item.namespace for item in store.search(("users",), query="same")} == {("users",), ("users", "a")}
    assert len(store.search(())) == 6


# --- search -----------------------------------------------------------------------------------------------------------


def test_without_a_query_the_newest_comes_first_and_pages_do_not_overlap(store: MemoryStore) -> None:
    for number in range(25):
        store.put(("a",), str(number), {"n": number})
    store.put(("a",), "7", {"n": 7, "changed": True})
    order = ["7", *(str(number) for number in reversed(range(25)) if number != 7)]
    assert keys(store.search(("a",), limit=100)) == order
    assert [keys(store.search(("a",), limit=10, offset=offset)) for offset in (0, 10, 20, 30)] == [
        order[:10],
        order[10:20],
        order[20:],
        [],
    ]
    assert store.search(("a",), limit=0) == []
    with pytest.raises(Refusal, match="negative"):
        store.search(("a",), offset=-1)


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"kind": "report"}, ["1", "2"]),
    ({"kind": {"$eq": "report"}, "pages": {"$gt": 10}}, ["2"]),
    ({"kind": {"$ne": "report"}}, ["3", "4"]),
    ({"pages": {"$gte": 10, "$lt": 20}}, ["1"]),
    ({"pages": {"$lte": 10}}, ["1", "3"]),
    ({"by": {"name": "ada"}}, ["1"]),
    ({"by": {"name": {"$ne": "ada"}}}, ["2"]),
    ({"by.name": "ada"}, ["1"]),
    ({"by.name.first": "ada"}, []),
    ({"a.b": "dotted"}, ["4"]),
    ({"tags": ["x", "y"]}, ["1"]),
    ({"done": True}, ["2"]),
    ({"pages": True}, []),
    ({"missing": None}, ["1", "2", "3", "4"]),
    ({"kind' OR 1=1 --": "x"}, []),
    ({"kind": "' OR '1'='1"}, []),
    ({"kind": {"$gt": "a", "$lt": "n"}}, ["3"]),
]


@pytest.mark.parametrize(("filter", "expected"), FILTERS)
def test_filters(store: MemoryStore, filter: dict[str, Any], expected: list[str]) -> None:
    store.put(("a",), "1", {"kind": "report", "pages": 10, "by": {"name": "ada"}, "tags": ["x", "y"]})
    store.put(("a",), "2", {"kind": "report", "pages": 30, "by": {"name": "bob"}, "done": True})
    store.put(("a",), "3", {"kind": "memo", "pages": 1.5, "tags": ["x"]})
    store.put(("a",), "4", {"pages": "many", "done": 1, "a.b": "dotted"})
    assert sorted(keys(store.search(("a",), filter=filter))) == expected
    assert store.search(("b",), filter=filter) == []


def test_an_unknown_operator_is_an_error(store: MemoryStore) -> None:
    store.put(("a",), "1", {"n": 1})
    with pytest.raises(ValueError, match=r"\$near"):
        store.search(("a",), filter={"n": {"$near": 1}})


def test_a_query_finds_what_holds_its_words_best_first(store: MemoryStore) -> None:
    store.put(("a",), "tea", {"text": "Ada drinks green tea", "cups": 1})
    store.put(("a",), "both", {"text": "tea", "notes": ["coffee", {"more": "tea"}]})
    store.put(("a",), "none", {"text": "a walk"})
    store.put(("b",), "other", {"text": "green tea"})
    found = store.search(("a",), query="coffee or tea?")
    assert keys(found) == ["both", "tea"]
    assert found[0].score is not None
    assert found[1].score is not None
    assert found[0].score > found[1].score > 0
    assert keys(store.search(("a",), query="tea", filter={"cups": 1})) == ["tea"]
    assert keys(store.search((), query="green tea", limit=1, offset=1)) != keys(
        store.search((), query="green tea", limit=1)
    )
    assert store.search(("a",), query="???") == []


def test_a_query_within_a_namespace_is_not_crowded_out_by_the_others(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory_repository.operations.searching.CANDIDATES_MAX", 20)
    store.batch([PutOp(("crowd",), str(number), {"text": "tea " * 5}) for number in range(100)])
    store.put(("ada",), "1", {"text": "there is a word about tea in this long note of hers"})
    assert keys(store.search(("ada",), query="tea")) == ["1"]


def test_what_is_not_indexed_is_found_by_name_and_not_by_query(store: MemoryStore) -> None:
    store.put(("a",), "hidden", {"text": "secret tea"}, index=False)
    store.put(("a",), "part", {"title": "tea", "body": [{"text": "coffee"}, {"text": "water"}]}, index=["body[*].text"])
    assert store.search(("a",), query="tea secret") == []
    assert keys(store.search(("a",), query="water")) == ["part"]
    assert sorted(keys(store.search(("a",)))) == ["hidden", "part"]
    assert store.get(("a",), "hidden") is not None
    store.put(("a",), "hidden", {"text": "secret tea"})
    assert keys(store.search(("a",), query="secret")) == ["hidden"]


def test_the_store_says_which_parts_are_indexed_by_default(memory: MemoryRepository) -> None:
    store = MemoryStore(memory, index={"fields": ["title"]})
    store.put(("a",), "1", {"title": "tea", "body": "coffee"})
    store.put(("a",), "2", {"title": "tea", "body": "coffee"}, index=["body"])
    assert keys(store.search(("a",), query="coffee")) == ["2"]
    assert keys(store.search(("a",), query="tea")) == ["1"]


# --- namespaces -------------------------------------------------------------------------------------------------------

SPACES = [("a", "b", "c"), ("a", "b", "d"), ("a", "x", "c"), ("b", "a"), ("b", "b", "e", "c"), ("c",)]
LISTINGS: list[dict[str, Any]] = [
    {},
    {"prefix": ("a",)},
    {"prefix": ("a", "b")},
    {"prefix": ("*", "b")},
    {"suffix": ("c",)},
    {"suffix": ("*", "c")},
    {"prefix": ("a",), "suffix": ("c",)},
    {"prefix": ("a", "*", "c")},
    {"prefix": ("a", "b", "c", "d")},
    {"max_depth": 1},
    {"max_depth": 2, "prefix": ("a",)},
    {"max_depth": 2, "limit": 2, "offset": 1},
    {"limit": 2, "offset": 4},
    {"offset": 10},
    {"prefix": ("z",)},
]


@pytest.mark.parametrize("asked", LISTINGS)
def test_namespaces_are_listed_as_by_langgraphs_own_store(store: MemoryStore, asked: dict[str, Any]) -> None:
    reference = InMemoryStore()
    for either in (store, reference):
        for place, namespace in enumerate(SPACES):
            either.put(namespace, "k", {"n": place})
            either.put(namespace, "l", {"n": place})
    assert store.list_namespaces(**asked) == reference.list_namespaces(**asked)


def test_a_namespace_goes_with_its_last_item(store: MemoryStore) -> None:
    store.put(("a", "b"), "1", {})
    store.put(("c",), "1", {})
    store.delete(("a", "b"), "1")
    assert store.list_namespaces() == [("c",)]
    asked = ListNamespacesOp(match_conditions=(MatchCondition("around", ("c",)),))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="around"):
        store.batch([asked])


# --- branches ---------------------------------------------------------------------------------------------------------


def test_a_store_on_a_branch_is_an_experiment_until_it_is_merged(memory: MemoryRepository) -> None:
    main = MemoryStore(memory)
    main.put(("a",), "1", {"text": "one\ntwo\nthree", "n": 1})
    memory.create_branch("idea")
    idea = MemoryStore(memory, branch="idea")
    idea.put(("a",), "1", {"text": "one\ntwo\nthree", "n": 1, "idea": True})
    idea.put(("a",), "2", {"text": "a new idea"})
    main.put(("a",), "1", {"text": "ONE\ntwo\nthree", "n": 1})
    assert main.search(("a",), query="idea") == []
    assert main.get(("a",), "2") is None
    assert keys(idea.search(("a",), query="idea")) == ["2"]
    assert memory.merge("idea").conflicts == ()
    item = main.get(("a",), "1")
    assert item is not None
    assert item.value == {"text": "ONE\ntwo\nthree", "n": 1, "idea": True}
    assert item.created_at < item.updated_at


def test_an_unknown_branch_is_refused(memory: MemoryRepository) -> None:
    with pytest.raises(Refusal, match="no branch nowhere"):
        MemoryStore(memory, branch="nowhere").search(())


def test_items_live_beside_other_memories(store: MemoryStore, memory: MemoryRepository) -> None:
    memory.commit(
        [Put(Memory("refunds", "tea takes thirty days")), Put(Memory("lg/a:x", "tea")), Put(Memory("lg@x", ""))]
    )
    store.put(("a",), "1", {"text": "tea"})
    assert keys(store.search((), query="tea")) == keys(store.search(())) == ["1"]
    assert store.get(("a",), "x") is None
    assert {hit.memory.id for hit in memory.search("tea").hits} == {"refunds", "lg/a:x", "lg/a:1"}


# --- a missing extra --------------------------------------------------------------------------------------------------


def test_a_missing_extra_is_said_in_one_line(run_without: Callable[[str, str], str]) -> None:
    told = run_without("langgraph", "import memory_repository.adapters.langgraph")
    assert told.splitlines()[-1] == (
        "ModuleNotFoundError: memory_repository.adapters.langgraph needs langgraph: "
        "pip install 'thymos-memory-repository[langgraph]'"
    )


@pytest.fixture
def run_without() -> Callable[[str, str], str]:
    """What Python says to code when a package is not installed."""

    def run(package: str, code: str) -> str:
        hiding = f"""
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name={package!r})
sys.meta_path.insert(0, Hidden())
{code}
"""
        done = subprocess.run([sys.executable, "-c", hiding], capture_output=True, text=True, check=False)
        return done.stderr

    return run


def test_a_put_of_what_is_there_already_leaves_the_item_where_it_stood(
    store: MemoryStore, memory: MemoryRepository
) -> None:
    """As docs/adapters.md says: nothing has changed, so that there is no commit that could say when."""
    for key in ("first", "second"):
        store.put(("a",), key, {"text": key})
    before, commits = store.search(("a",)), len(memory.log())
    store.put(("a",), "first", {"text": "first"})
    assert store.search(("a",)) == before
    assert [item.key for item in before] == ["second", "first"]
    assert len(memory.log()) == commits
