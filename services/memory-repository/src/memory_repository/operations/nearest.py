"""Search by meaning: the memories whose vectors are nearest to the query's. Exact, over what is visible at a commit.

A version's vector is made when a search first needs it, at most 1,000 a search, and kept. O(memory), so that it is
refused beyond 100,000 visible memories; ranking by words has no such limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from memory_repository.core import limits
from memory_repository.core.memory import Memory
from memory_repository.core.ranking import memory_text
from memory_repository.embedders import Embedder
from memory_repository.storage import embeddings, timeline, versions
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import Repository
from thymos.errors import Refusal, RefusalCode

if TYPE_CHECKING:
    import numpy

VISIBLE_MAX: Final = 100_000
EMBEDDED_MAX: Final = 1_000
"""Versions that one call embeds."""
AT_ONCE: Final = 256
CANDIDATES_MAX: Final = 1_000


def embed(repo: Repository, commit: CommitRow, embedder: Embedder) -> int:
    """Make vectors of what is visible at a commit and has none, at most 1,000. Returns how many are left without.

    Raises:
        Refusal: too_large for more than 100,000 visible memories.
    """
    visible = _visible(repo, commit)
    known = embeddings.known(repo.db, embedder.name, visible)
    missing = [version for version in visible if version not in known]
    _embed(repo, embedder, missing[:EMBEDDED_MAX])
    return max(0, len(missing) - EMBEDDED_MAX)


def nearest(
    repo: Repository, commit: CommitRow, query: str, embedder: Embedder, accept: Callable[[Memory], bool] | None = None
) -> list[tuple[Memory, float]]:
    """The memories visible at a commit by the cosine of their vectors with the query's, best first, at most 1,000.

    Those whose vector could not be made yet are left out. Raises Refusal as `embed`.
    """
    import numpy

    embed(repo, commit, embedder)
    vectors = embeddings.known(repo.db, embedder.name, _visible(repo, commit))
    wanted = _unit(embedder, [query])[0]
    if not vectors or not wanted.any():
        return []
    matrix = numpy.frombuffer(b"".join(vectors.values()), dtype="<f4").reshape(len(vectors), embedder.dimensions)
    scores = matrix @ wanted
    found: list[tuple[Memory, float]] = []
    rows = list(vectors)
    for position in numpy.argsort(-scores, kind="stable"):
        memory = versions.load_memory(repo.db, rows[int(position)])
        if accept is None or accept(memory):
            found.append((memory, float(scores[position])))
        if len(found) == CANDIDATES_MAX:
            break
    return sorted(found, key=lambda each: (-each[1], each[0].id))


def _visible(repo: Repository, commit: CommitRow) -> list[int]:
    """The versions that are visible and hold something: an erased one means nothing."""
    view = timeline.view_of(repo.db, commit.place)
    found = [version for _, version, _ in islice(timeline.listed(repo.db, view), VISIBLE_MAX + 1)]
    if len(found) > VISIBLE_MAX:
        raise limits.too_large("a search by meaning", commit.memories, VISIBLE_MAX, "memories")
    return versions.whole(repo.db, found)


def _embed(repo: Repository, embedder: Embedder, missing: Sequence[int]) -> None:
    for start in range(0, len(missing), AT_ONCE):
        part = missing[start : start + AT_ONCE]
        memories = (versions.load_memory(repo.db, version) for version in part)
        texts = [memory_text(memory.content, memory.fields) for memory in memories]
        vectors = [row.tobytes() for row in _unit(embedder, texts)]
        embeddings.put(repo.db, embedder.name, zip(part, vectors, strict=True))


def _unit(embedder: Embedder, texts: Sequence[str]) -> numpy.ndarray[Any, Any]:
    """The texts' vectors of length 1, or 0 where the model had nothing to say. Raises Refusal (unavailable) for a
    broken model."""
    import numpy

    vectors = embedder.embed(texts)
    try:
        # A number that is too large for a vector becomes infinite, and so does the length of what is too long.
        with numpy.errstate(over="ignore"):
            found = numpy.asarray(vectors, dtype="<f4")
            lengths = numpy.linalg.norm(found, axis=-1, keepdims=True) if found.ndim else found
    except (TypeError, ValueError, OverflowError) as error:
        raise _broken(embedder, f"gave what is no list of vectors, all of {embedder.dimensions} numbers") from error
    wanted = (len(texts), embedder.dimensions)
    if found.shape != wanted:
        raise _broken(embedder, f"gave vectors of shape {found.shape}, not of {wanted}")
    if not numpy.isfinite(lengths).all():
        raise _broken(embedder, "gave a vector with NaN or an infinity, or too long for numbers of 32 bits")
    return numpy.asarray(numpy.divide(found, lengths, out=numpy.zeros_like(found), where=lengths > 0), dtype="<f4")


def _broken(embedder: Embedder, what: str) -> Refusal:
    hint = "mend the embedder, or search by words"
    return Refusal(RefusalCode.UNAVAILABLE, f"the embedder {embedder.name:.80} {what}", hint)
