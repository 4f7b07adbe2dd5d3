"""LangGraph's checkpoints in the memory: the published conformance suite, and where other savers have failed."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance.capabilities import ALL_CAPABILITIES
from langgraph.checkpoint.conformance.initializer import RegisteredCheckpointer
from langgraph.checkpoint.conformance.validate import validate
from langgraph.checkpoint.memory import InMemorySaver
from tests.graph_threads import agent, bytes_of_values, checkpoint, config, count, ids, put

from memory_repository import MemoryRepository
from memory_repository.adapters.langgraph import CheckpointSaver
from memory_repository.core import limits
from thymos.errors import Refusal, RefusalCode

KNOWN_CAPABILITIES = {
    "put": 17, "put_writes": 10, "get_tuple": 10, "list": 16, "delete_thread": 5,
    "delete_for_runs": 7, "copy_thread": 8, "prune": 8,
}  # fmt: skip
"""How many tests the conformance suite has of each capability, by the version in requirements.lock."""


@pytest.fixture
def saver(memory: MemoryRepository) -> CheckpointSaver:
    return CheckpointSaver(memory)


async def test_every_capability_of_the_conformance_suite_passes(memory: MemoryRepository) -> None:
    async def savers() -> AsyncIterator[BaseCheckpointSaver[int]]:
        yield CheckpointSaver(memory)

    report = await validate(RegisteredCheckpointer("thymos", savers))  # type: ignore[arg-type]
    assert {capability.value for capability in ALL_CAPABILITIES} == KNOWN_CAPABILITIES.keys()
    found = {name: (result.tests_passed, result.failures) for name, result in report.results.items()}
    assert found == {name: (tests, []) for name, tests in KNOWN_CAPABILITIES.items()}
    assert report.conformance_level() == "FULL"


# --- a graph runs on it as on LangGraph's own saver -------------------------------------------------------------------


def story(saver: BaseCheckpointSaver[Any]) -> list[Any]:
    """A thread that is forked in the past, edited in the past, and continued from either end."""
    told: list[Any] = []
    graph = agent(saver, "one")
    graph.invoke({"log": ["first"]}, config())
    past = graph.get_state(config()).config
    told.append(agent(saver, "two").invoke({"log": ["second"]}, config()))
    left = graph.get_state(config()).config
    told.append(agent(saver, "three").invoke({"log": ["third"]}, past))
    told += [graph.get_state(config()).values, graph.get_state(left).values]
    edited = graph.update_state(past, {"log": ["edited"]}, as_node="speak")
    told += [graph.get_state(edited).values, graph.get_state(left).values]
    told.append(agent(saver, "four").invoke({"log": ["fourth"]}, left))
    told += [graph.get_state(config()).values, [(s.values, s.next) for s in graph.get_state_history(config())]]
    return told


def test_a_forked_and_edited_thread_tells_the_same_as_on_langgraphs_own_saver(saver: CheckpointSaver) -> None:
    told = story(saver)
    assert told == story(InMemorySaver())
    assert told[3] == {"log": ["first", "one", "second", "two"], "turns": 2}


# --- forks ------------------------------------------------------------------------------------------------------------


def test_what_a_fork_writes_is_not_seen_on_the_branch_that_it_left(saver: CheckpointSaver) -> None:
    base = put(saver, "base", values={"log": ["seed"]})
    saver.put_writes(base, [("log", "kept")], "task", "~path")
    left = put(saver, "left", "base")
    saver.put_writes(base, [("log", "forked")], "update")
    fork = put(saver, "fork", "base")
    after = put(saver, "after", "left")

    def history(of: RunnableConfig) -> list[Any]:
        found = saver.get_delta_channel_history(config=of, channels=["log"])["log"]
        return [found["seed"], *(value for _, _, value in found["writes"])]

    assert history(left) == history(after) == [["seed"], "kept"]
    assert history(fork) == [["seed"], "forked"]


def test_a_task_that_runs_again_on_a_fork_writes_anew(saver: CheckpointSaver) -> None:
    base = put(saver, "base")
    saver.put_writes(base, [("log", "first time")], "task")
    saver.put_writes(base, [("log", "the same run tries again")], "task")
    put(saver, "left", "base")
    saver.put_writes(base, [("log", "second time")], "task")
    fork = put(saver, "fork", "base")
    writes = saver.get_delta_channel_history(config=fork, channels=["log"])["log"]["writes"]
    assert writes == [("task", "log", "second time")]


def test_a_task_that_writes_less_when_it_runs_again_has_written_no_more(saver: CheckpointSaver) -> None:
    put(saver, "1")
    saver.put_writes(config(checkpoint_id="1"), [(channel, f"first {channel}") for channel in "abc"], "task")
    saver.put_writes(config(checkpoint_id="1"), [("a", "of another")], "other")
    put(saver, "2", "1")
    saver.put_writes(config(checkpoint_id="1"), [("a", "again a")], "task")
    found = saver.get_tuple(config(checkpoint_id="1"))
    assert found is not None
    assert found.pending_writes == [("other", "a", "of another"), ("task", "a", "again a")]


def test_each_fork_keeps_its_own_value_of_a_channel_at_the_same_version(saver: CheckpointSaver) -> None:
    put(saver, "base", values={"n": 0})
    for name, value in (("left", 1), ("right", 2)):
        saver.put(config("t", "base"), checkpoint(name, {"n": value}, 2), {}, {"n": 2})
    for name, value in (("base", 0), ("left", 1), ("right", 2)):
        found = saver.get_tuple(config("t", name))
        assert found is not None
        assert found.checkpoint["channel_values"] == {"n": value}


def test_a_value_is_the_parents_only_at_the_parents_version(saver: CheckpointSaver) -> None:
    put(saver, "base", values={"n": 1, "gone": "x"})
    changed = checkpoint("changed", {"n": 2}, 2)
    changed["channel_versions"] = {"n": 2, "gone": 2}
    found = saver.get_tuple(saver.put(config("t", "base"), changed, {}, {}))
    assert found is not None
    assert found.checkpoint["channel_values"] == {"n": 2}


# --- order ------------------------------------------------------------------------------------------------------------


def test_history_follows_parents_and_the_newest_is_the_one_stored_last_whatever_the_ids(saver: CheckpointSaver) -> None:
    older = put(saver, "z-older", values={"log": ["seed"]})
    saver.put_writes(older, [("log", "written")], "task")
    put(saver, "a-younger", "z-older")
    put(saver, "m-youngest", "a-younger")
    newest = saver.get_tuple(config())
    assert newest is not None
    assert newest.checkpoint["id"] == "m-youngest"
    assert ids(saver) == ["m-youngest", "a-younger", "z-older"]
    assert ids(saver, before=config("t", "a-younger")) == ["z-older"]
    found = saver.get_delta_channel_history(config=config(), channels=["log"])["log"]
    assert found == {"seed": ["seed"], "writes": [("task", "log", "written")]}


def test_listing_takes_pages_filters_and_limits(saver: CheckpointSaver) -> None:
    for number in range(150):
        put(saver, f"{number:03}", f"{number - 1:03}" if number else None, even=number % 2 == 0)
    assert ids(saver) == [f"{number:03}" for number in reversed(range(150))]
    assert ids(saver, filter={"even": True}, limit=70) == [f"{number:03}" for number in range(148, 8, -2)]
    assert ids(saver, before=config("t", "003")) == ["002", "001", "000"]
    assert ids(saver, limit=0) == []
    put(saver, "elsewhere", thread="u")
    assert [found.checkpoint["id"] for found in saver.list(None, limit=2)] == ["elsewhere", "149"]
    assert ids(saver, before=config("t", "100-gone"), limit=1) == ["100"]


# --- size -------------------------------------------------------------------------------------------------------------


def test_a_value_is_stored_once_however_many_checkpoints_hold_it(memory: MemoryRepository) -> None:
    saver = CheckpointSaver(memory)
    document = "x" * 1_000_000
    put(saver, "0", values={"document": document, "step": 0})
    before = bytes_of_values(memory)
    for number in range(1, 20):
        made = checkpoint(str(number), {"document": document, "step": number})
        made["channel_versions"] = {"document": 1, "step": number + 1}
        saver.put(config("t", str(number - 1)), made, {}, {"step": number + 1})
    saver.put(config("t", "19"), made | {"id": "20"}, {}, {})
    newest = saver.get_tuple(config())
    assert newest is not None
    assert newest.checkpoint["channel_values"] == {"document": document, "step": 19}
    assert bytes_of_values(memory) - before < 1_000


def test_a_list_that_grows_costs_what_was_added_not_what_there_is(memory: MemoryRepository) -> None:
    saver = CheckpointSaver(memory)
    messages: list[str] = []
    sizes = []
    for number in range(100):
        messages.append(f"{number:04} " + uuid.uuid5(uuid.NAMESPACE_URL, str(number)).hex * 30)
        put(saver, f"{number:04}", f"{number - 1:04}" if number else None, {"messages": messages})
        sizes.append(bytes_of_values(memory))
    last = saver.get_tuple(config())
    assert last is not None
    assert last.checkpoint["channel_values"] == {"messages": messages}
    early, late = sizes[49] - sizes[24], sizes[99] - sizes[74]
    assert late < 1.2 * early
    assert sizes[-1] < 5 * len("".join(messages))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 4_111, 4_112, 4_113, 70_000, 1_000_003])
def test_values_of_any_size_come_back_as_they_were(saver: CheckpointSaver, size: int) -> None:
    data = bytes(place * 7 % 251 for place in range(size))
    found = saver.get_tuple(put(saver, "1", values={"data": data, "none": None}))
    assert found is not None
    assert found.checkpoint["channel_values"] == {"data": data, "none": None}


def test_what_is_over_a_limit_is_refused_and_leaves_nothing(
    memory: MemoryRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CHECKPOINT_VALUE_BYTES_MAX", 1_000)
    saver = CheckpointSaver(memory)
    for bad in ({"thread": "t" * 1025}, {"values": {"a": "x", "b": "x" * 1_001}}, {"thread": "a\x00b"}):
        with pytest.raises(Refusal):
            put(saver, "1", **bad)
    assert [count(memory, table) for table in ("checkpoint_thread", "checkpoint", "checkpoint_value")] == [0, 0, 0]


# --- whose it is ------------------------------------------------------------------------------------------------------


def test_agents_and_tenants_see_nothing_of_each_others_threads(store_url: str) -> None:
    named = [("acme", "support"), ("acme", "sales"), ("globex", "support")]
    for number, (tenant, name) in enumerate(named):
        with MemoryRepository.open(store_url, tenant=tenant, agent=name) as memory:
            put(CheckpointSaver(memory), f"of-{number}", values={"n": number}, run_id="run")
    with MemoryRepository.open(store_url, tenant="globex", agent="support") as memory:
        saver = CheckpointSaver(memory)
        assert [found.checkpoint["id"] for found in saver.list(None)] == ["of-2"]
        saver.delete_for_runs(["run"])
        saver.delete_thread("t")
    with MemoryRepository.open(store_url, tenant="acme", agent="support") as memory:
        assert ids(CheckpointSaver(memory)) == ["of-0"]


def test_checkpoints_are_no_memories(memory: MemoryRepository) -> None:
    put(CheckpointSaver(memory), "1", values={"text": "a refund takes thirty days"})
    assert memory.memories() == []
    assert memory.search("refund").hits == ()
    assert len(memory.log()) == 1
    assert memory.verify().ok


@pytest.mark.parametrize("strange", ["a b", "ü/☃", "%_'\"; DROP TABLE checkpoint", "x" * 1024, ""])
def test_strange_names_are_names(saver: CheckpointSaver, strange: str) -> None:
    named = config(strange, namespace=strange[:100])
    made = checkpoint(strange or "1", {strange[:100]: strange})
    saver.put(named, made, {}, made["channel_versions"])
    saver.put_writes(config(strange, made["id"], strange[:100]), [(strange, 1)], strange)
    found = saver.get_tuple(named)
    assert found is not None
    assert (found.checkpoint["channel_values"], found.pending_writes) == (
        {strange[:100]: strange},
        [(strange, strange, 1)],
    )


def test_writes_need_a_checkpoint(saver: CheckpointSaver) -> None:
    with pytest.raises(Refusal, match="no checkpoint", check=lambda error: error.code is RefusalCode.INVALID):
        saver.put_writes(config(), [("a", 1)], "task")
