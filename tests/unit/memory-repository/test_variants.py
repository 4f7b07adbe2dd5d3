"""Generators: what they learn from past outcomes, and what they leave alone."""

import pytest

from memory_repository.core.memory import Memory, Modify
from memory_repository.core.variants import (
    GENERATORS,
    KEYWORDS_MAX,
    PastOutcome,
    aggressive,
    cautious,
    learn_from_success,
)

REFUNDS = Memory("refunds", "A refund takes thirty days.", fields={"keywords": ["money"], "title": "Refunds"})
SHIPPING = Memory("shipping", "We ship within two days.")
MEMORIES = [REFUNDS, SHIPPING]


def outcome(question: str, *recalled: str, succeeded: bool = True) -> PastOutcome:
    return PastOutcome(succeeded, question, recalled)


def test_the_new_words_of_a_successful_question_go_to_the_memory_recalled_first() -> None:
    variant = learn_from_success(
        MEMORIES, [outcome("When is my reimbursement due? Money please!", "refunds", "shipping")]
    )
    assert variant.changes == (Modify("refunds", fields={"keywords": ["money", "due", "reimbursement"]}),)
    assert variant.name == "learn-from-success"


def test_failures_teach_nothing_to_it() -> None:
    variant = learn_from_success(MEMORIES, [outcome("where is my parcel", "refunds", succeeded=False)])
    assert variant.changes == ()


def test_cautious_learns_only_what_two_questions_shared() -> None:
    past = [outcome("reimbursement overdue", "refunds"), outcome("reimbursement pending", "refunds")]
    assert cautious(MEMORIES, past).changes == (Modify("refunds", fields={"keywords": ["money", "reimbursement"]}),)
    assert cautious(MEMORIES, past[:1]).changes == ()


def test_aggressive_guesses_that_the_second_memory_was_right_when_the_first_was_wrong() -> None:
    past = [outcome("where is my parcel", "refunds", "shipping", succeeded=False)]
    assert aggressive(MEMORIES, past).changes == (Modify("shipping", fields={"keywords": ["parcel"]}),)
    past = [outcome("where is my parcel", "refunds", "shipping")]
    assert aggressive(MEMORIES, past).changes == learn_from_success(MEMORIES, past).changes


def test_the_most_frequent_words_come_first_and_the_list_is_bounded() -> None:
    past = [outcome(f"word{number:03} zebra", "shipping") for number in range(200)]
    (change,) = learn_from_success(MEMORIES, past).changes
    assert change.fields is not None
    assert change.fields["keywords"][:2] == ["zebra", "word000"]
    assert len(change.fields["keywords"]) == KEYWORDS_MAX


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_every_generator_is_a_function_of_its_arguments_and_survives_strange_ones(name: str) -> None:
    odd = Memory("odd", "text", fields={"keywords": "not a list"})
    past = [
        PastOutcome(True, None, ("refunds",)),
        PastOutcome(True, "", ("refunds",)),
        outcome("parcel lost", "gone"),
        outcome("parcel lost", "odd"),
        outcome("parcel lost"),
        outcome("1234 the of x", "shipping"),
        outcome("parcel lost", "refunds", succeeded=False),
    ]
    variant = GENERATORS[name]([odd, *MEMORIES], past)
    assert variant == GENERATORS[name]([odd, *MEMORIES], past)
    assert variant.name == name
    assert variant.changes == ()
