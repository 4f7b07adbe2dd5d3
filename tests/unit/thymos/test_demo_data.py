"""The demo's data: its shape, that held-out questions are held out, and that there is as much to learn as it says."""

import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import pytest

from thymos.demo.dataset import Dataset, Use, Wording, load_dataset, normalise, parse_dataset
from thymos.errors import ConfigError

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "demo_dataset.py"
SEEDS = range(5)

MEMORY = {"id": "parking", "content": "Visitors park behind the house.", "fields": {"answer": "Behind the house."}}
QUESTION = {
    "task_id": "plain-001",
    "topic": "parking",
    "wording": "plain",
    "use": "live_plain",
    "input": "Where do visitors park?",
    "expect": "Behind the house.",
}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset()


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo_dataset_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trials(bench: ModuleType, dataset: Dataset) -> Callable[[str], list[Any]]:
    known: dict[str, list[Any]] = {}

    def of(generator: str) -> list[Any]:
        if generator not in known:
            learn = bench.GENERATORS[generator]
            known[generator] = [bench.run_trial(dataset, learn, "repository", seed) for seed in SEEDS]
        return known[generator]

    return of


# --- shape ---------------------------------------------------------------------------------------------------------


def test_each_of_sixteen_topics_has_four_plain_questions_and_eight_of_every_other_use(dataset: Dataset) -> None:
    counts = Counter((question.topic, question.use) for question in dataset.questions)
    expected = {Use.LIVE_PLAIN: 4, Use.LIVE_DRIFTED: 8, Use.SCENARIO: 8, Use.AFTERWARDS: 8}
    assert len(dataset.memories) == 16
    assert counts == {(memory.id, use): n for memory in dataset.memories for use, n in expected.items()}


def test_only_the_questions_before_the_drift_are_in_plain_wording(dataset: Dataset) -> None:
    plain = {question.use for question in dataset.questions if question.wording is Wording.PLAIN}
    assert plain == {Use.LIVE_PLAIN}


def test_no_question_is_asked_twice_whatever_its_capitals_and_punctuation(dataset: Dataset) -> None:
    asked = Counter(normalise(question.input) for question in dataset.questions)
    assert [text for text, times in asked.items() if times > 1] == []


def test_held_out_questions_are_not_even_live_questions_in_another_word_order(dataset: Dataset) -> None:
    live, held_out = (
        {frozenset(normalise(q.input).split()) for q in dataset.questions if q.use in uses}
        for uses in ({Use.LIVE_PLAIN, Use.LIVE_DRIFTED}, {Use.SCENARIO, Use.AFTERWARDS})
    )
    assert live & held_out == set()


def test_no_question_contains_an_answer_or_the_name_of_a_topic_key(dataset: Dataset) -> None:
    answers = [normalise(memory.answer) for memory in dataset.memories]
    names = [memory.id for memory in dataset.memories if "-" in memory.id]
    for question in dataset.questions:
        assert not any(answer in normalise(question.input) for answer in answers)
        assert not any(name in question.input.lower() for name in names)


def test_task_ids_do_not_tell_the_topic(dataset: Dataset) -> None:
    topics = {part for memory in dataset.memories for part in memory.id.split("-")}
    assert not any(topic in question.task_id for question in dataset.questions for topic in topics)


def test_the_scenario_file_has_the_held_out_questions_and_nothing_else(dataset: Dataset) -> None:
    rows = [json.loads(line) for line in dataset.scenario_lines().splitlines()]
    held_out = dataset.questions_for(Use.SCENARIO)
    assert rows == [{"task_id": q.task_id, "input": q.input, "expect": q.expect} for q in held_out]


def test_an_answer_is_right_only_if_it_is_the_expected_text(dataset: Dataset) -> None:
    question = dataset.questions[0]
    assert question.is_answered_by(question.expect)
    assert not question.is_answered_by(question.expect.upper())
    assert not question.is_answered_by(None)


def test_the_first_commit_puts_every_article_with_its_answer(dataset: Dataset) -> None:
    changes = dataset.first_commit()
    assert {change.op for change in changes} == {"put"}
    assert {change.id: change.fields for change in changes} == {
        memory.id: {"answer": memory.answer} for memory in dataset.memories
    }


# --- damaged files are refused with their place ----------------------------------------------------------------------


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"use": "live"}, r"questions.jsonl, line 1: .*'live' is not a valid Use"),
        ({"use": "scenario"}, r"questions.jsonl, line 1: .*use scenario does not go with wording plain"),
        ({"input": " "}, r"questions.jsonl, line 1: .*input must be a text"),
        ({"topic": "garage"}, r"questions.jsonl, line 1: expect is not the answer of a memory with id 'garage'"),
        ({"expect": "In front."}, r"questions.jsonl, line 1: expect is not the answer"),
        ({"input": "Is it behind the house?"}, r"questions.jsonl, line 1: the question gives its answer away"),
    ],
)
def test_a_damaged_question_is_refused(change: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse_dataset(lines(MEMORY), lines(QUESTION | change), "")


def test_a_question_that_comes_twice_is_refused() -> None:
    again = QUESTION | {"task_id": "plain-002", "input": "where do VISITORS park"}
    with pytest.raises(ConfigError, match="input 'where do visitors park' occurs more than once"):
        parse_dataset(lines(MEMORY), lines(QUESTION, again), "")


def test_a_bad_commit_may_only_touch_articles_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"bad_commit.jsonl, line 1: there is no memory with id 'garage'"):
        parse_dataset(lines(MEMORY), lines(QUESTION), lines({"op": "delete", "id": "garage"}))


def test_the_files_come_with_the_package() -> None:
    names = {entry.name for entry in (resources.files("thymos.demo") / "data").iterdir()}
    assert {"memories.jsonl", "questions.jsonl", "bad_commit.jsonl"} <= names


# --- what there is to learn ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", ["repository", "fts5"])
def test_plain_wording_is_answered_and_drifted_wording_is_not(bench: ModuleType, dataset: Dataset, search: str) -> None:
    rates = bench.rates_before(dataset, search)
    assert rates[Use.LIVE_PLAIN] >= 0.95
    for use in (Use.LIVE_DRIFTED, Use.SCENARIO, Use.AFTERWARDS):
        assert 0.50 <= rates[use] <= 0.62


def test_learning_from_success_carries_over_to_questions_nobody_learned_from(
    trials: Callable[[str], list[Any]],
) -> None:
    for trial in trials("learn-from-success"):
        assert trial.plain >= 0.95
        assert 0.82 <= trial.scenario <= 0.92
        assert 0.80 <= trial.afterwards <= 0.92


def test_learning_from_success_is_proven_within_the_scenario(trials: Callable[[str], list[Any]]) -> None:
    pairs = [trial.pairs for trial in trials("learn-from-success")]
    assert all(pairs)
    assert 20 <= median(pairs) <= 40


def test_caution_learns_less(trials: Callable[[str], list[Any]]) -> None:
    for learned, cautious in zip(trials("learn-from-success"), trials("cautious"), strict=True):
        assert cautious.scenario <= learned.scenario - 0.1


def test_the_bad_commit_hurts_because_of_what_the_memory_then_holds(trials: Callable[[str], list[Any]]) -> None:
    assert all(trial.damaged <= 0.35 for trial in trials("learn-from-success"))


@pytest.mark.parametrize(
    ("wins", "losses", "proven"),
    [(8, 0, False), (9, 0, True), (11, 1, False), (12, 1, True), (30, 10, True)],
)
def test_the_evidence_needed_is_a_factor_of_sixty(bench: ModuleType, wins: int, losses: int, proven: bool) -> None:
    assert bench.is_proven(wins, losses) is proven
