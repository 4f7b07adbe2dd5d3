"""A small support desk: topics that memory knows by old words, questions in old and, after the drift, in new words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from string import ascii_lowercase

from thymos.commands import MemoryChange

TOPICS = tuple(a + b for a in ascii_lowercase[:3] for b in ascii_lowercase[:4])
SCENARIO_TASKS = 48
UNDERSTOOD = 0.45
"""Of the questions after the drift, those that still hold an old word."""


def _article(topic: str) -> MemoryChange:
    return MemoryChange(
        op="put", id=f"topic-{topic}", content=f"oldx{topic} oldy{topic}", kind="article",
        fields={"answer": f"answer {topic}"},
    )  # fmt: skip


def articles() -> list[MemoryChange]:
    """What memory holds in the beginning."""
    return [_article(topic) for topic in TOPICS]


def damage() -> list[MemoryChange]:
    """A bad commit: nothing is found any more."""
    return [
        MemoryChange(
            op="put", id=f"topic-{topic}", content=f"garbled{topic}", kind="article", fields={"answer": "nonsense"}
        )
        for topic in TOPICS
    ]


def question(random: Random, drifted: bool) -> tuple[str, str]:
    """A question and its answer. None is asked twice in the same words."""
    topic = random.choice(TOPICS)
    unique = "".join(random.choices(ascii_lowercase, k=10))
    if not drifted:
        words = f"oldx{topic} oldy{topic}"
    elif random.random() < UNDERSTOOD:
        words = f"newx{topic} newy{topic} oldx{topic}"
    else:
        words = f"newx{topic} newy{topic}"
    return f"{words} {unique}", f"answer {topic}"


def write_scenario(path: Path, random: Random) -> Mapping[str, str]:
    """The held-out questions, all from after the drift. Returns the answer of each question."""
    asked = [question(random, drifted=True) for _ in range(SCENARIO_TASKS)]
    lines = [
        json.dumps({"task_id": f"held-out-{number}", "input": text, "expect": answer})
        for number, (text, answer) in enumerate(asked)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return dict(asked)
