"""lakeFS documents its three-way merge as a table of ten rows ("Merges in lakeFS"); ours follows it, row by row.

A, B and C are contents, X is an object that is not there; the last column is the result, or that it is a conflict.
lakeFS's source is our theirs, its destination our ours.
"""

import pytest

from memory_repository import MemoryRepository
from memory_repository.core.memory import Change, Delete, Memory, Put
from memory_repository.core.merge import Strategy

TABLE = """
base source destination result
A    A      A           A
A    B      B           B
A    B      C           conflict
A    A      B           B
A    B      A           B
A    X      X           X
A    B      X           conflict
A    X      B           conflict
A    A      X           X
A    X      A           X
"""
ROWS = [tuple(line.split()) for line in TABLE.strip().splitlines()[1:]]


def merged(base: str, source: str, destination: str, strategy: Strategy) -> str:
    """What the merged branch holds: a content, X, or that there is a conflict."""
    with MemoryRepository.open("sqlite://") as memory:
        memory.commit([Put(Memory("object", base)), Put(Memory("other", "stays"))])
        memory.create_branch("source")
        memory.commit(becomes(base, source), branch="source")
        memory.commit(becomes(base, destination))
        result = memory.merge("source", "main", strategy)
        if result.open:
            return "conflict"
        return next((found.content for found in memory.memories() if found.id == "object"), "X")


def becomes(before: str, after: str) -> list[Change]:
    if after == before:
        return []
    return [Delete("object")] if after == "X" else [Put(Memory("object", after))]


@pytest.mark.parametrize(("base", "source", "destination", "result"), ROWS)
def test_a_row_of_the_table(base: str, source: str, destination: str, result: str) -> None:
    assert merged(base, source, destination, Strategy.MANUAL) == result


@pytest.mark.parametrize(("base", "source", "destination", "result"), ROWS)
def test_a_strategy_decides_what_is_a_conflict_and_nothing_else(
    base: str, source: str, destination: str, result: str
) -> None:
    conflict = result == "conflict"
    assert merged(base, source, destination, Strategy.THEIRS) == (source if conflict else result)
    assert merged(base, source, destination, Strategy.OURS) == (destination if conflict else result)


def test_the_table_has_ten_rows() -> None:
    assert len(ROWS) == 10
