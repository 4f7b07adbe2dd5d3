"""What a search and a listing of namespaces leave out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt
from typing import Any, Final

from langgraph.store.base import MatchCondition

_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {"$gt": gt, "$gte": ge, "$lt": lt, "$lte": le}


def matches(value: Mapping[str, Any], filter: Mapping[str, Any] | None) -> bool:
    """Whether a value has everything that a filter asks for; a name may be a path of keys, with dots between.

    Raises:
        ValueError: an operator that is not known.
    """
    return all(_has(_part(value, name), wanted) for name, wanted in (filter or {}).items())


def in_namespace(namespace: tuple[str, ...], condition: MatchCondition) -> bool:
    """Whether a namespace begins, or ends, with a path; "*" stands for any one label."""
    path = tuple(condition.path)
    if len(path) > len(namespace):
        return False
    if condition.match_type not in ("prefix", "suffix"):
        raise ValueError(f"Unsupported match type: {condition.match_type}")
    part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", label) for label, wanted in zip(part, path, strict=True))


def _part(value: Mapping[str, Any], name: str) -> Any:
    # A key with a dot in it comes before a path.
    first, dot, rest = name.partition(".")
    if name in value or not dot:
        return value.get(name)
    below = value.get(first)
    return _part(below, rest) if isinstance(below, Mapping) else None


def _has(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if any(str(name).startswith("$") for name in wanted):
            return all(_compares(found, operator, operand) for operator, operand in wanted.items())
        return isinstance(found, Mapping) and all(_has(found.get(name), part) for name, part in wanted.items())
    if isinstance(wanted, list | tuple):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(_has(part, wanted_part) for part, wanted_part in zip(found, wanted, strict=True))
        )
    return _equal(found, wanted)


def _compares(found: Any, operator: str, operand: Any) -> bool:
    if operator == "$eq":
        return _equal(found, operand)
    if operator == "$ne":
        return not _equal(found, operand)
    if operator not in _ORDER:
        raise ValueError(f"Unsupported operator: {operator}")
    return _kind(found) == _kind(operand) != "" and _ORDER[operator](found, operand)


def _equal(one: Any, other: Any) -> bool:
    # True is no number here, as in JSON.
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else ""
