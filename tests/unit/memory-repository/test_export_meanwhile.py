"""What goes on between two pages of an export: it ends as it began, or it ends with a conflict, and never as if it
were whole."""

from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO

import pytest

from memory_repository import Memory, MemoryRepository, Put, Retention
from memory_repository.library import transfer as library
from memory_repository.operations import export_order, exporting
from memory_repository.operations.export_order import Order
from memory_repository.operations.exporting import Cursor, ExportPage, Options
from thymos.errors import Refusal, RefusalCode

AT_ONCE = Retention(reflog_age=timedelta(0))


def filled(memory: MemoryRepository, commits: int = 8) -> None:
    for number in range(commits):
        memory.commit([Put(Memory(f"m{number}", f"content {number}"))], message=f"c{number}")


def page(memory: MemoryRepository, among: Order, at: Cursor | None, options: Options | None = None) -> ExportPage:
    return memory.read(lambda repo: exporting.page(repo, among, at, options or Options(), bytes_max=900))


def finished(memory: MemoryRepository, among: Order, first: ExportPage) -> list[bytes]:
    found, part = [*first.lines], first
    while part.next_after is not None:
        part = page(memory, among, part.next_after)
        found += part.lines
    return found


def taken_in(lines: list[bytes]) -> dict[str, str]:
    with MemoryRepository.open("sqlite://", agent="copy") as copy:
        copy.import_lines(BytesIO(b"\n".join(lines)))
        assert copy.verify().ok
        return {each.id: each.content for each in copy.memories()}


def is_removed(error: Refusal) -> bool:
    return error.code is RefusalCode.CONFLICT and "removed while it was exported" in str(error)


def test_a_number_that_is_given_again_brings_nobody_elses_memories_into_the_file(store_url: str) -> None:
    with (
        MemoryRepository.open(store_url, tenant="acme", agent="support") as memory,
        MemoryRepository.open(store_url, tenant="rival", agent="support") as rival,
    ):
        rival.commit([Put(Memory("known", "before"))])
        filled(memory, 1)
        memory.create_branch("x")
        for number in range(6):
            memory.commit([Put(Memory("m", f"on x {number}"))], branch="x")
        among = memory.read(export_order.order)
        first = page(memory, among, None)
        memory.delete_branch("x", force=True)
        assert memory.gc(AT_ONCE).commits
        for number in range(6):
            rival.commit([Put(Memory("secret", f"password {number}"))])
        with pytest.raises(Refusal, check=is_removed):
            finished(memory, among, first)


@pytest.mark.parametrize("thinned", [False, True])
@pytest.mark.parametrize("git", [False, True])
def test_what_the_retention_drops_meanwhile_ends_the_export(
    memory: MemoryRepository, monkeypatch: pytest.MonkeyPatch, thinned: bool, git: bool
) -> None:
    monkeypatch.setattr(library, "PAGE_BYTES", 900)
    filled(memory)
    if thinned:
        memory.gc(Retention(commits_max=6))
    pages: Iterator[bytes] = memory.export_git() if git else memory.export_lines()
    next(pages)
    assert memory.gc(Retention(commits_max=1)).commits
    with pytest.raises(Refusal, check=is_removed):
        list(pages)
    assert list(memory.export_lines()), "one that begins anew holds what is left"


def test_what_is_in_the_file_already_may_go(memory: MemoryRepository) -> None:
    filled(memory)
    memory.gc(Retention(commits_max=6))
    among = memory.read(export_order.order)
    part = page(memory, among, None)
    lines = [*part.lines]
    while part.next_after is not None:
        if part.next_after.position == len(among) - 1:
            memory.gc(Retention(commits_max=1))
        part = page(memory, among, part.next_after)
        lines += part.lines
    assert taken_in(lines) == {f"m{number}": f"content {number}" for number in range(8)}


def test_whoever_goes_on_with_anothers_export_finds_the_same_commits_or_a_conflict(memory: MemoryRepository) -> None:
    filled(memory, 2)
    memory.create_branch("x")
    for number in range(3):
        memory.commit([Put(Memory("m", f"on x {number}"))], branch="x")
    memory.commit([Put(Memory("m1", "later"))])
    among = memory.read(export_order.order)
    first = page(memory, among, None)
    at = first.next_after
    assert at is not None
    again = memory.read(lambda repo: export_order.order(repo, at.last))
    assert taken_in(finished(memory, again, first)) == {"m0": "content 0", "m1": "later"}
    memory.delete_branch("x", force=True)
    other = memory.read(lambda repo: export_order.order(repo, at.last))
    with pytest.raises(Refusal, check=is_removed):
        page(memory, other, at)
    assert taken_in(finished(memory, among, first)) == {"m0": "content 0", "m1": "later"}, "who remembers goes on"


@pytest.mark.parametrize("kept", range(1, 12, 2))
@pytest.mark.parametrize("before", [7, 100])
def test_whatever_is_dropped_between_pages_a_file_that_ends_is_whole(
    memory: MemoryRepository, before: int, kept: int
) -> None:
    filled(memory, 12)
    memory.gc(Retention(commits_max=before))
    expected = {each.id: each.content for each in memory.memories()}
    among = memory.read(export_order.order)
    part = page(memory, among, None)
    lines = [*part.lines]
    while part.next_after is not None:
        memory.gc(Retention(commits_max=max(kept, 12 - part.next_after.position)))
        try:
            part = page(memory, among, part.next_after)
        except Refusal as refusal:
            if not is_removed(refusal):
                raise
            return
        lines += part.lines
    assert taken_in(lines) == expected
