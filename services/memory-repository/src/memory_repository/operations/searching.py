"""Full-text search at a ref: only what is visible there, ranked by what is visible there.

The index finds candidates (all versions that hold a word of the query); the view says which of them are visible; BM25
over those ranks them (ranking.py). Up to 1,000 visible candidates the result is exact; beyond that the index picks the
1,000 (word_index.holding), and a word's frequency counts within them. A search for one kind has candidates of that kind
only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, Final

from memory_repository.core import filters, limits
from memory_repository.core.memory import Memory
from memory_repository.core.ranking import bm25, fused, memory_words, query_terms
from memory_repository.embedders import Embedder
from memory_repository.operations import nearest
from memory_repository.storage import batches, commits, recent, timeline, versions, word_index
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import MAIN, Repository
from memory_repository.storage.timeline import View
from thymos.errors import Refusal, RefusalCode

CANDIDATES_MAX: Final = 1_000
"""Visible candidates that are ranked."""
RECENT_MAX: Final = 2_000
"""Of the latest versions so many that hold a word are looked at, to find which are visible."""
SCANNED_MAX: Final = 10_000
"""Memories that are read all, and ranked, where the index holds too many versions that are no longer visible."""
SCANNED_LEAST: Final = 250
ROWS_MAX: Final = 50
"""So many versions are asked of the index, unordered, for each visible memory, before that memory is rather read."""
HISTORY_MAX: Final = 1
"""So many versions in the index for each visible memory, and for 250 more, cost as much as reading that memory."""
IdRange = tuple[str, str]
"""Ids from the first up to, and not with, the second."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A memory that was found, the commit that wrote it, and its score: higher is better, within one answer."""

    memory: Memory
    commit: str
    score: float


@dataclass(frozen=True, slots=True)
class Hits:
    """What was found as of `commit`, best first; equal scores by id. `total` counts what was ranked, at most 1,000;
    `skipped` of them come before these."""

    commit: CommitRow
    hits: tuple[Hit, ...]
    total: int = 0
    skipped: int = 0


class Mode(StrEnum):
    """What a search goes by: the words of the query, its meaning (needs an embedder), or the two rankings fused."""

    WORDS = "words"
    MEANING = "meaning"
    BOTH = "both"


def search(
    repo: Repository,
    query: str,
    ref: str = MAIN,
    limit: int = 10,
    kind: str | None = None,
    *,
    where: Mapping[str, Any] | None = None,
    skip: int = 0,
    mode: Mode = Mode.WORDS,
    embedder: Embedder | None = None,
) -> Hits:
    """Find memories by any word of `query` in their content or in the text values of their fields, or by its meaning.

    The query is plain words; nothing in it is syntax. What was erased is never found.

    Args:
        repo: the repository.
        query: what for.
        ref: as of when.
        limit: hits of this page, at most 100.
        kind: only memories of this kind.
        where: only memories whose fields it holds for (core/filters.py).
        skip: the best hits that are left out: those of the pages before.
        mode: what it goes by.
        embedder: the model, for a mode that needs one.

    Raises:
        Refusal: not_found, invalid, too_large; refused when the mode needs an embedder and there is none.
    """
    limits.check_query(query)
    limits.check_page(limit, limits.RESULTS_MAX)
    limits.check_skip(skip, CANDIDATES_MAX, f"at most {CANDIDATES_MAX} are ranked: narrow the search")
    if kind is not None:
        limits.check_name("kind", kind)
    wanted = filters.parse(where)
    commit = repo.resolve(ref)

    def accept(memory: Memory) -> bool:
        return memory.erased is None and (kind is None or memory.kind == kind) and wanted.holds(memory.fields)

    by_words = [] if mode is Mode.MEANING else ranked(repo, commit, query, kind, accept=accept)
    found = by_words if mode is Mode.WORDS else _by_meaning(repo, commit, query, by_words, mode, embedder, accept)
    view = timeline.view_of(repo.db, commit.place)
    return Hits(commit, _hits(repo, view, found[skip : skip + limit]), len(found), skip)


def _by_meaning(
    repo: Repository,
    commit: CommitRow,
    query: str,
    by_words: list[tuple[Memory, float]],
    mode: Mode,
    embedder: Embedder | None,
    accept: Callable[[Memory], bool],
) -> list[tuple[Memory, float]]:
    if embedder is None:
        hint = "install thymos-memory-repository[embeddings] and configure an embedder, or search by words"
        raise Refusal(RefusalCode.REFUSED, "there is no embedder to search by meaning with", hint)
    close = nearest.nearest(repo, commit, query, embedder, accept)
    if mode is Mode.MEANING:
        return close
    memories = {memory.id: memory for memory, _ in (*by_words, *close)}
    scores = fused([[memory.id for memory, _ in ranking] for ranking in (by_words, close)])
    order = sorted(scores, key=lambda name: (-scores[name], name))[:CANDIDATES_MAX]
    return [(memories[name], scores[name]) for name in order]


def ranked(
    repo: Repository,
    commit: CommitRow,
    query: str,
    kind: str | None = None,
    ids: Sequence[IdRange] | None = None,
    accept: Callable[[Memory], bool] | None = None,
) -> list[tuple[Memory, float]]:
    """What `query` finds as of a commit with its scores, best first, at most 1,000.

    Args:
        repo: the repository.
        commit: as of when.
        query: plain words.
        kind: only memories of this kind.
        ids: only memories whose id lies in one of these.
        accept: only memories that it accepts; the others take nobody's place among the 1,000.

    Raises:
        Refusal: invalid, too_large.
    """
    limits.check_query(query)
    terms = query_terms(query, limits.QUERY_TERMS_MAX)
    if not terms:
        return []
    view = timeline.view_of(repo.db, commit.place)
    wanted = _Wanted(terms, kind, ids, accept)
    # Where memories were rewritten often the index tells mostly of what was: it is asked for the latest alone; or all
    # that is visible is read, where that is little.
    memories: Iterable[Memory] | None = _recent(repo, view, wanted)
    if memories is None and commit.memories <= SCANNED_MAX:
        most = HISTORY_MAX * (commit.memories + SCANNED_LEAST)
        if word_index.holds_more(repo.db, repo.id, terms, most):
            memories = _scanned(repo, view, wanted)
    if memories is None:
        memories = _candidates(repo, view, wanted)
    found = {memory.id: memory for memory in memories}
    held = {name: memory_words(memory.content, memory.fields) for name, memory in found.items()}
    asked = set(terms)
    documents = {name: words for name, words in held.items() if not asked.isdisjoint(words)}
    scores = bm25(terms, documents, commit.memories, commit.words / max(1, commit.memories))
    best = sorted(scores, key=lambda name: (-scores[name], name))[:CANDIDATES_MAX]
    return [(found[name], scores[name]) for name in best]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a search is for."""

    terms: Sequence[str]
    kind: str | None
    ids: Sequence[IdRange] | None
    accept: Callable[[Memory], bool] | None

    def may_be(self, memory_id: str) -> bool:
        return self.ids is None or any(first <= memory_id < end for first, end in self.ids)

    def takes(self, memory: Memory) -> bool:
        return (
            self.may_be(memory.id)
            and (self.kind is None or memory.kind == self.kind)
            and (self.accept is None or self.accept(memory))
        )


def _candidates(repo: Repository, view: View, wanted: _Wanted) -> list[Memory]:
    found: list[Memory] = []
    holding = (
        version
        for version, memory_id in word_index.holding(repo.db, repo.id, wanted.terms, wanted.kind)
        if wanted.may_be(memory_id)
    )
    while len(found) < CANDIDATES_MAX and (part := list(islice(holding, batches.LENGTHS[-1]))):
        seen = versions.load_visible(repo.db, view, part)
        found += (seen[version] for version in part if version in seen and wanted.takes(seen[version]))
    return found[:CANDIDATES_MAX]


def _recent(repo: Repository, view: View, wanted: _Wanted) -> list[Memory] | None:
    """The same, and some others, where what is visible is known to be mostly above some version; None where it is not,
    or too many that hold a word are."""
    noted = recent.versions_above(repo.db, view)
    if noted is None:
        return None
    above, old = noted
    holding = word_index.rows_holding(repo.db, repo.id, wanted.terms, RECENT_MAX, above)
    if holding is None:
        return None
    return [memory for memory in versions.load_visible(repo.db, view, holding | old).values() if wanted.takes(memory)]


def _scanned(repo: Repository, view: View, wanted: _Wanted) -> list[Memory]:
    """The same, and perhaps all others, from what is visible. O(memories)."""
    listed = [version for memory_id, version, _ in timeline.listed(repo.db, view) if wanted.may_be(memory_id)]
    holding = word_index.rows_holding(repo.db, repo.id, wanted.terms, ROWS_MAX * (len(listed) + SCANNED_LEAST))
    read = [version for version in listed if holding is None or version in holding]
    return [memory for memory in versions.load_memories(repo.db, read).values() if wanted.takes(memory)]


def _hits(repo: Repository, view: View, found: Sequence[tuple[Memory, float]]) -> tuple[Hit, ...]:
    seen = timeline.visible_many(repo.db, view, [memory.id for memory, _ in found])
    writers = commits.ids_of(repo.db, [seen[memory.id].commit_no for memory, _ in found])
    return tuple(Hit(memory, writer, score) for (memory, score), writer in zip(found, writers, strict=True))
