"""What is shown of an experiment: the same names in every phase, and nothing lost on the way through the store."""

import json

from decision_engine import store
from decision_engine.experiment import Experiment
from decision_engine.record import decision_record, experiment_record
from decision_engine.testing import BEGIN, Story
from thymos.database import open_sqlite
from thymos.requests import ExperimentRecord

NAMES = {
    "experiment_id", "tenant", "agent", "phase", "verdict", "winner", "reason", "cause", "decision_id", "opened_at",
    "running_at", "closed_at", "deadline", "learning_needed", "branches", "base_commit", "merged_commit", "arms",
    "control", "improvement", "tasks", "alpha", "budget", "min_pairs", "seed", "rows", "question",
}  # fmt: skip


def shown(experiment: Experiment) -> ExperimentRecord:
    return experiment_record("default", "support", experiment)


def test_an_experiment_has_the_same_names_from_its_opening_to_its_end() -> None:
    story = Story().drops()
    opened = shown(story.experiment())
    story.learns().prepares("learn-from-success").becomes_ready().pairs("1" * 30, "0" * 30).merges().cleans_up()
    (closed,) = map(shown, story.closed.values())

    assert [set(json.loads(each.model_dump_json())) for each in (opened, closed)] == [NAMES, NAMES]
    assert (opened.phase, opened.verdict, opened.arms, opened.control, opened.rows) == (
        "Pending", "continue", [], {}, None,
    )  # fmt: skip
    assert (closed.phase, closed.verdict, closed.winner) == ("Closed", "merge", "learn-from-success")
    assert closed.arms[0].losses == 0
    assert closed.control["successes"] == 0


def test_records_come_back_from_the_store_as_they_were_newest_first() -> None:
    connection = open_sqlite(":memory:")
    connection.executescript(store.SCHEMA)
    story = Story().runs().pairs("1111", "0000")
    record = shown(story.experiment())
    made = [decision_record("support", BEGIN, made) for made in story.decisions()]

    store.keep_experiment(connection, record)
    for each in made:
        store.keep_decision(connection, "default", each)

    assert record.arms
    assert list(store.experiments(connection, "default", "support", 10)) == [record]
    assert store.experiment(connection, "default", "_", record.experiment_id) == record
    assert store.experiment(connection, "default", "other", record.experiment_id) is None
    assert list(store.decisions(connection, "default", "_", 10)) == made[::-1]
