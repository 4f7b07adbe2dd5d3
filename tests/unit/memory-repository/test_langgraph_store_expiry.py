"""Items of LangGraph's store that expire."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from memory_repository import MemoryRepository
from memory_repository.adapters.langgraph import MemoryStore
from memory_repository.core.retention import Retention
from memory_repository.storage import expiries
from memory_repository.storage.store import Repository
from thymos.errors import Refusal

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
