"""What can be learned from the demo's data set, measured offline: plain SQLite full-text search, no services.

    python benchmarks/demo_dataset.py [seeds]

For each seed: the live questions (64 plain, then 120 of the 128 drifted ones, in the seed's order) are
answered from the untouched knowledge base and logged; a generator turns that log into words to add to
the memories; then both knowledge bases answer the held-out scenario, in the seed's order, until the
paired sign e-process reaches K/alpha = 3/0.05 = 60 and at least 20 pairs are counted. The generators see
which memories were recalled and whether the answer was right; they see neither the answers nor the
held-out questions.
"""

from __future__ import annotations

import argparse
import re
import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from random import Random
from statistics import mean, median

from thymos.demo.dataset import Dataset, Question, Use, load_dataset

TOKENIZER = "unicode61"
LIVE_DRIFTED_LOGGED = 120
CHALLENGERS = 3
ALPHA_INVERSE = 20
MIN_PAIRS = 20
STOP_WORDS_TEXT = """
a about after again all also am an and any are as at be because been before being but by can could did do
does doing don down else for from get gets got had has have having he her here hers him his how i if in
into is isn it its just ll m me mine more most my no nor not now of off on once one only or other our out
over own please re s same she should so some still such t than that the their them then there these they
this those through to too under up us ve very was we were what when where which while who whom why will
with won would you your yours
"""
STOP_WORDS = frozenset(STOP_WORDS_TEXT.split())


@dataclass(frozen=True, slots=True)
class Desk:
    """A knowledge base: per memory id its searchable text and its answer."""

    texts: Mapping[str, str]
    answers: Mapping[str, str]

    def with_words(self, words: Mapping[str, Sequence[str]]) -> Desk:
        """This knowledge base with words added to the text of some memories."""
        texts = {key: " ".join([text, *words.get(key, ())]) for key, text in self.texts.items()}
        return Desk(texts, self.answers)


@dataclass(frozen=True, slots=True)
class LoggedOutcome:
    """One answered question as a generator sees it; `recalled` is best first."""

    question: str
    recalled: tuple[str, ...]
    succeeded: bool


Log = Sequence[LoggedOutcome]
Generator = Callable[[Desk, Log], Mapping[str, Sequence[str]]]


class Index:
    """Full-text search over a desk: the words of the question joined by OR, ranked by bm25."""

    def __init__(self, desk: Desk, tokenizer: str = TOKENIZER) -> None:
        self._answers = desk.answers
        self._connection = sqlite3.connect(":memory:")
        self._connection.execute(
            f"CREATE VIRTUAL TABLE memory USING fts5(id UNINDEXED, body, tokenize='{tokenizer}')"
        )
        self._connection.executemany("INSERT INTO memory VALUES (?, ?)", sorted(desk.texts.items()))

    def recall(self, question: str, limit: int = 1) -> tuple[str, ...]:
        """The ids of the best memories, best first; empty when no word matches."""
        query = " OR ".join(f'"{word}"' for word in dict.fromkeys(words_of(question)))
        rows = self._connection.execute(
            "SELECT id FROM memory WHERE memory MATCH ? ORDER BY bm25(memory), id LIMIT ?", (query, limit)
        )
        return tuple(row[0] for row in rows)

    def succeeds(self, question: Question) -> bool:
        """Whether the answer of the best memory is the expected one."""
        recalled = self.recall(question.input)
        return bool(recalled) and question.is_answered_by(self._answers[recalled[0]])

    def success_rate(self, questions: Sequence[Question]) -> float:
        """The share of questions answered right."""
        return mean(self.succeeds(question) for question in questions)


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


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, in order."""
    return re.findall(r"\w+", text.lower())


def desk_of(dataset: Dataset) -> Desk:
    """The knowledge base as it is at the start; the answer is searchable like every other field."""
    return Desk(
        texts={memory.id: f"{memory.content} {memory.answer}" for memory in dataset.memories},
        answers={memory.id: memory.answer for memory in dataset.memories},
    )


def damaged(desk: Desk, dataset: Dataset) -> Desk:
    """The knowledge base after the bad commit, which replaces whole articles, learned words included."""
    texts, answers = dict(desk.texts), dict(desk.answers)
    for change in dataset.bad_commit:
        del texts[change.id], answers[change.id]
        if change.op == "put":
            answers[change.id] = str((change.fields or {})["answer"])
            texts[change.id] = f"{change.content} {answers[change.id]}"
    return Desk(texts, answers)


def learn_from_success(desk: Desk, log: Log, at_least: int = 1) -> Mapping[str, Sequence[str]]:
    """The words of each successful question, for the memory it was answered from, if new there."""
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for outcome in log:
        if outcome.succeeded:
            memory = outcome.recalled[0]
            known = set(words_of(desk.texts[memory])) | STOP_WORDS
            seen[memory].update(set(words_of(outcome.question)) - known)
    return {key: sorted(w for w, n in counts.items() if n >= at_least) for key, counts in seen.items()}


def cautious(desk: Desk, log: Log) -> Mapping[str, Sequence[str]]:
    """Like learn_from_success, but a word counts only when two successful questions had it."""
    return learn_from_success(desk, log, at_least=2)


def aggressive(desk: Desk, log: Log) -> Mapping[str, Sequence[str]]:
    """Learn from every question that recalled something, right or wrong."""
    return learn_from_success(desk, [LoggedOutcome(o.question, o.recalled, bool(o.recalled)) for o in log])


GENERATORS: Mapping[str, Generator] = {
    "learn_from_success": learn_from_success,
    "cautious": cautious,
    "aggressive": aggressive,
}


def is_proven(wins: int, losses: int) -> bool:
    """Whether E(w, l) = sum_{k<=w} C(n+1, k) / ((n+1) C(n, w)), n = w + l, reaches K/alpha."""
    n = wins + losses
    numerator = sum(comb(n + 1, k) for k in range(wins + 1))
    return numerator >= CHALLENGERS * ALPHA_INVERSE * (n + 1) * comb(n, wins)


def judge(control: Index, challenger: Index, scenario: Sequence[Question]) -> tuple[int, int, int | None]:
    """Wins, losses and pairs until the challenger is proven better; the pairs are None if it never is."""
    wins = losses = 0
    for pairs, question in enumerate(scenario, start=1):
        before, after = control.succeeds(question), challenger.succeeds(question)
        wins += after and not before
        losses += before and not after
        if pairs >= MIN_PAIRS and is_proven(wins, losses):
            return wins, losses, pairs
    return wins, losses, None


def run_trial(dataset: Dataset, generator: Generator, seed: int) -> Trial:
    """Log, learn, judge, for one order of the questions."""
    random = Random(seed)
    desk = desk_of(dataset)
    control = Index(desk)
    live = [
        *random.sample(dataset.questions_for(Use.LIVE_PLAIN), k=64),
        *random.sample(dataset.questions_for(Use.LIVE_DRIFTED), k=LIVE_DRIFTED_LOGGED),
    ]
    log = [LoggedOutcome(q.input, control.recall(q.input), control.succeeds(q)) for q in live]
    learned = desk.with_words(generator(desk, log))
    challenger = Index(learned)
    scenario = random.sample(dataset.questions_for(Use.SCENARIO), k=128)
    afterwards = dataset.questions_for(Use.AFTERWARDS)
    wins, losses, pairs = judge(control, challenger, scenario)
    return Trial(
        plain=challenger.success_rate(dataset.questions_for(Use.LIVE_PLAIN)),
        scenario=challenger.success_rate(scenario),
        afterwards=challenger.success_rate(afterwards),
        damaged=Index(damaged(learned, dataset)).success_rate(afterwards),
        wins=wins,
        losses=losses,
        pairs=pairs,
    )


def _spread(values: Iterable[float]) -> str:
    rates = list(values)
    return f"{mean(rates):.3f} ({min(rates):.2f}-{max(rates):.2f})"


def _report(dataset: Dataset, seeds: int) -> str:
    control = Index(desk_of(dataset))
    before = [f"{use.value} {control.success_rate(dataset.questions_for(use)):.3f}" for use in Use]
    lines = ["before: " + ", ".join(before), f"after, mean (least-greatest) over {seeds} seeds:"]
    for name, generator in GENERATORS.items():
        trials = [run_trial(dataset, generator, seed) for seed in range(seeds)]
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
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure the demo's data set offline.")
    parser.add_argument("seeds", nargs="?", type=int, default=20, help="number of orders of the questions")
    sys.stdout.write(_report(load_dataset(), parser.parse_args().seeds) + "\n")
