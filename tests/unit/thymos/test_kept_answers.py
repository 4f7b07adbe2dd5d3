"""A request that is made again: what it gets, and what it gets no more."""

import json
from collections.abc import Callable

import pytest

from thymos import kept_answers
from thymos.database import Connection
from thymos.errors import Refusal
from thymos.kept_answers import Asked

KEY = "acme/support/commit/k1"


@pytest.fixture
def db(connect_to: Callable[[str], Connection]) -> Connection:
    return connect_to(kept_answers.SCHEMA)


def never() -> bytes:
    raise AssertionError("it was carried out already")


def test_a_key_belongs_to_one_request_and_its_repetitions(db: Connection) -> None:
    assert kept_answers.once(db, Asked(KEY, "put a"), lambda: b"first") == b"first"
    assert kept_answers.once(db, Asked(KEY, "put a"), never) == b"first"
    with pytest.raises(Refusal, match="another request was made with this idempotency_key"):
        kept_answers.once(db, Asked(KEY, "put b"), never)


def test_what_was_carried_out_is_so_once_though_its_answer_is_erased(db: Connection) -> None:
    told = {name: json.dumps({"id": name, "message": "put a"}).encode() for name in ("a", "b")}
    for name, reply in told.items():
        kept_answers.once(db, Asked(f"acme/support/commit/{name}", ""), lambda reply=reply: reply)  # type: ignore[misc]
        kept_answers.once(db, Asked(f"acme/sales/commit/{name}", ""), lambda reply=reply: reply)  # type: ignore[misc]

    assert kept_answers.erase(db, "acme", "support", "a") == 1

    with pytest.raises(Refusal, match="carried out; its answer was erased"):
        kept_answers.once(db, Asked("acme/support/commit/a", ""), never)
    assert kept_answers.once(db, Asked("acme/support/commit/b", ""), never) == told["b"], "it tells of another memory"
    assert kept_answers.once(db, Asked("acme/sales/commit/a", ""), never) == told["a"], "another agent's stays"


def test_what_an_older_store_kept_goes(db: Connection) -> None:
    db.execute("CREATE TABLE replies(key TEXT)")
    db.executescript(f"{kept_answers.SCHEMA}\n")
    with pytest.raises(Exception, match="replies"):
        db.execute("SELECT key FROM replies")


def ask(db: Connection, key: str) -> bytes:
    return kept_answers.once(db, Asked(key, ""), lambda: b"first")


def known(db: Connection) -> list[str]:
    return [key for (key,) in db.execute("SELECT key FROM kept_answers ORDER BY position").fetchall()]


def test_the_oldest_are_forgotten(db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_answers, "ANSWERS_MAX", 2)
    for number in range(3):
        ask(db, f"acme/support/commit/{number}")
    assert kept_answers.once(db, Asked("acme/support/commit/0", ""), lambda: b"again") == b"again"
    assert kept_answers.once(db, Asked("acme/support/commit/2", ""), never) == b"first"


@pytest.mark.parametrize("busy", ["acme/sales", "other/support"])
def test_whoever_asks_often_makes_nobody_else_forgotten(
    db: Connection, monkeypatch: pytest.MonkeyPatch, busy: str
) -> None:
    monkeypatch.setattr(kept_answers, "ANSWERS_MAX", 2)
    monkeypatch.setattr(kept_answers, "UNCOUNTED_MAX", 5)
    ask(db, KEY)
    for number in range(20):
        ask(db, f"{busy}/commit/{number}")
    assert known(db) == [KEY, f"{busy}/commit/18", f"{busy}/commit/19"]
    turns = db.execute("SELECT count(*) FROM kept_answer_turns").fetchone()
    assert turns == (3,), "what counts them is forgotten with them"


def test_what_an_older_store_remembered_is_remembered_as_long_as_there(
    db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_answers, "UNCOUNTED_MAX", 4)
    db.execute("DROP TABLE kept_answer_turns")
    for number in range(3):
        sql = "INSERT INTO kept_answers(key, request, reply) VALUES (?, '', ?)"
        db.execute(sql, (f"acme/support/commit/{number}", b"first"))
    for blanks in ("\n", "\n\n"):  # opened, and opened again: words that were run before are not run again
        db.executescript(f"{kept_answers.SCHEMA}{blanks}")
    assert kept_answers.once(db, Asked("acme/support/commit/0", ""), never) == b"first"
    for number in range(3, 6):
        ask(db, f"acme/support/commit/{number}")
    assert known(db) == [f"acme/support/commit/{number}" for number in (2, 3, 4, 5)]
    for number in range(6, 9):
        ask(db, f"acme/support/commit/{number}")
    assert known(db) == [f"acme/support/commit/{number}" for number in range(3, 9)]
