"""A store says of which version it is: older ones are brought over when they are opened, newer ones are refused."""

from pathlib import Path
from typing import Any

import pytest

from memory_repository import Memory, MemoryRepository, Put
from memory_repository.app import build
from memory_repository.core.retention import Retention
from memory_repository.operations import collecting
from memory_repository.storage import schema, store
from thymos.config import Config
from thymos.database import Connection, SqliteConnection
from thymos.errors import DatabaseUnavailableError, Refusal, RefusalCode, StoreUnavailableError
from thymos.service import ServiceSettings
from thymos.sqlite_file import SqliteFile
from thymos.unit_of_work import ServiceStore, Transaction

OLDER = """
DROP TABLE memory_schema;
ALTER TABLE erasing RENAME COLUMN phase TO begun;
UPDATE commits SET words = words - 5 WHERE kind = 'merge' OR line_id > 1;
UPDATE version SET words = 1 WHERE memory_id = 'refund';
DROP TABLE version_terms;
CREATE VIRTUAL TABLE version_words USING fts5 (repo, words, content = '', tokenize = 'ascii');
"""
"""What makes a store one of before there were versions."""


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A store of before there were versions, with three commits."""
    path = tmp_path / "memory-repository.db"
    with MemoryRepository.open(f"sqlite:///{path}") as memory:
        for number in range(3):
            memory.commit([Put(Memory("a", f"hello word{number}")), Put(Memory(f"m{number}", "hello"))])
        memory.create_branch("idea")
        memory.commit([Put(Memory("refund", "退款需要三十天"))], branch="idea")
        memory.merge("idea")
    db = SqliteFile(path).opened()
    db.executescript(OLDER)
    db.close()
    return path


@pytest.mark.sqlite
def test_an_older_store_is_brought_over(older: Path) -> None:
    with MemoryRepository.open(f"sqlite:///{older}") as memory:
        assert len(memory.search("hello").hits) == 4
        assert [hit.memory.id for hit in memory.search("三十天").hits] == ["refund"]
        assert memory.verify().ok
        assert memory.redact("m1", reason="asked to").changed
        assert memory.gc(Retention(commits_max=1)).commits
        assert len(memory.search("hello").hits) == 3
        assert memory.verify().ok
        memory.write(lambda repo, _: integrity(repo.db))


@pytest.mark.sqlite
async def test_so_it_is_when_the_service_drops_something_before_anybody_has_asked(older: Path) -> None:
    service = build(ServiceSettings("nats://127.0.0.1:1", older.parent, Config()))

    def drop(tx: Transaction) -> int:
        repo = store.find_repository(tx.connection, "default", "default")
        done = collecting.collect(repo, Retention(commits_max=1), now=tx.now)
        integrity(tx.connection)
        return done.versions

    assert await service.store.tick("drop", drop) == 2
    await service.store.close()


@pytest.mark.sqlite
def test_in_a_store_of_version_2_everything_is_looked_at_again(tmp_path: Path) -> None:
    """Its cursors may lie beyond numbers that were given twice."""
    url = f"sqlite:///{tmp_path}/memory.db"
    with MemoryRepository.open(url) as memory:
        for number in range(9):
            memory.commit([Put(Memory("a", f"hello {number}"))])
        memory.gc(Retention(commits_max=5))
        ahead = "UPDATE retention SET cursor_no = 999; UPDATE swept SET version_no = 999"
        memory.write(lambda repo, _: [repo.db.execute(sql) for sql in (ahead.split("; "))] and None)
        memory.write(lambda repo, _: repo.db.execute("UPDATE memory_schema SET version = 2") and None)
    with MemoryRepository.open(url) as memory:
        assert memory.gc(Retention(commits_max=2)).commits
        assert (len(memory.log()), len(memory.search("hello").hits), memory.verify().ok) == (2, 1, True)


def test_a_store_of_a_newer_version_is_refused(store_url: str) -> None:
    with MemoryRepository.open(store_url) as memory:
        newer = f"UPDATE memory_schema SET version = {schema.VERSION + 1}"
        memory.write(lambda repo, _: repo.db.execute(newer) and None)
    with pytest.raises(Refusal, match="newer version of Thymos") as caught:
        MemoryRepository.open(store_url)
    assert caught.value.code is RefusalCode.REFUSED
    assert "export its memories" in caught.value.hint


@pytest.mark.sqlite
async def test_a_service_whose_store_turns_out_to_be_newer_lets_messages_wait(tmp_path: Path) -> None:
    """It was away when the service began: what is in hand then is no dead letter, and the service is not ready."""

    class Away(SqliteFile):
        begun = False

        def opened(self, **how: Any) -> SqliteConnection:
            if not self.begun:
                raise DatabaseUnavailableError("the server is away")
            return super().opened(**how)

    with MemoryRepository.open(f"sqlite:///{tmp_path}/memory.db") as memory:
        newer = f"UPDATE memory_schema SET version = {schema.VERSION + 1}"
        memory.write(lambda repo, _: repo.db.execute(newer) and None)
    database = Away(tmp_path / "memory.db")
    store = ServiceStore(database, "memory-repository", schema.prepare)
    database.begun = True
    with pytest.raises(StoreUnavailableError, match="newer version of Thymos"):
        await store.run(lambda: None)
    (finding,) = await store.findings()
    assert "newer version of Thymos" in finding
    await store.close()


def test_a_store_of_this_version_is_opened_again_as_it_is(store_url: str) -> None:
    with MemoryRepository.open(store_url) as memory:
        memory.commit([Put(Memory("a", "hello"))])
    with MemoryRepository.open(store_url) as memory:
        assert len(memory.search("hello").hits) == 1


def integrity(db: Connection) -> None:
    db.execute("INSERT INTO version_terms (version_terms) VALUES ('integrity-check')")
