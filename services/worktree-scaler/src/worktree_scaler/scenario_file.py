"""The held-out tasks of an agent's experiments: a file of JSON lines `{"task_id", "input", "expect"}`.

The whole file is checked before any of it is used; a problem names its line. `digest` names a task's
input (see `thymos.input_digest`): the same content counts once in an experiment, under whatever task id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from thymos.errors import Refusal, RefusalCode
from thymos.input_digest import input_digest

BYTES_MAX = 64 * 1024 * 1024
TASKS_MAX = 100_000
INPUT_BYTES_MAX = 65_536
TASK_ID_CHARACTERS_MAX = 200


@dataclass(frozen=True)
class ScenarioTask:
    """One held-out task. `expect` never leaves the scaler."""

    task_id: str
    input: JsonValue
    expect: JsonValue
    digest: str


def read_scenario(path: Path) -> Mapping[str, ScenarioTask]:
    """The tasks of a scenario file by id, in the file's order.

    Raises:
        Refusal: the file cannot be read, is too large, or has a line that is no task; the text
        names the line.
    """
    try:
        size = path.stat().st_size
        if size > BYTES_MAX:
            raise Refusal(RefusalCode.TOO_LARGE, f"scenario {path} has {size} bytes; at most {BYTES_MAX} are read")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(RefusalCode.INVALID, f"scenario {path} cannot be read: {error}") from error
    return parse_scenario(text, str(path))


def parse_scenario(text: str, name: str = "scenario") -> Mapping[str, ScenarioTask]:
    """The tasks in a scenario file's text. Raises Refusal as `read_scenario` does."""
    tasks: dict[str, ScenarioTask] = {}
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        task = _task(line, f"{name}:{number}")
        if task.task_id in tasks:
            raise Refusal(RefusalCode.INVALID, f"{name}:{number}: task_id {task.task_id!r} was there before")
        tasks[task.task_id] = task
        if len(tasks) > TASKS_MAX:
            raise Refusal(RefusalCode.TOO_LARGE, f"{name} has more than {TASKS_MAX} tasks")
    if not tasks:
        raise Refusal(RefusalCode.INVALID, f"{name} holds no tasks", 'one {"task_id", "input", "expect"} per line')
    return tasks


def _task(line: str, where: str) -> ScenarioTask:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Refusal(RefusalCode.INVALID, f"{where}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise Refusal(RefusalCode.INVALID, f"{where}: an object is needed, not {type(row).__name__}")
    for key in ("task_id", "input", "expect"):
        if key not in row:
            raise Refusal(RefusalCode.INVALID, f"{where}: {key} is missing")
    task_id = row["task_id"]
    if not isinstance(task_id, str) or not 1 <= len(task_id) <= TASK_ID_CHARACTERS_MAX:
        raise Refusal(RefusalCode.INVALID, f"{where}: task_id must be text of 1 to {TASK_ID_CHARACTERS_MAX} characters")
    if len(json.dumps(row["input"], ensure_ascii=False).encode()) > INPUT_BYTES_MAX:
        raise Refusal(RefusalCode.TOO_LARGE, f"{where}: input has more than {INPUT_BYTES_MAX} bytes")
    return ScenarioTask(task_id, row["input"], row["expect"], input_digest(row["input"]))
