"""Search by meaning: the real local model, and models that are wrong."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from memory_repository import Memory, MemoryRepository, Mode, Modify, Put
from memory_repository.embedders import Embedder
from memory_repository.embedders.wordllama import WordLlamaEmbedder
from memory_repository.operations import nearest
from thymos.errors import Refusal, RefusalCode

FACTS = {
    "refunds": "A refund takes thirty days after we have received the goods.",
    "shipping": "Parcels travel by courier for two weeks.",
    "password": "Reset your login on the account page.",
    "hours": "The office opens at nine in the morning and closes at five.",
}


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return WordLlamaEmbedder()


Opened = Callable[[Embedder], MemoryRepository]


@pytest.fixture
def opened(store_url: str) -> Iterator[Opened]:
    """Opens the store with a model."""
    repositories: list[MemoryRepository] = []

    def open_with(embedder: Embedder) -> MemoryRepository:
        repositories.append(MemoryRepository.open(store_url, tenant="acme", embedder=embedder))
        return repositories[-1]

    yield open_with
    for repository in repositories:
        repository.close()


def fill(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory(name, text)) for name, text in FACTS.items()])


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("how do I get my money back", "refunds"),
        ("freight transport", "shipping"),
        ("forgot password", "password"),
        ("when are you open", "hours"),
    ],
)
def test_what_is_meant_is_found_though_no_word_is_the_same(
    opened: Opened, embedder: Embedder, question: str, expected: str
) -> None:
    memory = opened(embedder)
    fill(memory)
    assert expected not in [hit.memory.id for hit in memory.search(question).hits]
    assert memory.search(question, mode=Mode.MEANING).hits[0].memory.id == expected
    assert memory.search(question, mode=Mode.BOTH).hits[0].memory.id == expected


def test_only_what_is_visible_is_found_and_what_is_erased_is_forgotten(opened: Opened, embedder: Embedder) -> None:
    memory = opened(embedder)
    fill(memory)
    memory.create_branch("idea")
    memory.commit([Modify("hours", content="Get your cash back here.")], branch="idea")
    assert memory.search("money back", "idea", mode=Mode.MEANING, limit=2).hits[0].memory.id == "hours"
    assert memory.search("money back", "main", mode=Mode.MEANING).hits[0].memory.id == "refunds"
    memory.redact("refunds", reason="asked to")
    left = memory.read(lambda repo: repo.db.execute("SELECT count(*) FROM embedding").fetchone()[0])
    assert left == 4, "of five versions, one was erased"


def test_the_same_is_embedded_once(opened: Opened, embedder: Embedder) -> None:
    counting = Counting(embedder)
    memory = opened(counting)
    fill(memory)
    for _ in range(3):
        memory.search("money", mode=Mode.MEANING)
    assert counting.texts == len(FACTS) + 3


def test_so_many_are_embedded_at_once_and_the_rest_later(
    opened: Opened, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "EMBEDDED_MAX", 3)
    memory = opened(embedder)
    fill(memory)
    assert (memory.embed(), memory.embed()) == (1, 0)
    monkeypatch.setattr(nearest, "VISIBLE_MAX", 3)
    with pytest.raises(Refusal, match="the limit is 3"):
        memory.search("money", mode=Mode.MEANING)


def test_meaning_is_narrowed_by_fields_and_paged(opened: Opened, embedder: Embedder) -> None:
    memory = opened(embedder)
    memory.commit([Put(Memory(f"m{n}", text, fields={"n": n})) for n, text in enumerate(FACTS.values())])
    hits = memory.search("money back", mode=Mode.MEANING, where={"n": {"$gt": 0}})
    assert (hits.total, hits.hits[0].memory.id != "m0") == (3, True)
    assert [hit.memory.id for hit in memory.search("money back", mode=Mode.MEANING, skip=1, limit=1).hits] != ["m0"]


def test_without_a_model_there_is_no_meaning(memory: MemoryRepository) -> None:
    with pytest.raises(Refusal, match="there is no embedder") as caught:
        memory.search("money", mode=Mode.MEANING)
    assert "thymos-memory-repository[embeddings]" in caught.value.hint


@pytest.mark.parametrize(
    ("vector", "problem"),
    [
        ([1.0, 2.0], r"gave vectors of shape \(4, 2\), not of \(4, 3\)"),
        ([float("nan"), 1.0, 2.0], "gave a vector with NaN or an infinity"),
        ([1.0, float("-inf"), 2.0], "gave a vector with NaN or an infinity"),
        ([1e39, 1.0, 2.0], "gave a vector with NaN or an infinity, or too long"),
        ([1e30, 1e30, 1e30], "gave a vector with NaN or an infinity, or too long"),
        ([10**400, 1.0, 2.0], "gave what is no list of vectors, all of 3 numbers"),
        (["some", "words", "here"], "gave what is no list of vectors, all of 3 numbers"),
        ([[1.0], [2.0, 3.0], 4.0], "gave what is no list of vectors, all of 3 numbers"),
        ({"x": 1.0}, "gave what is no list of vectors, all of 3 numbers"),
    ],
)
def test_a_model_that_breaks_its_word_is_named_and_keeps_nothing(opened: Opened, vector: Any, problem: str) -> None:
    memory = opened(Wrong(lambda texts: [vector for _ in texts]))
    fill(memory)
    with pytest.raises(Refusal, match=f"the embedder wrong {problem}") as caught:
        memory.search("money", mode=Mode.MEANING)
    assert caught.value.code is RefusalCode.UNAVAILABLE
    assert memory.read(lambda repo: repo.db.execute("SELECT count(*) FROM embedding").fetchone()[0]) == 0
    assert memory.search("refund").total == 1


@pytest.mark.parametrize("vectors", [[], [[1.0, 2.0, 3.0]], None, 7, "words", [[1.0, 2.0, 3.0], [1.0]], iter(())])
def test_a_model_gives_a_vector_for_each_text(opened: Opened, vectors: Any) -> None:
    memory = opened(Wrong(lambda _: vectors))
    fill(memory)
    with pytest.raises(Refusal, match="the embedder wrong gave"):
        memory.search("money", mode=Mode.MEANING)


@pytest.mark.parametrize("dimensions", [None, 0, -1, 2.5, "3", True, 10**9])
def test_a_model_says_how_many_numbers_a_vector_has(store_url: str, dimensions: Any) -> None:
    model = Wrong(lambda _: [])
    model.dimensions = dimensions
    with pytest.raises(Refusal, match=r"`dimensions` of the embedder wrong is .* a whole number from 1"):
        MemoryRepository.open(store_url, embedder=model)
    del model.dimensions
    with pytest.raises(Refusal, match="`dimensions` of the embedder wrong is None"):
        MemoryRepository.open(store_url, embedder=model)


class Counting:
    """A model that counts what it is given."""

    def __init__(self, model: Embedder) -> None:
        self._model = model
        self.name, self.dimensions, self.texts = model.name, model.dimensions, 0

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        self.texts += len(texts)
        return self._model.embed(texts)


class Wrong:
    """A model that says three and gives whatever it was told to."""

    def __init__(self, gives: Callable[[Sequence[str]], Any]) -> None:
        self.name, self.dimensions, self._gives = "wrong", 3, gives

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        vectors: Sequence[Sequence[float]] = self._gives(texts)
        return vectors


@pytest.mark.parametrize("mode", ["words", "meaning", "both"])
def test_what_was_erased_is_no_hit_and_takes_no_place(
    opened: Opened, embedder: Embedder, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    memory = opened(embedder)
    fill(memory)
    for name in ("hours", "shipping"):
        memory.redact(name, reason="asked to")
    monkeypatch.setattr(nearest, "EMBEDDED_MAX", 2)
    monkeypatch.setattr(nearest, "CANDIDATES_MAX", 2)
    hits = memory.search("a refund, the office, my login", mode=mode)
    assert sorted(hit.memory.id for hit in hits.hits) == ["password", "refunds"]
    assert (hits.total, memory.embed()) == (2, 0)


def test_a_mode_may_be_given_as_text_and_there_are_no_others(opened: Opened, embedder: Embedder) -> None:
    memory = opened(embedder)
    fill(memory)
    for mode in Mode:
        assert memory.search("money back", mode=str(mode)) == memory.search("money back", mode=mode)
    assert memory.search("money back", mode="words").total < memory.search("money back", mode="both").total
    with pytest.raises(Refusal, match=r"'Words' is no mode.*words, meaning, both"):
        memory.search("money back", mode="Words")
