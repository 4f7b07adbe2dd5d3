"""Ids, seeds, shuffles and digests that follow from their inputs alone, so that a replay mints the same ones."""

import hashlib
import json
from collections.abc import Iterable

from pydantic import JsonValue

from thymos.events import ExperimentTask


def mint(*parts: str) -> str:
    """Twelve hex characters from the parts: 48 bits, enough for the experiments and decisions of one agent."""
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:12]


def seed_of(experiment_id: str, extra: int = 0) -> int:
    """A seed in 0 .. 2**31 - 1 for an experiment; `extra` is the configured seed of the whole run."""
    digest = hashlib.sha256(f"{experiment_id}/{extra}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def shuffled(tasks: Iterable[ExperimentTask], seed: int) -> tuple[ExperimentTask, ...]:
    """The tasks in the order of SHA-256(seed, task id): a fixed permutation that needs no generator state."""
    return tuple(sorted(tasks, key=lambda task: hashlib.sha256(f"{seed}/{task.task_id}".encode()).digest()))


def distinct(tasks: Iterable[ExperimentTask], seen: frozenset[str]) -> tuple[ExperimentTask, ...]:
    """The tasks whose content appears for the first time and is not in `seen` (shown to the generators)."""
    digests = set(seen)
    kept = []
    for task in tasks:
        if task.digest not in digests:
            digests.add(task.digest)
            kept.append(task)
    return tuple(kept)


def digest_of(task_input: JsonValue) -> str:
    """SHA-256 (hex) of a task input's canonical JSON: sorted keys, no spaces, UTF-8. Equal content, equal digest."""
    text = json.dumps(task_input, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
