"""The held-out tasks of an agent's experiments: a file of JSON lines `{"task_id", "input", "expect"}`.

One reader for all who need it: worktree-scaler hands the tasks out and grades them, decision-engine knows their ids and
digests, `thymos config check` tells what is wrong. The whole file is checked before any of it is used; each problem
names its line. `digest` names a task's input (input_digest.py): the same content counts once in an experiment, under
whatever task id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from thymos.errors import ConfigError
from thymos.input_digest import input_digest

BYTES_MAX = 64 * 1024 * 1024
TASKS_MAX = 100_000
INPUT_BYTES_MAX = 65_536
TASK_ID_CHARACTERS_MAX = 200
PROBLEMS_MAX = 20
"""Further problems are counted, not told."""


@dataclass(frozen=True)
class ScenarioTask:
    """One held-out task. `expect` is for who grades, never for who answers."""

    task_id: str
    input: JsonValue
    expect: JsonValue
    digest: str


@dataclass(frozen=True)
class Scenario:
    """A file's tasks by id, in its order, and what is wrong with it; with problems it is not to be used."""

    tasks: Mapping[str, ScenarioTask]
    problems: Sequence[str]


def read_scenario(path: Path) -> Mapping[str, ScenarioTask]:
    """The tasks of a scenario file by id, in the file's order.

    Raises:
        ConfigError: it cannot be used; one line per problem.
    """
    scenario = check_file(path)
    if scenario.problems:
        raise ConfigError("\n".join(scenario.problems))
    return scenario.tasks


def check_file(path: Path) -> Scenario:
    """A scenario file, with what is wrong with it."""
    try:
        size = path.stat().st_size
        if size > BYTES_MAX:
            return Scenario({}, [f"{path}: has {size} bytes; at most {BYTES_MAX} are read"])
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        return Scenario({}, [f"{path}: cannot be read: {error.strerror}"])
    except UnicodeDecodeError as error:
        return Scenario({}, [f"{path}: not UTF-8: {error.reason} at byte {error.start}"])
    return parse_scenario(text, str(path))


def parse_scenario(text: str, name: str = "scenario") -> Scenario:
    """A scenario's text; `name` is what its lines are told by."""
    problems: list[str] = []
    tasks: dict[str, ScenarioTask] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            task = _task(line)
            if task.task_id in tasks:
                raise ValueError(f"task_id {task.task_id!r} was there before")
            tasks[task.task_id] = task
        except ValueError as error:
            problems.append(f"{name}:{number}: {error}")
    if not tasks and not problems:
        problems.append(f'{name}: holds no tasks; one {{"task_id", "input", "expect"}} per line')
    if len(tasks) > TASKS_MAX:
        problems.append(f"{name}: has {len(tasks)} tasks; at most {TASKS_MAX} are read")
    if len(problems) > PROBLEMS_MAX:
        problems = [*problems[:PROBLEMS_MAX], f"{name}: and {len(problems) - PROBLEMS_MAX} more"]
    return Scenario(tasks, problems)


def _task(line: str) -> ScenarioTask:
    """One line. Raises ValueError that says what is wrong with it."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"an object is needed, not {type(row).__name__}")
    missing = [key for key in ("task_id", "input", "expect") if key not in row]
    if missing:
        raise ValueError(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    task_id = row["task_id"]
    if not isinstance(task_id, str) or not 1 <= len(task_id) <= TASK_ID_CHARACTERS_MAX:
        raise ValueError(f"task_id must be text of 1 to {TASK_ID_CHARACTERS_MAX} characters")
    try:
        task_id.encode()
        size = len(json.dumps(row["input"], ensure_ascii=False).encode())
    except UnicodeEncodeError as error:
        raise ValueError("half a character (a lone surrogate) cannot be sent to an agent") from error
    if size > INPUT_BYTES_MAX:
        raise ValueError(f"input has more than {INPUT_BYTES_MAX} bytes")
    return ScenarioTask(task_id, row["input"], row["expect"], input_digest(row["input"]))
