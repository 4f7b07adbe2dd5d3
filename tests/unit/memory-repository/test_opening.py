"""Two hands on one memory: what one of them does at its beginning, the other sees."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest

from memory_repository import Delete, Memory, MemoryRepository, Put
from memory_repository.core import limits
from memory_repository.core.retention import Retention
from memory_repository.operations import checkpointing
from memory_repository.operations.branching import Named
from memory_repository.storage import expiries, imports, store
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


@pytest.mark.sqlite
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"nodir/x\.db cannot be opened: there is no folder .*nodir") as caught:
        MemoryRepository.open(f"sqlite:///{tmp_path}/nodir/x.db")
    assert (caught.value.code, caught.value.hint) == (RefusalCode.NOT_FOUND, "make the folder first")
    with pytest.raises(Refusal, match=f"{tmp_path} cannot be opened") as caught:
        MemoryRepository.open(f"sqlite:///{tmp_path}")
    assert caught.value.code is RefusalCode.REFUSED


@pytest.mark.sqlite
def test_an_sqlite_url_has_no_options(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="an sqlite URL has no options") as caught:
        MemoryRepository.open(f"sqlite:///{tmp_path}/x.db?mode=ro")
    assert caught.value.code is RefusalCode.INVALID
    assert list(tmp_path.iterdir()) == []
    MemoryRepository.open(f"sqlite:///{tmp_path}/why%3F.db").close()
    assert (tmp_path / "why?.db").exists()


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


def exported(memory: MemoryRepository) -> bytes:
    memory.commit([Put(Memory("a", "x"))])
    return b"".join(memory.export_lines())


SAID: dict[str, Callable[[MemoryRepository], object]] = {
    "a commit": lambda m: m.commit([Put(Memory("b", "y"))]),
    "a branch": lambda m: m.create_branch("idea"),
    "a branch that was deleted": lambda m: (m.create_branch("idea"), m.delete_branch("idea")),
    "a redaction": lambda m: (
        m.create_branch("idea"),
        m.commit([Put(Memory("b", "secret"))], branch="idea"),
        m.redact("b", reason="asked to"),
        m.delete_branch("idea", force=True),
        m.gc(Retention(commits_max=1, reflog_age=timedelta())),
    ),
    "a history that was dropped": lambda m: (
        m.commit([Put(Memory("b", "y"))]),
        m.commit([Delete("b")]),
        m.gc(Retention(commits_max=1, reflog_age=timedelta())),
    ),
    "a protected branch": lambda m: m.protect_branch("main"),
    "a rule": lambda m: m.declare_number_rule("hits", "sum"),
    "a worktree": lambda m: m.open_worktree("w"),
    "a checkpoint": lambda m: m.write(
        lambda repo, _: checkpointing.put_writes(
            repo, "t", "", "1", "task", "", [checkpointing.NewWrite(0, "a", ("x", b"x"))]
        )
    ),
    "a time that a reader asked for": lambda m: m.write(
        lambda repo, now: expiries.extend(repo.db, repo.id, "lg/a:1", "commit", now)
    ),
}


@pytest.mark.parametrize("what", SAID)
def test_an_import_never_replaces_what_somebody_has_used(memory: MemoryRepository, store_url: str, what: str) -> None:
    lines = exported(memory)
    with MemoryRepository.open(store_url, agent="new", clock=lambda: datetime(2026, 1, 1, tzinfo=UTC)) as used:
        SAID[what](used)
        redactions = used.redactions()
        with pytest.raises(Refusal, match="has a memory already") as caught:
            used.import_lines(BytesIO(lines))
        assert caught.value.code is RefusalCode.CONFLICT
        assert used.redactions() == redactions


@pytest.mark.parametrize("act", ["read", "write"])
def test_whoever_has_used_a_memory_goes_on_when_it_is_replaced_after_that(
    memory: MemoryRepository, store_url: str, act: str
) -> None:
    lines = exported(memory)
    with (
        MemoryRepository.open(store_url, agent="new", clock=lambda: datetime(2026, 1, 1, tzinfo=UTC)) as first,
        MemoryRepository.open(store_url, agent="new") as second,
    ):
        first.declare_number_rule("hits", "sum")
        first.declare_number_rule("hits", None)
        first.gc()
        second.import_lines(BytesIO(lines))
        if act == "read":
            assert first.get("a").memory.content == "x"
        else:
            assert first.commit([Put(Memory("b", "y"))]).changed
            assert [found.id for found in second.memories()] == ["a", "b"]
        assert first.verify().ok


def test_of_a_repository_that_is_removed_no_row_stays() -> None:
    """What is neither counted as something that somebody said nor removed would be left over, or stop the removal."""
    repositories = re.findall(r"CREATE TABLE IF NOT EXISTS (\w+) \(\s+repo_id ", store.SCHEMA)
    assert len(repositories) > 15
    assert set(repositories) - {*imports.OWNED, *imports.LABELS, *imports.SAID} == set()
