"""What no engine can look for, and what is no time, no list and no object, is refused: the same on both engines."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO, StringIO
from typing import Any

import pytest

from memory_repository import Memory, MemoryRepository, Modify, Put, Resolution
from memory_repository.core.proof import Position
from memory_repository.core.retention import Retention
from memory_repository.operations.exporting import Cursor
from thymos.errors import Refusal, RefusalCode

NAMED: dict[str, Callable[[MemoryRepository, Any], object]] = {
    "ref": lambda m, name: m.get("a", name),
    "place to begin a page": lambda m, name: m.page(after=name),
    "kind of a page": lambda m, name: m.page(kind=name),
    "kind of a search": lambda m, name: m.search("one", kind=name),
    "reflog": lambda m, name: m.reflog(name),
    "worktree": lambda m, name: m.staged(name),
    "worktree to stage in": lambda m, name: m.stage(name, [Put(Memory("a", "x"))]),
    "worktree to commit": lambda m, name: m.commit_worktree(name),
    "worktree to close": lambda m, name: m.close_worktree(name),
    "commit that was noted": lambda m, name: m.verify(known=[name]),
    "place to begin a difference": lambda m, name: m.diff("main~1", "main", after=name),
    "kept merge": lambda m, name: m.collisions(name),
}


@pytest.fixture
def told(memory: MemoryRepository) -> MemoryRepository:
    memory.commit([Put(Memory("a", "one"))])
    memory.create_branch("idea")
    for branch in ("main", "idea"):
        memory.commit([Put(Memory("a", branch))], branch=branch)
    memory.open_worktree("w")
    return memory


def refused(work: Callable[[], object]) -> None:
    with pytest.raises(Refusal) as caught:
        work()
    assert caught.value.code == RefusalCode.INVALID


def test_names_that_cannot_be_looked_up(told: MemoryRepository) -> None:
    """A lone surrogate, a NUL, a number: one engine raised for them, the other found nothing."""
    for what, look_up in NAMED.items():
        for name in ("\ud800", "a\0b", 5):
            with pytest.raises(Refusal) as caught:
                look_up(told, name)
            assert (what, caught.value.code) == (what, RefusalCode.INVALID)
    assert told.get("a").memory.content == "main"


BY_ANY_TYPE: dict[str, Any] = {
    "text": "x",
    "nothing": None,
    "number": 5,
    "list": [1],
    "object": {"id": "a", "content": "x"},
    "numbers": {1: 2},
}
WRONG: dict[str, Callable[[Any], object]] = {  # of any type: what is wrong here, types would forbid
    "a filter that is a list": lambda m: m.page(where=[1]),
    "a filter that is text": lambda m: m.search("one", where="x"),
    "a filter that is an empty list": lambda m: m.search("one", where=[]),
    "hits to skip that are no number": lambda m: m.search("one", skip="a"),
    "nothing to skip": lambda m: m.search("one", skip=None),
    "empty text for changes": lambda m: m.commit(""),
    "no bytes for changes": lambda m: m.commit(b""),
    "a head that is a number": lambda m: m.commit([Put(Memory("b", "x"))], expected_head=123),
    "nobody": lambda m: m.commit([Put(Memory("b", "x"))], author=""),
    "a put of text": lambda m: m.commit([Put(BY_ANY_TYPE["text"])]),
    "a put of nothing": lambda m: m.commit([Put(BY_ANY_TYPE["nothing"])]),
    "a put of what was a memory": lambda m: m.stage("w", [Put(BY_ANY_TYPE["object"])]),
    "a memory of a number": lambda m: m.commit([Put(Memory("a", BY_ANY_TYPE["number"]))]),
    "fields that are a list": lambda m: m.commit([Modify("a", fields=BY_ANY_TYPE["list"])]),
    "fields that are text": lambda m: m.commit([Modify("a", fields=BY_ANY_TYPE["text"])]),
    "a field that is no text": lambda m: m.commit([Modify("a", fields=BY_ANY_TYPE["numbers"])]),
    "a parent that is text": lambda m: m.revert("main", mainline="1"),
    "a memory that is text": lambda m: m.merge("idea", resolutions={"a": "x"}),
    "resolutions that are a list": lambda m: m.merge("idea", resolutions=["a"]),
    "rules that are a list": lambda m: m.merge("idea", number_rules=[1]),
    "a rule that is a list": lambda m: m.merge("idea", number_rules={"hits": []}),
    "a rule that is declared as a list": lambda m: m.declare_number_rule("hits", ["sum"]),
    "a resolver that says a number": lambda m: m.merge("idea", strategy="Custom", resolver=lambda _: 5),
    "a resolver that takes what there is not": lambda m: m.merge(
        "idea", strategy="Custom", resolver=lambda _: Resolution(BY_ANY_TYPE["text"])
    ),
    "nothing to take": lambda m: m.resolve_conflict("kept", "a", take=[]),
    "nobody who approves": lambda m: m.approve_merge("kept", None),
    "a retention that is a number": lambda m: m.gc(5),
    "nothing that is known": lambda m: m.verify(known=None),
    "what is known is a number": lambda m: m.verify(known=[5]),
    "what is known is one text": lambda m: m.verify(known="0" * 64),
    "good commits that are one text": lambda m: m.bisect("main"),
    "no place to open": lambda _: MemoryRepository.open(BY_ANY_TYPE["nothing"]),
    "a file of text": lambda m: m.import_lines(StringIO("x")),
    "no changes": lambda m: m.commit(None),
    "text for changes": lambda m: m.commit("x"),
    "changes that are none": lambda m: m.commit(["x"]),
    "a page of text": lambda m: m.page(limit="x"),
    "a page of a truth": lambda m: m.page(limit=True),
    "a strategy that there is not": lambda m: m.merge("main~1", strategy="Bad"),
    "metadata that is a list": lambda m: m.snapshot("s", metadata=[1]),
    "the end of time": lambda m: m.get("a", "main@{9999-12-31T23:59:59-14:00}"),
    "before the first year": lambda m: m.get("a", "main@{0001-01-01T00:00:00+14:00}"),
    "an age beyond all time": lambda m: m.gc(Retention(age_max=timedelta.max)),
    "a reflog beyond all time": lambda m: m.gc(Retention(reflog_age=timedelta.max)),
    "an age below nothing": lambda m: m.gc(Retention(age_max=timedelta(days=-1))),
    "a surrogate with steps": lambda m: m.get("a", "\ud800~1"),
    "a NUL with steps": lambda m: m.get("a", "a\0b~1"),
    "a path of no file": lambda _: MemoryRepository.open("sqlite:///"),
    "a path that no file has": lambda _: MemoryRepository.open("sqlite:////tmp/a%00b.db"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_of_another_kind(told: MemoryRepository, what: str) -> None:
    refused(lambda: WRONG[what](told))


def test_a_name_that_follows_no_rule_is_told_the_rule(told: MemoryRepository) -> None:
    with pytest.raises(Refusal, match=r"^an id is 1 to 200 characters"):
        told.tag("no name")
    with pytest.raises(Refusal, match=r"^a memory id is 1 to 200 characters"):
        told.get("no name")


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        encoded(["commits", [10**30], "", "", [0, 0]]),
        encoded(["versions", ["\0", "x"], "", "", [0, 0]]),
        encoded(["versions", ["\ud800", "x"], "", "", [0, 0]]),
        encoded([["x"], [], "", "", [0, 0]]),
        base64.urlsafe_b64encode(b"[" * 5_000).decode(),
        "\ud800",
    ],
)
def test_a_place_in_a_check_that_nobody_said(text: str) -> None:
    refused(lambda: Position.decoded(text))


@pytest.mark.parametrize("last", ["\ud800", "\0", 5])
def test_a_place_in_an_export_that_nobody_said(last: Any) -> None:
    refused(lambda: Cursor.read(encoded([last, 0, None, 0, "0" * 64])))


@pytest.mark.parametrize(
    ("trailer", "problem"),
    [
        ("Thymos-Time: 0001-01-01T00:00:00+14:00", "Thymos-Time lies beyond"),
        ("Thymos-Time: 1970-01-01T00:00:00", "Thymos-Time has no time zone"),
        ("Thymos-Author: " + "[" * 50_000, "not JSON text"),
    ],
)
def test_a_trailer_that_says_what_cannot_be(trailer: str, problem: str) -> None:
    message = f"m\n\n{trailer}"
    stream = f"commit refs/heads/main\nmark :1\ncommitter A <a@x> 0 +0000\ndata {len(message)}\n{message}\n"
    with (
        MemoryRepository.open("sqlite://") as empty,
        pytest.raises(Refusal, match=rf"line \d+.*{problem}") as caught,
    ):
        empty.import_git(BytesIO(stream.encode()))
    assert caught.value.code == RefusalCode.INVALID
