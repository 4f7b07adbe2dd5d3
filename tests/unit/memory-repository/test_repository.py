"""A repository as a whole: commits, refs, reading at any of them, rolling back, what is refused."""

import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from memory_repository import Delete, Memory, MemoryRepository, Modify, Put
from memory_repository.core.memory import Change
from memory_repository.operations.committing import CommitConflictError
from memory_repository.storage import refs
from thymos.database import SqliteConnection
from thymos.errors import Refusal, RefusalCode

REFUNDS = Memory("refunds", "A refund takes thirty days.", "answer", {"keywords": ["money"]})
SHIPPING = Memory("shipping", "We ship within two days.", "answer")


def refused(code: RefusalCode, match: str | None = None) -> "pytest.RaisesExc[Refusal]":
    return pytest.raises(Refusal, match=match, check=lambda error: error.code is code)


def contents(memory: MemoryRepository, ref: str = "main") -> dict[str, str]:
    return {found.id: found.content for found in memory.memories(ref)}


def test_a_repository_begins_empty_with_one_commit(memory: MemoryRepository) -> None:
    (first,) = memory.log()
    assert (first.kind, first.generation, first.memories) == ("initial", 1, 0)
    assert memory.memories() == []


def test_put_modify_and_delete(memory: MemoryRepository) -> None:
    memory.commit([Put(REFUNDS), Put(SHIPPING)])
    done = memory.commit([Modify("refunds", fields={"title": "Refunds"}), Delete("shipping")], message="tidy")
    assert memory.memories() == [
        Memory("refunds", REFUNDS.content, "answer", {"keywords": ["money"], "title": "Refunds"})
    ]
    assert (done.commit.changes, done.commit.memories, done.commit.message) == (2, 1, "tidy")
    assert memory.get("refunds").commit == done.commit.id


def test_changes_of_one_commit_build_on_each_other(memory: MemoryRepository) -> None:
    memory.commit([Put(REFUNDS), Modify("refunds", content="new"), Put(SHIPPING), Delete("shipping"), Put(SHIPPING)])
    assert contents(memory) == {"refunds": "new", "shipping": SHIPPING.content}


def test_a_commit_that_changes_nothing_is_not_made(memory: MemoryRepository) -> None:
    head = memory.commit([Put(REFUNDS)]).commit
    done = memory.commit([Put(REFUNDS), Put(SHIPPING), Delete("shipping")])
    assert not done.changed
    assert memory.log()[0].id == head.id


def test_what_must_exist_is_missed(memory: MemoryRepository) -> None:
    with refused(RefusalCode.NOT_FOUND, "modify gone"):
        memory.commit([Put(SHIPPING), Modify("gone", content="x")])
    with refused(RefusalCode.NOT_FOUND, "delete gone"):
        memory.commit([Delete("gone")])
    assert memory.memories() == []


def test_every_commit_can_be_read_for_ever_by_any_of_its_names(memory: MemoryRepository) -> None:
    one = memory.commit([Put(REFUNDS)]).commit
    memory.tag("v1")
    memory.snapshot("before-the-move", reason="to be safe", metadata={"success_rate": 0.9})
    memory.commit([Modify("refunds", content="later")])
    memory.commit([Delete("refunds")])
    for name in (one.id, one.id[:8], "v1", "before-the-move", "main~2", "main~~", "main~1~1", f"{one.id[:12]}~0"):
        assert contents(memory, name) == {"refunds": REFUNDS.content}, name
    assert contents(memory) == {}
    with refused(RefusalCode.NOT_FOUND):
        memory.get("refunds")
    assert memory.get("refunds", "main~1").memory.content == "later"


@pytest.mark.parametrize(
    "ref", ["nowhere", "main~9", "0123456789abcdef", "abc", "main~1000000", "", "~1", "main^", "a" * 301]
)
def test_a_ref_that_names_no_commit_is_refused(memory: MemoryRepository, ref: str) -> None:
    with pytest.raises(Refusal):
        memory.memories(ref)


def test_a_branch_is_independent_of_where_it_came_from(memory: MemoryRepository) -> None:
    memory.commit([Put(REFUNDS)])
    memory.create_branch("idea")
    memory.commit([Modify("refunds", content="idea")], branch="idea")
    memory.commit([Put(SHIPPING)])
    memory.create_branch("older", "main~1")
    assert contents(memory, "idea") == {"refunds": "idea"}
    assert contents(memory, "older") == {"refunds": REFUNDS.content}
    assert contents(memory) == {"refunds": REFUNDS.content, "shipping": SHIPPING.content}


def test_the_same_branch_at_the_same_commit_again_is_no_error(memory: MemoryRepository) -> None:
    assert memory.create_branch("idea").created
    assert not memory.create_branch("idea").created
    memory.commit([Put(REFUNDS)])
    with refused(RefusalCode.CONFLICT, "exists already"):
        memory.create_branch("idea")


def test_a_deleted_branch_leaves_its_commits_behind(memory: MemoryRepository) -> None:
    memory.create_branch("idea")
    head = memory.commit([Put(REFUNDS)], branch="idea").commit
    assert memory.delete_branch("idea", force=True).commit.id == head.id
    assert [branch.name for branch in memory.branches()] == ["main"]
    assert contents(memory, head.id) == {"refunds": REFUNDS.content}
    with refused(RefusalCode.NOT_FOUND):
        memory.delete_branch("idea")


@pytest.mark.parametrize("saved_by", ["merge", "tag", "snapshot", "branch"])
def test_a_branch_goes_only_by_force_while_its_commits_are_nowhere_else(
    memory: MemoryRepository, saved_by: str
) -> None:
    """The library as the command line and the bus: what was learned is not lost by tidying up."""
    memory.create_branch("idea")
    head = memory.commit([Put(REFUNDS)], branch="idea").commit
    memory.open_worktree("w", "idea")
    with refused(RefusalCode.REFUSED, "idea holds commits that are nowhere else"):
        memory.delete_branch("idea")
    assert [worktree.id for worktree in memory.worktrees()] == ["w"], "nothing has happened"
    save: dict[str, Callable[[], object]] = {
        "merge": lambda: memory.merge("idea"),
        "tag": lambda: memory.tag("kept", "idea"),
        "snapshot": lambda: memory.snapshot("kept", "idea"),
        "branch": lambda: memory.create_branch("further", "idea"),
    }
    save[saved_by]()
    assert memory.delete_branch("idea").commit.id == head.id


def test_a_branch_made_anew_where_it_once_stood_does_not_see_what_it_left_behind(memory: MemoryRepository) -> None:
    memory.create_branch("idea")
    one = memory.commit([Put(REFUNDS)], branch="idea").commit
    left = memory.commit([Put(SHIPPING)], branch="idea").commit
    memory.delete_branch("idea", force=True)
    memory.create_branch("idea", one.id)
    memory.commit([Put(Memory("more", "x"))], branch="idea")
    assert sorted(contents(memory, "idea")) == ["more", "refunds"]
    assert sorted(contents(memory, left.id)) == ["refunds", "shipping"]
    assert memory.verify().ok


def test_a_branch_moves_only_from_where_it_was_seen(memory: MemoryRepository) -> None:
    db, repo_id = memory._connection, memory._repo.id
    seen = refs.branch(db, repo_id, "main")
    head = memory.commit([Put(REFUNDS)]).commit
    with refused(RefusalCode.CONFLICT, "has moved"):
        refs.move(db, repo_id, seen, head, actor="late", now=datetime(2025, 3, 1, tzinfo=UTC), operation="commit")


def test_main_cannot_be_deleted(memory: MemoryRepository) -> None:
    with refused(RefusalCode.REFUSED, "always kept"):
        memory.delete_branch("main", force=True)


def test_a_rollback_is_a_commit_on_top_that_holds_the_earlier_state(memory: MemoryRepository) -> None:
    good = memory.commit([Put(REFUNDS), Put(SHIPPING)]).commit
    bad = memory.commit([Modify("refunds", content="wrong"), Delete("shipping"), Put(Memory("spam", "buy"))]).commit
    done = memory.rollback(good.id, reason="it was wrong")
    assert contents(memory) == contents(memory, good.id)
    assert done.commit.state_id == good.state_id != bad.state_id
    assert (done.commit.kind, done.commit.meta) == ("rollback", {"restored_commit": good.id})
    assert [commit.id for commit in memory.log(limit=3)] == [done.commit.id, bad.id, good.id]
    assert not memory.rollback(good.id).changed


def test_a_rollback_goes_back_in_the_branchs_own_history_only(memory: MemoryRepository) -> None:
    memory.create_branch("idea")
    other = memory.commit([Put(REFUNDS)], branch="idea").commit
    with refused(RefusalCode.REFUSED, "not in the history"):
        memory.rollback(other.id)


def test_equal_states_have_equal_ids_however_they_came_about(memory: MemoryRepository) -> None:
    one = memory.commit([Put(REFUNDS), Put(SHIPPING)]).commit
    memory.create_branch("other", "main~1")
    memory.commit([Put(SHIPPING)], branch="other")
    two = memory.commit([Put(REFUNDS)], branch="other").commit
    assert one.state_id == two.state_id
    assert one.id != two.id


def test_a_diff_tells_before_and_after(memory: MemoryRepository) -> None:
    one = memory.commit([Put(REFUNDS), Put(SHIPPING)]).commit
    memory.commit([Modify("refunds", content="new"), Delete("shipping"), Put(Memory("more", "x"))])
    found = memory.diff(one.id, "main")
    assert [(change.id, change.verb) for change in found.changes] == [
        ("more", "added"),
        ("refunds", "changed"),
        ("shipping", "removed"),
    ]
    back = memory.diff("main", one.id)
    assert [(change.before, change.after) for change in back.changes] == [
        (change.after, change.before) for change in found.changes
    ]
    assert memory.show("main").changes == found.changes
    assert memory.show("main~2").changes == ()


def test_a_symmetric_diff_leaves_out_what_the_other_side_did(memory: MemoryRepository) -> None:
    memory.create_branch("idea")
    memory.commit([Put(REFUNDS)], branch="idea")
    memory.commit([Put(SHIPPING)])
    assert [change.id for change in memory.diff("main", "idea").changes] == ["refunds", "shipping"]
    assert [change.id for change in memory.diff("main", "idea", symmetric=True).changes] == ["refunds"]


def test_pages_are_in_the_order_of_ids_over_all_lines(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory(f"m{n}", "old")) for n in range(9)])
    memory.create_branch("idea")
    memory.commit([Put(Memory("m3", "new")), Delete("m5"), Put(Memory("m45", "between"))], branch="idea")
    pages, after = [], ""
    while True:
        page = memory.page("idea", limit=3, after=after)
        pages.append([(found.memory.id, found.memory.content) for found in page.memories])
        if page.next_after is None:
            break
        after = page.next_after
    expected = [("m0", "old"), ("m1", "old"), ("m2", "old"), ("m3", "new"), ("m4", "old")]
    expected += [("m45", "between"), ("m6", "old"), ("m7", "old"), ("m8", "old")]
    assert [item for page in pages for item in page] == expected
    assert [len(page) for page in pages] == [3, 3, 3]


def test_two_writers_from_the_same_head_both_land_if_they_do_not_collide(memory: MemoryRepository) -> None:
    head = memory.commit([Put(REFUNDS), Put(SHIPPING)]).commit
    memory.commit([Modify("refunds", fields={"owner": "ann"})], expected_head=head.id)
    done = memory.commit([Modify("refunds", content="later"), Delete("shipping")], expected_head=head.id)
    assert done.rebased
    assert memory.memories() == [Memory("refunds", "later", "answer", {"keywords": ["money"], "owner": "ann"})]


def test_the_later_of_two_writers_gets_the_conflict(memory: MemoryRepository) -> None:
    head = memory.commit([Put(REFUNDS)]).commit
    memory.commit([Modify("refunds", content="ann's")], expected_head=head.id)
    with pytest.raises(CommitConflictError, match="refunds") as error:
        memory.commit([Modify("refunds", content="bob's")], expected_head=head.id)
    (conflict,) = error.value.conflicts
    assert (conflict.base, conflict.ours, conflict.theirs) == (REFUNDS.content, "ann's", "bob's")
    assert contents(memory) == {"refunds": "ann's"}


def test_a_head_of_another_branch_is_not_what_a_commit_can_be_based_on(memory: MemoryRepository) -> None:
    memory.create_branch("idea")
    other = memory.commit([Put(REFUNDS)], branch="idea").commit
    with refused(RefusalCode.CONFLICT, "not in the history"):
        memory.commit([Put(SHIPPING)], expected_head=other.id)


def test_what_a_commit_is_based_on_is_a_commit_and_not_where_a_branch_stands_by_now(memory: MemoryRepository) -> None:
    memory.commit([Put(REFUNDS)])
    for name in ("main", "main~1", "nothing"):
        with refused(RefusalCode.INVALID, "has to be a commit id"):
            memory.commit([Delete("refunds")], expected_head=name)
    with refused(RefusalCode.NOT_FOUND, "there is no commit"):
        memory.commit([Delete("refunds")], expected_head="0" * 64)


def test_nothing_takes_the_name_of_a_commit(memory: MemoryRepository) -> None:
    first = memory.commit([Put(REFUNDS)]).commit
    memory.commit([Modify("refunds", content="later")])
    for take in (memory.create_branch, memory.tag, memory.snapshot):
        with refused(RefusalCode.INVALID, "names a commit"):
            take(first.id)
    memory.create_branch("idea")
    with refused(RefusalCode.INVALID, "names a commit"):
        memory.rename_branch("idea", first.id)
    memory.tag(first.id[:12])
    assert memory.resolve(first.id[:12]).id != first.id, "a name of that many digits is allowed, and comes first"
    assert memory.resolve(first.id).id == first.id


def test_the_same_commit_on_two_branches_is_one_commit(store_url: str) -> None:
    """As in git: same parents, change, author, time and message."""
    with MemoryRepository.open(store_url, clock=lambda: datetime(2025, 3, 1, tzinfo=UTC)) as memory:
        memory.create_branch("one")
        memory.create_branch("two")
        commits = {memory.commit([Put(REFUNDS)], branch=branch).commit.id for branch in ("one", "two")}
        assert len(commits) == 1
        memory.commit([Put(SHIPPING)], branch="one")
        memory.commit([Put(Memory("third", "x"))], branch="two")
        assert sorted(contents(memory, "one")) == ["refunds", "shipping"]
        assert sorted(contents(memory, "two")) == ["refunds", "third"]
        assert memory.verify().ok


def test_branches_of_branches_of_branches_are_read_correctly_at_any_depth(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("root", "0"))])
    before = "main"
    for number in range(1, 80):
        branch = f"b{number}"
        memory.create_branch(branch, before)
        memory.commit([Put(Memory("root", str(number))), Put(Memory(f"m{number}", "x"))], branch=branch)
        before = branch
    assert memory.get("root", "b79").memory.content == "79"
    assert len(memory.memories("b79")) == 80
    assert memory.get("m1", "b79").commit == memory.log("b1", 1)[0].id
    assert [change.id for change in memory.diff("b40", "b41").changes] == ["m41", "root"]
    assert memory.verify().ok


def test_what_is_committed_is_there_when_the_store_is_opened_again(store_url: str) -> None:
    with MemoryRepository.open(store_url) as memory:
        head = memory.commit([Put(REFUNDS)]).commit
    with MemoryRepository.open(store_url) as memory:
        assert memory.memories() == [REFUNDS]
        assert memory.commit([Modify("refunds", content="new")], expected_head=head.id).changed
        assert memory.verify().ok


def test_two_connections_that_write_at_once_lose_nothing(store_url: str) -> None:
    def write(writer: int) -> None:
        with MemoryRepository.open(store_url, author=f"writer {writer}") as memory:
            for number in range(15):
                memory.commit([Put(Memory(f"m{writer}-{number}", "x"))])

    MemoryRepository.open(store_url).close()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    with MemoryRepository.open(store_url) as memory:
        assert len(memory.memories()) == 45
        assert len(memory.log(limit=100)) == 46
        assert memory.verify().ok


def test_an_operation_that_is_cut_off_anywhere_leaves_nothing_behind(tmp_path: Path) -> None:
    """SQLite is interrupted after so many of its steps, and after some more, until the operation comes through."""
    url = f"sqlite:///{tmp_path}/memory.db"
    with MemoryRepository.open(url, clock=lambda: datetime(2025, 3, 1, tzinfo=UTC)) as memory:
        memory.commit([Put(REFUNDS), Put(SHIPPING)])
        memory.create_branch("idea")
        memory.commit([Modify("refunds", content="new")], branch="idea")
        memory.commit([Delete("shipping")])
        connection = memory._connection
        assert isinstance(connection, SqliteConnection)
        operations: list[Callable[[], object]] = [
            lambda: memory.commit([Put(Memory("more", "x"))], branch="idea"),
            lambda: memory.merge("idea"),
            lambda: memory.rollback("main~1"),
            lambda: memory.delete_branch("idea"),
        ]
        for operation in operations:
            before = connection.serialize()
            cuts = 0
            while cut_off(connection, operation, after=cuts * 11 + 1):
                cuts += 1
                assert connection.serialize() == before
            assert cuts > 5
            assert connection.serialize() != before
            assert memory.verify().ok


def cut_off(connection: SqliteConnection, operation: Callable[[], object], after: int) -> bool:
    """Whether the operation was interrupted after so many steps, or came through before.

    Not within COMMIT: one that is interrupted at its very end has committed, and nobody can tell.
    """
    left = after
    statement = ""

    def step() -> int:
        nonlocal left
        left -= statement != "COMMIT"
        return int(left == 0 and statement != "COMMIT")

    def begun(sql: str) -> None:
        nonlocal statement
        statement = sql

    connection.set_trace_callback(begun)
    connection.set_progress_handler(step, 1)
    try:
        operation()
    except sqlite3.OperationalError as error:
        if str(error) != "interrupted":
            raise
        return True
    finally:
        connection.set_progress_handler(None, 0)
        connection.set_trace_callback(None)
    return False


@pytest.mark.parametrize("url", ["mysql://host/db", "memory.db", "sqlite://memory.db", "sqlite:memory.db", ""])
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with refused(RefusalCode.INVALID, "storage"):
        MemoryRepository.open(url)


def test_a_listing_of_memories_that_were_rewritten_often_is_that_of_any_other(memory: MemoryRepository) -> None:
    names = [f"m{n:02}" for n in range(12)]
    heads: list[str] = []
    for start in range(60):
        changes: list[Change] = [Put(Memory(name, f"{name} {start}")) for name in names]
        if start == 40:
            changes.append(Delete("m03"))
            changes = [change for change in changes if not (isinstance(change, Put) and change.id == "m03")]
        heads.append(memory.commit(changes).commit.id if changes else heads[-1])
    memory.create_branch("idea", heads[45])
    memory.commit([Delete("m05"), Put(Memory("m99", "new"))], branch="idea")
    for ref in (heads[10], heads[41], heads[-1], "idea"):
        one_by_one = {}
        for name in [*names, "m99"]:
            with contextlib.suppress(Refusal):
                one_by_one[name] = memory.get(name, ref).memory
        assert {found.id: found for found in memory.memories(ref)} == one_by_one
        page = memory.page(ref, 4, "m02")
        assert [found.memory.id for found in page.memories] == [name for name in sorted(one_by_one) if name > "m02"][:4]
