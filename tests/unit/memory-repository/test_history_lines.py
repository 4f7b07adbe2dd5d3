"""A history as JSON lines: out and in again, with the key and without, whole or not at all, whatever the file holds."""

import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import chain, repeat
from typing import Any

import pytest

from memory_repository import Delete, Memory, MemoryRepository, Modify, Put, Strategy, wire
from memory_repository.core import limits
from memory_repository.core.retention import Retention
from memory_repository.core.transfer.lines import NO_LINES, digest_after
from memory_repository.library.sources import batches
from memory_repository.operations import committing, export_order, exporting
from memory_repository.operations.exporting import Cursor, Options
from memory_repository.storage import store
from thymos import subjects
from thymos.database import Connection
from thymos.errors import Refusal, RefusalCode

START: dict[str, Any] = {"type": "history", "format": "thymos.memory", "version": 1, "hashed": False}
ROOT: dict[str, Any] = {
    "type": "commit",
    "commit": "c0",
    "parents": [],
    "author": "x",
    "at": "2026-03-01T12:00:00Z",
    "kind": "initial",
}
FIRST: dict[str, Any] = {
    "type": "commit",
    "commit": "c1",
    "parents": ["c0"],
    "author": "x",
    "at": "2026-03-01T12:00:01+01:00",
}
PUT: dict[str, Any] = {"type": "put", "id": "refunds", "content": "thirty days"}
MAIN: dict[str, Any] = {"type": "ref", "ref": "branch", "name": "main", "commit": "c1"}
ERASED: dict[str, Any] = {
    "type": "redaction",
    "id": "refunds",
    "hash": "ab" * 32,
    "at": "2026-03-01T12:00:00Z",
    "actor": "x",
    "reason": "asked to",
}
END: dict[str, Any] = {"type": "end"}
SMALL = [START, ROOT, FIRST, PUT, MAIN, END]


def file_of(lines: Iterable[dict[str, Any]]) -> BytesIO:
    return BytesIO(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


@pytest.fixture
def empty() -> Iterator[MemoryRepository]:
    with MemoryRepository.open("sqlite://", tenant="other", agent="copy") as opened:
        yield opened


def told(memory: MemoryRepository) -> MemoryRepository:
    """A history with a merge, a rollback, deletions, a tag and a snapshot."""
    memory.commit([Put(Memory("refunds", "thirty\ndays", "answer", {"a": 1.0})), Put(Memory("old", "x"))])
    memory.create_branch("Idea", reason="to try")
    memory.commit([Modify("refunds", fields={"keywords": ["reimbursement"]}), Delete("old")], branch="Idea")
    memory.commit([Modify("refunds", content="fourteen\ndays")], author="Ann <ann@x.org>", message="shorter")
    memory.merge("Idea", "main", Strategy.MANUAL)
    memory.tag("v1.0", reason="the first")
    memory.snapshot("kept", "Idea", metadata={"score": 0.5})
    memory.commit([Delete("refunds")])
    memory.rollback("main~1", reason="it was needed")
    return memory


def test_with_the_key_every_commit_has_the_same_id_again(memory: MemoryRepository, empty: MemoryRepository) -> None:
    lines = list(told(memory).export_lines(with_key=True))
    done = empty.import_lines(BytesIO(b"".join(lines)))
    assert done.commits == 7
    assert [(row.id, row.at, row.meta) for row in empty.log()] == [(row.id, row.at, row.meta) for row in memory.log()]
    assert empty.branches()[0].head.id == memory.branches()[0].head.id
    assert empty.memories("v1.0") == memory.memories("v1.0")
    assert empty.memories("kept") == memory.memories("kept")
    assert empty.get("refunds").commit == memory.get("refunds").commit
    assert empty.verify().ok
    assert list(empty.export_lines(with_key=True))[1:-1] == lines[1:-1]


def test_both_go_on_alike_after_an_import_with_the_key(memory: MemoryRepository, empty: MemoryRepository) -> None:
    empty.import_lines(BytesIO(b"".join(told(memory).export_lines(with_key=True))))
    for each in (memory, empty):
        each.commit([Put(Memory("new", "the same")), Put(Memory("refunds", "thirty\ndays", "answer", {"a": 1.0}))])
    assert empty.log(limit=1)[0].state_id == memory.log(limit=1)[0].state_id
    assert empty.search("fourteen").hits == ()
    assert empty.search("thirty").hits[0].memory.id == "refunds"


def test_without_the_key_the_ids_are_new_and_say_which_they_were(
    memory: MemoryRepository, empty: MemoryRepository
) -> None:
    lines = list(told(memory).export_lines())
    assert not any(b'"key"' in line for line in lines)
    empty.import_lines(BytesIO(b"".join(lines)))
    rows, before = empty.log(), memory.log()
    assert {row.id for row in rows}.isdisjoint(row.id for row in before)
    assert [row.meta["original_commit"] for row in rows] == [row.id for row in before]
    for row in rows:
        assert empty.memories(row.id) == memory.memories(str(row.meta["original_commit"]))
    assert empty.verify().ok


def test_an_erased_memory_stays_erased_and_the_history_still_verifies(
    memory: MemoryRepository,
) -> None:
    told(memory)
    memory.redact("refunds", reason="asked to")
    for with_key in (True, False):
        lines = b"".join(memory.export_lines(with_key=with_key))
        assert b"thirty" not in lines
        with MemoryRepository.open("sqlite://", agent="copy") as copy:
            copy.import_lines(BytesIO(lines))
            assert copy.get("refunds").memory.kind == "redacted"
            assert copy.verify().ok
            assert copy.verify().redacted == memory.verify().redacted > 0


def test_a_history_that_lost_its_beginning_comes_in_as_what_is_left_of_it(
    memory: MemoryRepository, empty: MemoryRepository
) -> None:
    told(memory)
    memory.gc(Retention(commits_max=2, reflog_age=timedelta(0)))
    kept = [row.id for row in memory.log()]
    assert len(kept) < 7
    empty.import_lines(BytesIO(b"".join(memory.export_lines())))
    rows = empty.log()
    assert [row.meta.get("original_commit") for row in rows] == [*kept, None]
    for row, before in zip(rows, kept, strict=False):
        assert empty.memories(row.id) == memory.memories(before)
    assert empty.memories("v1.0") == memory.memories("v1.0")
    assert empty.verify().ok
    with MemoryRepository.open("sqlite://", agent="copy") as copy:
        copy.import_git(BytesIO(b"".join(memory.export_git())))
        assert copy.memories() == memory.memories()
    with pytest.raises(Refusal, match="has dropped commits") as error:
        list(memory.export_lines(with_key=True))
    assert error.value.code is RefusalCode.REFUSED


def test_who_wrote_a_memory_is_who_wrote_it_in_what_came_in(memory: MemoryRepository, empty: MemoryRepository) -> None:
    """The dropped commit changed `m` away and back: to what is left, the tagged one after it changes nothing."""
    for name, content in (("first", "y"), ("", "z"), ("again", "y")):
        memory.commit([Put(Memory("m", content))])
        if name:
            memory.tag(name)
    memory.commit([Delete("m")])
    assert memory.gc(Retention(commits_max=1, age_max=timedelta(0), reflog_age=timedelta(0))).commits == 2
    memory.rollback("again")

    empty.import_lines(BytesIO(b"".join(memory.export_lines())))

    assert empty.verify().ok
    assert empty.get("m").memory.content == "y"


def test_what_was_dropped_of_deleted_branches_is_not_missed(memory: MemoryRepository, empty: MemoryRepository) -> None:
    told(memory)
    memory.create_branch("gone")
    memory.commit([Put(Memory("x", "1"))], branch="gone")
    memory.delete_branch("gone", force=True)
    assert memory.gc(Retention(reflog_age=timedelta(0))).commits == 1
    empty.import_lines(BytesIO(b"".join(memory.export_lines(with_key=True))))
    assert [row.id for row in empty.log()] == [row.id for row in memory.log()]


def test_an_import_works_on_every_engine(memory: MemoryRepository, empty: MemoryRepository) -> None:
    lines = b"".join(told(empty).export_lines(with_key=True))
    memory.import_lines(BytesIO(lines))
    assert [row.id for row in memory.log()] == [row.id for row in empty.log()]
    assert memory.verify().ok
    assert memory.search("reimbursement").hits[0].memory.id == "refunds"
    memory.commit([Put(Memory("new", "goes on"))], message="on the imported branch")


def test_a_history_that_somebody_wrote_by_hand_is_taken(empty: MemoryRepository) -> None:
    empty.import_lines(file_of(SMALL))
    assert [memory.content for memory in empty.memories()] == ["thirty days"]
    assert empty.log()[0].at.isoformat() == "2026-03-01T11:00:01+00:00"
    assert empty.verify().ok


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([ROOT], "line 1: the header"),
        ([START, START], "line 2: the header"),
        ([{**START, "format": "csv"}], "line 1: this is not a history"),
        ([{**START, "version": 2}], "line 1: this is version 2"),
        ([{**START, "key": "00" * 32}], "line 1: a key is of use with hashes only"),
        ([{**START, "hashed": True, "key": "00"}], "line 1: a repository's key has 16 to 64 bytes"),
        ([START, FIRST], "line 2: its parent c0 is not among the commits before it"),
        ([START, ROOT, {**FIRST, "parents": ["c1"]}], "line 3: its parent c1 is not among"),
        ([START, ROOT, ROOT], "line 3: the commit c0 stands there twice"),
        ([START, ROOT, {**ROOT, "commit": "c9"}], "line 3: the first commit, and no other, has no parents"),
        ([START, ROOT, {**FIRST, "kind": "initial"}], "line 3: a commit is of kind 'initial' exactly if"),
        ([START, ROOT, {**FIRST, "parents": ["c0", "c0"]}], "line 3: a parent is named twice"),
        ([START, ROOT, {**FIRST, "parents": [f"c{n}" for n in range(17)]}], "line 3: the list of parents is 17"),
        ([START, ROOT, PUT, END], "line 4: the commit c0 before it: the first commit holds memories"),
        ([START, ROOT, FIRST, PUT, PUT], "line 5: the commit changes refunds twice"),
        ([START, ROOT, FIRST, {"type": "delete", "id": "nobody"}, MAIN], "line 5: the commit c1 before it: it deletes"),
        ([START, PUT], "line 2: a change of no commit"),
        ([START, ROOT, FIRST, {**PUT, "id": "a b"}], "line 4: a memory id is"),
        ([START, ROOT, FIRST, {**PUT, "content": "a\x00b"}], "line 4: the content holds a NUL"),
        ([START, ROOT, FIRST, {**PUT, "content": "\ud800"}], "line 4: .* surrogate"),
        ([START, ROOT, FIRST, {**PUT, "kind": "Odd Kind"}], "line 4: a kind is"),
        ([START, ROOT, FIRST, {**PUT, "fields": []}], "line 4: 'fields' must be an object"),
        ([START, ROOT, FIRST, {**PUT, "content": 7}], "line 4: 'content' must be text"),
        ([START, ROOT, FIRST, {**PUT, "content": "x" * 65_537}], "line 4: the content is 65,537 bytes"),
        ([START, ROOT, FIRST, {**PUT, "extra": 1}], "line 4: unknown: 'extra'"),
        ([START, ROOT, FIRST, {"type": "put", "id": "a", "hash": "ab" * 32}], "line 4: no earlier line has"),
        ([START, ROOT, FIRST, {"type": "put", "id": "a"}], "line 4: a put needs content"),
        ([START, ROOT, FIRST, {**PUT, "redacted": True}], "line 4: a redacted memory needs the hash"),
        ([START, ROOT, FIRST, {**PUT, "by": "c7"}], "line 4: the writer c7 is not among"),
        ([START, {**ROOT, "at": "2026-03-01"}], "line 2: 'at' must be a time"),
        ([START, {**ROOT, "at": "0001-01-01T00:00:00Z"}], "line 2: 'at' must be a time"),
        ([START, {**ROOT, "author": ""}], "line 2: the author is empty"),
        ([START, {**ROOT, "meta": {"a": 10**30}}], "line 2: the metadata holds an integer"),
        ([START, {"type": "poem"}], "line 2: there is no line of type 'poem'"),
        ([START, {"ROOT": 1}], "line 2: 'type' must be text"),
        ([START, ROOT, FIRST, PUT, {**MAIN, "name": "a.b"}], "line 5: a branch name is"),
        ([START, ROOT, FIRST, PUT, {**MAIN, "ref": "note"}], "line 5: there are no refs of type 'note'"),
        ([START, ROOT, FIRST, PUT, {**MAIN, "commit": "c8"}], "line 5: the commit c8 is not among"),
        ([START, ROOT, FIRST, PUT, MAIN, MAIN], "line 6: the branch main stands there twice"),
        ([START, ROOT, FIRST, PUT, MAIN, {**FIRST, "commit": "c2"}], "line 6: a commit comes after refs"),
        ([{**START, "number_rules": {"hits": "mean"}}], "line 1: 'mean' is no rule for numbers"),
        ([START, ROOT, FIRST, PUT, {**MAIN, "protected": {"at": "2026-03-01T12:00:00Z"}}], "line 5: 'actor' must be"),
        ([START, ROOT, FIRST, PUT, {**MAIN, "ref": "tag", "protected": {"actor": "x"}}], "line 5: a tag cannot be"),
        ([START, ROOT, FIRST, PUT, ERASED], "line 5: what was erased comes before the refs"),
        ([START, ROOT, FIRST, PUT, MAIN, {**ERASED, "hash": "x"}], "line 6: 'x' is no hash"),
        ([START, ROOT, FIRST, PUT, END], "line 5: the history has no branch main"),
        ([START, ROOT, FIRST, PUT, MAIN, {**END, "lines": 6}], "line 6: 5 lines came before the end; it says 6"),
        ([START, ROOT, FIRST, PUT, MAIN, {**END, "digest": "ab" * 32}], "line 6: the digest is not that"),
        ([*SMALL, MAIN], "line 7: there is more after the end"),
        (SMALL[:-1], "the history breaks off"),
        ([], "the history breaks off"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_right_is_refused_with_the_line_and_nothing_is_seen_of_it(
    empty: MemoryRepository, lines: list[dict[str, Any]], why: str
) -> None:
    before = empty.log()
    with pytest.raises(Refusal, match=why):
        empty.import_lines(file_of(lines))
    assert empty.log() == before
    assert empty.memories() == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"not json", "line 2: this is not JSON"),
        (b"", "line 2: this is not JSON"),
        (b"[]", "line 2: this is not a JSON object"),
        (b"\xff{}", "line 2: this is not JSON"),
        (b'{"type":"end","type":"end"}', "line 2: this is not JSON: a key stands there twice"),
        (b'{"type":"end","lines":NaN}', "line 2: this is not JSON: NaN"),
        (b'{"type":"end","lines":true}', "line 2: 'lines' must be an integer"),
        (b'{"type":' + b"[" * 100_000, "line 2: this is not JSON"),
        (b'{"type":"end","lines":' + b"9" * 5_000 + b"}", "line 2: this is not JSON"),
        (b'{"type":"end"' + b" " * limits.LINE_BYTES_MAX + b"}", "line 2: the line is .* the limit is 524,288"),
        (json.dumps(ROOT).encode()[:-5], "line 2: this is not JSON"),
    ],
)
def test_a_line_that_is_no_json_of_the_format_is_refused(empty: MemoryRepository, line: bytes, why: str) -> None:
    with pytest.raises(Refusal, match=why):
        empty.import_lines(BytesIO(json.dumps(START).encode() + b"\n" + line + b"\n"))


def changed(line: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    facts = json.loads(line)
    change(facts)
    return json.dumps(facts, ensure_ascii=False).encode() + b"\n"


def resealed(lines: list[bytes]) -> list[bytes]:
    """The same lines with an end that fits them: what somebody would write who has changed them."""
    digest = NO_LINES
    for line in lines[:-1]:
        digest = digest_after(digest, line.removesuffix(b"\n"))
    return [*lines[:-1], json.dumps({"type": "end", "lines": len(lines) - 1, "digest": digest}).encode()]


@pytest.mark.parametrize("with_key", [True, False])
@pytest.mark.parametrize(
    ("index", "change", "why"),
    [
        (2, {"message": "another"}, "its id does not follow from what it holds"),
        (2, {"author": "somebody"}, "its id does not follow"),
        (2, {"at": "2025-03-01T12:00:09.000000Z"}, "its id does not follow"),
        (2, {"state": "ab" * 32}, "its id does not follow"),
        (3, {"content": "another"}, "the content of old is not what its hash was taken over"),
        (3, {"salt": "ab" * 32}, "the content of old is not what its hash was taken over"),
        (3, {"id": "older"}, "the content of older is not what"),
        (3, {"salt": None, "content": None}, "'salt' must be text"),
    ],
)
def test_a_history_that_was_changed_on_the_way_is_refused(
    memory: MemoryRepository, empty: MemoryRepository, with_key: bool, index: int, change: dict[str, Any], why: str
) -> None:
    lines = list(told(memory).export_lines(with_key=with_key))
    lines[index] = changed(lines[index], lambda facts: facts.update(change))
    with pytest.raises(Refusal, match=why):
        empty.import_lines(BytesIO(b"".join(resealed(lines))))


def test_lines_that_were_left_out_or_put_in_are_found(memory: MemoryRepository, empty: MemoryRepository) -> None:
    lines = list(told(memory).export_lines(with_key=True))
    for index in range(1, len(lines) - 1):
        for tampered in (lines[:index] + lines[index + 1 :], lines[: index + 1] + lines[index:]):
            with pytest.raises(Refusal, match="line"):
                empty.import_lines(BytesIO(b"".join(tampered)))
    assert empty.import_lines(BytesIO(b"".join(lines))).repository is not None


def test_a_key_that_is_not_the_repositorys_is_refused(memory: MemoryRepository, empty: MemoryRepository) -> None:
    lines = list(told(memory).export_lines(with_key=True))
    lines[0] = changed(lines[0], lambda facts: facts.update(key="ab" * 32))
    with pytest.raises(Refusal, match="line 4: the salt of old does not follow from the key"):
        empty.import_lines(BytesIO(b"".join(resealed(lines))))


def test_an_agent_that_has_a_memory_keeps_it(memory: MemoryRepository, empty: MemoryRepository) -> None:
    lines = b"".join(told(memory).export_lines(with_key=True))
    empty.open_worktree("w")
    before = list(empty.export_lines())
    with pytest.raises(Refusal, match="has a memory already") as error:
        empty.import_lines(BytesIO(lines))
    assert error.value.code is RefusalCode.CONFLICT
    assert list(empty.export_lines()) == before
    with pytest.raises(Refusal, match="has a memory already"):
        memory.import_lines(BytesIO(lines))


def test_an_import_that_broke_off_goes_on_where_it_stood(
    memory: MemoryRepository, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory_repository.library.transfer.BATCH_LINES", 4)
    whole = b"".join(told(memory).export_lines(with_key=True))
    half = whole[: len(whole) * 2 // 3]
    with MemoryRepository.open(store_url, agent="copy") as copy, pytest.raises(Refusal, match="line"):
        copy.import_lines(BytesIO(half))
    with MemoryRepository.open(store_url, agent="copy") as copy:
        assert len(copy.log()) == 1
        with pytest.raises(Refusal, match=r"an import is open, at line 13") as error:
            copy.import_lines(BytesIO(whole))
        assert error.value.code is RefusalCode.CONFLICT
        with pytest.raises(Refusal, match="are not those that came in before"):
            copy.import_lines(BytesIO(b" " + whole), resume=True)
        copy.import_lines(BytesIO(whole), resume=True)
        with pytest.raises(Refusal, match="no import is open"):
            copy.import_lines(BytesIO(whole), resume=True)
        assert copy.log(limit=1)[0].id == memory.log(limit=1)[0].id
        assert copy.verify().ok


def test_a_stream_of_git_is_known_where_lines_are_wanted(memory: MemoryRepository, empty: MemoryRepository) -> None:
    with pytest.raises(Refusal, match="line 1: this is a stream of git, and no JSON lines") as error:
        empty.import_lines(BytesIO(b"".join(memory.export_git())))
    assert "import_git" in error.value.hint


def test_an_import_that_was_abandoned_leaves_nothing(empty: MemoryRepository) -> None:
    rows = "SELECT count(*) FROM version UNION ALL SELECT count(*) FROM entry UNION ALL SELECT count(*) FROM commits"
    with pytest.raises(Refusal, match="breaks off"):
        empty.import_lines(file_of(SMALL[:-1]))
    assert [count for (count,) in empty._connection.execute(rows)] == [1, 1, 3]
    empty.abandon_import()
    assert [count for (count,) in empty._connection.execute(rows)] == [0, 0, 1]
    with pytest.raises(Refusal, match="no import into copy is open"):
        empty.abandon_import()
    empty.import_lines(file_of(SMALL))
    assert [hit.memory.id for hit in empty.search("thirty").hits] == ["refunds"]


def test_a_history_is_exported_as_it_was_when_the_export_began(
    memory: MemoryRepository, empty: MemoryRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory_repository.library.transfer.PAGE_BYTES", 200)
    told(memory)
    head, ids = memory.log(limit=1)[0].id, [row.id for row in memory.log()]
    lines: list[bytes] = []
    for line in memory.export_lines(with_key=True):
        memory.commit([Put(Memory("later", f"after {len(lines)} lines"))])
        lines.append(line)
    memory.create_branch("newer")
    empty.import_lines(BytesIO(b"".join(lines)))
    assert {branch.name: branch.head.id for branch in empty.branches()}["main"] == head
    assert [row.id for row in empty.log()] == ids


def test_pages_fit_messages_and_another_replica_goes_on_where_one_stopped(
    connect: Callable[[], Connection], empty: MemoryRepository
) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    db = connect()
    db.execute("BEGIN IMMEDIATE")
    repo = store.open_repository(db, "acme", "support", now=now, key=b"k" * 32).repository
    heavy = [Put(Memory(f"m{n}", "\x01" * 65_536, fields={"q": '"' * 16_000})) for n in range(6)]
    for change in heavy:
        now += timedelta(seconds=1)
        committing.commit(repo, "main", [change], author="x", now=now)
    lines: list[bytes] = []
    after: Cursor | None = None
    while True:
        among = export_order.order(
            repo, None if after is None else after.last
        )  # nothing is remembered from one page to the next
        page = exporting.page(repo, among, after, Options(with_key=True), wire.ANSWER_BYTES_MAX)
        answer = [line.decode() for line in page.lines]
        assert len(json.dumps(answer, ensure_ascii=False).encode()) < subjects.MESSAGE_BYTES_MAX - 8_192
        lines += page.lines
        if page.next_after is None:
            break
        after = Cursor.read(str(page.next_after))
        now += timedelta(seconds=1)
        committing.commit(repo, "main", [Put(Memory("later", str(now)))], author="x", now=now)
    assert [len(batch) for batch in batches(iter(enumerate(lines)), 1_000, wire.ANSWER_BYTES_MAX)] != [len(lines)]
    empty.import_lines(BytesIO(b"\n".join(lines)))
    assert len(empty.memories()) == 6
    db.execute("ROLLBACK")


@pytest.mark.parametrize(
    "text", ["", "x", "W10=", "bnVsbA==", "WzEsMiwzLDQsNV0=", "[" * 5_000, "WzEsLTEsbnVsbCwwLCIiXQ==", "é"]
)
def test_a_cursor_that_nobody_gave_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="no place in an export"):
        Cursor.read(text)


def test_what_no_ref_reaches_is_not_exported(memory: MemoryRepository) -> None:
    memory.create_branch("secret")
    memory.commit([Put(Memory("plan", "the secret plan"))], branch="secret")
    memory.delete_branch("secret", force=True)
    assert b"secret" not in b"".join(memory.export_lines())


def test_a_long_file_streams_in_bounded_memory(empty: MemoryRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is made as it is read, and at no time is much of it there."""
    monkeypatch.setattr("memory_repository.library.transfer.BATCH_LINES", 50)

    class Endless:
        def __init__(self, lines: Iterator[bytes]) -> None:
            self.lines = lines

        def readline(self, limit: int) -> bytes:
            return next(self.lines, b"")[:limit]

    head = [json.dumps(line).encode() + b"\n" for line in (START, ROOT, FIRST)]
    bodies = (b'{"type":"put","id":"m%d","content":"%s"}\n' % (n, b"x" * 4_000) for n in range(600))
    source = Endless(chain(head, bodies, repeat(b"broken\n", 1)))
    tracemalloc.start()
    with pytest.raises(Refusal, match="line 604: this is not JSON"):
        empty.import_lines(source)  # type: ignore[arg-type]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000  # of 2,400,000 bytes
