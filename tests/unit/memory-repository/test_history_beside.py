"""What stands beside the commits of a history comes along: protection, rules, what was erased."""

from collections.abc import Iterator
from io import BytesIO

import pytest

from memory_repository import Memory, MemoryRepository, Put
from memory_repository.core import limits
from memory_repository.operations import committing
from thymos.errors import Refusal


@pytest.fixture
def empty() -> Iterator[MemoryRepository]:
    with MemoryRepository.open("sqlite://", tenant="other", agent="copy") as opened:
        yield opened


def test_what_was_declared_and_erased_comes_along(memory: MemoryRepository, empty: MemoryRepository) -> None:
    memory.create_branch("Idea")
    memory.protect_branch("Idea", reason="shown to customers")
    memory.declare_number_rule("hits", "sum")
    for reason in ("asked to", "asked again"):
        memory.commit([Put(Memory("a", reason))])
        memory.redact("a", reason=reason)
    lines = list(memory.export_lines(with_key=True))
    empty.import_lines(BytesIO(b"".join(lines)))
    assert empty.number_rules() == {"hits": "sum"}
    with pytest.raises(Refusal, match="Idea is protected"):
        empty.delete_branch("Idea", force=True)
    assert empty.redactions() == memory.redactions() != []
    assert list(empty.export_lines(with_key=True))[1:-1] == lines[1:-1]


@pytest.mark.parametrize("page", [1, 40, 400])
def test_what_was_erased_is_told_once_however_the_pages_fall(
    memory: MemoryRepository, empty: MemoryRepository, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        memory.commit([Put(Memory("a", f"{number}"))])
    memory.redact("a", reason="asked to")
    memory.tag("v1")
    monkeypatch.setattr("memory_repository.library.transfer.PAGE_BYTES", page)
    empty.import_lines(BytesIO(b"".join(memory.export_lines())))
    assert empty.redactions() == memory.redactions()
    assert len(empty.redactions()) == 12


def test_a_memory_of_which_something_was_declared_is_not_replaced(
    memory: MemoryRepository, empty: MemoryRepository
) -> None:
    lines = b"".join(memory.export_lines())
    empty.protect_branch("main")
    with pytest.raises(Refusal, match="has a memory already"):
        empty.import_lines(BytesIO(lines))
    empty.unprotect_branch("main")
    empty.declare_number_rule("hits", "sum")
    with pytest.raises(Refusal, match="has a memory already"):
        empty.import_lines(BytesIO(lines))
    assert empty.number_rules() == {"hits": "sum"}


def test_a_commit_whose_metadata_fills_its_limit_can_be_brought_over_and_replayed(memory: MemoryRepository) -> None:
    full = {"x": "y" * (limits.META_BYTES_MAX - len('{"x":""}'))}
    memory.create_branch("idea")
    memory.write(
        lambda repo, now: committing.commit(repo, "idea", [Put(Memory("a", "1"))], author="x", now=now, meta=full)
    )
    memory.commit([Put(Memory("b", "1"))])
    assert len(memory.rebase("idea").replayed) == 1
    source = memory
    for generation in range(2):
        copy = MemoryRepository.open("sqlite://", agent=f"copy{generation}")
        copy.import_lines(BytesIO(b"".join(source.export_lines())))
        assert copy.resolve("idea").meta["x"] == full["x"]
        source = copy
    with MemoryRepository.open("sqlite://") as from_git:
        assert from_git.import_git(BytesIO(b"".join(source.export_git()))).commits
