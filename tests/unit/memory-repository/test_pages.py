"""What is too much for one message comes in pages that together say all of it, each once."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from memory_repository import Memory, MemoryRepository, Put
from memory_repository.answers import endpoints
from memory_repository.app import NAME
from memory_repository.core.memory import Change
from memory_repository.core.retention import Retention
from memory_repository.operations import branching, committing, worktrees
from memory_repository.sampling import MemoryUse
from memory_repository.storage import outcomes, store
from memory_repository.storage.store import Repository
from thymos import requests as r
from thymos.answering import reply
from thymos.paging import whole
from thymos.unit_of_work import Cause, ServiceStore, Transaction

NOW = datetime(2025, 3, 1, tzinfo=UTC)


class Desk:
    """A service's store, asked as over the bus: an answer that no message holds is refused."""

    def __init__(self, folder: Path) -> None:
        self.store = ServiceStore(folder / "memory.db", NAME, store.SCHEMA + outcomes.SCHEMA)
        self._endpoints = {each.verb: each for each in endpoints(Retention(), None, MemoryUse(), lambda: 0.0)}
        self.pages = 0

    async def ask(self, verb: str, request: r.Request) -> Any:
        answers: list[Any] = []

        def work(tx: Transaction) -> bytes:
            answers.append(self._endpoints[verb].answer(request, tx))
            return reply(answers[-1])

        await self.store.answer(Cause(verb, "acme", "support"), None, work)
        self.pages += 1
        return answers[-1]

    async def all(self, verb: str, request: r.Request, *lists: str) -> Any:
        self.pages = 0
        return await whole(lambda asked: self.ask(verb, asked), request, *lists)

    async def do(self, work: Callable[[Repository, datetime], object]) -> None:
        def done(tx: Transaction) -> bytes:
            opened = store.open_repository(tx.connection, "acme", "support", now=NOW, key=b"k" * 32)
            work(opened.repository, NOW)
            return b"{}"

        await self.store.answer(Cause("x", "acme", "support"), None, done)

    async def commit(self, changes: Sequence[Change], message: str = "") -> None:
        await self.do(lambda repo, now: committing.commit(repo, "main", changes, author="jo", message=message, now=now))


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    await desk.store.close()


def large(count: int, name: str = "large") -> list[Change]:
    """Memories of which a message holds a dozen; of characters of three bytes each."""
    return [Put(Memory(f"{name}-{number:03}", "記" * 20_000)) for number in range(count)]


async def test_thousands_of_branches(desk: Desk) -> None:
    names = [f"an-experiment-whose-name-is-rather-long-{number:05}" for number in range(6_000)]

    def create(repo: Repository, now: datetime) -> None:
        first = repo.resolve("main").id
        for name in names:
            branching.create_branch(repo, name, first, actor="x", now=now)

    await desk.do(create)
    answer = await desk.all("branches", r.ListBranches(), "branches")
    assert [branch.branch for branch in answer.branches] == [*names, "main"]
    assert (desk.pages, answer.truncated, answer.next_after) == (2, False, None)
    (commit,) = (await desk.ask("log", r.ReadLog())).commits
    assert commit.branches == names[:100], "the others are in `branches`"


@pytest.mark.parametrize("verb", ["tags", "snapshots"])
async def test_names_with_long_reasons(desk: Desk, verb: str) -> None:
    def create(repo: Repository, now: datetime) -> None:
        for number in range(100):
            make = branching.create_tag if verb == "tags" else branching.create_snapshot
            make(repo, f"v{number:03}", actor="x", now=now, reason="because " * 2_000)

    await desk.do(create)
    answer = await desk.all(verb, r.ListTags() if verb == "tags" else r.ListSnapshots(), "named")
    assert [each.name for each in answer.named] == [f"v{number:03}" for number in range(100)]
    assert desk.pages > 1


async def test_large_changes_of_a_commit_and_between_two(desk: Desk) -> None:
    await desk.commit(large(30))
    shown = await desk.all("show", r.ShowCommit(), "changes")
    between = await desk.all("diff", r.DiffRefs(a="main~1", b="main"), "changes")
    for answer in (shown, between):
        assert [change.id for change in answer.changes] == [f"large-{number:03}" for number in range(30)]
    by_limit = await desk.all("diff", r.DiffRefs(a="main~1", b="main", limit=2), "changes")
    assert (by_limit.changes, desk.pages) == (between.changes, 15)


async def test_a_commit_that_says_much_about_one_large_change(desk: Desk) -> None:
    meta = {"why": "y" * 262_000}
    for text in ("\x01", "\x02"):
        change = Put(Memory("a", text * 65_500))
        await desk.do(
            lambda repo, now, change=change: committing.commit(repo, "main", [change], author="jo", now=now, meta=meta)  # type: ignore[misc]
        )
    first = await desk.ask("show", r.ShowCommit(limit=1))
    assert ([change.id for change in first.changes], first.meta, first.truncated) == (["a"], {}, True)
    whole = await desk.all("show", r.ShowCommit(), "changes")
    assert (whole.changes, whole.meta, whole.next_after, desk.pages) == (first.changes, meta, None, 2)


async def test_large_changes_that_are_staged(desk: Desk) -> None:
    def stage(repo: Repository, now: datetime) -> None:
        worktrees.open_worktree(repo, "desk", "main", owner="jo", now=now)
        worktrees.stage(repo, "desk", large(30))

    await desk.do(stage)
    answer = await desk.all("staged", r.ReadStaged(worktree_id="desk"), "staged")
    assert [each.id for each in answer.staged] == [f"large-{number:03}" for number in range(30)]
    assert desk.pages > 1


async def test_blame_of_a_text_with_very_many_lines(desk: Desk) -> None:
    await desk.commit([Put(Memory("list", "\n" * 10_000, fields={"topic": "x"}))], message="begin")
    await desk.commit([Put(Memory("list", "\n" * 9_000 + "end", fields={"topic": "x"}))], message="end")
    answer = await desk.all("blame", r.ReadBlame(id="list"), "parts", "commits")
    assert [part.line for part in answer.parts] == [*range(1, 9_002), None, None]
    messages = {commit.commit: commit.message for commit in answer.commits}
    assert [messages[part.commit] for part in answer.parts[-4:]] == ["begin", "end", "begin", "begin"]
    assert desk.pages > 1


async def test_blame_goes_on_at_the_commit_where_it_began(desk: Desk) -> None:
    await desk.commit([Put(Memory("list", "\n" * 10_000))])
    first = await desk.ask("blame", r.ReadBlame(id="list"))
    await desk.commit([Put(Memory("list", "something else"))])
    rest = await desk.ask("blame", r.ReadBlame(id="list", ref=first.commit, after=first.next_after))
    assert rest.parts[0].line == first.parts[-1].line + 1


async def test_a_rebase_of_many_wordy_commits_is_done_and_told_in_short(desk: Desk) -> None:
    def write(repo: Repository, now: datetime) -> None:
        branching.create_branch(repo, "idea", "main", actor="jo", now=now)
        for number in range(600):
            change = [Put(Memory(f"m{number}", "x"))]
            at = now + timedelta(seconds=number)
            committing.commit(repo, "idea", change, author="x" * 190, message="m" * 1_000, now=at)

    await desk.do(write)
    await desk.commit([Put(Memory("a", "x"))])
    answer = await desk.ask("rebase", r.Rebase(branch="idea", author="x" * 190))
    assert (answer.replayed_count, answer.truncated) == (600, True)
    assert 0 < len(answer.replayed) < 600
    log = await desk.ask("log", r.ReadLog(ref="idea", limit=1))
    assert log.commits[0].commit == answer.commit


def test_the_library_gives_what_follows_a_thousand_changes(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory(f"m{number:04}", "x")) for number in range(1_500)])
    first = memory.show()
    assert (len(first.changes), first.total, first.next_after) == (1_000, 1_500, "m0999")
    rest = memory.diff("main~1", "main", after="m0999")
    assert (rest.changes[0].id, len(rest.changes), rest.next_after) == ("m1000", 500, None)
    assert len(memory.show(limit=3).changes) == 3
