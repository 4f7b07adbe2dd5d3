"""What is wrong with a scenario file: JSON lines `{"task_id", "input", "expect"}`, checked without a service.

The limits are worktree-scaler's, which reads the file to run it; a test holds the two together.
"""

from __future__ import annotations

import json
from pathlib import Path

BYTES_MAX = 64 * 1024 * 1024
TASKS_MAX = 100_000
INPUT_BYTES_MAX = 65_536
TASK_ID_CHARACTERS_MAX = 200
PROBLEMS_MAX = 20
"""Further problems are counted, not told."""


def problems_of_file(path: Path) -> list[str]:
    """What is wrong with a scenario file, each with its line; empty when it can be run."""
    try:
        size = path.stat().st_size
        if size > BYTES_MAX:
            return [f"{path}: has {size} bytes; at most {BYTES_MAX} are read"]
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        return [f"{path}: cannot be read: {error.strerror}"]
    except UnicodeDecodeError as error:
        return [f"{path}: not UTF-8: {error.reason} at byte {error.start}"]
    return problems_of_text(text, str(path))


def problems_of_text(text: str, name: str) -> list[str]:
    """What is wrong with a scenario's text; `name` is what its lines are told by."""
    problems: list[str] = []
    lines_of: dict[str, int] = {}
    tasks = 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        tasks += 1
        task_id, problem = _read(line)
        if not problem and task_id in lines_of:
            problem = f"task_id {task_id!r} was there before, on line {lines_of[task_id]}"
        lines_of.setdefault(task_id, number)
        if problem:
            problems.append(f"{name}:{number}: {problem}")
    if not tasks:
        problems.append(f'{name}: holds no tasks; one {{"task_id", "input", "expect"}} per line')
    if tasks > TASKS_MAX:
        problems.append(f"{name}: has {tasks} tasks; at most {TASKS_MAX} are read")
    if len(problems) > PROBLEMS_MAX:
        return [*problems[:PROBLEMS_MAX], f"{name}: and {len(problems) - PROBLEMS_MAX} more"]
    return problems


def _read(line: str) -> tuple[str, str]:
    """A line's task id (empty where it has none), and what is wrong with the line."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return "", f"not JSON: {error}"
    if not isinstance(row, dict):
        return "", f"an object is needed, not {type(row).__name__}"
    missing = [key for key in ("task_id", "input", "expect") if key not in row]
    if missing:
        return "", f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    task_id = row["task_id"]
    if not isinstance(task_id, str) or not 1 <= len(task_id) <= TASK_ID_CHARACTERS_MAX:
        return "", f"task_id must be text of 1 to {TASK_ID_CHARACTERS_MAX} characters"
    try:
        task_id.encode()
        size = len(json.dumps(row["input"], ensure_ascii=False).encode())
    except UnicodeEncodeError:
        return task_id, "half a character (a lone surrogate) cannot be sent to an agent"
    return task_id, f"input has more than {INPUT_BYTES_MAX} bytes" if size > INPUT_BYTES_MAX else ""
