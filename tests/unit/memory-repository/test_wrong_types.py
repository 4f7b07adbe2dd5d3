"""Whatever a parameter of the library is given, the call works or is refused: never another exception."""

import inspect
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from io import BytesIO
from typing import Any

import pytest

from memory_repository import Memory, MemoryRepository, Modify, Put, Strategy
from thymos.database import SqliteConnection
from thymos.errors import Refusal

WRONG: Mapping[str, Any] = {
    "None": None,
    "a number": 5,
    "a number below 0": -1,
    "a truth": True,
    "no number": float("nan"),
    "a large number": 10**30,
    "text": "x",
    "no text": "",
    "a surrogate": "\ud800",
    "a NUL": "a\0b",
    "a huge text": "x" * 200_000,
    "bytes": b"x",
    "an empty list": [],
    "a list": [5],
    "a list of texts": ["x", "\ud800"],
    "an empty object": {},
    "an object": {"a": "x"},
    "an object with a number": {5: 5},
    "something": object(),
    "a function": lambda *_: 5,
}
VERBS: Mapping[str, dict[str, Any]] = {
    "abandon_import": {},
    "abort_merge": {"merge_id": "kept"},
    "approve_merge": {"merge_id": "kept", "by": "jo"},
    "bisect": {"good": ["main~2"]},
    "blame": {"memory_id": "a"},
    "branches": {},
    "cherry_pick": {"commit": "idea"},
    "close_worktree": {"worktree_id": "w"},
    "collisions": {"merge_id": "kept"},
    "commit": {"changes": [Put(Memory("new", "x"))]},
    "commit_worktree": {"worktree_id": "w"},
    "compact": {},
    "continue_merge": {"merge_id": "kept"},
    "create_branch": {"branch": "new"},
    "declare_number_rule": {"path": "hits", "rule": "sum"},
    "delete_branch": {"branch": "idea"},
    "delete_snapshot": {"snapshot_id": "s"},
    "delete_tag": {"tag": "t"},
    "diff": {"a": "main~1", "b": "main"},
    "embed": {},
    "export_git": {},
    "export_lines": {},
    "gc": {},
    "get": {"memory_id": "a"},
    "history": {"memory_id": "a"},
    "import_git": {"source": BytesIO()},
    "import_lines": {"source": BytesIO()},
    "kept_merge": {"merge_id": "kept"},
    "log": {},
    "memories": {},
    "merge": {"source": "idea"},
    "merge_bases": {"a": "main", "b": "idea"},
    "merges": {},
    "number_rules": {},
    "open_worktree": {"worktree_id": "new"},
    "page": {},
    "protect_branch": {"branch": "idea"},
    "read": {"work": lambda _: 5},
    "rebase": {"branch": "idea"},
    "redact": {"memory_id": "a", "reason": "asked to"},
    "redactions": {},
    "reflog": {},
    "rename_branch": {"branch": "idea", "name": "new"},
    "resolve": {},
    "resolve_conflict": {"merge_id": "kept", "memory_id": "a", "take": "ours"},
    "revert": {"commit": "main"},
    "rollback": {"target": "main~1"},
    "search": {"query": "main"},
    "show": {},
    "snapshot": {"snapshot_id": "new"},
    "snapshots": {},
    "stage": {"worktree_id": "w", "changes": [Put(Memory("new", "x"))]},
    "staged": {"worktree_id": "w"},
    "tag": {"tag": "new"},
    "tags": {},
    "unprotect_branch": {"branch": "idea"},
    "verify": {},
    "worktrees": {},
    "write": {"work": lambda *_: 5},
}
"""Every method that does something, with what it cannot do without."""
OTHERS = {"open", "close", "now"}
CONTEXTS: Mapping[tuple[str, str], tuple[dict[str, Any], ...]] = {
    ("merge", "resolver"): ({"strategy": Strategy.CUSTOM},),
    ("merge", "model"): ({"strategy": Strategy.AUTO_MERGE},),
    ("merge", "message"): ({"strategy": Strategy.OURS}, {"keep": True}),
    ("resolve_conflict", "value"): ({"take": "value"}, {"take": "value", "part": "content"}),
    ("search", "mode"): ({},),
    ("search", ""): ({}, {"mode": "both"}),
}
"""What else is given, where a parameter counts only then: by the verb and the parameter, or by the verb."""


class Words:
    """A model without any meaning."""

    name, dimensions = "none", 2

    def embed(self, texts: Any) -> Any:
        return [[1.0, 0.0] for _ in texts]


def parameters(method: Callable[..., object]) -> list[str]:
    return [name for name in inspect.signature(method).parameters if name not in ("self", "cls")]


CASES = [(verb, name) for verb in VERBS for name in parameters(getattr(MemoryRepository, verb))]


def test_the_table_knows_every_method() -> None:
    public = {name for name, _ in inspect.getmembers(MemoryRepository, callable) if not name.startswith("_")}
    assert public == VERBS.keys() | OTHERS


@pytest.fixture
def used(store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryRepository]:
    """A repository in which every verb finds something."""
    monkeypatch.setattr("memory_repository.library.merging.new_merge_id", lambda: "kept")
    url = "sqlite://" if store_url.startswith("sqlite") else store_url
    with MemoryRepository.open(url, embedder=Words()) as memory:
        memory.commit([Put(Memory("a", "one", fields={"hits": 1}))])
        memory.create_branch("idea")
        memory.commit([Modify("a", content="main")])
        memory.commit([Modify("a", content="idea")], branch="idea")
        memory.commit([Put(Memory("b", "bee"))])
        memory.open_worktree("w")
        memory.stage("w", [Put(Memory("c", "sea"))])
        memory.tag("t")
        memory.snapshot("s")
        memory.merge("idea", keep=True)
        yield memory


def as_it_is(memory: MemoryRepository) -> Callable[[], None]:
    """What makes a repository again what it is now: in SQLite, where that costs nothing."""
    connection = memory._connection
    if not isinstance(connection, SqliteConnection):
        return lambda: None
    now = connection.serialize()
    return lambda: connection.deserialize(now)


RAISED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    sqlite3.Error,
    TypeError,
    ValueError,
)


def outcome(work: Callable[[], object]) -> str:
    """Empty when it works or is refused; else what was raised."""
    try:
        done = work()
        if inspect.isgenerator(done):
            list(done)
    except Refusal:
        return ""
    except RAISED as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize(("verb", "name"), CASES)
def test_whatever_a_parameter_is_given_the_call_works_or_is_refused(
    used: MemoryRepository, verb: str, name: str
) -> None:
    undo = as_it_is(used)
    raised: dict[str, str] = {}
    for what, wrong in WRONG.items():
        for context in CONTEXTS.get((verb, name), CONTEXTS.get((verb, ""), ({},))):
            given = {**VERBS[verb], **context, name: wrong}
            if error := outcome(partial(getattr(used, verb), **given)):
                raised[what] = error
        undo()
    assert raised == {}


@pytest.mark.parametrize("name", parameters(MemoryRepository.open))
def test_whatever_a_repository_is_opened_with_it_is_there_or_refused(name: str) -> None:
    def used_once(given: dict[str, Any]) -> None:
        with MemoryRepository.open(**given) as memory:
            memory.commit([Put(Memory("a", "x"))])

    wrongs = {what: wrong for what, wrong in WRONG.items() if (name, what) != ("clock", "a function")}
    given = {what: {"url": "sqlite://", name: wrong} for what, wrong in wrongs.items()}
    raised = {what: error for what, each in given.items() if (error := outcome(partial(used_once, each)))}
    assert raised == {}
