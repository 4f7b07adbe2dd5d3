"""The messages as `.proto` files (proto3), such that the JSON on the bus is their canonical JSON.

A message `thymos.branch.merged.v1` is `thymos.v1.BranchMerged`: the `data` of the CloudEvent. `CloudEvent` is the
object around it. What a Python type becomes stands in `_SCALARS` and `_shape`; docs/adr/0008 says why.
"""

import inspect
import json
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import AwareDatetime, JsonValue
from pydantic.fields import FieldInfo

from thymos.contract.field_numbers import FieldNumbers, removed, with_new_fields
from thymos.message import Message, Value

PACKAGE = "thymos.v1"
FOLDER = "thymos/v1"
CLOUD_EVENT = "CloudEvent"
_STRUCT, _VALUE, _TIMESTAMP = "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.Timestamp"
_IMPORT_OF = {
    _STRUCT: "google/protobuf/struct.proto",
    _VALUE: "google/protobuf/struct.proto",
    _TIMESTAMP: "google/protobuf/timestamp.proto",
}
_SCALARS: Mapping[Any, str] = {
    str: "string",
    bool: "bool",
    int: "int64",
    float: "double",
    datetime: _TIMESTAMP,
    AwareDatetime: _TIMESTAMP,
    JsonValue: _VALUE,
}


class Field(NamedTuple):
    """One field: its type, whether it is `optional`, `repeated` or a map (neither), and what to say about it."""

    name: str
    label: str
    type: str
    notes: tuple[str, ...] = ()


class Declaration(NamedTuple):
    """One message of a file."""

    name: str
    file: str
    description: str
    fields: tuple[Field, ...]


def message_name(message_class: type[Message]) -> str:
    """The full protobuf name, from the type alone: `thymos.v1.BranchMerged` for `thymos.branch.merged.v1`."""
    return f"{PACKAGE}.{_local_name(message_class)}"


def _local_name(value_class: type[Value]) -> str:
    if not issubclass(value_class, Message):
        return value_class.__name__
    words = value_class.NAME.replace(".", "_").split("_")
    return "".join(word.capitalize() for word in words) + (f"V{value_class.VERSION}" if value_class.VERSION > 1 else "")


def declarations(message_classes: Iterable[type[Message]]) -> tuple[Declaration, ...]:
    """Every message, every value within one, and the CloudEvent, by name.

    Raises TypeError for a field that canonical JSON cannot carry, and for two classes of one name.
    """
    found: dict[str, tuple[type[Value], Declaration]] = {}
    waiting: list[type[Value]] = list(message_classes)
    while waiting:
        value_class = waiting.pop()
        name = _local_name(value_class)
        known = found.get(name)
        if known is None:
            found[name] = (value_class, _declaration(name, value_class))
            waiting.extend(_values_in(value_class))
        elif known[0] is not value_class:
            raise TypeError(f"{known[0].__qualname__} and {value_class.__qualname__} are both {name} in protobuf")
    return tuple(sorted((_cloud_event(), *(declaration for _, declaration in found.values()))))


def _declaration(name: str, value_class: type[Value]) -> Declaration:
    said = inspect.cleandoc(value_class.__doc__ or "")
    if issubclass(value_class, Message):
        said += f"\n\nThe `data` of {value_class.type_name()}."
    fields = tuple(_field(value_class, field_name, info) for field_name, info in value_class.model_fields.items())
    module = value_class.__module__.split(".")[
        1
    ]  # the messages of a package are one file: a move within it breaks nobody
    return Declaration(name, f"{module}.proto", said, fields)


def _cloud_event() -> Declaration:
    """The CloudEvents attributes that `envelope.py` reads and writes."""
    said = "What every message travels in: a CloudEvents 1.0 JSON object. `data` is of the message that `type` names."
    attributes = ("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "tenantid", "agentid")
    extensions = ("correlationid", "causationid", "traceparent")
    required = ("specversion", "id", "source", "type", "time", "data")
    types_of = {"time": _TIMESTAMP, "data": _STRUCT}
    fields = tuple(
        Field(name, "optional", types_of.get(name, "string"), ("Required.",) if name in required else ())
        for name in (*attributes, *extensions, "data")
    )
    return Declaration(CLOUD_EVENT, "cloud_event.proto", said, fields)


def _field(value_class: type[Value], name: str, info: FieldInfo) -> Field:
    annotation, nullable = _plain(info.annotation)
    shape, values = _shape(annotation)
    label = "repeated" if get_origin(annotation) is list else "" if shape.startswith("map<") else "optional"
    if nullable and label != "optional":
        raise TypeError(
            f"{value_class.__qualname__}.{name}: canonical JSON cannot tell an absent list from an empty one"
        )
    notes = ["Required."] if info.is_required() else []
    if isinstance(info.default, str | int | float) and info.default not in ("", 0):
        notes.append(f"Absent: {json.dumps(info.default)}.")
    if values:
        notes.append(f"One of: {', '.join(values)}.")
    return Field(name, label, shape, tuple(notes))


def _plain(annotation: Any) -> tuple[Any, bool]:
    """Without `Annotated` and `None`; whether `None` was allowed."""
    if annotation in _SCALARS:
        return annotation, False
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        others = [each for each in get_args(annotation) if each is not type(None)]
        if len(others) == 1:
            return _plain(others[0])[0], True
    return annotation, False


def _shape(annotation: Any) -> tuple[str, tuple[str, ...]]:
    """The protobuf type, and the allowed texts where only some are."""
    plain, _ = _plain(annotation)
    inner = get_args(plain)
    if plain in _SCALARS:
        return _SCALARS[plain], ()
    if get_origin(plain) is Literal:
        return "string", tuple(inner)
    if get_origin(plain) is list:
        return _shape(inner[0])
    if get_origin(plain) is dict and _shape(inner[0])[0] == "string":
        valued, _ = _shape(inner[1])
        return (_STRUCT if valued == _VALUE else f"map<string, {valued}>"), ()
    if isinstance(plain, type) and issubclass(plain, StrEnum):
        return "string", tuple(plain)
    if isinstance(plain, type) and issubclass(plain, Value):
        return _local_name(plain), ()
    raise TypeError(f"{plain} has no canonical JSON in protobuf")


def _values_in(value_class: type[Value]) -> Iterator[type[Value]]:
    def within(annotation: Any) -> Iterator[type[Value]]:
        if isinstance(annotation, type) and issubclass(annotation, Value):
            yield annotation
        for part in get_args(annotation):
            yield from within(part)

    for info in value_class.model_fields.values():
        yield from within(info.annotation)


def numbers_for(known: FieldNumbers, declared: Sequence[Declaration]) -> dict[str, dict[str, int]]:
    """The numbers of all fields: those known, and new ones after them."""
    return with_new_fields(known, {each.name: [field.name for field in each.fields] for each in declared})


def proto_files(declared: Sequence[Declaration], numbers: FieldNumbers, generated: str) -> dict[str, str]:
    """The text of each `.proto` file by its path; `generated` says where it comes from."""
    file_of = {each.name: each.file for each in declared}
    texts = {}
    for file in sorted(set(file_of.values())):
        own = [each for each in declared if each.file == file]
        used = {field.type for each in own for field in each.fields}
        imports = {_IMPORT_OF[name] for name in used if name in _IMPORT_OF}
        imports |= {f"{FOLDER}/{file_of[name]}" for name in used if name in file_of and file_of[name] != file}
        parts = [
            f"// {generated}\n// Limits of the values: the JSON Schemas.",
            'syntax = "proto3";',
            f"package {PACKAGE};",
        ]
        parts += ["\n".join(f'import "{name}";' for name in sorted(imports))] if imports else []
        parts += ["\n".join(_message_lines(each, numbers[each.name])) for each in own]
        texts[f"{FOLDER}/{file}"] = "\n\n".join(parts) + "\n"
    return texts


def _message_lines(declared: Declaration, numbers: Mapping[str, int]) -> Iterator[str]:
    yield from (f"// {line}".rstrip() for line in declared.description.splitlines())
    yield f"message {declared.name} {{"
    gone = removed(numbers, (field.name for field in declared.fields))
    if gone:
        yield f"  reserved {', '.join(str(number) for number in gone.values())};"
        yield f"  reserved {', '.join(json.dumps(name) for name in gone)};"
    for field in sorted(declared.fields, key=lambda field: numbers[field.name]):
        if field.notes:
            yield f"  // {' '.join(field.notes)}"
        spelled = f' [json_name = "{field.name}"]' if "_" in field.name else ""
        typed = f"{field.label} {field.type}".lstrip()
        yield f"  {typed} {field.name} = {numbers[field.name]}{spelled};"
    yield "}"
