"""A decision, an experiment or a scaling in words: the rule, the evidence in numbers, what was done, and what not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from thymos.audit.causes import COMMAND_OF, LoggedEvent

TEXT_MAX = 200
_HIDDEN = {"basis", "drop", "metrics", "window", "crash", "arms", "control", "readings", "detector", "suspects"}


def rule_lines(made: LoggedEvent) -> list[str]:
    """The rule that a decision followed, with its settings."""
    inputs = made.data.get("inputs") or {}
    settings = [
        f"{name} {value}"
        for name, value in (("priority", inputs.get("priority")), ("cooldown", inputs.get("cooldown_seconds")))
        if value not in (None, "")
    ]
    condition, action = _typed(inputs.get("condition")), _typed(inputs.get("action"))
    told = f"rule {made.data.get('rule')}"
    if condition or action:
        told += f": when {condition or '?'}, then {action or '?'}"
    settings.append(f"mode {made.data.get('mode')}")
    return [f"{told} ({', '.join(settings)})"]


def _typed(value: object) -> str:
    """`{"type": "Rollback", "target_commit": null}` as `Rollback`; settings that are set follow."""
    if not isinstance(value, Mapping):
        return ""
    given = [f"{name}={_short(v)}" for name, v in value.items() if name != "type" and v is not None]
    return " ".join([str(value.get("type", "")), *given])


def evidence_lines(data: Mapping[str, Any]) -> list[str]:
    """The numbers of a decision (`inputs.found`), or of an experiment's event (`arms`, `control`)."""
    found = (data.get("inputs") or {}).get("found") if "decision_id" in data else data
    if not isinstance(found, Mapping):
        return []
    lines = [_arm_line(arm) for arm in found.get("arms") or [] if isinstance(arm, Mapping)]
    control = found.get("control")
    if isinstance(control, Mapping) and control:
        lines.append(f"control: {control.get('successes')} successes in {control.get('pairs')} pairs")
    lines += _detector_lines(found)
    lines += [_reading_line(name, each) for name, each in (found.get("readings") or {}).items()]
    if "decision_id" in data:
        scalars = {name: v for name, v in found.items() if name not in _HIDDEN and isinstance(v, str | int | float)}
        if scalars:
            lines.append(", ".join(f"{name.replace('_', ' ')} {_short(v)}" for name, v in scalars.items()))
    suspects = found.get("suspects")
    if isinstance(suspects, list) and suspects:
        lines.append(f"suspected: commit {', '.join(_short(s) for s in suspects)}")
    return lines


def _arm_line(arm: Mapping[str, Any]) -> str:
    return (
        f"{arm.get('arm')}: {arm.get('pairs')} pairs, {arm.get('wins')} wins, {arm.get('losses')} losses, "
        f"{arm.get('ties')} ties, E {_number(arm.get('e_value'))} (threshold {_number(arm.get('threshold'))}): "
        f"{arm.get('verdict')}"
    )


def _detector_lines(found: Mapping[str, Any]) -> list[str]:
    detector = found.get("detector")
    if not isinstance(detector, Mapping):
        return []
    return [
        f"drop detector: {detector.get('failures')} failures in {detector.get('samples')} outcomes, expected at most "
        f"{_per_mille(detector.get('limit_per_mille'))} of them; alarm at {detector.get('alarm_at_mean')}"
    ]


def _reading_line(name: str, reading: object) -> str:
    if not isinstance(reading, Mapping):
        return f"{name}: {_short(reading)}"
    crossed = "crossed" if reading.get("crossed") else "not crossed"
    value, threshold = _number(reading.get("e_value")), _number(reading.get("threshold"))
    return f"{name.replace('_', ' ')}: evidence {value} (threshold {threshold}, {crossed})"


def scaling_lines(scaled: LoggedEvent) -> list[str]:
    """The signal that the number of worktrees follows, and the policy where the event holds it."""
    lines = []
    for title, values in (("signal", scaled.data.get("signal")), ("policy", _policy(scaled))):
        if isinstance(values, Mapping) and values:
            told = (f"{name.replace('_', ' ')} {_short(value)}" for name, value in values.items())
            lines.append(f"{title}: {', '.join(told)}")
    return lines


def _policy(scaled: LoggedEvent) -> object:
    inputs = scaled.data.get("inputs")
    return inputs.get("policy") if isinstance(inputs, Mapping) else None


def done_lines(made: LoggedEvent) -> list[str]:
    """What a decision did, and what it left, and why."""
    actions = [action for action in made.data.get("actions") or [] if isinstance(action, Mapping)]
    lines = [f"{action.get('type')}: {action.get('words') or _typed(action)}" for action in actions]
    lines += [
        f"not done: {each.get('action')}: {each.get('why')}"
        for each in made.data.get("not_done") or []
        if isinstance(each, Mapping)
    ]
    return lines or ["nothing was done"]


def chain_lines(events: Sequence[LoggedEvent]) -> list[str]:
    """Events in order, oldest first, each with the command that it answers; the same ones in a row are one line."""
    lines: list[str] = []
    index = 0
    while index < len(events):
        alike = index + 1
        while alike < len(events) and _alike(events[index], events[alike]):
            alike += 1
        lines.append(_event_line(events[index], events[index:alike]))
        index = alike
    return lines


def _alike(one: LoggedEvent, other: LoggedEvent) -> bool:
    return one.type == other.type and one.type not in ("decision.made", "branch.merged", "branch.rolled_back")


def _event_line(event: LoggedEvent, alike: Sequence[LoggedEvent]) -> str:
    command = COMMAND_OF.get(event.type)
    by = f"command {command} -> " if command and event.causation_id else ""
    times = f" x{len(alike)}" if len(alike) > 1 else ""
    return f"{event.time[11:19]}  {by}{event.type}{times} {event.id[:8]} (event {event.sequence}): {words_of(event)}"


def words_of(event: LoggedEvent) -> str:
    """What an event says, in a few words."""
    data = event.data
    match event.type:
        case "decision.made":
            return f"rule {data.get('rule')}: {data.get('reason')}"
        case "branch.merged":
            return f"{data.get('source')} into {data.get('target')} as commit {_short(data.get('commit'))}"
        case "branch.rolled_back":
            restored, revert = _short(data.get("restored_commit")), _short(data.get("revert_commit"))
            return f"{data.get('branch')} back to commit {restored}, as commit {revert}"
        case "commit.created":
            return f"{data.get('author')} on {data.get('branch')}: {data.get('message')} ({_short(data.get('commit'))})"
        case "worktree.scaled":
            return f"{data.get('branch')} from {data.get('from_count')} to {data.get('to_count')}: {data.get('reason')}"
        case "variants.prepared":
            return ", ".join(str(v.get("name")) for v in data.get("variants") or [] if isinstance(v, Mapping))
    facts = [data.get("branch"), data.get("verdict"), data.get("reason")]
    return ", ".join(_short(fact) for fact in facts if isinstance(fact, str) and fact) or "-"


def distinct(lines: Iterable[str]) -> list[str]:
    """Lines without repetitions."""
    return list(dict.fromkeys(lines))


def _number(value: object) -> str:
    """A number that may be exact ("n/d") as a person reads it."""
    try:
        return f"{float(Fraction(str(value))):.4g}"
    except (ValueError, ZeroDivisionError, OverflowError):
        return str(value)


def _per_mille(value: object) -> str:
    return f"{value / 10:g} %" if isinstance(value, int | float) else str(value)


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    hexadecimal = len(text) >= 40 and not set(text) - set("0123456789abcdef")
    return text[:12] if hexadecimal else text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"
