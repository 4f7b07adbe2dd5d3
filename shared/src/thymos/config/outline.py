"""The shape of the configuration, read off its models: which keys there are, where, and what each expects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from thymos.config.readers import Reads, choice, in_toml
from thymos.config.section import Section
from thymos.config.sections import Config
from thymos.config.toml_lines import KeyPath


@dataclass(frozen=True)
class Variants:
    """A table whose keys depend on its `type`."""

    by_type: Mapping[str, type[Section]]

    @property
    def type(self) -> Reads:
        """What the key `type` expects."""
        return choice(*self.by_type)


@dataclass(frozen=True)
class Tables:
    """Several tables of one shape: an array (`is_array`), or named ones."""

    each: type[Section]
    is_array: bool


Node = Reads | type[Section] | Variants | Tables


def node_of(field: FieldInfo) -> Node:
    """What stands under a key."""
    return _node(field.annotation, field.metadata)


def aliases_of(field: FieldInfo) -> tuple[str, ...]:
    """The other names that a key may be written as."""
    if not isinstance(field.validation_alias, AliasChoices):
        return ()
    return tuple(str(alias) for alias in field.validation_alias.choices)[1:]


def names_of(section: type[Section]) -> dict[str, FieldInfo]:
    """Every name that a key of `section` may be written as, the proper names first."""
    proper = section.model_fields
    return dict(proper) | {alias: field for field in proper.values() for alias in aliases_of(field)}


def locate(location: tuple[str | int, ...]) -> tuple[KeyPath, Node | None]:
    """The path of keys that `location` means, and what stands there (None: no such key).

    `location` may hold, as pydantic's do, the `type` of a variant after its key; the path leaves it out.
    """
    node: Node | None = Config
    path: KeyPath = ()
    for part in location:
        if isinstance(node, Variants) and part in node.by_type:
            node = node.by_type[str(part)]
            continue
        path = (*path, part)
        node = _child(node, part)
    return path, node


def places_named(key: str) -> list[KeyPath]:
    """The paths of all fixed tables and keys called `key`."""
    return [path for path, _ in fixed_keys() if path[-1] == key]


def fixed_keys(section: type[Section] = Config, path: KeyPath = ()) -> Iterator[tuple[KeyPath, FieldInfo]]:
    """Every key that exists exactly once, tables included: not those of rules and agents."""
    for name, field in section.model_fields.items():
        yield (*path, name), field
        node = node_of(field)
        if isinstance(node, type):
            yield from fixed_keys(node, (*path, name))


def _child(node: Node | None, part: str | int) -> Node | None:
    if isinstance(node, type):
        field = names_of(node).get(str(part))
        return node_of(field) if field else None
    if isinstance(node, Tables) and node.is_array == isinstance(part, int):
        return node.each
    if isinstance(node, Variants) and part == "type":
        return node.type
    return None


def _node(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> Node:
    for item in metadata:
        if isinstance(item, Reads):
            return item
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _node(arguments[0], arguments[1:])
    if origin in (Union, UnionType):
        members = [member for member in arguments if member is not type(None)]
        return _node(members[0]) if len(members) == 1 else _variants(members)
    if origin is Literal:
        return Reads(in_toml(arguments[0]), str, is_text=True)
    if origin is tuple:
        return Tables(arguments[0], is_array=True)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return Tables(arguments[1], is_array=False)


def _variants(members: list[type[Section]]) -> Variants:
    return Variants({str(member.model_fields["type"].default): member for member in members})
