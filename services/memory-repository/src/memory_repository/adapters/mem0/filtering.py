"""Whose memories are meant, and which of them. A call without a scope is an error, never everybody's memories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

SCOPES: Final = ("user_id", "agent_id", "run_id")
IDENTITIES: Final = (*SCOPES, "actor_id")
"""What metadata cannot set: it would put a memory where its writer did not say it goes."""
DEPTH_MAX: Final = 8
"""Levels of AND, OR and NOT."""
_COMBINED: Final = ("AND", "OR", "NOT")
_TEXTS: Final = ("id", "memory", "hash", "actor_id", "role")
"""What of every memory is text."""
_HINT: Final = "Example: filters={'user_id': 'u1'}"


def scope(given: Mapping[str, Any]) -> dict[str, str]:
    """The scope that a call names: at least one of user_id, agent_id, run_id.

    Raises:
        ValueError: there is none, or one that is empty or holds white space, an operator or a wildcard.
    """
    found = {name: _identity(name, given[name]) for name in SCOPES if given.get(name) is not None}
    if not found:
        raise ValueError(f"At least one of {', '.join(SCOPES)} must be provided. {_HINT}")
    return found


def split(filters: Mapping[str, Any] | None) -> tuple[dict[str, str], dict[str, Any]]:
    """The scope that filters name, and the other filters.

    Raises:
        ValueError: as `scope` does; filters that are no dict, an operator that is not known or whose list is none, more
            than 8 levels.
    """
    if filters is not None and not isinstance(filters, Mapping):
        raise ValueError(f"filters must be a dict, got {type(filters).__name__}. {_HINT}")
    given = dict(filters or {})
    if empty := [name for name in SCOPES if name in given and given[name] is None]:
        raise ValueError(f"Invalid {empty[0]}: None is nobody. Leave it out, or provide a valid identifier.")
    others = {name: part for name, part in given.items() if name not in SCOPES}
    _check(others)
    return scope(given), others


def reject_top_level(arguments: Mapping[str, Any], method: str) -> None:
    """Raise ValueError for a scope that is not in `filters`, TypeError for any other unknown argument."""
    for name in arguments:
        if name in SCOPES:
            raise ValueError(f"Top-level entity parameters {{{name!r}}} are not supported in {method}(). {_HINT}")
        raise TypeError(f"{method}() got an unexpected keyword argument {name!r}")


def matches(facts: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    """Whether what is known of a memory passes every filter; `split` has checked them."""
    return all(_passes(facts, name, wanted) for name, wanted in filters.items())


def _check(filters: Mapping[str, Any], depth: int = 0) -> None:
    """Raise ValueError for filters that cannot be, whatever there is to find."""
    if depth >= DEPTH_MAX:
        raise ValueError(f"filters are nested more than {DEPTH_MAX} levels deep")
    for name, wanted in filters.items():
        if name in _COMBINED:
            if not isinstance(wanted, list) or not all(isinstance(part, Mapping) for part in wanted):
                raise ValueError(f"{name} operator requires a list of conditions")
            for part in wanted:
                _check(part, depth + 1)
        elif isinstance(wanted, Mapping):
            for operator, operand in wanted.items():
                _check_operator(name, operator, operand)


def _check_operator(name: str, operator: str, operand: Any) -> None:
    if operator not in _OPERATORS:
        raise ValueError(f"Unsupported metadata filter operator: {operator}")
    if operator in ("in", "nin") and not isinstance(operand, list | tuple | set | frozenset):
        raise ValueError(f"{operator} operator requires a list of values, got {type(operand).__name__}")
    if operator == "contains" and name in _TEXTS and not isinstance(operand, str):
        raise ValueError(f"{name} is text and contains only text, got {type(operand).__name__}")


def _passes(facts: Mapping[str, Any], name: str, wanted: Any) -> bool:
    if name in _COMBINED:
        found = [matches(facts, part) for part in wanted]
        return all(found) if name == "AND" else any(found) if name == "OR" else not any(found)
    if isinstance(wanted, Mapping):
        return all(_OPERATORS[operator](facts.get(name), operand) for operator, operand in wanted.items())
    return name in facts if wanted == "*" else bool(facts.get(name) == wanted)


def _contains(found: Any, operand: Any) -> bool:
    return (
        operand in found
        if isinstance(found, list)
        else isinstance(found, str) and isinstance(operand, str) and operand in found
    )


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compared(found: Any, operand: Any) -> bool:
        numbers = all(isinstance(side, int | float) and not isinstance(side, bool) for side in (found, operand))
        return (numbers or (isinstance(found, str) and isinstance(operand, str))) and compare(found, operand)

    return compared


_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda found, operand: bool(found == operand),
    "ne": lambda found, operand: bool(found != operand),
    "in": lambda found, operand: found in list(operand),
    "nin": lambda found, operand: found not in list(operand),
    "gt": _ordered(lambda found, operand: found > operand),
    "gte": _ordered(lambda found, operand: found >= operand),
    "lt": _ordered(lambda found, operand: found < operand),
    "lte": _ordered(lambda found, operand: found <= operand),
    "contains": _contains,
    "icontains": lambda found, operand: isinstance(found, str) and str(operand).casefold() in found.casefold(),
}


def _identity(name: str, value: Any) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError(f"Invalid {name}: must be text or a number, got {type(value).__name__}.")
    trimmed = str(value).strip()
    if not trimmed or trimmed == "*":
        raise ValueError(f"Invalid {name}: {trimmed!r} is nobody. Provide a valid identifier.")
    if any(character.isspace() for character in trimmed):
        raise ValueError(f"Invalid {name}: cannot contain whitespace. Provide a valid identifier without spaces.")
    return trimmed
