"""Generators of experiment variants: pure functions over the memories and past outcomes. They know no answers.

Each looks at what questions were asked, which memories were recalled for them, best first, and whether the answer
was right, and proposes words to add to the `keywords` of memories, so that questions in those words find them.

To add a generator: write `(memories, outcomes) -> Variant` here and enter it in GENERATORS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from memory_repository.core.memory import Memory, Modify
from memory_repository.core.ranking import memory_words, words

KEYWORDS: Final = "keywords"
"""The field that generators write: a list of words."""
KEYWORDS_MAX: Final = 64
"""Words in the `keywords` of one memory; what is most often asked for comes first."""
WORD_LENGTHS: Final = range(2, 33)
"""Characters of a word worth learning."""
OUTCOMES_MAX: Final = 1_000
"""The newest outcomes that a generator looks at."""


@dataclass(frozen=True, slots=True)
class PastOutcome:
    """What is known about one answered task.

    Attributes:
        succeeded: whether the answer was right.
        input: the question; None when it was not recorded.
        recalled_ids: the memories recalled for it, best first.
    """

    succeeded: bool
    input: str | None
    recalled_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variant:
    """A proposal: a name, what it does in words, and the changes; no changes when there was nothing to learn."""

    name: str
    description: str
    changes: tuple[Modify, ...]


Generator = Callable[[Sequence[Memory], Sequence[PastOutcome]], Variant]
Lesson = tuple[str, str]
"""A memory and a question whose words it shall be found by."""


def learn_from_success(memories: Sequence[Memory], outcomes: Sequence[PastOutcome]) -> Variant:
    """The words of every question that was answered right go to the memory that was recalled first for it."""
    changes = _taught(memories, _successes(outcomes), seen_at_least=1)
    return Variant("learn-from-success", _described("words of successful questions", changes), changes)


def cautious(memories: Sequence[Memory], outcomes: Sequence[PastOutcome]) -> Variant:
    """The same, but only words that at least two successful questions on that memory shared."""
    changes = _taught(memories, _successes(outcomes), seen_at_least=2)
    return Variant("cautious", _described("words that two successful questions shared", changes), changes)


def aggressive(memories: Sequence[Memory], outcomes: Sequence[PastOutcome]) -> Variant:
    """The same, and the words of every question that failed go to the memory that was recalled second.

    A guess: when the first memory was wrong, the next best may have been right. It is often wrong, which is for the
    experiment to find out.
    """
    second = [
        (outcome.recalled_ids[1], outcome.input)
        for outcome in outcomes
        if not outcome.succeeded and outcome.input and len(outcome.recalled_ids) > 1
    ]
    changes = _taught(memories, [*_successes(outcomes), *second], seen_at_least=1)
    return Variant("aggressive", _described("words of successful and, as a guess, failed questions", changes), changes)


GENERATORS: Mapping[str, Generator] = MappingProxyType(
    {"learn-from-success": learn_from_success, "cautious": cautious, "aggressive": aggressive}
)
"""By the name that `variants.prepare` asks for and events carry."""


def _successes(outcomes: Iterable[PastOutcome]) -> list[Lesson]:
    return [
        (outcome.recalled_ids[0], outcome.input)
        for outcome in outcomes
        if outcome.succeeded and outcome.input and outcome.recalled_ids
    ]


def _taught(memories: Sequence[Memory], lessons: Sequence[Lesson], seen_at_least: int) -> tuple[Modify, ...]:
    """Changes that add each lesson's new words to its memory: the most frequent first, then by alphabet."""
    counts: dict[str, Counter[str]] = {}
    for memory_id, question in lessons[-OUTCOMES_MAX:]:
        counts.setdefault(memory_id, Counter()).update(set(filter(_worth_learning, words(question))))
    changes = []
    for memory in sorted(memories, key=lambda memory: memory.id):
        keywords = memory.fields.get(KEYWORDS, [])
        if memory.erased or memory.id not in counts or not isinstance(keywords, list):
            continue
        known = set(memory_words(memory.content, memory.fields))
        new = [word for word, seen in counts[memory.id].items() if seen >= seen_at_least and word not in known]
        new.sort(key=lambda word: (-counts[memory.id][word], word))
        room = max(0, KEYWORDS_MAX - len(keywords))
        if new[:room]:
            changes.append(Modify(memory.id, fields={KEYWORDS: [*keywords, *new[:room]]}))
    return tuple(changes)


def _worth_learning(word: str) -> bool:
    return len(word) in WORD_LENGTHS and word not in STOP_WORDS and not word.isdigit()


def _described(what: str, changes: Sequence[Modify]) -> str:
    return f"adds {what} to the keywords of {len(changes)} memories"


_STOP_WORDS = (
    "a about after again all also am an and any are as at be because been before being but by can cannot could "
    "did do does doing don down else ever every few for from get got had has have having he hello help her "
    "here hi him his how i if in into is it its just know let like ll made make many may me might more most "
    "much must my need no nor not now of off ok on once one only or other our out over please re s same say "
    "see she should so some such t tell than thank thanks that the their them then there these they thing this "
    "those through to too try trying under up us use ve very want was way we were what when where which while "
    "who whom whose why will with within without would yes yet you your "
)
STOP_WORDS: Final = frozenset(_STOP_WORDS.split())
"""English words that say nothing about a topic."""
