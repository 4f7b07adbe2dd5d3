"""Search at a ref: what is visible, ranked by what is visible."""

import pytest

from memory_repository import Delete, Memory, MemoryRepository, Modify, Put
from memory_repository.operations import searching
from memory_repository.operations.searching import CANDIDATES_MAX, Hits
from memory_repository.storage import word_index
from thymos.errors import Refusal

ARTICLES = [
    Memory("refunds", "A refund of your money takes thirty days.", "answer", {"keywords": ["reimbursement"]}),
    Memory("shipping", "We ship within two days. Parcels are tracked.", "answer"),
    Memory("password", "Reset your password on the login page.", "howto"),
]


@pytest.fixture
def desk(memory: MemoryRepository) -> MemoryRepository:
    """A support desk's memory of three articles."""
    memory.commit([Put(article) for article in ARTICLES])
    return memory


def found(hits: Hits) -> list[str]:
    return [hit.memory.id for hit in hits.hits]


def test_any_word_of_the_query_finds_and_more_of_them_rank_higher(desk: MemoryRepository) -> None:
    assert found(desk.search("how many days until my refund")) == ["refunds", "shipping"]


def test_the_texts_in_the_fields_are_found_too(desk: MemoryRepository) -> None:
    assert found(desk.search("REIMBURSEMENT?")) == ["refunds"]


def test_a_kind_is_found_behind_any_number_of_better_matches(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory(f"n{n}", "apple apple apple")) for n in range(CANDIDATES_MAX + 1)])
    memory.commit(
        [Put(Memory("wanted", "apple and so many more words that it ranks behind all others", kind="answer"))]
    )
    assert found(memory.search("apple", kind="answer")) == ["wanted"]


@pytest.mark.sqlite
def test_of_too_many_to_rank_those_with_a_rare_word_come_first_then_those_with_all_words_then_the_newest(
    memory: MemoryRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.commit([Put(Memory("rare", "apple and one quince")), Put(Memory("both", "apple pear"))])
    for number in range(9):
        memory.commit([Put(Memory(f"n{number}", f"{('apple', 'pear')[number % 2]} {number}"))])
    monkeypatch.setattr(word_index, "RANKED_MAX", 4)
    monkeypatch.setattr(searching, "CANDIDATES_MAX", 4)
    assert set(found(memory.search("apple pear quince"))) == {"rare", "n8", "n7", "n6"}
    assert set(found(memory.search("apple pear"))) == {"both", "n8", "n7", "n6"}
    assert found(memory.search("quince")) == ["rare"]


def test_kind_and_limit_narrow_the_answer(desk: MemoryRepository) -> None:
    assert found(desk.search("days password", kind="howto")) == ["password"]
    assert found(desk.search("days password refund", limit=1)) == ["refunds"]


def test_only_what_is_visible_at_the_ref_is_found(desk: MemoryRepository) -> None:
    desk.create_branch("idea")
    desk.commit([Modify("shipping", content="We deliver by drone."), Delete("password")], branch="idea")
    assert found(desk.search("drone")) == []
    assert found(desk.search("parcels password", "idea")) == []
    assert found(desk.search("drone", "idea")) == ["shipping"]
    assert set(found(desk.search("parcels password", "idea~1"))) == {"shipping", "password"}


def test_what_others_do_elsewhere_changes_neither_order_nor_scores(desk: MemoryRepository) -> None:
    before = desk.search("refund days login page")
    desk.create_branch("idea")
    for number in range(20):
        desk.commit([Modify("shipping", content=f"refund refund login page {number}")], branch="idea")
    assert desk.search("refund days login page") == before
    desk.commit([Modify("refunds", content="changed")])
    desk.rollback("main~1")
    assert [(h.memory, h.score) for h in desk.search("refund days login page").hits] == [
        (h.memory, h.score) for h in before.hits
    ]


@pytest.mark.parametrize(
    "query",
    [
        'refund" OR repo : "r1',
        "refund AND (((",
        "NEAR(refund, days) NOT *",
        "words : refund - ^refund + refund*",
        "'; DROP TABLE version; -- refund",
        "refund \ud83d\ude00",
    ],
)
def test_nothing_in_a_query_is_syntax(desk: MemoryRepository, query: str) -> None:
    query = query.encode("utf-16", "surrogatepass").decode("utf-16")
    assert found(desk.search(query))[0] == "refunds"
    assert desk.verify().ok


def test_a_query_without_words_finds_nothing(desk: MemoryRepository) -> None:
    for query in ("", "   ", '"*()', "\n\t"):
        assert found(desk.search(query)) == []


def test_the_name_that_keeps_repositories_apart_is_no_search_word(desk: MemoryRepository) -> None:
    assert found(desk.search("r1")) == []


def test_a_query_over_the_limit_is_refused_and_many_words_are_not(desk: MemoryRepository) -> None:
    with pytest.raises(Refusal, match="query"):
        desk.search("refund " * 10_000)
    assert found(desk.search("refund " + " ".join(f"word{n}" for n in range(1000)))) == ["refunds"]


def test_a_memory_that_was_rewritten_often_is_found_in_it_as_it_is_now(memory: MemoryRepository) -> None:
    """The index tells mostly of what was, so that what is visible is read instead: the same is found."""
    memory.commit([Put(Memory("rare", "refund days")), Put(Memory("other", "refund refund", kind="answer"))])
    at = memory.log("main", 1)[0].id
    before, plain, kept = memory.search("refund counted", at), memory.search("refund"), memory.search("counted")
    assert kept.hits == ()
    for start in range(0, 1_100, 100):
        changes = [Put(Memory(f"m{n}", f"counted {start} refund")) for n in range(100)]
        memory.commit(changes)
    memory.commit([Delete(f"m{n}") for n in range(100)])
    assert memory.search("refund counted", at).hits == before.hits
    found = memory.search("refund counted")
    assert [(hit.memory, hit.score) for hit in found.hits] == [(hit.memory, hit.score) for hit in plain.hits]
    assert [hit.memory.id for hit in memory.search("refund", kind="answer").hits] == ["other"]
    assert len(memory.search("counted", "main~1", limit=100).hits) == 100
