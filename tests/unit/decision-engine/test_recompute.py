"""A decision's event holds all that it was made from: today's core makes the same event of it, and nothing else.

That every decision of every story here is computed again is checked by `Story` itself; these are the other ways.
"""

import random
from typing import Any

import pytest
from pydantic import JsonValue

from decision_engine import basis
from decision_engine.recompute import RECOMPUTATIONS, decision_made, experiment_decided
from decision_engine.testing import Story, policy, recomputed
from thymos.errors import CannotRecomputeError, NoInputsError, UnreadableInputsError
from thymos.events import ExperimentDecided, Verdict


def merged() -> Story:
    """A story that ends in a merge, with the decisions on the way."""
    return Story().runs("cautious", "learn-from-success").pairs("1" * 30, "0" * 30)


def with_basis(event: Any, **changes: JsonValue) -> Any:
    """The event with some of the basis exchanged, as a forger would."""
    held = {**basis.unpacked(event.inputs[basis.KEY]), **changes}
    return event.model_copy(update={"inputs": {**event.inputs, basis.KEY: basis.packed(held)}})


def test_the_event_of_every_decision_has_a_recomputation() -> None:
    assert {event.__name__ for event in RECOMPUTATIONS} == {"DecisionMade", "ExperimentDecided"}


def test_a_verdict_is_computed_again_from_the_answers_themselves() -> None:
    (decided,) = merged().sent(ExperimentDecided)
    held = basis.unpacked(decided.inputs[basis.KEY])
    experiment: Any = held["experiment"]
    answers = experiment["answers"]["learn-from-success"]
    task = next(iter(answers))
    answers[task] = {**answers[task], "outcome": "failed"}

    again = experiment_decided(with_basis(decided, experiment=experiment))

    assert decided.verdict is Verdict.MERGE
    assert again is None or again.arms != decided.arms


def test_a_merge_is_computed_again_from_the_answers_and_not_from_the_look_that_was_stored() -> None:
    made = merged().decisions("merge-on-success")[-1]
    state: Any = basis.unpacked(made.inputs[basis.KEY])["state"]
    (experiment,) = state["experiments"].values()
    answers = experiment["answers"]["learn-from-success"]
    assert len(answers) > 2, "all of them, not only the first and the last"

    for answer in answers.values():
        answer["outcome"] = "failed"
    assert decision_made(with_basis(made, state=state)) is None, "nothing is proven by such answers"


def test_a_look_that_was_changed_afterwards_changes_nothing_of_a_merge() -> None:
    made = merged().decisions("merge-on-success")[-1]
    state: Any = basis.unpacked(made.inputs[basis.KEY])["state"]
    (experiment,) = state["experiments"].values()
    for arm in experiment["look"]["arms"]:
        arm["wins"] = 99

    again = decision_made(with_basis(made, state=state))

    assert again is not None
    assert again.inputs["found"] == made.inputs["found"]


def test_answers_that_are_too_many_are_left_out_before_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basis, "PLAIN_MAX", 1)
    whole: Any = merged().decisions("merge-on-success")[-1].inputs[basis.KEY]
    monkeypatch.setattr(basis, "BYTES_MAX", len(whole["zlib"]) - 1)

    made = merged().decisions("merge-on-success")[-1]  # which is computed again by the story itself

    state: Any = basis.unpacked(made.inputs[basis.KEY])["state"]
    (experiment,) = state["experiments"].values()
    assert experiment["plan"]["tasks"] == []


@pytest.mark.parametrize("field", ["verdict", "reason", "mode", "not_done", "actions"])
def test_a_decision_that_was_changed_afterwards_does_not_follow(field: str) -> None:
    made = merged().decisions("merge-on-success")[-1]
    other: dict[str, Any] = {
        "verdict": "refused",
        "reason": "because",
        "mode": "dry_run",
        "not_done": [],
        "actions": [],
    }
    changed = made.model_copy(update={field: other[field]})
    if changed == made:  # nothing was left undone
        return

    assert recomputed(changed) == made


def test_a_decision_that_todays_core_would_not_make_is_none() -> None:
    made = merged().decisions("merge-on-success")[-1]

    assert decision_made(with_basis(made, cause="another cause")) is None


def test_a_decision_from_before_decisions_carried_their_inputs_says_so() -> None:
    made = merged().decisions("merge-on-success")[-1]
    old = {name: value for name, value in made.inputs.items() if name != basis.KEY}

    with pytest.raises(NoInputsError, match="before decisions carried"):
        decision_made(made.model_copy(update={"inputs": old}))


@pytest.mark.parametrize(
    "held",
    [7, [], {}, {"zlib": "no base64"}, {"zlib": "AAAA"}, {"zlib": "eJyrrgUAAXUA+Q=="}, {"state": {}}],
    ids=repr,
)
def test_inputs_that_somebody_made_up_are_refused_in_words(held: JsonValue) -> None:
    made = merged().decisions("merge-on-success")[-1]

    with pytest.raises(UnreadableInputsError):
        decision_made(made.model_copy(update={"inputs": {basis.KEY: held}}))


def test_a_small_basis_stands_as_it_is_a_large_one_compressed_a_huge_one_is_left_out_and_says_so() -> None:
    digits = random.Random(7)
    noise = "".join(digits.choice("0123456789abcdef") for _ in range(2 * basis.BYTES_MAX))
    small: dict[str, JsonValue] = {"words": "ab"}
    large: dict[str, JsonValue] = {"words": "ab" * basis.PLAIN_MAX}

    assert basis.packed(small) == small
    assert set(basis.packed(large)) == {"zlib"}
    assert basis.unpacked(basis.packed(large)) == large
    with pytest.raises(CannotRecomputeError, match="too large"):
        basis.unpacked(basis.packed({"words": noise}))


def test_a_basis_that_would_unpack_to_more_than_there_is_room_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = basis.packed({"words": "a" * basis.PLAIN_MAX * 4})
    monkeypatch.setattr(basis, "UNPACKED_MAX", 1_000)

    with pytest.raises(CannotRecomputeError, match="more than 1000 bytes"):
        basis.unpacked(bomb)


def test_the_largest_experiment_still_carries_its_answers() -> None:
    """Three variants on 1,500 tasks: the verdict's event stays within a message."""
    story = Story(policy(tasks=1_500)).runs("cautious", "aggressive", "learn-from-success")
    tasks = story.tasks()
    letters = random.Random(3)
    for first in range(0, len(tasks), 500):
        for name in ("control", "cautious", "aggressive", "learn-from-success"):
            if not story.sent(ExperimentDecided):
                story.arm(name, {task: letters.choice("01") for task in tasks[first : first + 500]})

    (decided,) = story.sent(ExperimentDecided)

    held: Any = decided.inputs[basis.KEY]
    assert set(held) == {"zlib"}
    assert len(decided.model_dump_json()) < 500_000


def test_no_whole_number_of_an_event_is_larger_than_every_reader_of_json_keeps() -> None:
    """JavaScript and protobuf's Struct round beyond 2**53; exact numbers are text there."""
    numbers: list[int] = []

    def look(value: Any) -> None:
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            look(each)
        if isinstance(value, int):
            numbers.append(value)

    for made in merged().decisions():
        look(made.inputs)

    assert numbers
    assert max(numbers) <= basis.SAFE_MAX
