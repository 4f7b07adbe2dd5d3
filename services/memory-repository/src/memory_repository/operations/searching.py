"""Full-text search at a ref: only what is visible there, ranked by what is visible there.

The index finds candidates (all versions that hold a word of the query); the view says which of them are visible; BM25
over those ranks them (ranking.py). Up to 1,000 visible candidates the result is exact; beyond that the index's own
rank picks the 1,000, and a word's frequency counts within them. A search for one kind has candidates of that kind only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from memory_repository.core import limits
from memory_repository.core.memory import Memory
from memory_repository.core.ranking import bm25, memory_words, query_terms
from memory_repository.storage import commits, timeline, versions, word_index
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import MAIN, Repository
from memory_repository.storage.timeline import View

CANDIDATES_MAX: Final = 1_000
"""Visible candidates that are ranked."""
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
    """What was found as of `commit`, best first; equal scores by id."""

    commit: CommitRow
    hits: tuple[Hit, ...]


def search(repo: Repository, query: str, ref: str = MAIN, limit: int = 10, kind: str | None = None) -> Hits:
    """Find memories that hold any word of `query` in their content or in the text values of their fields; with `kind`,
    only memories of that kind.

    The query is plain words; nothing in it is syntax. Raises Refusal (not_found, invalid, too_large).
    """
    limits.check_query(query)
    limits.check_page(limit, limits.RESULTS_MAX)
    commit = repo.resolve(ref)
    view = timeline.view_of(repo.db, commit.place)
    found = ranked(repo, commit, query, kind)[:limit]
    return Hits(commit, tuple(Hit(memory, _writer(repo, view, memory.id), score) for memory, score in found))


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
    found = {memory.id: memory for memory in _candidates(repo, view, terms, kind, ids, accept)}
    documents = {name: memory_words(memory.content, memory.fields) for name, memory in found.items()}
    scores = bm25(terms, documents, commit.memories, commit.words / max(1, commit.memories))
    return [(found[name], scores[name]) for name in sorted(scores, key=lambda name: (-scores[name], name))]


def _candidates(
    repo: Repository,
    view: View,
    terms: list[str],
    kind: str | None,
    ids: Sequence[IdRange] | None,
    accept: Callable[[Memory], bool] | None,
) -> list[Memory]:
    found: list[Memory] = []
    for version, memory_id in word_index.holding(repo.db, repo.id, terms, kind):
        if ids is not None and not any(first <= memory_id < end for first, end in ids):
            continue
        if timeline.visible_version(repo.db, view, memory_id) == version:
            memory = versions.load_memory(repo.db, version)
            if accept is None or accept(memory):
                found.append(memory)
            if len(found) == CANDIDATES_MAX:
                break
    return found


def _writer(repo: Repository, view: View, memory_id: str) -> str:
    slot = timeline.visible(repo.db, view, memory_id)
    assert slot is not None
    return commits.ids_of(repo.db, [slot.commit_no])[0]
