"""A client shaped like mem0's, on a branch of the memory."""

import hashlib
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from memory_repository import Memory as Memories
from memory_repository import MemoryRepository, Put
from memory_repository.adapters.mem0 import AsyncMemory, Memory
from memory_repository.core.retention import Retention
from thymos.errors import Refusal, RefusalCode

ADA = {"user_id": "ada"}


@pytest.fixture
def client(memory: MemoryRepository) -> Memory:
    return Memory(memory)


def add(client: Memory, text: str, **named: Any) -> str:
    (made,) = client.add(text, **(named or ADA))["results"]
    return str(made["id"])


def texts(answer: dict[str, Any]) -> list[str]:
    assert answer.keys() == {"results"}
    return [found["memory"] for found in answer["results"]]


# --- the shapes of mem0 2.2.1 -----------------------------------------------------------------------------------------


def test_the_answers_have_mem0s_keys(client: Memory) -> None:
    said = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "I like green tea", "name": "Ada"},
        {"role": "assistant", "content": "Noted"},
    ]
    added = client.add(said, user_id="ada", run_id="r1", metadata={"topic": "drinks"})["results"]
    assert [one.keys() for one in added] == [{"id", "memory", "event", "actor_id", "role"}] * 2
    assert [(one["memory"], one["event"], one["actor_id"], one["role"]) for one in added] == [
        ("I like green tea", "ADD", "Ada", "user"),
        ("Noted", "ADD", None, "assistant"),
    ]
    plain = {"id", "memory", "hash", "metadata", "created_at", "updated_at", "user_id", "run_id", "role"}
    found = client.get(added[0]["id"])
    assert found is not None
    assert found.keys() == plain | {"score", "actor_id"}
    assert found["hash"] == hashlib.md5(b"I like green tea").hexdigest()
    assert (found["metadata"], found["score"], found["actor_id"]) == ({"topic": "drinks"}, None, "Ada")
    assert found["created_at"] == found["updated_at"]
    (hit,) = client.search("tea", filters=ADA)["results"]
    assert hit == {**found, "score": 1.0}
    listed = {one["id"]: one for one in client.get_all(filters=ADA)["results"]}
    assert listed[added[0]["id"]] == {name: value for name, value in found.items() if name != "score"}
    assert client.update(added[0]["id"], text="x") == {"message": "Memory updated successfully!"}
    assert client.delete(added[0]["id"]) == {"message": "Memory deleted successfully!"}
    assert client.delete_all(user_id="ada") == {"message": "Memories deleted successfully!"}
    assert client.get(added[1]["id"]) is None


def test_one_add_is_one_commit(client: Memory, memory: MemoryRepository) -> None:
    client.add([{"role": "user", "content": text} for text in ("one", "two", "three")], user_id="ada")
    assert [(commit.message, commit.author) for commit in memory.log()[:-1]] == [("add 3 memories", "mem0")]


def test_an_update_changes_the_text_or_the_metadata_key_by_key(client: Memory) -> None:
    name = add(client, "I live in Paris", user_id="ada", metadata={"a": 1, "b": 2})
    before = client.get(name)
    client.update(name, metadata={"b": 3, "c": 4})
    client.update(name, "I live in Rome")
    after = client.get(name)
    assert before is not None
    assert after is not None
    assert (after["memory"], after["metadata"]) == ("I live in Rome", {"a": 1, "b": 3, "c": 4})
    assert after["created_at"] == before["created_at"] < after["updated_at"]
    assert texts(client.search("Paris", filters=ADA)) == []
    client.update(name, data="I live in Bonn")
    assert texts(client.search("bonn", filters=ADA)) == ["I live in Bonn"]
    with pytest.raises(ValueError, match="At least one"):
        client.update(name)


def test_what_is_not_there_cannot_be_changed(client: Memory, memory: MemoryRepository) -> None:
    memory.commit([Put(Memories("refunds", "of another kind"))])
    for name in ("unknown", "refunds", "not an id", ""):
        assert client.get(name) is None
        with pytest.raises(ValueError, match="not found"):
            client.update(name, "text")
        with pytest.raises(ValueError, match="not found"):
            client.delete(name)
        assert client.history(name) == []


def test_history_tells_every_version_and_the_deletion(client: Memory, memory: MemoryRepository) -> None:
    name = add(client, "I live in Paris")
    client.update(name, "I live in Rome")
    client.delete(name)
    told = client.history(name)
    assert [(one["event"], one["old_memory"], one["new_memory"], one["is_deleted"]) for one in told] == [
        ("ADD", None, "I live in Paris", False),
        ("UPDATE", "I live in Paris", "I live in Rome", False),
        ("DELETE", "I live in Rome", None, True),
    ]
    assert told[0].keys() == {
        "id", "memory_id", "old_memory", "new_memory", "event", "created_at", "updated_at", "is_deleted",
        "actor_id", "role",
    }  # fmt: skip
    assert {one["created_at"] for one in told} == {told[0]["updated_at"]}
    assert len({one["id"] for one in told}) == 3
    assert [one["role"] for one in told] == ["user"] * 3
    assert client.history(name) == told
    memory.rollback("main~1")
    assert [one["event"] for one in client.history(name)] == ["ADD", "UPDATE", "DELETE", "ADD"]


def test_history_goes_back_to_before_the_branch(client: Memory, memory: MemoryRepository) -> None:
    name = add(client, "one")
    memory.create_branch("idea")
    idea = Memory(memory, branch="idea")
    idea.update(name, "two")
    client.update(name, "three")
    idea.delete(name)
    assert [one["new_memory"] for one in idea.history(name)] == ["one", "two", None]
    assert [one["new_memory"] for one in client.history(name)] == ["one", "three"]
    assert (client.get(name) or {})["memory"] == "three"
    assert idea.get(name) is None


def test_history_begins_with_an_update_where_retention_has_dropped_the_beginning(
    client: Memory, memory: MemoryRepository
) -> None:
    name = add(client, "one")
    created = (client.get(name) or {})["created_at"]
    for text in ("two", "three", "four"):
        client.update(name, text)
    memory.gc(Retention(commits_max=2))
    told = client.history(name)
    assert [(one["event"], one["old_memory"], one["new_memory"]) for one in told] == [
        ("UPDATE", None, "three"),
        ("UPDATE", "three", "four"),
    ]
    assert {one["created_at"] for one in told} == {created} == {(client.get(name) or {})["created_at"]}
    assert texts(client.search("four", filters=ADA)) == texts(client.get_all(filters=ADA)) == ["four"]


# --- infer ------------------------------------------------------------------------------------------------------------


def test_infer_without_a_model_is_refused_and_keeps_nothing(client: Memory, memory: MemoryRepository) -> None:
    with pytest.raises(Refusal, match="needs a model", check=lambda error: error.code is RefusalCode.REFUSED):
        client.add("I like tea", user_id="ada", infer=True)
    assert memory.memories() == []


def test_infer_keeps_the_facts_that_a_model_makes(memory: MemoryRepository) -> None:
    client = Memory(memory, extract=lambda messages: [f"fact {n} of {len(messages)}" for n in (1, 2)])
    made = client.add([{"role": "user", "content": "a long story"}], user_id="ada", infer=True)["results"]
    assert [(one["memory"], one["event"]) for one in made] == [("fact 1 of 1", "ADD"), ("fact 2 of 1", "ADD")]
    assert len(texts(client.search("fact", filters=ADA))) == 2


@pytest.mark.parametrize("facts", ["one text", None, ["tea", ""], ["tea", 3], {"facts": ["tea"]}])
def test_what_is_no_list_of_facts_is_refused(memory: MemoryRepository, facts: Any) -> None:
    with pytest.raises(ValueError, match="extract has to give a list of texts"):
        Memory(memory, extract=lambda _: facts).add("I like tea", user_id="ada", infer=True)
    assert memory.memories() == []


# --- scopes fail closed -----------------------------------------------------------------------------------------------

NOBODY: list[dict[str, Any]] = [
    {},
    {"user_id": None},
    {"user_id": ""},
    {"user_id": " "},
    {"user_id": "*"},
    {"user_id": "a b"},
    {"user_id": {"ne": "bob"}},
    {"user_id": ["ada", "bob"]},
    {"user_id": True},
]


@pytest.mark.parametrize("nobody", NOBODY)
def test_without_a_scope_nothing_is_done(client: Memory, memory: MemoryRepository, nobody: dict[str, Any]) -> None:
    add(client, "a secret of hers")
    head = memory.log(limit=1)
    with pytest.raises(ValueError):
        client.add("text", **nobody)
    with pytest.raises(ValueError):
        client.search("secret", filters=nobody)
    with pytest.raises(ValueError):
        client.get_all(filters=nobody)
    with pytest.raises(ValueError):
        client.delete_all(**nobody)
    assert memory.log(limit=1) == head


def test_a_scope_within_other_filters_is_none(client: Memory) -> None:
    add(client, "hers", user_id="ada")
    add(client, "his", user_id="bob")
    for filters in ({"OR": [{"user_id": "bob"}]}, {"topic": "x"}, None, {"user_id": "ada", "run_id": None}):
        with pytest.raises(ValueError):
            client.get_all(filters=filters)
    assert texts(client.get_all(filters={"user_id": "ada", "OR": [{"user_id": "bob"}, {"role": "*"}]})) == ["hers"]
    assert texts(client.get_all(filters={"user_id": "ada", "NOT": [{"user_id": "bob"}]})) == ["hers"]
    with pytest.raises(ValueError, match="Top-level entity parameters"):
        client.search("x", user_id="ada")
    with pytest.raises(ValueError, match="Top-level entity parameters"):
        client.get_all(user_id="ada")
    with pytest.raises(TypeError, match="rerank"):
        client.search("x", filters=ADA, rerank=True)


def test_metadata_cannot_move_a_memory_to_somebody_else(client: Memory) -> None:
    with pytest.raises(ValueError, match="cannot set user_id"):
        client.add("text", user_id="ada", metadata={"user_id": "bob"})
    name = add(client, "hers")
    with pytest.raises(ValueError, match="cannot set actor_id, run_id"):
        client.update(name, metadata={"run_id": "r", "actor_id": "x"})


def test_several_scopes_narrow_each_other(client: Memory) -> None:
    add(client, "both", user_id="ada", run_id="r1")
    add(client, "user only", user_id="ada")
    add(client, "another run", user_id="ada", run_id="r2")
    add(client, "by number", user_id=7)
    assert texts(client.get_all(filters={"user_id": "ada", "run_id": "r1"})) == ["both"]
    assert sorted(texts(client.get_all(filters=ADA))) == ["another run", "both", "user only"]
    assert (
        texts(client.get_all(filters={"user_id": "7"}))
        == texts(client.get_all(filters={"user_id": 7}))
        == ["by number"]
    )
    client.delete_all(user_id="ada", run_id="r1")
    assert sorted(texts(client.get_all(filters=ADA))) == ["another run", "user only"]
    client.reset()
    assert texts(client.get_all(filters={"user_id": 7})) == []


def test_deleting_all_leaves_other_kinds_of_memories(
    client: Memory, memory: MemoryRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory_repository.adapters.mem0.client.CHANGES_MAX", 2)
    client.add([{"role": "user", "content": str(number)} for number in range(5)], user_id="ada")
    memory.commit([Put(Memories("refunds", "thirty days", fields={"user_id": "ada"}))])
    add(client, "hers")
    client.delete_all(user_id="ada")
    client.reset()
    assert [kept.id for kept in memory.memories()] == ["refunds"]


# --- search -----------------------------------------------------------------------------------------------------------


def test_search_finds_the_texts_in_scope_best_first(client: Memory) -> None:
    add(client, "I like green tea in the morning")
    add(client, "Green is my favourite colour")
    add(client, "I have two cats", user_id="ada", metadata={"note": "tea"})
    add(client, "green tea", user_id="bob")
    found = client.search("green tea?", filters=ADA)["results"]
    assert [one["memory"] for one in found] == ["I like green tea in the morning", "Green is my favourite colour"]
    assert found[0]["score"] == 1.0 > found[1]["score"] > 0
    assert texts(client.search("green tea", filters=ADA, threshold=0.9)) == [found[0]["memory"]]
    assert texts(client.search("green", filters=ADA, top_k=1)) == [found[1]["memory"]]
    assert texts(client.search("green", filters=ADA, top_k=0)) == []
    assert texts(client.search("ada user", filters=ADA)) == [], "whose it is, is no word of it"


def test_everybody_elses_memories_take_no_place(client: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory_repository.operations.searching.CANDIDATES_MAX", 10)
    client.add([{"role": "user", "content": "tea " * 3} for _ in range(50)], user_id="bob")
    add(client, "somewhere in this long text there is tea")
    assert len(texts(client.search("tea", filters=ADA))) == 1


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"topic": "food"}, ["one", "two"]),
    ({"topic": {"ne": "food"}}, ["three"]),
    ({"stars": {"gt": 1, "lte": 3}}, ["two"]),
    ({"stars": {"gte": 1, "lt": 3}}, ["one"]),
    ({"topic": {"in": ["food", "x"]}, "stars": {"nin": [1]}}, ["two"]),
    ({"topic": {"contains": "oo"}}, ["one", "two"]),
    ({"topic": {"icontains": "TRAV"}}, ["three"]),
    ({"stars": "*"}, ["one", "two"]),
    ({"AND": [{"topic": "food"}, {"stars": 3}]}, ["two"]),
    ({"OR": [{"stars": 1}, {"topic": "travel"}]}, ["one", "three"]),
    ({"NOT": [{"topic": "food"}]}, ["three"]),
    ({"role": "user", "stars": {"eq": 1}}, ["one"]),
]


@pytest.mark.parametrize(("filters", "expected"), FILTERS)
def test_filters(client: Memory, filters: dict[str, Any], expected: list[str]) -> None:
    add(client, "one", user_id="ada", metadata={"topic": "food", "stars": 1})
    add(client, "two", user_id="ada", metadata={"topic": "food", "stars": 3})
    add(client, "three", user_id="ada", metadata={"topic": "travel"})
    assert sorted(texts(client.get_all(filters={**ADA, **filters}))) == sorted(expected)
    assert sorted(texts(client.search("one two three", filters={**ADA, **filters}))) == sorted(expected)


@pytest.mark.parametrize(
    "arguments",
    [
        {"query": ""},
        {"query": "  "},
        {"query": None},
        {"threshold": 2},
        {"threshold": "high"},
        {"top_k": -1},
        {"top_k": True},
        {"filters": {**ADA, "a": {"near": 1}}},
        {"filters": {**ADA, "OR": {"a": 1}}},
    ],
)
def test_bad_arguments_are_errors(client: Memory, arguments: dict[str, Any]) -> None:
    add(client, "tea", user_id="ada", metadata={"a": 1})
    with pytest.raises(ValueError):
        client.search(**{"query": "tea", "filters": ADA, **arguments})


def test_limits(client: Memory) -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(20):
        deep = {"AND": [deep]}
    add(client, "tea")
    with pytest.raises(ValueError, match="8 levels"):
        client.get_all(filters={**ADA, **deep})
    too_large = pytest.raises(Refusal, check=lambda error: error.code is RefusalCode.TOO_LARGE)
    with too_large:
        client.get_all(filters=ADA, top_k=1_001)
    with too_large:
        client.add("x" * 70_000, user_id="ada")


@pytest.mark.parametrize(
    "bad", [["text"], [{"role": "user"}], {"content": "x"}, 7, [{"role": "user", "content": ["x"]}]]
)
def test_a_message_without_role_or_text_is_an_error_and_nothing_is_kept(client: Memory, bad: Any) -> None:
    with pytest.raises(ValueError, match=r"message"):
        client.add(bad, user_id="ada")
    assert texts(client.get_all(filters=ADA)) == []


# --- expiry -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def days() -> list[int]:
    return [0]


@pytest.fixture
def timed(store_url: str, days: list[int]) -> Iterator[Memory]:
    start = datetime.fromisoformat("2025-03-01T12:00:00+00:00")
    with MemoryRepository.open(store_url, clock=lambda: start + timedelta(days=days[0])) as memory:
        yield Memory(memory)


def test_a_memory_is_hidden_after_its_last_day(timed: Memory, days: list[int]) -> None:
    name = add(timed, "tea until the third", user_id="ada", expiration_date="2025-03-03")
    add(timed, "tea until the second", user_id="ada", expiration_date=date(2025, 3, 2))
    days[0] = 2
    assert texts(timed.get_all(filters=ADA)) == texts(timed.search("tea", filters=ADA)) == ["tea until the third"]
    assert len(texts(timed.get_all(filters=ADA, show_expired=True))) == 2
    assert len(texts(timed.search("tea", filters=ADA, show_expired=True))) == 2
    days[0] = 9
    timed.update(name, expiration_date=None)
    assert texts(timed.get_all(filters=ADA)) == ["tea until the third"]
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        timed.add("x", user_id="ada", expiration_date="tomorrow")


async def test_the_same_from_an_event_loop(memory: MemoryRepository) -> None:
    client = AsyncMemory(memory)
    (made,) = (await client.add("I like tea", user_id="ada"))["results"]
    await client.update(made["id"], "I like coffee")
    assert texts(await client.search("coffee", filters=ADA)) == ["I like coffee"]
    assert texts(await client.get_all(filters=ADA)) == ["I like coffee"]
    assert (await client.get(made["id"]) or {})["memory"] == "I like coffee"
    assert len(await client.history(made["id"])) == 2
    await client.delete(made["id"])
    await client.delete_all(user_id="ada")
    await client.reset()
    assert await client.get(made["id"]) is None


@pytest.mark.parametrize("messages", ["", " \n", {"role": "user", "content": ""}])
def test_a_message_that_says_nothing_is_no_memory(client: Memory, messages: Any) -> None:
    with pytest.raises(ValueError, match="says nothing"):
        client.add(messages, user_id="ada")
    assert client.get_all(filters=ADA) == {"results": []}


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ({"topic": {"in": 5}}, "in operator requires a list of values, got int"),
        ({"topic": {"nin": "tea"}}, "nin operator requires a list of values, got str"),
        ({"memory": {"contains": 1}}, "memory is text and contains only text, got int"),
        ({"topic": {"like": "x"}}, "Unsupported metadata filter operator: like"),
        ({"AND": [{"NOT": {"topic": "x"}}]}, "NOT operator requires a list of conditions"),
    ],
)
@pytest.mark.parametrize("told", [False, True])
def test_filters_that_cannot_be_are_an_error_whatever_there_is(
    memory: MemoryRepository, filters: dict[str, Any], problem: str, told: bool
) -> None:
    client = Memory(memory)
    if told:
        client.add("I like tea", user_id="ada", metadata={"topic": "drinks"})
    for ask in (client.get_all, partial(client.search, "tea")):
        with pytest.raises(ValueError, match=problem):
            ask(filters={"user_id": "ada", **filters})


def test_filters_are_a_dict(memory: MemoryRepository) -> None:
    wrong: Any = [("user_id", "ada")]
    with pytest.raises(ValueError, match="filters must be a dict, got list"):
        Memory(memory).get_all(filters=wrong)


def test_what_a_list_or_a_text_contains_is_asked_by_its_kind(memory: MemoryRepository) -> None:
    client = Memory(memory)
    for kept in ([1, "tea"], "1 tea", 1, None):
        client.add("x", user_id="ada", metadata={"kept": kept})

    def found(operand: Any) -> int:
        return len(client.get_all(filters={"user_id": "ada", "kept": {"contains": operand}})["results"])

    assert (found(1), found("1"), found("tea")) == (1, 1, 2)


def test_what_commits_say_names_nobody(memory: MemoryRepository) -> None:
    client = Memory(memory)
    client.add("I like tea", user_id="ada-lovelace", run_id="run-7")
    client.delete_all(user_id="ada-lovelace", run_id="run-7")
    said = [commit.message for commit in memory.log()]
    assert said[0] == "delete all of one user_id and one run_id"
    assert not [message for message in said if "ada-lovelace" in message or "run-7" in message]
