"""Fields beside the cells of DoltLite, which runs in a process of its own."""

from typing import Any

import pytest

from memory_repository.core.memory import Memory
from memory_repository.core.merge import merge_memory

from .field_merges import asked, compare


def test_doltlite_merges_fields_as_we_do() -> None:
    tally = compare(range(1_000))
    assert tally.problems == []
    assert tally.counts["conflicts"] > 100


def note(content: str = "text", **fields: Any) -> Memory:
    return Memory("m", content, "note", fields)


DIFFERENCES: dict[str, tuple[list[Any], tuple[Memory | None, ...], Memory | None]] = {
    "lines of a text are cells of ours": (
        ["one\ntwo\nthree", "ONE\ntwo\nthree", "one\ntwo\nTHREE"],
        (note("one\ntwo\nthree"), note("ONE\ntwo\nthree"), note("one\ntwo\nTHREE")),
        note("ONE\ntwo\nTHREE"),
    ),
    "keys of a JSON object are cells of ours": (
        ['{"days":30,"items":3}', '{"days":60,"items":3}', '{"days":30,"items":5}'],
        (note(x={"days": 30, "items": 3}), note(x={"days": 60, "items": 3}), note(x={"days": 30, "items": 5})),
        note(x={"days": 60, "items": 5}),
    ),
    "a list of distinct scalars is a set of ours": (
        ['["a","b"]', '["b"]', '["a","b","c"]'],
        (note(x=["a", "b"]), note(x=["b"]), note(x=["a", "b", "c"])),
        note(x=["b", "c"]),
    ),
}
"""What is one cell to DoltLite and has parts for us: the cell's three values, the memories, and what we merge to."""


@pytest.fixture(scope="module")
def conflicts() -> frozenset[str]:
    """The differences that are conflicts to DoltLite."""
    rows = [[name, *([value] for value in cells)] for name, (cells, _, _) in DIFFERENCES.items()]
    return asked({"columns": ["cell JSON"], "rows": rows}).conflicts


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_what_is_one_cell_to_doltlite_has_parts_for_us(conflicts: frozenset[str], difference: str) -> None:
    _, (base, ours, theirs), expected = DIFFERENCES[difference]
    assert difference in conflicts
    merged = merge_memory("m", base, ours, theirs)
    assert not merged.conflicts
    assert expected is not None
    assert expected.same_as(merged.value)


def test_a_row_in_conflict_stays_ours_whole_in_doltlite_and_only_where_it_collides_with_us() -> None:
    rows = asked({"columns": ["x", "y"], "rows": [["row", [1, 1], [2, 1], [3, 5]]]})
    assert rows.conflicts == {"row"}
    assert rows.merged["row"] == [2, 1]
    favoured = merge_memory("m", note(x=1, y=1), note(x=2, y=1), note(x=3, y=5), "ours")
    assert note(x=2, y=5).same_as(favoured.value)


def test_null_and_an_absent_field_are_one_to_a_table_and_two_to_us() -> None:
    rows = asked({"columns": ["x"], "rows": [["row", [None], [None], [1]]]})
    assert not rows.conflicts
    assert merge_memory("m", note(x=None), note(), note(x=1)).conflicts
