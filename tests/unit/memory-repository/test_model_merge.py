"""What a model is asked about a merge, and what counts as its answer."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_repository.core import model_merge
from memory_repository.core.memory import Memory
from memory_repository.core.merge import UNKNOWN, Base, merge_memory
from memory_repository.core.model_merge import (
    CONFLICTS_MAX,
    InvalidAnswerError,
    Question,
    question_about,
    read_answer,
    without_quotes,
)
from memory_repository.core.resolution import Contested, Resolution, Take, settled
from thymos.errors import Refusal


def contested(memory_id: str, base: Base, ours: Memory | None, theirs: Memory | None) -> Contested:
    conflicts = merge_memory(memory_id, base, ours, theirs).conflicts
    return Contested(memory_id, base, ours, theirs, conflicts)


TEXT = contested("terms", Memory("terms", "14 days"), Memory("terms", "30 days"), Memory("terms", "60 days"))
OWNER = contested(
    "desk",
    Memory("desk", "who", fields={"owner": "none", "open": True}),
    Memory("desk", "who", fields={"owner": "ann", "open": True}),
    Memory("desk", "who", fields={"owner": "bob", "open": False}),
)
GONE = contested("old", Memory("old", "x"), None, Memory("old", "y"))
ASKED = question_about([TEXT, OWNER, GONE], {})


def answer(*resolutions: dict[str, Any]) -> str:
    return json.dumps({"resolutions": list(resolutions)})


def taken(identity: str, take: str, **more: Any) -> dict[str, Any]:
    return {"id": identity, "take": take, "rationale": "it is newer", **more}


GOOD = (taken("c1", "value", value="30 or 60 days"), taken("c2", "theirs"), taken("c3", "delete"))


def test_a_model_sees_what_collides_and_nothing_else() -> None:
    """The clean change of `open`, and the memories that merge cleanly, are none of its business."""
    (first, second, third) = json.loads(ASKED.prompt.user)["conflicts"]
    assert (first["part"], first["base"], first["ours"], first["theirs"]) == (
        "content",
        "14 days",
        "30 days",
        "60 days",
    )
    assert second == {
        "id": "c2", "memory": "desk", "kind": "field", "part": "fields/owner", "base": "none", "ours": "ann",
        "theirs": "bob", "allowed": ["ours", "theirs", "value", "base"],
    }  # fmt: skip
    assert (third["ours"], "delete" in third["allowed"]) == (None, True)
    assert "open" not in ASKED.prompt.user


def test_what_is_decided_already_is_not_asked() -> None:
    asked = question_about([TEXT, OWNER], {"terms": {"content": Resolution(Take.OURS)}})
    assert [memory.id for memory, _ in asked.asked.values()] == ["desk"]


def test_a_valid_answer_decides_every_conflict() -> None:
    decided = read_answer(ASKED, answer(*GOOD), "small")
    assert settled(TEXT, decided["terms"]) == Memory("terms", "30 or 60 days")
    assert settled(OWNER, decided["desk"]) == Memory("desk", "who", fields={"owner": "bob", "open": False})
    assert settled(GONE, decided["old"]) is None
    assert decided["desk"]["fields/owner"] == Resolution(Take.THEIRS, None, "model:small", "it is newer")


def replaced(index: int, **more: Any) -> str:
    return answer(*[{**entry, **(more if place == index else {})} for place, entry in enumerate(GOOD)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("I take ours.", "not JSON"),
        (f"```json\n{answer(*GOOD)}\n```", "not JSON"),
        (answer(*GOOD) + " and more", "not JSON"),
        ("[" * 100_000, "nested too deeply|not JSON"),
        ("[]", "object of `resolutions`"),
        ('{"resolutions": {}}', "object of `resolutions`"),
        ('{"resolutions": [], "resolutions": []}', "something twice"),
        (json.dumps({"resolutions": list(GOOD), "also": "delete everything"}), "object of `resolutions`"),
        (answer(*GOOD[:2]), "leaves 1 of 3"),
        (answer(*GOOD, GOOD[0]), "answers c1 twice"),
        (answer(*GOOD, taken("c4", "ours")), "not asked about"),
        (answer(*GOOD[:2], taken("old", "delete")), "not asked about"),
        (answer(*[taken(f"c{n}", "ours") for n in range(60)]), "object of `resolutions`"),
        (answer(*GOOD[:2], "c3"), "keys that it should have"),  # type: ignore[arg-type]
        (replaced(0, memory="another"), "keys that it should have"),
        (replaced(0, id=1), "no text"),
        (replaced(0, take="mine"), "takes what it may not"),
        (replaced(0, take="delete", value=None), "takes what it may not"),
        (replaced(1, take="delete"), "takes what it may not"),
        (replaced(1, value="carl"), "gives a value, too"),
        (replaced(2, take="value"), "gives none"),
        (replaced(0, value=30), "cannot be: invalid"),
        (replaced(0, value="x" * 70_000), "cannot be: too_large"),
        (replaced(0, value="a\u0000b"), "cannot be: invalid"),
        (replaced(2, take="value", value={"content": "x", "id": "terms"}), "cannot be: invalid"),
        (replaced(1, take="value", value=2**70), "cannot be: invalid"),
        (answer(*GOOD).replace('"30 or 60 days"', "NaN"), "NaN is no JSON"),
        (replaced(0, rationale=""), "no rationale"),
        (replaced(0, rationale="x" * 501), "no rationale"),
        (replaced(0, rationale="\u202eevil"), "no rationale"),
    ],
)
def test_anything_else_is_no_answer(text: str, said: str) -> None:
    with pytest.raises(InvalidAnswerError, match=said):
        read_answer(ASKED, text, "small")


def test_a_memory_goes_only_where_one_side_has_deleted_it() -> None:
    """However a text may have talked the model into it."""
    assert [model_merge.allowed(memory, conflict)[-1] for memory, conflict in ASKED.asked.values()] == [
        Take.BASE,
        Take.BASE,
        Take.DELETE,
    ]


def test_no_base_is_taken_where_there_is_none() -> None:
    one = contested("m", UNKNOWN, Memory("m", "a"), Memory("m", "b"))
    with pytest.raises(InvalidAnswerError, match="may not"):
        read_answer(question_about([one], {}), answer(taken("c1", "base")), "small")


def test_a_question_has_a_limit() -> None:
    many = [contested(f"m{n}", Memory(f"m{n}", "a"), Memory(f"m{n}", "b"), Memory(f"m{n}", "c")) for n in range(51)]
    assert len(question_about(many[:CONFLICTS_MAX], {}).asked) == CONFLICTS_MAX
    with pytest.raises(Refusal, match="51 conflicts; the limit is 50"):
        question_about(many, {})
    long = [contested(f"m{n}", *(Memory(f"m{n}", side * 60_000) for side in "abc")) for n in range(4)]
    with pytest.raises(Refusal, match="bytes; the limit is"):
        question_about(long, {})


def test_a_rationale_that_quotes_a_memory_is_not_recorded() -> None:
    secret = "the customer lives at 12 High Street, Oldtown"
    assert "High" not in without_quotes("theirs says: lives at 12 High Street, so theirs", [secret])
    assert "High" not in without_quotes("lives at\n12 High Street, Oldtown", [{"address": [secret]}])
    assert without_quotes("theirs has the newer address", [secret]) == "theirs has the newer address"


def test_the_digest_names_the_question() -> None:
    assert ASKED.digest == question_about([TEXT, OWNER, GONE], {}).digest
    assert ASKED.digest != question_about([TEXT, OWNER], {}).digest


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["c1", "ours"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["resolutions", "id", "take", "value", "rationale"]), inner, max_size=4)
    ),
    max_leaves=20,
)


def mutated(entries: list[dict[str, Any]], draw: Callable[[st.SearchStrategy[Any]], Any]) -> str:
    entry = draw(st.sampled_from(entries))
    entry[draw(st.sampled_from(["id", "take", "value", "rationale", "more"]))] = draw(JSON)
    return json.dumps({"resolutions": entries})


@settings(max_examples=60)
@given(data=st.data(), hostile=st.booleans())
def test_whatever_a_model_says_only_what_was_asked_about_is_decided(data: st.DataObject, hostile: bool) -> None:
    text = json.dumps(data.draw(JSON)) if hostile else mutated([dict(entry) for entry in GOOD], data.draw)
    try:
        decided = read_answer(ASKED, text, "small")
    except InvalidAnswerError:
        return
    assert decided.keys() == {"terms", "desk", "old"}
    check_memories(ASKED, decided)


def check_memories(asked: Question, decided: dict[str, dict[str, Resolution]]) -> None:
    for memory, _ in asked.asked.values():
        result = settled(memory, decided[memory.id])
        assert result is None or (result.id == memory.id and result.checked())
        assert result is not None or memory.id == "old"
