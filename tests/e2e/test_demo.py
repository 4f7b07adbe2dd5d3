"""The whole story, as a user runs it."""

import asyncio
import json
import sys
from collections import defaultdict
from contextlib import aclosing
from pathlib import Path
from typing import Any

from thymos import nats_bus, subjects
from thymos.client import decode_stored
from thymos.envelope import Envelope
from thymos.testing import NatsServer, free_port
from thymos.trace_context import TraceContext

DEADLINE_SECONDS = 240


async def demo(folder: Path, seed: int, *more: str) -> tuple[dict[str, Any], str]:
    """What a run that succeeds prints: its summary, and what it tells on the way."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "thymos", "demo", "--json", "--seed", str(seed), "--data", str(folder), *more,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE_SECONDS):
        output, told = await process.communicate()
    assert process.returncode == 0, told.decode()
    return json.loads(output), told.decode()


async def test_the_story_happens_again_in_the_same_folder_and_beside_another(tmp_path: Path) -> None:
    summary, _ = await demo(tmp_path / "demo", 7)
    check(summary, 7)
    (again, told), (beside, _) = await asyncio.gather(
        demo(tmp_path / "demo", 8), demo(tmp_path / "beside", 9, "--port", str(free_port()))
    )
    check(again, 8)
    check(beside, 9)
    assert f"this one is kept in {tmp_path / 'demo' / 'run-2'}" in told
    assert (tmp_path / "demo" / "nats").is_dir(), "the first run is kept as it was"
    assert (tmp_path / "demo" / "run-2" / "nats").is_dir()
    await check_traces(tmp_path / "beside")


async def check_traces(folder: Path) -> None:
    """From what a customer reported to the merge it is one trace; so it is to the rollback."""
    server = NatsServer(folder / "nats", free_port())
    await asyncio.to_thread(server.start)
    bus = await nats_bus.connect(server.url, "test")
    traces: dict[str, set[str]] = defaultdict(set)
    for stream in (subjects.TELEMETRY, subjects.METRICS, subjects.EVENTS):
        last = await bus.last_sequence(stream)
        async with aclosing(bus.follow(stream, ">", from_sequence=1)) as messages:
            async for stored in messages:
                for item in decode_stored(stored):
                    context = TraceContext.parse(item.traceparent) if isinstance(item, Envelope) else None
                    if context is not None and isinstance(item, Envelope):
                        traces[context.trace_id].add(item.data.NAME)
                if stored.sequence == last:
                    break
    await bus.close()
    await asyncio.to_thread(server.stop)
    (merge,) = [names for names in traces.values() if "branch.merged" in names]
    assert {"task.finished", "metrics.outcomes", "variants.prepared", "experiment.decided"} <= merge
    (rollback,) = [names for names in traces.values() if "branch.rolled_back" in names]
    assert {"task.finished", "metrics.outcomes", "decision.made"} <= rollback


def check(summary: dict[str, Any], seed: int) -> None:
    rate = summary["success_rate"]
    assert rate["drifted"] < rate["baseline"], "customers' new words are not in its memory"
    assert rate["recovered"] > rate["drifted"], "the winner is better on questions that nobody learned from"
    assert rate["damaged"] < rate["recovered"]
    assert rate["restored"] > rate["damaged"]
    assert summary["winner"] in ("learn-from-success", "aggressive", "cautious")
    assert summary["restored_commit"]
    assert summary["worktrees_peak"] > 1
    assert (summary["branches_merged"], summary["branches_rolled_back"], summary["ab_tests_run"]) == (1, 1, 1)
    assert summary["branches_created"] >= 4, "a control and three variants"
    assert summary["seed"] == seed
    assert summary["replay_identical"] is True
    assert summary["events_replayed"] > 50
    assert summary["decisions_recomputed"] > 0
