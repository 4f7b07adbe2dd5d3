"""What was released stays true: old messages parse and fold everywhere, schemas only widen, files never change."""

import copy
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import decision_engine.app
import memory_repository.app
import metrics_collector.app
import worktree_scaler.app
from decision_engine.testing import Story
from thymos import config, generate
from thymos.catalogue import messages
from thymos.contract import released
from thymos.contract.addresses import file_stem, subject_matches
from thymos.contract.compatibility import narrowings
from thymos.contract.json_schema import event_schema, verb_schema
from thymos.contract.verbs import VERBS
from thymos.envelope import Envelope, decode
from thymos.errors import Refusal
from thymos.message import Kind, Message
from thymos.service import Route, Service, ServiceSettings
from thymos.telemetry import Outcome, TaskFinished
from thymos.unit_of_work import Handler, Transaction

PROTO = Path(__file__).parents[2] / "proto"
EXAMPLES = sorted((PROTO / "released" / "examples").glob("*.json"))
Build = Callable[[ServiceSettings], Service]
BUILDS = {
    module.__name__.split(".")[0]: module.build
    for module in (decision_engine.app, memory_repository.app, metrics_collector.app, worktree_scaler.app)
}


def read(path: Path) -> Envelope[Message]:
    return decode(path.read_bytes(), json.loads(path.read_bytes())["subject"])


# --- old messages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_old_message_parses_and_nothing_of_it_is_lost(path: Path) -> None:
    published = json.loads(path.read_bytes())
    envelope = read(path)
    assert f"{file_stem(type(envelope.data))}." in path.name
    assert contains(envelope.to_dict(), published)


def contains(value: Any, part: Any) -> bool:
    """Whether everything in `part` is in `value`, with what was added since beside it."""
    if isinstance(part, dict):
        return isinstance(value, dict) and all(key in value and contains(value[key], part[key]) for key in part)
    if isinstance(part, list):
        return isinstance(value, list) and len(value) == len(part) and all(map(contains, value, part))
    return bool(value == part)


def handler_of(route: Route) -> Handler:
    """The route's handler for one message; a refusal is an answer, not a failure."""

    def handle(envelope: Envelope[Message], tx: Transaction) -> None:
        if route.handle is None:
            assert route.handle_batch is not None
            route.handle_batch([envelope], tx)
        else:
            with suppress(Refusal):
                route.handle(envelope, tx)

    return handle


@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "backwards"])
@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
async def test_old_messages_fold_in_every_service_that_hears_them(
    build: Build, backwards: bool, tmp_path: Path
) -> None:
    """The service's own handlers over a store of its own, fed with what its durables would deliver."""
    configured = '[agents.support]\ncommand = ["true"]\n'
    service = build(ServiceSettings("nats://nowhere:1", tmp_path, config.load(text=configured, environ={})))
    old = [read(path) for path in EXAMPLES][:: -1 if backwards else 1]
    try:
        for route in service.routes:
            heard = [each for each in old if any(subject_matches(each.subject, one) for one in route.consumer.filters)]
            assert heard, f"no released message is for {route.consumer.stream.name}"
            for envelope in heard:
                assert await service.store.handle(route.consumer.stream.name, envelope, handler_of(route))
    finally:
        await service.store.close()


FACTS = [path for path in EXAMPLES if read(path).data.KIND in (Kind.EVENT, Kind.METRICS)]


@pytest.mark.parametrize("path", FACTS, ids=lambda path: path.stem)
def test_an_old_event_folds_while_its_experiment_runs(path: Path) -> None:
    """The engine's step over a state that the event is about, not only over one that it passes by."""
    data = read(path).data
    story = Story().runs()
    about = {"experiment_id": story.experiment().id} if "experiment_id" in type(data).model_fields else {}
    story.happens(data.model_copy(update=about))
    story.passes(hours=2)


def test_every_message_of_the_released_contract_has_its_old_message() -> None:
    schemas = {path.stem for path in (PROTO / "released" / "events").glob("*.json")}
    assert {path.name.rsplit(".", 2)[0] for path in EXAMPLES} == schemas
    assert schemas <= {file_stem(each) for each in messages()}


# --- files that do not change ---------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A contract of today, promised."""
    proto = tmp_path / "proto"
    generate.write(proto, generate.contract_files({}))
    assert released.main(["--folder", str(proto)]) == 0
    return proto


def test_what_is_released_is_as_it_was_promised() -> None:
    assert released.problems(PROTO) == []


def test_a_released_example_is_neither_edited_nor_deleted_nor_added_by_hand(folder: Path) -> None:
    examples = folder / "released" / "examples"
    merged = examples / "branch.merged.v1.1.json"
    merged.write_text(merged.read_text().replace("AutoMerge", "Ours"))
    (examples / "audit.sealed.v1.1.json").unlink()
    shutil.copyfile(merged, examples / "branch.merged.v1.2.json")
    assert sorted(released.problems(folder)) == [
        "audit.sealed.v1.1.json: a released example is never deleted: restore it",
        "branch.merged.v1.1.json: a released example is never edited: restore it",
        "branch.merged.v1.2.json: is not in SHA256SUMS: run `make promise`",
    ]


def test_a_release_adds_examples_that_changed_and_keeps_the_old_ones(folder: Path) -> None:
    examples = folder / "released" / "examples"
    before = {path.name: path.read_bytes() for path in examples.glob("*")}
    today = folder / "examples" / "branch.merged.v1.json"
    today.write_text(today.read_text().replace("AutoMerge", "Ours"))
    assert released.main(["--folder", str(folder)]) == 0
    assert released.main(["--folder", str(folder)]) == 0, "again adds nothing"
    after = {path.name: path.read_bytes() for path in examples.glob("*")}
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"branch.merged.v1.2.json"}
    assert released.main(["--folder", str(folder), "--check"]) == 0


def test_a_release_keeps_the_fullest_message_of_each_type_that_was_seen(folder: Path, tmp_path: Path) -> None:
    example = json.loads((folder / "examples" / "branch.merged.v1.json").read_bytes())
    short, full = ({**example, "data": {**example["data"], "reason": "better" * count}} for count in (1, 9))
    seen = tmp_path / "seen.jsonl"
    seen.write_text("\n".join(json.dumps(each) for each in (short, [full, short], {"query": "refund window"})) + "\n\n")
    assert released.main(["--folder", str(folder), "--seen", str(seen)]) == 0
    assert json.loads((folder / "released" / "examples" / "branch.merged.v1.2.json").read_bytes()) == full
    assert released.main(["--folder", str(folder), "--check"]) == 0


def test_a_release_that_would_take_something_back_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = folder / "events" / "branch.merged.v1.json"
    changed = json.loads(schema.read_bytes())
    changed["properties"]["data"]["required"].append("state_id")
    schema.write_text(json.dumps(changed))
    (folder / "events" / "audit.sealed.v1.json").unlink()
    request = folder / "requests" / "memory-repository.search.json"
    request.write_text(request.read_text().replace('"query"', '"question"'))
    released_before = (folder / "released" / "events" / "branch.merged.v1.json").read_bytes()
    assert released.main(["--folder", str(folder)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "audit.sealed.v1: a released message is never deleted",
        "branch.merged.v1: data: 'state_id' was not required: make it a new version",
        "memory-repository.search: the whole: 'question' was not required: make it a new verb",
        "memory-repository.search: query: is gone: make it a new verb",
    ]
    assert (folder / "released" / "events" / "branch.merged.v1.json").read_bytes() == released_before


# --- schemas that only widen ----------------------------------------------------------------------------------------


def changed_schema(path: str, value: Any) -> dict[str, Any]:
    """The schema of task.finished with one place changed; `...` removes it."""
    schema = copy.deepcopy(SCHEMA)
    *parents, last = path.split("/")
    place = schema
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return schema


SCHEMA = event_schema(TaskFinished)
DATA = "properties/data/properties"
OUTCOMES = [*Outcome]


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (f"{DATA}/latency_ms/maximum", 1000, "data.latency_ms: maximum was 1000000000000.0 and is 1000"),
        (f"{DATA}/latency_ms/minimum", 1, "data.latency_ms: minimum was 0.0 and is 1"),
        (f"{DATA}/latency_ms/type", "integer", "data.latency_ms: type was 'number' and is 'integer'"),
        (f"{DATA}/branch/default", "trunk", "data.branch: absent was 'main' and is 'trunk'"),
        (f"{DATA}/error/pattern", "^E", "data.error: pattern was None and is '^E'"),
        (f"{DATA}/task_id/enum", ["t"], "data.task_id: any value was allowed"),
        (f"{DATA}/recalled_ids/items/maxLength", 10, "data.recalled_ids[]: maxLength was 200 and is 10"),
        (f"{DATA}/quality/additionalProperties/maximum", 0.5, "data.quality[]: maximum was 1.0 and is 0.5"),
        (f"{DATA}/output", ..., "data.output: is gone"),
        ("$defs/Outcome/enum", OUTCOMES[1:], "data.outcome: 'succeeded' was allowed"),
        ("required", [*SCHEMA["required"], "subject"], "the whole: 'subject' was not required"),
    ],
)  # fmt: skip
def test_what_a_schema_takes_back_is_found(path: str, value: Any, problem: str) -> None:
    assert narrowings(SCHEMA, changed_schema(path, value)) == [problem]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{DATA}/mood", {"type": "string"}),
        (f"{DATA}/latency_ms/maximum", 1e15),
        (f"{DATA}/latency_ms/minimum", ...),
        ("$defs/Outcome/enum", [*OUTCOMES, "skipped"]),
        ("properties/data/required", ["task_id"]),
    ],
)
def test_what_a_schema_adds_is_fine(path: str, value: Any) -> None:
    assert narrowings(SCHEMA, changed_schema(path, value)) == []


VERB = next(verb for verb in VERBS if (verb.service, verb.name) == ("memory-repository", "get"))
REPLY = verb_schema(VERB)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda answer: answer["properties"].pop("content"), "Reply|1.data.content: is gone"),
        (lambda answer: answer["required"].remove("content"), "Reply|1.data: 'content' was always there"),
        (lambda answer: answer["properties"]["content"].update(type="integer"),
         "Reply|1.data.content: type was 'string' and is 'integer'"),
    ],
)  # fmt: skip
def test_what_a_reply_takes_back_is_found(change: Callable[[dict[str, Any]], object], problem: str) -> None:
    changed = copy.deepcopy(REPLY)
    change(changed["$defs"]["Reply"]["oneOf"][0]["properties"]["data"])
    assert narrowings(REPLY, changed) == [problem]


def test_what_a_reply_adds_is_fine() -> None:
    changed = copy.deepcopy(REPLY)
    answer = changed["$defs"]["Reply"]["oneOf"][0]["properties"]["data"]
    answer["properties"]["mood"] = {"type": "string"}
    answer["required"].append("mood")
    assert narrowings(REPLY, changed) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ({"const": "a"}, {"enum": ["b", "c"]}, "the whole: 'a' was allowed"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"anyOf": [{"type": "string"}]}, "|2: is gone"),
        ({"anyOf": [{"type": "string"}]}, {"anyOf": [{"type": "null"}]}, "|1: type was 'string' and is 'null'"),
        ({"type": "object"}, {"type": "object", "additionalProperties": False},
         "the whole: any other field was allowed"),
    ],
)  # fmt: skip
def test_a_choice_that_is_taken_back_is_found(old: dict[str, Any], new: dict[str, Any], problem: str) -> None:
    assert narrowings(old, new) == [problem]


def test_one_more_choice_is_fine() -> None:
    assert narrowings({"anyOf": [{"type": "string"}]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}) == []
