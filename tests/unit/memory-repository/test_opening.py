"""Two hands on one memory: what one of them does at its beginning, the other sees."""

from collections.abc import Callable
from io import BytesIO

import pytest

from memory_repository import Memory, MemoryRepository, Put
from memory_repository.core import limits
from memory_repository.operations.branching import Named
from thymos.errors import Refusal, RefusalCode


@pytest.mark.parametrize("act", ["read", "write"])
def test_whoever_has_opened_a_memory_sees_what_another_one_imports_into_it(
    memory: MemoryRepository, store_url: str, act: str
) -> None:
    memory.commit([Put(Memory("a", "x"))])
    lines = b"".join(memory.export_lines())
    with (
        MemoryRepository.open(store_url, agent="new") as first,
        MemoryRepository.open(store_url, agent="new") as second,
    ):
        assert first.memories() == []
        second.import_lines(BytesIO(lines))
        if act == "read":
            assert first.get("a").memory.content == "x"
        else:
            assert first.declare_number_rule("hits", "sum")
            assert first.commit([Put(Memory("b", "y"))]).changed
            assert [found.id for found in second.memories()] == ["a", "b"]


def test_a_name_that_is_there_already_needs_no_room(memory: MemoryRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("BRANCHES_MAX", "TAGS_MAX", "SNAPSHOTS_MAX"):
        monkeypatch.setattr(limits, limit, 2)
    makers: tuple[Callable[[str], Named], ...] = (memory.create_branch, memory.tag, memory.snapshot)
    for number, make in enumerate(makers):
        assert make(f"x{number}").created
        assert make == memory.create_branch or make(f"y{number}").created, "main is the other branch"
        assert not make(f"x{number}").created
        with pytest.raises(Refusal, match="the limit is 2") as caught:
            make(f"z{number}")
        assert caught.value.code is RefusalCode.TOO_LARGE
