"""What the service does to keep its store small and honest, on a real file, without a bus."""

import base64
import contextlib
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from memory_repository.app import build
from memory_repository.core.proof import Position
from memory_repository.storage import outcomes
from thymos import requests as r
from thymos.config import Config, Memory, Retention
from thymos.database import open_sqlite
from thymos.errors import Refusal
from thymos.kept_answers import Asked
from thymos.metrics import MetricsOutcomes, OutcomeRow
from thymos.service import Service, ServiceSettings
from thymos.telemetry import Outcome
from thymos.unit_of_work import Cause

START = datetime(2025, 3, 1, tzinfo=UTC)
SECRET = "Grete Mustermann lives in Lindenstrasse"


class Desk:
    """A service that is asked, and whose tick comes when the test says so."""

    def __init__(self, folder: Path, retention: Retention) -> None:
        config = Config(memory=Memory(retention=retention))
        self.folder = folder
        self.service: Service = build(ServiceSettings("nats://127.0.0.1:1", folder, config))
        self._endpoints = {endpoint.verb: endpoint for endpoint in self.service.endpoints}

    async def ask(self, verb: str, request: r.Request, agent: str = "support", key: str | None = None) -> Any:
        answers: list[Any] = []

        def work(tx: Any) -> bytes:
            answers.append(self._endpoints[verb].answer(request, tx))
            return bytes(answers[0].model_dump_json(), "utf-8")

        asked = Asked(f"acme/{agent}/{verb}/{key}", request.model_dump_json()) if key else None
        reply = await self.service.store.answer(Cause(f"{verb}{len(answers)}", "acme", agent), asked, work)
        return answers[0] if answers else reply

    async def put(self, memory_id: str, content: str, agent: str = "support") -> Any:
        change = {"op": "put", "id": memory_id, "content": content}
        return await self.ask("commit", r.CommitChanges.model_validate({"author": "jo", "changes": [change]}), agent)

    async def tick(self) -> None:
        (tick,) = (each for each in self.service.ticks if each.name == "upkeep")
        await self.service.store.tick(tick.name, tick.work)

    async def rows(self, sql: str) -> list[Any]:
        found: list[Any] = await self.service.store.tick("look", lambda tx: tx.connection.execute(sql).fetchall())
        return found

    async def events(self, name: str) -> list[bytes]:
        rows = await self.rows("SELECT body FROM outbox ORDER BY position")
        return [bytes(body) for (body,) in rows if f'"thymos.{name}.v1"'.encode() in bytes(body)]


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path, Retention(commits_max=20, age_max=timedelta(days=365), reflog_age=timedelta(seconds=1)))
    yield desk
    await desk.service.store.close()


async def test_an_agent_that_goes_on_and_on_stays_within_the_retention(desk: Desk) -> None:
    await desk.tick()
    for number in range(250):
        await desk.put(f"m{number % 5}", f"version {number}")
        await desk.put("theirs", "once", agent="quiet") if number == 0 else None
        if number % 10 == 0:
            await desk.tick()
    await desk.tick()
    ((commits,),) = await desk.rows("SELECT count(*) FROM commits WHERE repo_id = 1")
    ((versions,),) = await desk.rows("SELECT count(*) FROM version WHERE repo_id = 1")
    assert commits <= 20 + 100 + 10  # it waits until a hundred may go, and is asked every ten
    assert versions <= commits
    assert await desk.events("memory.collected")
    assert (await desk.ask("get", r.GetMemory(id="m4"))).content == "version 249"
    assert (await desk.ask("get", r.GetMemory(id="theirs"), "quiet")).content == "once"
    assert (await desk.ask("verify", r.VerifyMemory(limit=10_000))).problems == []


async def test_gc_says_what_would_go_and_then_what_went(desk: Desk) -> None:
    for number in range(50):
        await desk.put("m", f"version {number}")
    would = await desk.ask("gc", r.CollectGarbage(dry_run=True))
    done = await desk.ask("gc", r.CollectGarbage())
    assert (would.commits, would.versions, would.dry_run) == (done.commits, done.versions, True)
    assert (done.commits, done.versions, done.more) == (31, 30, False)
    assert (await desk.ask("gc", r.CollectGarbage())).commits == 0


async def test_verify_comes_in_parts_that_together_say_the_same(desk: Desk) -> None:
    for number in range(12):
        await desk.put(f"m{number}", "x")
    await desk.rows("UPDATE version SET content = 'forged' WHERE memory_id = 'm7' RETURNING 1")
    parts = []
    after: str | None = None
    while True:
        parts.append(await desk.ask("verify", r.VerifyMemory(limit=3, after=after)))
        after = parts[-1].next_after
        if after is None:
            break
    assert len(parts) > 5
    assert (sum(part.commits for part in parts), sum(part.versions for part in parts)) == (13, 12)
    (problem,) = [problem for part in parts for problem in part.problems]
    (dependents,) = [part.dependents for part in parts if part.dependents]
    assert problem.what.endswith("of m7 is not what was written")
    assert (dependents.commit, dependents.commits, dependents.refs) == (problem.commit, 4, ["main"])


@pytest.mark.parametrize("after", ["x", "", "bm90IGpzb24=", "WyJjb21taXRzIixbIngiXSwiIiwiIl0="])
async def test_a_place_to_go_on_from_that_nobody_said_is_refused(desk: Desk, after: str) -> None:
    await desk.put("m", "x")
    with pytest.raises(Refusal, match="no place to go on from"):
        await desk.ask("verify", r.VerifyMemory(after=after))


async def told_of_places(desk: Desk) -> list[Any]:
    """All that an agent is told of places in its history: cursors and the order of problems, with ids made out."""
    told: list[Any] = []
    after: str | None = None
    while after is not None or not told:
        part = await desk.ask("verify", r.VerifyMemory(limit=1, after=after), "mine")
        told += [problem.order for problem in part.problems]
        after = part.next_after
        told.append(after and json.loads(base64.urlsafe_b64decode(after)))
    page = await desk.ask("export", r.ExportHistory(), "mine")
    told.append(json.loads(base64.urlsafe_b64decode(page.next_after)))
    made_out: list[Any] = json.loads(re.sub(r"[0-9a-f]{64}", "an id", json.dumps(told)))
    return made_out


async def test_no_place_in_a_history_says_how_much_others_have_written(tmp_path: Path) -> None:
    alone, busy = [Desk(tmp_path / name, Retention()) for name in ("alone", "busy")]
    for desk in (alone, busy):
        desk.folder.mkdir(exist_ok=True)
        for number in range(15):
            await desk.put(f"m{number}", "x" * 60_000, "mine")
            for other in range(7 if desk is busy else 0):
                await desk.put(f"m{number}", f"{other}", "theirs")
        await desk.rows("UPDATE commits SET message = 'forged' WHERE author = 'jo' RETURNING 1")
    assert await told_of_places(alone) == await told_of_places(busy)
    for desk in (alone, busy):
        await desk.service.store.close()


async def test_checking_does_not_go_on_from_a_commit_that_is_gone(desk: Desk) -> None:
    for number in range(3):
        await desk.put("m", f"{number}")
    part = await desk.ask("verify", r.VerifyMemory(limit=10, after=Position("commits").encoded()))
    assert part.commits == 4
    with pytest.raises(Refusal, match="no place to go on from"):
        await desk.ask("verify", r.VerifyMemory(after=Position("commits", ("0" * 64,)).encoded()))


async def test_checking_goes_on_where_it_was_after_its_commit_was_dropped(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Retention(commits_max=4))
    for number in range(12):
        await desk.put("m", f"{number}")
    part = await desk.ask("verify", r.VerifyMemory(limit=3, after=Position("commits").encoded()))
    assert (await desk.ask("gc", r.CollectGarbage())).commits > 3
    gone = Position.decoded(part.next_after).after[0]
    assert await desk.rows(f"SELECT 1 FROM commits WHERE commit_id = '{gone}'") == []
    left = await desk.rows("SELECT commit_id FROM commits ORDER BY commit_no")
    await desk.rows(f"UPDATE commits SET message = 'forged' WHERE commit_id = '{left[0][0]}' RETURNING 1")
    part = await desk.ask("verify", r.VerifyMemory(limit=1_000, after=part.next_after))
    assert part.commits == len(left) == 4, "none of those that are left is passed over"
    assert {problem.commit for problem in part.problems} == {left[0][0]}
    await desk.service.store.close()


async def test_a_place_is_sealed_by_the_memory_that_it_lies_in(desk: Desk) -> None:
    for agent in ("mine", "theirs"):
        await desk.put("m", "x", agent)
    part = await desk.ask("verify", r.VerifyMemory(limit=1, after=Position("commits").encoded()), "theirs")
    with pytest.raises(Refusal, match="no place to go on from"):
        await desk.ask("verify", r.VerifyMemory(after=part.next_after), "mine")


async def test_known_commits_have_to_be_there(desk: Desk) -> None:
    done = await desk.put("m", "x")
    assert (await desk.ask("verify", r.VerifyMemory(known=[done.commit], after=await ends(desk)))).problems == []
    found = await desk.ask("verify", r.VerifyMemory(known=["0" * 64], after=await ends(desk)))
    assert "noted elsewhere" in found.problems[0].what


async def ends(desk: Desk) -> str:
    """Where the last part begins."""
    after = None
    while True:
        part: r.VerifiedAnswer = await desk.ask("verify", r.VerifyMemory(after=after, limit=10_000))
        if part.next_after is None:
            assert after is not None
            return after
        after = part.next_after


async def test_a_redaction_reaches_everything_that_the_service_keeps(desk: Desk) -> None:
    await desk.put("a", SECRET)
    await desk.ask("branch_create", r.NewBranch(branch="idea"))
    change = {"op": "modify", "id": "a", "content": f"{SECRET} since May"}
    on_idea = {"author": "jo", "branch": "idea", "changes": [change]}
    await desk.ask("commit", r.CommitChanges.model_validate(on_idea))
    await desk.put("a", "no longer")
    await desk.ask("merge", r.Merge(source="idea"), key="k1")
    told = OutcomeRow(
        row=1, task_id="t", outcome=Outcome.SUCCEEDED, input="where is Grete", recalled_ids=["a"], finished_at=START
    )
    other = told.model_copy(update={"row": 2, "recalled_ids": ["b"]})
    batch = MetricsOutcomes(branch="main", rows=[told, other])
    await desk.service.store.tick("told", lambda tx: outcomes.record(tx.connection, "acme", "support", batch))

    done = await desk.ask("redact", r.RedactMemory(id="a", actor="jo", reason="asked to"))
    assert (done.versions, done.already) == (3, 0)
    assert await desk.rows("SELECT key FROM kept_answers WHERE reply IS NOT NULL") == []
    assert await desk.rows("SELECT row FROM outcome") == [(2,)]
    (event,) = await desk.events("memory.redacted")
    assert b"Mustermann" not in event
    assert b"asked to" in event
    shown = await desk.ask("redactions", r.ListRedactions())
    assert [(each.id, each.reason) for each in shown.redactions] == [("a", "asked to")] * 3
    again = await desk.ask("redact", r.RedactMemory(id="a", actor="jo", reason="asked to"))
    assert (again.versions, again.already, len(await desk.events("memory.redacted"))) == (0, 3, 1)


async def test_erased_bytes_are_gone_from_the_files_some_ticks_later(desk: Desk) -> None:
    for number in range(30):
        await desk.put("a", f"{SECRET} {number}")
        await desk.put("b", f"harmless {number}")
    assert b"ustermann" in written(desk.folder)
    await desk.ask("redact", r.RedactMemory(id="a", actor="jo", reason="asked to"))
    ticks = 0
    while await desk.rows("SELECT 1 FROM erasing"):
        await desk.tick()
        ticks += 1
        assert ticks < 20
    assert b"ustermann" not in written(desk.folder)
    assert b"harmless" in written(desk.folder)


async def test_a_reader_delays_cutting_the_log_and_nothing_else(desk: Desk) -> None:
    await desk.put("a", SECRET)
    with contextlib.closing(open_sqlite(desk.folder / "memory-repository.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM commits").fetchone()
        await desk.rows("PRAGMA busy_timeout = 0")
        await desk.ask("redact", r.RedactMemory(id="a", actor="jo", reason="asked to"))
        for _ in range(5):
            await desk.tick()
        assert await desk.rows("SELECT 1 FROM erasing")
        reader.execute("ROLLBACK")
    for _ in range(3):
        await desk.tick()
    assert not await desk.rows("SELECT 1 FROM erasing")


async def test_without_retention_nothing_goes(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Retention(enabled=False, commits_max=1))
    for number in range(5):
        await desk.put("m", f"{number}")
    await desk.tick()
    assert await desk.rows("SELECT count(*) FROM commits") == [(6,)]
    await desk.service.store.close()


def written(folder: Path) -> bytes:
    """The store's files, without what waits for the bus."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("memory-repository.db*")))
