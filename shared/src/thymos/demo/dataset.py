"""The demo's data set: loading, validation, and the scenario file made from it.

The files lie beside this module in `data/`; their README says how they came to be. Loading checks what its
readers rely on, so that a careless edit fails here, with file and line, and not as a puzzling success rate.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import TypeVar

from pydantic import ValidationError

from thymos.commands import MemoryChange
from thymos.errors import ConfigError

BAD_COMMIT_AUTHOR = "a colleague"
BAD_COMMIT_MESSAGE = "Clean up: bring the articles in line with the printed handbook"

T = TypeVar("T")


class Wording(StrEnum):
    """Whose words a question uses: the company's, or the customers' own."""

    PLAIN = "plain"
    DRIFTED = "drifted"


class Use(StrEnum):
    """What a question is for. A question has one use; nothing learns from `SCENARIO` and `AFTERWARDS`."""

    LIVE_PLAIN = "live_plain"
    LIVE_DRIFTED = "live_drifted"
    SCENARIO = "scenario"
    AFTERWARDS = "afterwards"


@dataclass(frozen=True, slots=True)
class Memory:
    """One article of the knowledge base; `answer` is what an agent says when it recalls this article."""

    id: str
    content: str
    answer: str


@dataclass(frozen=True, slots=True)
class Question:
    """A customer's question, with the one answer that counts as right."""

    task_id: str
    topic: str
    wording: Wording
    use: Use
    input: str
    expect: str

    def is_answered_by(self, output: str | None) -> bool:
        """Whether an answer is right: the expected text, exactly."""
        return output == self.expect


@dataclass(frozen=True, slots=True)
class Dataset:
    """The whole data set, in the order of its files; `bad_commit` is what the careless colleague commits."""

    memories: tuple[Memory, ...]
    questions: tuple[Question, ...]
    bad_commit: tuple[MemoryChange, ...]

    def questions_for(self, use: Use) -> tuple[Question, ...]:
        """The questions of one use, in file order (by topic: shuffle them before asking)."""
        return tuple(question for question in self.questions if question.use is use)

    def first_commit(self) -> tuple[MemoryChange, ...]:
        """The changes that put the knowledge base into an empty memory."""
        return tuple(
            MemoryChange(op="put", id=memory.id, content=memory.content, fields={"answer": memory.answer})
            for memory in self.memories
        )

    def scenario_lines(self) -> str:
        """The held-out questions as a scenario file: JSON lines of `task_id`, `input` and `expect`."""
        rows = (
            {"task_id": question.task_id, "input": question.input, "expect": question.expect}
            for question in self.questions_for(Use.SCENARIO)
        )
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def load_dataset() -> Dataset:
    """Read and check the data set that comes with the package.

    Raises:
        ConfigError: a file is damaged; the text names the file, the line and what is wrong.
    """
    folder = resources.files("thymos.demo") / "data"

    def read(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    return parse_dataset(read("memories.jsonl"), read("questions.jsonl"), read("bad_commit.jsonl"))


def parse_dataset(memories: str, questions: str, bad_commit: str) -> Dataset:
    """Build the data set from the text of its three files.

    Raises:
        ConfigError: a line cannot be read, or the files do not fit together.
    """
    dataset = Dataset(
        memories=_parse_lines("memories.jsonl", memories, _memory),
        questions=_parse_lines("questions.jsonl", questions, _question),
        bad_commit=_parse_lines("bad_commit.jsonl", bad_commit, MemoryChange.model_validate),
    )
    _check_memories(dataset)
    _check_questions(dataset)
    _check_bad_commit(dataset)
    return dataset


def normalise(text: str) -> str:
    """The words of a text, lower-cased, with one space between them: what makes two questions the same."""
    return " ".join(re.findall(r"\w+", text.lower()))


def _parse_lines(name: str, text: str, build: Callable[[dict[str, object]], T]) -> tuple[T, ...]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            rows.append(build(json.loads(line)))
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise ConfigError(f"{name}, line {number}: {type(error).__name__}: {error}") from error
    return tuple(rows)


def _text(row: dict[str, object], key: str) -> str:
    value = row[key]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} must be a text that is not empty")
    return value


def _memory(row: dict[str, object]) -> Memory:
    fields = row["fields"]
    if not isinstance(fields, dict):
        raise ValueError("fields must be an object")
    return Memory(id=_text(row, "id"), content=_text(row, "content"), answer=_text(fields, "answer"))


def _question(row: dict[str, object]) -> Question:
    question = Question(
        task_id=_text(row, "task_id"),
        topic=_text(row, "topic"),
        wording=Wording(_text(row, "wording")),
        use=Use(_text(row, "use")),
        input=_text(row, "input"),
        expect=_text(row, "expect"),
    )
    if (question.use is Use.LIVE_PLAIN) != (question.wording is Wording.PLAIN):
        raise ValueError(f"use {question.use.value} does not go with wording {question.wording.value}")
    return question


def _check_memories(dataset: Dataset) -> None:
    _check_distinct("memories.jsonl", "id", (memory.id for memory in dataset.memories))
    _check_distinct("memories.jsonl", "answer", (memory.answer for memory in dataset.memories))


def _check_questions(dataset: Dataset) -> None:
    _check_distinct("questions.jsonl", "task_id", (question.task_id for question in dataset.questions))
    _check_distinct("questions.jsonl", "input", (normalise(question.input) for question in dataset.questions))
    answers = {memory.id: memory.answer for memory in dataset.memories}
    for number, question in enumerate(dataset.questions, start=1):
        place = f"questions.jsonl, line {number}"
        if question.expect != answers.get(question.topic):
            raise ConfigError(f"{place}: expect is not the answer of a memory with id {question.topic!r}")
        if normalise(question.expect) in normalise(question.input):
            raise ConfigError(f"{place}: the question gives its answer away")


def _check_bad_commit(dataset: Dataset) -> None:
    _check_distinct("bad_commit.jsonl", "id", (change.id for change in dataset.bad_commit))
    known = {memory.id for memory in dataset.memories}
    for number, change in enumerate(dataset.bad_commit, start=1):
        if change.id not in known:
            raise ConfigError(f"bad_commit.jsonl, line {number}: there is no memory with id {change.id!r}")


def _check_distinct(name: str, key: str, values: Iterable[str]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ConfigError(f"{name}: {key} {twice[0]!r} occurs more than once")
