"""The published contract: current, valid JSON Schema, and strict enough to write a message from it alone."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from jsonschema import Draft202012Validator

import decision_engine.app
import memory_repository.app
import metrics_collector.app
import worktree_scaler.app
from decision_engine.record import decision_record, experiment_record, versioning_metrics
from decision_engine.testing import BEGIN, Story
from thymos import config, generate, requests, subjects
from thymos.audit import sealer
from thymos.audit.sealer import Sealer
from thymos.catalogue import messages
from thymos.contract.addresses import file_stem
from thymos.contract.json_schema import event_schema
from thymos.contract.subjects_yaml import subjects_document
from thymos.contract.verbs import VERBS, Verb
from thymos.envelope import decode
from thymos.errors import Refusal
from thymos.events import DecisionMade
from thymos.examples import EXAMPLES, example_of
from thymos.message import Message
from thymos.service import Service, ServiceSettings, error_reply
from thymos.service import reply as reply_of
from thymos.telemetry import TaskFinished

PROTO = Path(__file__).parents[2] / "proto"


def schema_on_disk(stem: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((PROTO / "events" / f"{stem}.json").read_text())
    return schema


def accepts(schema: dict[str, Any], event: dict[str, Any]) -> bool:
    return bool(Draft202012Validator(schema).is_valid(event))


def changed(path: str, value: Any) -> dict[str, Any]:
    """The example of task.finished with one value replaced; `...` removes it."""
    event = copy.deepcopy(example_of(TaskFinished).to_dict())
    *parents, last = path.split(".")
    place = event
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return event


def test_every_file_is_current_and_there_are_no_others() -> None:
    assert generate.differences(PROTO, generate.contract_files(generate.known_numbers(PROTO))) == [], (
        "run `make generate`"
    )


@pytest.mark.parametrize("message_class", messages(), ids=file_stem)
def test_a_schema_is_valid_and_accepts_its_example(message_class: type[Message]) -> None:
    schema = schema_on_disk(file_stem(message_class))
    Draft202012Validator.check_schema(schema)
    assert schema["$id"].startswith("urn:thymos:schema:")
    event = json.loads((PROTO / "examples" / f"{file_stem(message_class)}.json").read_text())
    Draft202012Validator(schema).validate(event)


@pytest.mark.parametrize("envelope", EXAMPLES, ids=lambda envelope: envelope.type)
def test_a_schema_accepts_no_other_type(envelope: Any) -> None:
    others = [m for m in messages() if not isinstance(envelope.data, m)]
    assert not any(accepts(event_schema(m), envelope.to_dict()) for m in others[::7])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", ...),
        ("id", ""),
        ("source", ...),
        ("time", ...),
        ("time", "yesterday"),
        ("time", "2026-03-02T09:00:00"),
        ("specversion", "0.3"),
        ("type", "thymos.task.finished.v2"),
        ("tenantid", "Acme Corp"),
        ("agentid", "a.b"),
        ("subject", "thymos.telemetry.acme"),
        ("subject", "thymos.telemetry.acme.support.more"),
        ("datacontenttype", "text/plain"),
        ("data", ...),
        ("data.task_id", ...),
        ("data.task_id", ""),
        ("data.outcome", "won"),
        ("data.outcome", ...),
        ("data.latency_ms", -1),
        ("data.latency_ms", "38"),
        ("data.branch", "no spaces"),
        ("data.quality", {"tone": 1.5}),
        ("data.recalled_ids", ["x"] * 101),
        ("data.input_tokens", 1.5),
    ],
)
def test_a_schema_refuses_what_is_wrong(path: str, value: Any) -> None:
    assert not accepts(schema_on_disk("task.finished.v1"), changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [("subject", ...), ("tenantid", ...), ("agentid", ...), ("data.cost_usd", ...), ("data.added_later", 1)],
)
def test_a_schema_accepts_what_may_be_absent_or_added(path: str, value: Any) -> None:
    event = changed(path, value)
    assert accepts(schema_on_disk("task.finished.v1"), event)
    assert decode(json.dumps(event).encode(), example_of(TaskFinished).subject)


def test_the_least_that_a_schema_asks_for_is_enough_to_be_read() -> None:
    """Written from the schema alone: its required fields and nothing else."""
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "shell",
        "type": "thymos.task.finished.v1",
        "time": "2026-03-02T09:00:00+01:00",
        "data": {"task_id": "t", "outcome": "succeeded"},
    }
    schema = schema_on_disk("task.finished.v1")
    assert set(schema["required"]) == set(event)
    assert accepts(schema, event)
    assert decode(json.dumps(event).encode(), subjects.telemetry_subject("acme", "support")).message_id == (
        "acme/support/shell/1"
    )


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: f"{verb.service}.{verb.name}")
def test_a_request_has_a_valid_schema_of_itself_and_its_reply(verb: Verb) -> None:
    schema = json.loads((PROTO / "requests" / f"{verb.service}.{verb.name}.json").read_text())
    Draft202012Validator.check_schema(schema)
    assert not accepts(schema, {"no_such_option": 1}), "a misspelt option is an error, not ignored"
    reply = {**schema["$defs"]["Reply"], "$defs": schema["$defs"]}
    assert accepts(reply, json.loads(error_reply(Refusal("not_found", "there is no such branch"))))
    assert not accepts(reply, {"ok": True})


def test_a_search_and_its_reply_are_as_the_schema_says() -> None:
    schema = json.loads((PROTO / "requests" / "memory-repository.search.json").read_text())
    assert accepts(schema, {"query": "refund window"})
    assert not accepts(schema, {"query": "refund window", "limit": 0})
    hit = requests.Hit(id="refund-window", content="30 days", fields={"tags": ["a", 1, None]}, score=3.5)
    answered = json.loads(reply_of(requests.SearchAnswer(commit="c1", results=[hit])))
    assert accepts({**schema["$defs"]["Reply"], "$defs": schema["$defs"]}, answered)


@pytest.mark.parametrize(
    "build",
    [decision_engine.app.build, memory_repository.app.build, metrics_collector.app.build, worktree_scaler.app.build],
    ids=lambda build: build.__module__.split(".")[0],
)
async def test_a_service_answers_exactly_the_published_requests_with_what_is_published(
    build: Callable[[ServiceSettings], Service], tmp_path: Path
) -> None:
    service = build(ServiceSettings("nats://nowhere:1", tmp_path, config.load(text="", environ={})))
    published = {verb.name: (verb.request, verb.answer) for verb in VERBS if verb.service == service.name}

    served = {each.verb: (each.request, get_type_hints(each.answer)["return"]) for each in service.endpoints}
    if service.name == subjects.DECISION_ENGINE:  # beside its store: a seal is an event, not a row
        served[sealer.VERB] = (requests.SealLog, get_type_hints(Sealer.sealed)["return"])

    assert served == published
    await service.store.close()


def test_an_experiment_and_its_decisions_are_answered_as_the_schemas_say() -> None:
    story = Story().runs().pairs("1" * 30, "0" * 30)
    record = experiment_record("default", "support", story.experiment())
    made = [decision_record("support", BEGIN, decision) for decision in story.decisions()]
    answers = {
        "experiment": record,
        "experiments": requests.ExperimentsAnswer(experiments=[record]),
        "decisions": requests.DecisionsAnswer(decisions=made),
        "stats": versioning_metrics([story.state.figures]),
    }
    for verb, answer in answers.items():
        schema = json.loads((PROTO / "requests" / f"decision-engine.{verb}.json").read_text())
        reply = {**schema["$defs"]["Reply"], "$defs": schema["$defs"]}
        Draft202012Validator(reply).validate(json.loads(reply_of(answer)))


def test_the_figures_are_the_eight_of_the_catalogue() -> None:
    assert set(requests.VersioningMetrics.model_fields) == {
        "branches_created", "branches_merged", "branches_rolled_back", "worktrees_created", "ab_tests_run",
        "avg_experiment_duration_seconds", "experiment_success_rate", "avg_improvement",
    }  # fmt: skip


def test_a_decision_is_answered_with_all_that_its_event_says() -> None:
    assert set(requests.DecisionRecord.model_fields) == {"agent", "time", *DecisionMade.model_fields}


def test_subjects_yaml_says_what_the_code_says() -> None:
    assert yaml.safe_load((PROTO / "subjects.yaml").read_text()) == subjects_document()


def test_check_says_what_differs_and_what_has_no_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "proto"
    assert generate.main(["--folder", str(folder)]) == 0
    assert generate.main(["--folder", str(folder), "--check"]) == 0
    example = folder / "examples" / "branch.merged.v1.json"
    example.write_text(example.read_text().replace("AutoMerge", "Ours"))
    (folder / "events" / "by.hand.v1.json").write_text("{}")
    (folder / "subjects.yaml").unlink()
    assert generate.main(["--folder", str(folder), "--check"]) == 1
    output = capsys.readouterr().out
    assert '-    "strategy": "Ours",' in output
    assert '+    "strategy": "AutoMerge",' in output
    assert "by.hand.v1.json: is not generated; delete it" in output
    assert "+streams:" in output
    assert generate.main(["--folder", str(folder)]) == 0
    assert generate.differences(folder, generate.contract_files(generate.known_numbers(folder))) == []


def test_it_runs_as_a_module() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "thymos.generate", "--check"], cwd=PROTO.parent, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
