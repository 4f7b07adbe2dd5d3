"""Decisions again: what the services' cores make today of the inputs that an event holds.

A service offers its own under the entry point group `thymos.recomputations`: a mapping from a class of events to a
function that makes such an event from what one holds.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Mapping
from typing import Any

from thymos.audit.record import LogRecord
from thymos.audit.verification import Recompute, Recomputed
from thymos.envelope import decode
from thymos.errors import (
    CannotRecomputeError,
    NoInputsError,
    PoisonError,
    ThymosError,
    UnreadableInputsError,
)
from thymos.events import DecisionMade, ExperimentDecided, WorktreeScaled
from thymos.message import Message

GROUP = "thymos.recomputations"
DECISIONS: tuple[type[Message], ...] = (DecisionMade, ExperimentDecided, WorktreeScaled)
"""What should be computed again; where nobody offers to, the report says so."""
SHOWN_MAX = 120
DIFFERING_MAX = 8

Recomputations = Mapping[type[Message], Callable[[Any], Message | None]]


def installed() -> Recomputations:
    """What the services that are installed here offer. Raises ThymosError when one cannot be loaded."""
    found: dict[type[Message], Callable[[Any], Message | None]] = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        try:
            found.update(point.load())
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise ThymosError(f"{point.name} offers no recomputations ({error}); reinstall it") from error
    return found


def recompute_with(offered: Recomputations) -> Recompute:
    """How a verification computes decisions again."""
    names = {message.NAME for message in (*DECISIONS, *offered)}

    def recompute(record: LogRecord) -> Recomputed | None:
        if record.type not in names:
            return None
        try:
            message = decode(record.body, record.subject).data
        except PoisonError as error:
            return Recomputed(broken=f"it cannot be read: {_shown(str(error))}")
        again = offered.get(type(message))
        if again is None:
            return Recomputed(cannot=f"nothing installed here computes {record.type} again")
        try:
            return Recomputed(differing(message, again(message)))
        except UnreadableInputsError as error:
            return Recomputed(broken=str(error))
        except CannotRecomputeError as error:
            return Recomputed(cannot=str(error), without_inputs=isinstance(error, NoInputsError))
        except Exception as error:  # noqa: BLE001  (an event may hold anything; today's core cannot take it)
            return Recomputed({"(all)": (record.type, f"{type(error).__name__}: {_shown(str(error))}")})

    return recompute


def differing(logged: Message, again: Message | None) -> dict[str, tuple[str, str]]:
    """The fields that differ, as dotted names: what the log says, and what comes out today, both shortened."""
    if again is None:
        return {"(all)": (logged.NAME, "no decision at all")}
    found: dict[str, tuple[str, str]] = {}
    _compare("", logged.model_dump(mode="json"), again.model_dump(mode="json"), found)
    return found


def _compare(name: str, logged: Any, again: Any, found: dict[str, tuple[str, str]]) -> None:
    if logged == again or len(found) == DIFFERING_MAX:
        return
    if isinstance(logged, dict) and isinstance(again, dict):
        for key in sorted({*logged, *again}):
            _compare(f"{name}.{key}" if name else key, logged.get(key), again.get(key), found)
    elif isinstance(logged, list) and isinstance(again, list) and len(logged) == len(again):
        for index, (one, other) in enumerate(zip(logged, again, strict=True)):
            _compare(f"{name}[{index}]", one, other, found)
    else:
        found[name] = (_shown(logged), _shown(again))


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}… ({len(text)} characters)"
