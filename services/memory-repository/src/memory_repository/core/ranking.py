"""How search ranks: words, and BM25 over the memories that are visible at one commit.

The score of a memory depends on the visible state and the query alone: no other branch, tenant or old version has a
part in it, so equal states rank equally and nobody's word frequencies leak. A word is a run of letters and digits,
in lower case and without accents; there is no stemming, so that what matched can be explained by looking at it. Where
a script puts no spaces between words (Chinese, Japanese, Thai, ...) every two characters that stand together count as
one, as in Lucene's CJKAnalyzer: none of them is a word for sure, and who asks for a word finds it wherever it stands.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

K1: Final = 1.2
"""How soon repeating a word stops helping (Robertson and Zaragoza 2009, section 3.5; the usual default)."""
B: Final = 0.75
"""How much a long text is held against it."""
WORD_CHARACTERS_MAX: Final = 64
"""A longer run of letters is cut: it is no word, and an index entry has to end somewhere."""


_OBJECTS, _LISTS = (dict, Mapping), (list, tuple)
# What is longer than a word may be is taken whole and cut; most text is ASCII, where letters are few.
_ASCII_WORD: Final = re.compile(rf"([a-z0-9]{{1,{WORD_CHARACTERS_MAX}}})[a-z0-9]*")


_UNSPACED: Final = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u2e80-\u2fdf\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+)"
)
"""A run of characters of a script without spaces between its words: besides the above kana and Han characters."""


def words(text: str) -> list[str]:
    """The words of a text, in order, with repetitions."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    plain = "".join(" " if _parts(c) else c for c in unicodedata.normalize("NFKD", text) if not _is_accent(c))
    found: list[str] = []
    for run in unicodedata.normalize("NFKC", plain).casefold().split():
        for number, part in enumerate(_UNSPACED.split(run)):
            if number % 2:
                found += [part[at : at + 2] for at in range(max(1, len(part) - 1))]
            elif part:
                found.append(part[:WORD_CHARACTERS_MAX])
    return found


def _parts(character: str) -> bool:
    """Whether it stands between words: neither a letter or digit, nor a mark that belongs to one, as Indian vowels."""
    return not character.isalnum() and not unicodedata.category(character).startswith("M")


def _is_accent(character: str) -> bool:
    """Whether it is a mark without which a word is still the same: accents, the points of Hebrew, Arabic and Syriac
    (by their canonical combining classes). The vowels, tones and nuktas of other scripts are not."""
    kind = unicodedata.combining(character)
    return kind >= 200 or 10 <= kind <= 36


def memory_words(content: str, fields: Mapping[str, Any]) -> list[str]:
    """The words under which a memory is found: those of its content and of all text values in its fields."""
    return words(memory_text(content, fields))


def memory_text(content: str, fields: Mapping[str, Any]) -> str:
    """The text by which a memory is found: its content and all text values in its fields, a line each."""
    return "\n".join([content, *_texts(fields)])


def fused(rankings: Sequence[Sequence[str]]) -> dict[str, float]:
    """Reciprocal rank fusion (Cormack et al. 2009): the sum over rankings of 1 / (60 + rank), rank from 1."""
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, name in enumerate(ranking, start=1):
            scores[name] = scores.get(name, 0.0) + 1 / (60 + rank)
    return scores


def query_terms(query: str, most: int) -> list[str]:
    """The distinct words of a query in the order they appear, at most `most`."""
    return list(dict.fromkeys(words(query)))[:most]


def bm25(
    terms: Sequence[str], documents: Mapping[str, Sequence[str]], total: int, mean_length: float
) -> dict[str, float]:
    """BM25 scores (Robertson and Zaragoza 2009, equation 3.15, with the never negative idf of Lucene).

    score = sum over terms of ln(1 + (N - n + 1/2) / (n + 1/2)) * f (k1 + 1) / (f + k1 (1 - b + b len/mean))

    Args:
        terms: distinct query words.
        documents: id -> words, of everything visible that holds at least one term.
        total: N, how many documents are visible at all.
        mean_length: their mean number of words.
    """
    counts = {name: [found.count(term) for term in terms] for name, found in documents.items()}
    holding = [sum(map(bool, column)) for column in zip(*counts.values(), strict=True)]
    idf = [math.log(1 + (max(total, held) - held + 0.5) / (held + 0.5)) for held in holding]
    scores = {}
    for name, count in counts.items():
        norm = K1 * (1 - B + B * len(documents[name]) / (mean_length or 1.0))
        scores[name] = math.fsum(weight * f * (K1 + 1) / (f + norm) for weight, f in zip(idf, count, strict=True))
    return scores


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, _OBJECTS):
        for key in sorted(value):
            yield from _texts(value[key])
    elif isinstance(value, _LISTS):
        for item in value:
            yield from _texts(item)
