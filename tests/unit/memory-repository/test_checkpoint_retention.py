"""What stays of a thread's checkpoints, and what goes, when it is pruned, copied or deleted, or runs of it are."""

from typing import Any

import pytest
from tests.graph_threads import agent, bytes_of_values, config, count, ids, put

from memory_repository import MemoryRepository
from memory_repository.adapters.langgraph import CheckpointSaver
from thymos.errors import Refusal

TABLES = (
    "checkpoint_thread", "checkpoint", "checkpoint_channel", "checkpoint_write",
    "checkpoint_value", "checkpoint_value_block", "checkpoint_block",
)  # fmt: skip


@pytest.fixture
def saver(memory: MemoryRepository) -> CheckpointSaver:
    return CheckpointSaver(memory)


def long_thread(saver: CheckpointSaver, thread: str = "t", steps: int = 5) -> None:
    for step in range(steps):
        made = put(saver, str(step), str(step - 1) if step else None, {"text": f"{step}" * 9_000}, thread=thread)
        saver.put_writes(made, [("text", f"{step + 1}" * 9_000), ("__error__", "late")], "task")


def test_a_deleted_thread_leaves_no_row_behind(memory: MemoryRepository) -> None:
    saver = CheckpointSaver(memory)
    long_thread(saver)
    assert all(count(memory, table) for table in TABLES)
    saver.delete_thread("t")
    assert [count(memory, table) for table in TABLES] == [0] * len(TABLES)


def test_pruning_takes_back_the_bytes_of_what_is_gone(memory: MemoryRepository) -> None:
    saver = CheckpointSaver(memory)
    long_thread(saver, steps=8)
    before = bytes_of_values(memory)
    saver.prune(["t"])
    found = saver.get_tuple(config())
    assert found is not None
    assert (ids(saver), found.parent_config) == (["7"], None)
    assert found.checkpoint["channel_values"] == {"text": "7" * 9_000}
    assert bytes_of_values(memory) < before / 3


def test_a_thread_that_is_pruned_all_the_time_stays_small(memory: MemoryRepository) -> None:
    saver = CheckpointSaver(memory)
    sizes = []
    for step in range(20):
        put(saver, str(step), str(step - 1) if step else None, {"text": f"{step:04}" * 5_000})
        saver.prune(["t"])
        sizes.append((bytes_of_values(memory), *(count(memory, table) for table in TABLES)))
    assert sizes[-1] == sizes[10]


def test_a_copy_has_nothing_to_do_with_its_source_from_then_on(memory: MemoryRepository) -> None:
    saver = CheckpointSaver(memory)
    long_thread(saver)
    values = count(memory, "checkpoint_value")
    saver.copy_thread("t", "copy")
    assert count(memory, "checkpoint_value") == values, "values are shared"
    saver.put_writes(config("copy", "4"), [("text", "of the copy")], "task of the copy")
    source = saver.get_tuple(config("t"))
    assert source is not None
    assert [task for task, _, _ in source.pending_writes or []] == ["task", "task"]
    saver.delete_thread("t")
    copied = list(saver.list(config("copy")))
    assert [found.checkpoint["channel_values"]["text"][0] for found in copied] == ["4", "3", "2", "1", "0"]
    assert [found.parent_config and found.parent_config["configurable"]["thread_id"] for found in copied] == [
        *["copy"] * 4,
        None,
    ]
    saver.delete_thread("copy")
    assert [count(memory, table) for table in TABLES] == [0] * len(TABLES)


def test_a_copy_onto_itself_changes_nothing_and_onto_another_replaces_it(saver: CheckpointSaver) -> None:
    long_thread(saver)
    put(saver, "old", thread="u")
    saver.copy_thread("t", "t")
    saver.copy_thread("t", "u")
    assert ids(saver, "t") == ids(saver, "u") == ["4", "3", "2", "1", "0"]


def test_history_stays_in_one_piece_when_a_run_in_its_middle_is_deleted(saver: CheckpointSaver) -> None:
    for number, run in enumerate(("a", "b", "b", "c")):
        made = put(
            saver, str(number), str(number - 1) if number else None, {"log": "seed"} if not number else {}, run_id=run
        )
        saver.put_writes(made, [("log", f"after {number}")], "task")
    saver.delete_for_runs(["b", "unknown"])
    found = saver.get_tuple(config())
    assert found is not None
    assert found.parent_config == config("t", "0")
    assert saver.get_delta_channel_history(config=config(), channels=["log"])["log"] == {
        "seed": "seed",
        "writes": [("task", "log", "after 0")],
    }


def test_pruning_keeps_the_ancestors_that_replaying_a_delta_channel_takes(saver: CheckpointSaver) -> None:
    graph = agent(saver, "answer")
    for number in range(4):
        graph.invoke({"log": [f"question {number}"]}, config())
    before = graph.get_state(config()).values
    saver.prune(["t"])
    assert graph.get_state(config()).values == before
    assert graph.invoke({"log": ["last"]}, config())["log"] == [*before["log"], "last", "answer"]


def runs_of_one_log(saver: CheckpointSaver, runs: str, thread: str = "t") -> None:
    """A thread of one checkpoint per run: the first holds the log, of the others it is replayed."""
    for number, run in enumerate(runs):
        before = str(number - 1) if number else None
        if before is None:
            put(saver, "0", values={"log": ["seed"]}, run_id=run, thread=thread)
        else:
            saver.put_writes(config(thread, before), [("log", f"of {run}")], f"task {run}")
            counted = {"log": (number, number)}
            put(saver, str(number), before, run_id=run, counters_since_delta_snapshot=counted, thread=thread)


def log_at(saver: CheckpointSaver, checkpoint_id: str, thread: str = "t") -> list[Any]:
    found = saver.get_delta_channel_history(config=config(thread, checkpoint_id), channels=["log"])["log"]
    return [*found.get("seed", []), *(value for _, _, value in found["writes"])]


def test_deleting_runs_leaves_the_delta_channels_of_other_runs_as_they_are(saver: CheckpointSaver) -> None:
    runs_of_one_log(saver, "abcd")
    saver.delete_for_runs(["b", "d"])
    assert ids(saver) == ["2", "1", "0"], "2 is replayed from 1, and 3 by nobody"
    assert log_at(saver, "2") == ["seed", "of b", "of c"]
    saver.delete_for_runs(["a"])
    assert log_at(saver, "2") == ["seed", "of b", "of c"]


def test_a_deleted_runs_checkpoint_goes_when_nobody_is_replayed_from_it_any_more(memory: MemoryRepository) -> None:
    saver = CheckpointSaver(memory)
    runs_of_one_log(saver, "abc")
    put(saver, "3", "2", {"log": ["all in one"]}, run_id="d")
    saver.delete_for_runs(["a", "b"])
    assert ids(saver) == ["3", "2", "1", "0"]
    saver.delete_for_runs(["c"])
    assert ids(saver) == ["3"]
    assert [count(memory, table) for table in ("checkpoint_write", "checkpoint_given_up")] == [0, 0]


def test_only_what_leads_up_to_the_nearest_value_stays_of_a_deleted_run(saver: CheckpointSaver) -> None:
    put(saver, "older", values={"log": ["older"]}, run_id="a")
    put(saver, "seed", "older", {"log": ["seed"]}, run_id="a")
    for name, run in (("deleted fork", "a"), ("fork", "b")):
        put(saver, name, "seed", run_id=run, counters_since_delta_snapshot={"log": (1, 1)})
    saver.delete_for_runs(["a"])
    assert ids(saver) == ["fork", "seed"]
    assert log_at(saver, "fork") == ["seed"]


def test_a_checkpoint_that_is_stored_again_is_not_of_a_deleted_run_any_more(saver: CheckpointSaver) -> None:
    runs_of_one_log(saver, "ab")
    saver.delete_for_runs(["a"])
    put(saver, "0", values={"log": ["seed"]}, run_id="new")
    saver.delete_for_runs(["b"])
    assert ids(saver) == ["0"]


def test_a_copy_knows_of_deleted_runs_what_its_source_knows(saver: CheckpointSaver) -> None:
    runs_of_one_log(saver, "ab")
    saver.delete_for_runs(["a"])
    saver.copy_thread("t", "copy")
    assert log_at(saver, "1", "copy") == ["seed", "of b"]
    saver.delete_for_runs(["b"])
    assert (ids(saver, "t"), ids(saver, "copy")) == ([], [])


def test_deleting_all_runs_of_a_graph_but_the_last_leaves_its_state(saver: CheckpointSaver) -> None:
    graph = agent(saver, "answer")
    for number in range(4):
        graph.invoke({"log": [f"question {number}"]}, {**config(), "metadata": {"run_id": f"run {number}"}})
    before = graph.get_state(config()).values
    saver.delete_for_runs([f"run {number}" for number in range(3)])
    assert graph.get_state(config()).values == before
    assert graph.invoke({"log": ["last"]}, config())["log"] == [*before["log"], "last", "answer"]


def test_pruning_takes_the_writes_that_came_after_their_checkpoint_was_gone(memory: MemoryRepository) -> None:
    saver = CheckpointSaver(memory)
    for step in range(20):
        put(saver, f"{step:02}", f"{step - 1:02}" if step else None, {"n": step})
        saver.prune(["t"])
        if step:
            saver.put_writes(config(checkpoint_id=f"{step - 1:02}"), [("n", f"late {step}" * 2_000)], "task")
    saver.prune(["t"])
    assert [count(memory, table) for table in ("checkpoint", "checkpoint_write", "checkpoint_value")] == [1, 0, 1]
    assert count(memory, "checkpoint_block") == 0


def test_pruning_leaves_the_writes_of_a_checkpoint_that_is_still_to_come(saver: CheckpointSaver) -> None:
    for name in ("1", "2"):
        put(saver, name)
        saver.put_writes(config(checkpoint_id=name), [("n", f"of {name}")], "task")
    saver.put_writes(config(checkpoint_id="3"), [("n", "early")], "task")
    saver.prune(["t"])
    assert [found.pending_writes for found in saver.list(config())] == [[("task", "n", "of 2")]]
    put(saver, "3", "2")
    found = saver.get_tuple(config())
    assert found is not None
    assert found.pending_writes == [("task", "n", "early")]


@pytest.mark.parametrize("ring", ["0", "01", "012"], ids=["its own parent", "two", "three"])
def test_parents_that_go_in_a_ring_are_walked_once(saver: CheckpointSaver, ring: str) -> None:
    counted = {"log": (1, 1)}
    for name in ring:
        saver.put_writes(config(checkpoint_id=name), [("log", f"on {name}")], "task")
    for name, parent in zip(ring, ring[-1] + ring, strict=False):
        put(saver, name, parent, counters_since_delta_snapshot=counted)
    put(saver, "end", ring[-1], run_id="kept", counters_since_delta_snapshot=counted)
    assert sorted(log_at(saver, ring[-1])) == [f"on {name}" for name in ring]
    saver.prune(["t"])
    assert sorted(ids(saver)) == [*ring, "end"]
    saver.delete_for_runs(["kept"])
    assert sorted(ids(saver)) == [*ring]


def test_an_unknown_strategy_is_refused(saver: CheckpointSaver) -> None:
    with pytest.raises(Refusal, match="keep_latest, delete"):
        saver.prune(["t"], strategy="keep_some")
