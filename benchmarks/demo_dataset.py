"""What can be learned from the demo's data set, measured offline: no bus, no services, no repository on disk.

    python benchmarks/demo_dataset.py [--seeds 20] [--search repository|fts5]

For each seed: the live questions (64 plain, then 120 of the 128 drifted ones, in the seed's order) are answered from
the untouched knowledge base and logged; each of memory-repository's generators turns that log into a variant; then
both knowledge bases answer the held-out scenario, in the seed's order, until the paired sign e-process reaches
K/alpha = 3/0.05 = 60 and at least 20 pairs are counted. The generators see what was recalled and whether the answer
was right; they see neither the answers nor the held-out questions. The bad commit falls on what was learned.

Two searches are measured: the ranking of memory-repository, which the demo uses, and SQLite's FTS5 as it comes, which
shows that the effect does not hang on one formula.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from random import Random
from statistics import fmean, mean, median
from typing import Protocol

from memory_repository.core.limits import QUERY_TERMS_MAX
from memory_repository.core.memory import Change, Delete, Memory, Put, apply_change
from memory_repository.core.ranking import bm25, memory_words, query_terms
from memory_repository.core.variants import GENERATORS, Generator, PastOutcome
from thymos.commands import MemoryChange
from thymos.demo.dataset import Dataset, Question, Use, load_dataset

LIVE_DRIFTED_LOGGED = 120
RECALLED = 3
CHALLENGERS = 3
ALPHA_INVERSE = 20
MIN_PAIRS = 20

Memories = Mapping[str, Memory]


class Search(Protocol):
    """Finds memories for a question."""

    def recall(self, question: str) -> tuple[str, ...]:
        """The ids of at most RECALLED memories, best first; empty when no word matches."""
        ...


class RepositorySearch:
    """The ranking of memory-repository; equal scores by id."""

    def __init__(self, memories: Memories) -> None:
        self._words = {key: memory_words(memory.content, memory.fields) for key, memory in memories.items()}
        self._mean_length = fmean(len(words) for words in self._words.values())

    def recall(self, question: str) -> tuple[str, ...]:
        """The best memories by BM25."""
        terms = query_terms(question, QUERY_TERMS_MAX)
        holding = {key: words for key, words in self._words.items() if not set(terms).isdisjoint(words)}
        scores = bm25(terms, holding, len(self._words), self._mean_length)
        return tuple(sorted(scores, key=lambda key: (-scores[key], key))[:RECALLED])


class Fts5Search:
    """SQLite's full-text search: the words of the question joined by OR, its bm25, its default tokenizer."""

    def __init__(self, memories: Memories) -> None:
        self._connection = sqlite3.connect(":memory:")
        self._connection.execute("CREATE VIRTUAL TABLE memory USING fts5(id UNINDEXED, body)")
        rows = [(key, " ".join(memory_words(m.content, m.fields))) for key, m in sorted(memories.items())]
        self._connection.executemany("INSERT INTO memory VALUES (?, ?)", rows)

    def recall(self, question: str) -> tuple[str, ...]:
        """The best memories by FTS5's bm25."""
        query = " OR ".join(f'"{term}"' for term in query_terms(question, QUERY_TERMS_MAX))
        rows = self._connection.execute(
            "SELECT id FROM memory WHERE memory MATCH ? ORDER BY bm25(memory), id LIMIT ?", (query, RECALLED)
        )
        return tuple(row[0] for row in rows)


SEARCHES: Mapping[str, Callable[[Memories], Search]] = {"repository": RepositorySearch, "fts5": Fts5Search}


class Desk:
    """A support desk that answers from its memories: with the answer of the one that is recalled first."""

    def __init__(self, memories: Memories, search: str) -> None:
        self.memories = memories
        self._search = SEARCHES[search](memories)

    def ask(self, question: Question) -> PastOutcome:
        """One question answered and graded."""
        recalled = self._search.recall(question.input)
        answer = str(self.memories[recalled[0]].fields["answer"]) if recalled else None
        return PastOutcome(question.is_answered_by(answer), question.input, recalled)

    def success_rate(self, questions: Sequence[Question]) -> float:
        """The share of questions answered right."""
        return mean(self.ask(question).succeeded for question in questions)


@dataclass(frozen=True, slots=True)
class Trial:
    """One seed: success rates after learning, and pairs until proven (None: the scenario was used up)."""

    plain: float
    scenario: float
    afterwards: float
    damaged: float
    wins: int
    losses: int
    pairs: int | None


def commit(memories: Memories, changes: Iterable[Change]) -> Memories:
    """The memories after some changes."""
    after = dict(memories)
    for change in changes:
        memory = apply_change(change, after.pop(change.id, None))
        if memory is not None:
            after[change.id] = memory
    return after


def changes_of(wire: Iterable[MemoryChange]) -> list[Change]:
    """Changes as memory-repository's core has them; the data set only puts and deletes."""
    return [
        Delete(change.id)
        if change.op == "delete"
        else Put(Memory(change.id, change.content or "", fields=change.fields or {}))
        for change in wire
    ]


def is_proven(wins: int, losses: int) -> bool:
    """Whether E(w, l) = sum_{k<=w} C(n+1, k) / ((n+1) C(n, w)), n = w + l, reaches K/alpha."""
    n = wins + losses
    numerator = sum(comb(n + 1, k) for k in range(wins + 1))
    return numerator >= CHALLENGERS * ALPHA_INVERSE * (n + 1) * comb(n, wins)


def judge(control: Desk, challenger: Desk, scenario: Sequence[Question]) -> tuple[int, int, int | None]:
    """Wins, losses and pairs until the challenger is proven better; the pairs are None if it never is."""
    wins = losses = 0
    for pairs, question in enumerate(scenario, start=1):
        before, after = control.ask(question).succeeded, challenger.ask(question).succeeded
        wins += after and not before
        losses += before and not after
        if pairs >= MIN_PAIRS and is_proven(wins, losses):
            return wins, losses, pairs
    return wins, losses, None


def run_trial(dataset: Dataset, generator: Generator, search: str, seed: int) -> Trial:
    """Log, learn, judge, damage, for one order of the questions."""
    random = Random(seed)
    control = Desk(commit({}, changes_of(dataset.first_commit())), search)
    live = [
        *random.sample(dataset.questions_for(Use.LIVE_PLAIN), k=64),
        *random.sample(dataset.questions_for(Use.LIVE_DRIFTED), k=LIVE_DRIFTED_LOGGED),
    ]
    variant = generator(list(control.memories.values()), [control.ask(question) for question in live])
    challenger = Desk(commit(control.memories, variant.changes), search)
    bad = Desk(commit(challenger.memories, changes_of(dataset.bad_commit)), search)
    scenario = random.sample(dataset.questions_for(Use.SCENARIO), k=128)
    afterwards = dataset.questions_for(Use.AFTERWARDS)
    wins, losses, pairs = judge(control, challenger, scenario)
    return Trial(
        plain=challenger.success_rate(dataset.questions_for(Use.LIVE_PLAIN)),
        scenario=challenger.success_rate(scenario),
        afterwards=challenger.success_rate(afterwards),
        damaged=bad.success_rate(afterwards),
        wins=wins,
        losses=losses,
        pairs=pairs,
    )


def rates_before(dataset: Dataset, search: str) -> Mapping[Use, float]:
    """Success rates of the untouched knowledge base."""
    desk = Desk(commit({}, changes_of(dataset.first_commit())), search)
    return {use: desk.success_rate(dataset.questions_for(use)) for use in Use}


def _spread(values: Iterable[float]) -> str:
    rates = list(values)
    return f"{mean(rates):.3f} ({min(rates):.2f}-{max(rates):.2f})"


def _report(dataset: Dataset, search: str, seeds: int) -> str:
    before = [f"{use.value} {rate:.3f}" for use, rate in rates_before(dataset, search).items()]
    lines = [f"search: {search}", "before: " + ", ".join(before)]
    lines.append(f"after, mean (least-greatest) over {seeds} seeds:")
    for name, generator in GENERATORS.items():
        trials = [run_trial(dataset, generator, search, seed) for seed in range(seeds)]
        proven = [trial.pairs for trial in trials if trial.pairs is not None]
        pairs = f", after {median(proven):g} pairs in the median, {max(proven)} at most" if proven else ""
        lines += [
            name,
            f"  scenario   {_spread(trial.scenario for trial in trials)}",
            f"  afterwards {_spread(trial.afterwards for trial in trials)}",
            f"  plain      {_spread(trial.plain for trial in trials)}",
            f"  bad commit {_spread(trial.damaged for trial in trials)}",
            f"  proven in {len(proven)} of {seeds}{pairs}",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure the demo's data set offline.")
    parser.add_argument("--seeds", type=int, default=20, help="number of orders of the questions")
    parser.add_argument("--search", choices=sorted(SEARCHES), help="only this search (default: both)")
    arguments = parser.parse_args()
    for chosen in [arguments.search] if arguments.search else SEARCHES:
        sys.stdout.write(_report(load_dataset(), chosen, arguments.seeds))
