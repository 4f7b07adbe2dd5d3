"""Items of LangGraph's store that expire."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from memory_repository import MemoryRepository, Put
from memory_repository.adapters.langgraph import MemoryStore
from memory_repository.adapters.langgraph.items import StoredItem
from memory_repository.core.retention import Retention
from memory_repository.storage import expiries
from memory_repository.storage.store import Repository
from thymos.errors import Refusal, RefusalCode

START = datetime.fromisoformat("2025-03-01T12:00:00+00:00")


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.minutes = 0.0

    def __call__(self) -> datetime:
        return START + timedelta(minutes=self.minutes)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(store_url: str, clock: Clock) -> Iterator[MemoryRepository]:
    with MemoryRepository.open(store_url, clock=clock) as memory:
        yield memory


def present(store: MemoryStore) -> list[str]:
    return sorted(item.key for item in store.search((), limit=100, refresh_ttl=False))


def test_items_expire_after_their_time_and_are_swept_by_a_commit(timed: MemoryRepository, clock: Clock) -> None:
    store = MemoryStore(timed, ttl={"default_ttl": 10})
    store.put(("a",), "default", {"text": "tea"})
    store.put(("a",), "short", {"text": "tea"}, ttl=5)
    store.put(("b",), "for ever", {"text": "tea"}, ttl=None)
    clock.minutes = 6
    assert present(store) == ["default", "for ever"]
    assert store.get(("a",), "short") is None
    assert len(store.search((), query="tea", refresh_ttl=False)) == 2
    assert store.sweep_ttl() == 1
    clock.minutes = 11
    assert store.list_namespaces() == [("b",)]
    assert (store.sweep_ttl(), store.sweep_ttl()) == (1, 0)
    assert [memory.id for memory in timed.memories()] == ["lg/b:for+20ever"]
    assert timed.log()[0].message == "1 items have expired"


def test_reading_keeps_an_item_unless_the_reader_says_otherwise(timed: MemoryRepository, clock: Clock) -> None:
    store = MemoryStore(timed)
    for name in ("got", "searched", "looked at"):
        store.put(("a",), name, {"text": name}, ttl=10)
    clock.minutes = 8
    store.get(("a",), "got")
    store.search(("a",), query="searched")
    store.get(("a",), "looked at", refresh_ttl=False)
    clock.minutes = 12
    assert present(store) == ["got", "searched"]
    assert len(timed.log()) == 4, "reading is no commit"
    clock.minutes = 18.5
    assert present(store) == []


def test_putting_again_begins_the_time_anew_even_when_nothing_changed(timed: MemoryRepository, clock: Clock) -> None:
    store = MemoryStore(timed)
    store.put(("a",), "same", {"n": 1}, ttl=10)
    store.put(("a",), "shorter", {"n": 1}, ttl=10)
    clock.minutes = 8
    store.get(("a",), "shorter")
    store.put(("a",), "same", {"n": 1}, ttl=10)
    store.put(("a",), "shorter", {"n": 2}, ttl=1)
    clock.minutes = 12
    assert present(store) == ["same"]
    store.put(("a",), "shorter", {"n": 3})
    item = store.get(("a",), "shorter")
    assert item is not None
    assert item.created_at == clock(), "what had expired is not there to be changed"


def test_times_outlive_the_commits_that_retention_drops(timed: MemoryRepository, clock: Clock) -> None:
    store = MemoryStore(timed)
    store.put(("a",), "kept", {"n": 1}, ttl=100)
    store.put(("a",), "changed", {"n": 1})
    for minute in range(1, 6):
        clock.minutes = minute
        store.put(("a",), "changed", {"n": minute + 1})
    before = store.search((), refresh_ttl=False)
    assert timed.gc(Retention(commits_max=1, reflog_age=timedelta())).commits > 3
    assert store.search((), refresh_ttl=False) == before
    assert [item.updated_at - START for item in before] == [timedelta(minutes=5), timedelta()]
    clock.minutes = 101
    assert present(store) == ["changed"]


def test_keeping_an_item_shorter_than_it_is_kept_already_changes_nothing(timed: MemoryRepository) -> None:
    def extend(minutes: int) -> datetime | None:
        def work(repo: Repository, _: datetime) -> datetime | None:
            expiries.extend(repo.db, repo.id, "lg/a:1", "commit", START + timedelta(minutes=minutes))
            return expiries.extended_to(repo.db, repo.id, "lg/a:1", "commit")

        return timed.write(work)

    assert extend(10) == extend(5) == START + timedelta(minutes=10)


def test_settings_of_expiry(timed: MemoryRepository, clock: Clock) -> None:
    store = MemoryStore(timed, ttl={"default_ttl": 5, "refresh_on_read": False, "omit_expired": False})
    store.put(("a",), "1", {})
    clock.minutes = 3
    store.get(("a",), "1")
    clock.minutes = 6
    assert present(store) == ["1"], "expired items are shown until they are swept, if so wanted"
    assert store.sweep_ttl() == 1
    sweeping = MemoryStore(timed, ttl={"default_ttl": 5, "sweep_interval_minutes": 2})
    sweeping.put(("a",), "2", {})
    clock.minutes = 20
    sweeping.put(("a",), "3", {})
    assert [memory.id for memory in timed.memories()] == ["lg/a:3"]
    with pytest.raises(Refusal, match="more than 0"):
        store.put(("a",), "1", {}, ttl=-1)


def test_an_item_expires_on_a_branch_as_where_it_comes_from(timed: MemoryRepository, clock: Clock) -> None:
    main = MemoryStore(timed)
    main.put(("a",), "1", {}, ttl=10)
    timed.create_branch("idea")
    idea = MemoryStore(timed, branch="idea")
    clock.minutes = 8
    main.get(("a",), "1")
    clock.minutes = 12
    assert (present(main), present(idea)) == (["1"], ["1"])
    clock.minutes = 19
    assert idea.sweep_ttl() == 1
    assert main.sweep_ttl() == 1


@pytest.mark.parametrize("ttl", [1e10, 4.3e9, 1e300, float("inf"), float("nan"), 0, "5", True])
def test_a_ttl_beyond_all_time_is_refused_when_it_is_put(timed: MemoryRepository, ttl: Any) -> None:
    store = MemoryStore(timed)
    with pytest.raises(Refusal, match="more than 0 and at most 525,600,000") as caught:
        store.put(("a",), "1", {}, ttl=ttl)
    assert caught.value.code == RefusalCode.INVALID
    store.put(("a",), "1", {}, ttl=525_600_000)
    assert present(store) == ["1"]


@pytest.mark.parametrize("minutes", [1e10, 1e300])
def test_an_expiry_beyond_the_last_date_never_comes(timed: MemoryRepository, clock: Clock, minutes: float) -> None:
    """Such an item stands in stores that took it once: it can be read, changed and deleted as any other."""
    store = MemoryStore(timed)
    timed.commit([Put(replace(StoredItem(("a",), "old", {"n": 1}), ttl_minutes=minutes).to_memory())])
    clock.minutes = 1e8
    item = store.get(("a",), "old")
    assert item is not None
    assert item.value == {"n": 1}
    assert (present(store), store.list_namespaces(), store.sweep_ttl()) == (["old"], [("a",)], 0)
    store.put(("a",), "old", {"n": 1})
    store.delete(("a",), "old")
    assert present(store) == []


def kept_rows(memory: MemoryRepository) -> int:
    counted = memory.read(lambda repo: repo.db.execute("SELECT count(*) FROM memory_expiry").fetchone())
    return int(counted[0])


def test_what_readers_kept_is_forgotten_though_nobody_sweeps(timed: MemoryRepository, clock: Clock) -> None:
    store = MemoryStore(timed)
    for number in range(20):
        clock.minutes = number * 4
        store.put(("a",), "1", {"n": number}, ttl=10)
        store.get(("a",), "1")
    assert kept_rows(timed) == 3, "of the versions that were read in the last ten minutes"
    clock.minutes += 11
    store.put(("b",), "another", {})
    assert kept_rows(timed) == 0


def test_what_readers_kept_goes_with_the_commit_that_wrote_it(timed: MemoryRepository, clock: Clock) -> None:
    store = MemoryStore(timed)
    for number in range(20):
        clock.minutes = number
        store.put(("a",), "1", {"n": number}, ttl=1_000_000)
        store.get(("a",), "1")
    assert kept_rows(timed) == 20
    timed.gc(Retention(commits_max=2, reflog_age=timedelta()))
    assert kept_rows(timed) == 2
