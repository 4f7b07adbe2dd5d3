"""Conditions on the fields of memories: what a search or a listing is narrowed by. Pure.

A filter is a JSON object: each key is a path into `fields`, its parts joined by ".", each value what stands there, or
an object of operators. All of them have to hold.

    {"topic": "refunds", "weight": {"$gte": 3}, "author.name": {"$in": ["jo", "kim"]}, "old": {"$exists": false}}

    $eq $ne             equal as JSON is (1, 1.0 and true differ); without an operator it is $eq
    $gt $gte $lt $lte   of two numbers, or of two texts by their characters; of anything else never
    $in $nin            one of a list, or none of it
    $contains           a list holds this value; a text holds this text
    $exists             whether the path is there at all; the other operators, but $ne and $nin, need it to be

No path begins with "$": conditions are joined in no other way, so that $and, $or and $not are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from memory_repository.core import limits
from memory_repository.core.canonical import canonical_json, exact, plain_json

CONDITIONS_MAX: Final = 32
PATH_CHARACTERS_MAX: Final = 400
LISTED_MAX: Final = 1_000
"""Values of one `$in` or `$nin`."""

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: the keys of the path, the operator without its sign, and what it compares with.

    That is a canonical encoding where it asks for the same JSON, and a set of them for one of a list: they are made
    once, not for each memory that is looked at.
    """

    path: tuple[str, ...]
    operator: str
    value: Any

    def holds(self, fields: Mapping[str, Any]) -> bool:
        """Whether it holds for the fields of a memory."""
        found: Any = fields
        for key in self.path:
            found = found.get(key, _ABSENT) if isinstance(found, Mapping) else _ABSENT
        if self.operator == "exists":
            return (found is not _ABSENT) is self.value
        if found is _ABSENT:
            return self.operator in ("ne", "nin")
        return _OPERATORS[self.operator](found, self.value)


@dataclass(frozen=True, slots=True)
class Filter:
    """All conditions have to hold; a filter without any holds for everything."""

    conditions: tuple[Condition, ...] = ()

    def holds(self, fields: Mapping[str, Any]) -> bool:
        """Whether it holds for the fields of a memory."""
        return all(condition.holds(fields) for condition in self.conditions)


EVERYTHING: Final = Filter()


def parse(where: Mapping[str, Any] | None) -> Filter:
    """Read a filter. Raises Refusal (invalid, too_large) that names what is wrong."""
    if where is None:
        return EVERYTHING
    limits.check_object("the filter", where)
    found = [condition for path, wanted in plain_json(where).items() for condition in _conditions(path, wanted)]
    if len(found) > CONDITIONS_MAX:
        raise limits.too_large("the filter", len(found), CONDITIONS_MAX, "conditions")
    return Filter(tuple(found))


def _conditions(path: str, wanted: Any) -> list[Condition]:
    if path.startswith("$"):
        joined = f"all conditions have to hold, nothing else joins them; for the value of a path there are {_known()}"
        hint = f"{joined}; a field whose own name begins with $ cannot be asked for"
        raise limits.invalid(f"{path!r:.60} is no path into fields", hint)
    if not path or len(path) > PATH_CHARACTERS_MAX:
        raise limits.invalid(f"{path!r:.60} is no path into fields", "name a field, or fields within it as `a.b`")
    keys = tuple(path.split("."))
    if not isinstance(wanted, Mapping) or not any(str(key).startswith("$") for key in wanted):
        return [_condition(keys, "eq", wanted)]
    return [_condition(keys, _operator(path, sign, value), value) for sign, value in wanted.items()]


def _condition(keys: tuple[str, ...], operator: str, value: Any) -> Condition:
    if operator in ("eq", "ne"):
        value = canonical_json(value)
    elif operator in ("in", "nin"):
        value = frozenset(map(canonical_json, value))
    return Condition(keys, operator, value)


def _operator(path: str, sign: str, value: Any) -> str:
    name = sign.removeprefix("$")
    if not sign.startswith("$") or (name != "exists" and name not in _OPERATORS):
        raise limits.invalid(f"the filter on {path} has an unknown operator {sign!r:.40}", f"there are {_known()}")
    if name in ("in", "nin") and not (isinstance(value, list) and len(value) <= LISTED_MAX):
        raise limits.invalid(f"{sign} of the filter on {path} needs a list of at most {LISTED_MAX} values")
    if name == "exists" and not isinstance(value, bool):
        raise limits.invalid(f"{sign} of the filter on {path} needs true or false")
    return name


def _known() -> str:
    return ", ".join(f"${known}" for known in (*_OPERATORS, "exists"))


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def holds(found: Any, wanted: Any) -> bool:
        return _comparable(found, wanted) and compare(found, wanted)

    return holds


def _comparable(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return True
    return all(isinstance(each, int | float) and not isinstance(each, bool) for each in (one, other))


def _contains(found: Any, wanted: Any) -> bool:
    if isinstance(found, str):
        return isinstance(wanted, str) and wanted in found
    # Python's == is quick, and holds wherever both are the same JSON; where it holds, 1 may still stand for true.
    return isinstance(found, list) and wanted in found and exact(wanted) in exact(found)


_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda found, wanted: canonical_json(found) == wanted,
    "ne": lambda found, wanted: canonical_json(found) != wanted,
    "gt": _ordered(lambda found, wanted: found > wanted),
    "gte": _ordered(lambda found, wanted: found >= wanted),
    "lt": _ordered(lambda found, wanted: found < wanted),
    "lte": _ordered(lambda found, wanted: found <= wanted),
    "in": lambda found, wanted: canonical_json(found) in wanted,
    "nin": lambda found, wanted: canonical_json(found) not in wanted,
    "contains": _contains,
}
