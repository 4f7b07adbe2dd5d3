"""How numbers in `fields` merge that both sides changed: by a rule that somebody declared, else they collide.

    sum     base + what ours added + what theirs added: counters. Two that both count from 10 to 11 make 12
    max     the larger one: high-water marks, versions
    min     the smaller one

A rule is declared for one field, by its path. Without a rule two changed numbers are a conflict: nobody can know
whether 3 and 4 are counts, prices or opinions. A sum beyond the limits of numbers is a conflict, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from memory_repository.core import limits
from memory_repository.core.canonical import canonical_json


class NumberRule(StrEnum):
    """What two changed numbers become; see the module."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"


NumberRules = Mapping[str, NumberRule]
"""Rules by path below `fields`: keys joined by "/", each escaped as in RFC 6901 (`~` as `~0`, `/` as `~1`)."""


def pointer(keys: Sequence[str]) -> str:
    """The path of a value: its keys joined by "/", escaped as in RFC 6901, so that every path is of one value."""
    return "/".join(key.replace("~", "~0").replace("/", "~1") for key in keys)


def merged_number(rule: NumberRule, base: Any, ours: Any, theirs: Any) -> int | float | None:
    """The merged number; None where the rule does not apply: one is no number, or the sum is beyond the limits.

    An absent base counts as 0 in a sum: both began to count.
    """
    if not _is_number(ours) or not _is_number(theirs):
        return None
    if rule is NumberRule.SUM:
        start = 0 if base is None else base
        return _within(ours + theirs - start) if _is_number(start) else None
    # 1 and 1.0 compare as equal and are different values: the encoding decides, not who is ours.
    ordered = sorted((ours, theirs), key=lambda number: (number, canonical_json(number)))
    chosen: int | float = ordered[-1 if rule is NumberRule.MAX else 0]
    return chosen


def has_sums(rules: NumberRules) -> bool:
    """Whether equal sides may have counted apart."""
    return NumberRule.SUM in rules.values()


def is_counter(rule: NumberRule | None, base: Any, value: Any) -> bool:
    """Whether a value at which both sides arrived is what each of them has counted."""
    return rule is NumberRule.SUM and _is_number(value) and (base is None or _is_number(base))


def check_rules(rules: Mapping[str, str]) -> dict[str, NumberRule]:
    """Rules as given from outside. Raises Refusal (invalid, too_large)."""
    limits.check_is("the set of number rules", Mapping, rules)
    if len(rules) > limits.NUMBER_RULES_MAX:
        raise limits.too_large("the set of number rules", len(rules), limits.NUMBER_RULES_MAX, "rules")
    checked: dict[str, NumberRule] = {}
    for path, rule in rules.items():
        limits.check_field_path(path)
        checked[path] = limits.check_choice("rule for numbers", NumberRule, rule)
    return checked


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _within(number: int | float) -> int | float | None:
    if isinstance(number, float):
        return number if math.isfinite(number) else None
    return number if -limits.INTEGER_MAX < number < limits.INTEGER_MAX else None
