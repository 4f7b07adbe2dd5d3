"""Words and BM25."""

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_repository.core.ranking import WORD_CHARACTERS_MAX, bm25, memory_words, query_terms, words


def test_words_are_runs_of_letters_and_digits_in_lower_case_without_accents() -> None:
    assert words("It's the CAFÉ-au-lait_42, naïve Straße!") == [
        "it",
        "s",
        "the",
        "cafe",
        "au",
        "lait",
        "42",
        "naive",
        "strasse",
    ]


def test_words_of_other_scripts_are_kept() -> None:
    assert words("Возврат денег · 返金") == ["возврат", "денег", "返金"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("退款需要三十天。", ["退款", "款需", "需要", "要三", "三十", "十天"]),
        ("天 A4用紙が", ["天", "a4", "用紙", "紙が"]),
        ("ﾊﾟｿｺﾝ", ["パソ", "ソコ", "コン"]),  # half width
        ("คืนเงิน", ["คื", "ืน", "นเ", "เง", "งิ", "ิน"]),
        ("환불 요청", ["환불", "요청"]),
        ("שָׁלוֹם مُحَمَّد", ["שלום", "محمد"]),
        ("Ngày hoàn tiền", ["ngay", "hoan", "tien"]),
        ("ß" * 40, ["ss" * 32]),
        ("½ №5 x²", ["1", "2", "no5", "x2"]),
        ("🙂_•", []),
    ],
)
def test_words_are_those_of_every_script(text: str, expected: list[str]) -> None:
    assert words(text) == [unicodedata.normalize("NFKC", word) for word in expected]


@given(st.text(max_size=40))
def test_words_have_no_spaces_are_bounded_and_are_found_by_themselves(text: str) -> None:
    for word in words(text):
        assert word
        assert not word.isspace()
        assert len(word.split()) == 1
        assert len(word) <= WORD_CHARACTERS_MAX
        assert set(words(word)) & set(words(text))


def test_a_memory_is_found_by_its_content_and_by_every_text_in_its_fields() -> None:
    fields = {"keywords": ["money", "back"], "deep": {"title": "Refunds"}, "n": 7, "on": True}
    assert sorted(memory_words("thirty days", fields)) == ["back", "days", "money", "refunds", "thirty"]


def test_query_terms_are_distinct_and_bounded() -> None:
    assert query_terms("a b a c", 10) == ["a", "b", "c"]
    assert query_terms("a b a c", 2) == ["a", "b"]


def test_bm25_is_the_published_formula() -> None:
    documents = {"one": ["refund", "refund", "days"], "two": ["refund", "shipping"]}
    scores = bm25(["refund", "days"], documents, total=4, mean_length=2.0)
    idf_refund, idf_days = math.log(1 + 2.5 / 2.5), math.log(1 + 3.5 / 1.5)
    norm = 1.2 * (0.25 + 0.75 * 3 / 2)
    assert math.isclose(scores["one"], idf_refund * 2 * 2.2 / (2 + norm) + idf_days * 2.2 / (1 + norm))
    assert math.isclose(scores["two"], idf_refund * 2.2 / (1 + 1.2))


def test_a_rare_word_counts_for_more_than_a_common_one() -> None:
    documents = {f"d{n}": ["common"] for n in range(9)} | {"rare": ["unusual"]}
    scores = bm25(["common", "unusual"], documents, total=10, mean_length=1.0)
    assert max(scores, key=scores.__getitem__) == "rare"
