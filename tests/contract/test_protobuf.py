"""The .proto files: every example is their canonical JSON, numbers stay, and what is taken back is found by `buf`."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import Message as Protobuf
from pydantic import create_model

from thymos.catalogue import messages
from thymos.contract import protobuf
from thymos.contract.addresses import file_stem
from thymos.contract.field_numbers import with_new_fields
from thymos.contract.json_schema import event_schema
from thymos.events import Arm
from thymos.examples import example_of
from thymos.message import REGISTRY, Message, Value
from thymos.telemetry import AgentHeartbeat, TaskFinished

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "proto"
BUF = Path(sys.executable).with_name("buf")
BUF_YAML = (ROOT / "buf.yaml").read_text(encoding="utf-8")
Contract = Mapping[str, type[Protobuf]]


def buf(*arguments: str | Path, at: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BUF, *map(str, arguments)], cwd=at, capture_output=True, text=True)


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    """The classes that `buf` makes of the .proto files, by full name: nothing of Thymos takes part."""
    image = tmp_path_factory.mktemp("contract") / "contract.binpb"
    built = buf("build", "--as-file-descriptor-set", "--output", image)
    assert built.returncode == 0, built.stderr
    pool = descriptor_pool.DescriptorPool()
    files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file
    for file in files:
        pool.Add(file)
    names = [f"{file.package}.{message.name}" for file in files for message in file.message_type]
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names}


def parsed(protobuf_class: type[Protobuf], value: Mapping[str, Any]) -> Protobuf:
    """By canonical JSON, from text, as a stranger would; a field that is not declared is an error."""
    return json_format.Parse(json.dumps(value), protobuf_class())


def printed(message: Protobuf) -> dict[str, Any]:
    """As canonical JSON, empty lists included."""
    value: dict[str, Any] = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    return value


def as_doubles(value: Any) -> Any:
    """Free JSON as `Struct` keeps it: whole numbers beyond 2**53 are rounded."""
    if isinstance(value, dict):
        return {name: as_doubles(each) for name, each in value.items()}
    if isinstance(value, list):
        return [as_doubles(each) for each in value]
    return float(value) if isinstance(value, int) and abs(value) > 2**53 else value


PUBLISHED = sorted([*(PROTO / "examples").glob("*.json"), *(PROTO / "released" / "examples").glob("*.json")])


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: f"{path.parent.parent.name}/{path.stem}")
def test_a_message_is_canonical_json_and_survives_it(path: Path, contract: Contract) -> None:
    message = as_doubles(json.loads(path.read_bytes()))
    message_class = REGISTRY[message["type"]]

    envelope = parsed(contract[f"{protobuf.PACKAGE}.{protobuf.CLOUD_EVENT}"], message)
    data = parsed(contract[protobuf.message_name(message_class)], message["data"])

    back = json_format.MessageToDict(envelope)
    assert datetime.fromisoformat(back.pop("time")) == datetime.fromisoformat(message.pop("time")), "with other zeros"
    assert back == message, "the envelope comes back as it was"
    again = contract[protobuf.message_name(message_class)].FromString(data.SerializeToString())
    read = message_class.model_validate(message["data"])
    assert message_class.model_validate(printed(again)) == read, "through binary and back"


@pytest.mark.parametrize("message_class", messages(), ids=file_stem)
def test_names_are_written_as_on_the_bus(message_class: type[Message], contract: Contract) -> None:
    """Not in lower camel case, whatever the language: the names are in the files."""
    data = example_of(message_class).to_dict()["data"]
    assert printed(parsed(contract[protobuf.message_name(message_class)], data)).keys() >= data.keys()


def test_a_zero_is_printed_and_what_is_absent_stays_absent(contract: Contract) -> None:
    idle = {"in_flight": 0, "capacity": 4}
    beat = parsed(contract[protobuf.message_name(AgentHeartbeat)], idle)
    assert printed(beat) == {"in_flight": "0", "capacity": "4"}, "64-bit integers are text in canonical JSON"
    assert AgentHeartbeat.model_validate(printed(beat)) == AgentHeartbeat(in_flight=0, capacity=4), "which we read"


@pytest.mark.parametrize(
    "text", ["2026-03-02T09:00:00Z", "2026-03-02T10:00:00.123456+01:00", "2026-03-01T23:30:00.5-09:30"]
)
def test_a_moment_with_an_offset_and_microseconds_is_the_same_moment(text: str, contract: Contract) -> None:
    row = {"row": 1, "task_id": "t", "outcome": "succeeded", "finished_at": text}
    back = printed(parsed(contract["thymos.v1.OutcomeRow"], row))["finished_at"]
    assert datetime.fromisoformat(back) == datetime.fromisoformat(text)


def test_what_is_not_declared_is_refused(contract: Contract) -> None:
    with pytest.raises(json_format.ParseError, match="no field named"):
        parsed(contract[protobuf.message_name(TaskFinished)], {"task_id": "t", "outcom": "succeeded"})


def test_the_cloud_event_has_the_attributes_of_the_schemas(contract: Contract) -> None:
    declared = {field.name for field in contract["thymos.v1.CloudEvent"].DESCRIPTOR.fields}
    assert declared == event_schema(TaskFinished)["properties"].keys()


def test_the_readme_says_how_to_do_it_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its block runs as it stands, in a folder with the file that its command makes."""
    readme = (PROTO / "README.md").read_text(encoding="utf-8")
    command = re.search(r"^buf (build .*)$", readme, re.MULTILINE)
    block = re.search(r"```python\n([^`]*contract\.binpb[^`]*)```", readme)
    assert command
    assert block
    *arguments, image = command[1].split()
    assert buf(*arguments, tmp_path / image).returncode == 0
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(block[1], "README.md", "exec"), names)

    finished = names["read"](example_of(TaskFinished).to_bytes())

    assert TaskFinished.model_validate(names["data_of"](finished)) == example_of(TaskFinished).data


# --- shapes ---------------------------------------------------------------------------------------------------------


class Listed(Value):
    """A list that may be absent."""

    names: list[str] | None = None


class Loose(Value):
    """A set has no order."""

    names: set[str]


class Noted(Message):
    """It is noted, in two texts that have one name."""

    arm: Arm
    other: create_model("Arm", __base__=Value, text=str)  # type: ignore[valid-type]


@pytest.mark.parametrize(("value", "problem"), [(Listed, "absent list"), (Loose, "no canonical JSON")])
def test_what_canonical_json_cannot_carry_is_refused(value: type[Any], problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        protobuf.declarations([value])


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(TypeError, match="both Arm in protobuf"):
        protobuf.declarations([Noted])


def test_a_message_is_named_by_its_type_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert protobuf.message_name(TaskFinished) == "thymos.v1.TaskFinished"
    monkeypatch.setattr(TaskFinished, "VERSION", 2)
    assert protobuf.message_name(TaskFinished) == "thymos.v1.TaskFinishedV2"


# --- numbers --------------------------------------------------------------------------------------------------------


def test_a_field_in_the_middle_renumbers_no_other() -> None:
    numbers = with_new_fields({}, {"Note": ["text", "at"]})
    assert numbers == {"Note": {"text": 1, "at": 2}}
    assert with_new_fields(numbers, {"Note": ["text", "author", "at"]}) == {"Note": {"text": 1, "at": 2, "author": 3}}


def test_a_field_that_is_gone_keeps_its_number_and_gets_it_back() -> None:
    numbers = with_new_fields({}, {"Note": ["text", "author", "at"]})
    without = with_new_fields(numbers, {"Note": ["text", "at", "by"]})
    assert without == {"Note": {"text": 1, "author": 2, "at": 3, "by": 4}}
    assert with_new_fields(without, {"Note": ["author"]}) == without
    assert with_new_fields(without, {}) == without, "also when the whole message is gone"


def test_a_field_that_is_gone_is_reserved() -> None:
    fields = (protobuf.Field("at", "optional", "string"),)
    note = protobuf.Declaration("Note", "notes.proto", "A note.", fields)
    text = protobuf.proto_files([note], {"Note": {"text": 1, "at": 2}}, "Generated.")["thymos/v1/notes.proto"]
    assert 'reserved 1;\n  reserved "text";\n  optional string at = 2;' in text


def test_a_number_given_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="the same number"):
        with_new_fields({"Note": {"text": 1, "at": 1}}, {})


# --- buf ------------------------------------------------------------------------------------------------------------


def test_buf_finds_nothing_to_say() -> None:
    for arguments in (("lint",), ("format", "--diff", "--exit-code")):
        said = buf(*arguments)
        assert (said.returncode, said.stdout + said.stderr) == (0, "")


def test_nothing_that_was_released_is_broken() -> None:
    said = buf("breaking", "--against", "proto/released/protobuf")
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


@pytest.mark.parametrize(
    ("now", "then", "problem"),
    [
        ("optional string task_id = 1", "optional string job_id = 1", 'changed name from "task_id" to "job_id"'),
        ("optional int64 input_tokens", "optional double input_tokens", 'changed type from "int64" to "double"'),
        ("  optional string output = 17;\n", "", 'Previously present field "17" with name "output"'),
        ("  optional string output = 17;\n", '  reserved 17;\n  reserved "output";\n', "Previously present field"),
        ("optional string output = 17;", "optional string output = 99;", 'Previously present field "17"'),
        ("message TaskStarted {", "message TaskBegun {", 'Previously present message "TaskStarted" was deleted'),
        ("  repeated string recalled_ids", "  optional string recalled_ids", "changed cardinality"),
    ],
)
def test_what_is_taken_back_is_found(now: str, then: str, problem: str, tmp_path: Path) -> None:
    """The released contract against one that was changed by hand."""
    released = PROTO / "released" / "protobuf"
    shutil.copytree(released, tmp_path / "proto", ignore=shutil.ignore_patterns("buf.yaml"))
    (tmp_path / "buf.yaml").write_text(BUF_YAML, encoding="utf-8")
    telemetry = tmp_path / "proto" / "thymos" / "v1" / "telemetry.proto"
    text = telemetry.read_text(encoding="utf-8")
    assert now in text
    telemetry.write_text(text.replace(now, then, 1), encoding="utf-8")

    said = buf("breaking", "--against", released, at=tmp_path)

    assert said.returncode == 100
    assert problem in said.stdout


def test_what_is_added_is_fine(tmp_path: Path) -> None:
    released = PROTO / "released" / "protobuf"
    shutil.copytree(released, tmp_path / "proto", ignore=shutil.ignore_patterns("buf.yaml"))
    (tmp_path / "buf.yaml").write_text(BUF_YAML, encoding="utf-8")
    telemetry = tmp_path / "proto" / "thymos" / "v1" / "telemetry.proto"
    text = telemetry.read_text(encoding="utf-8")
    telemetry.write_text(text.replace("message TaskStarted {", "message TaskStarted {\n  optional string mood = 99;"))
    assert buf("breaking", "--against", released, at=tmp_path).returncode == 0
