"""A tiny agent process for the tests of worktree-scaler: takes tasks, answers, heartbeats, drains on SIGTERM.

What it does is told by its environment and by its tasks. AGENT_MODE: `crash` ends at once with code 3,
`stubborn`
ignores SIGTERM. A task `{"say": x}` is answered with x; `{"die_once": path}` ends the process unless the
file is there;
`{"hang": true}` is never answered; `{"wait_for": path}` is answered when the file is there.
"""

import asyncio
import os
import signal
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from thymos import nats_bus, subjects
from thymos.bus import Bus, Delivery
from thymos.envelope import Envelope, decode
from thymos.message import Message
from thymos.tasks import TaskAssigned
from thymos.telemetry import AgentHeartbeat, Outcome, TaskFinished, TaskStarted

TENANT, AGENT, BRANCH, WORKTREE = (os.environ[f"THYMOS_{name}"] for name in ("TENANT", "AGENT", "BRANCH", "WORKTREE"))
CAPACITY = int(os.environ["THYMOS_CAPACITY"])
in_hand = 0


async def say(bus: Bus, message: Message) -> None:
    envelope: Envelope[Message] = Envelope(
        id=str(uuid.uuid4()),
        source=WORKTREE,
        time=datetime.now(UTC),
        tenant=TENANT,
        agent=AGENT,
        data=message,
    )
    await bus.publish(envelope.subject, envelope.to_bytes(), envelope.message_id)


async def beat(bus: Bus) -> None:
    while True:
        await say(bus, AgentHeartbeat(worktree_id=WORKTREE, branch=BRANCH, in_flight=in_hand, capacity=CAPACITY))
        await asyncio.sleep(0.1)


def is_there(path: str) -> bool:
    return Path(path).exists()


def die_leaving(path: str) -> None:
    Path(path).touch()
    os._exit(4)


async def answer(given: Any) -> str:
    match given:
        case {"say": text}:
            return str(text)
        case {"say_by_branch": answers}:
            return str(answers.get(BRANCH, "no idea"))
        case {"hang": True}:
            await asyncio.Event().wait()
        case {"wait_for": path}:
            while not is_there(path):
                await asyncio.sleep(0.02)
            return "waited"
        case {"die_once": path} if not is_there(path):
            die_leaving(path)
    return "survived"


async def work(bus: Bus, delivery: Delivery) -> None:
    global in_hand
    task = decode(delivery.body, delivery.subject).data
    assert isinstance(task, TaskAssigned)
    where = {"branch": BRANCH, "experiment_id": task.experiment_id, "arm": task.arm}
    in_hand += 1
    await say(bus, TaskStarted(task_id=task.task_id, **where))
    output = await answer(task.input)
    await say(
        bus,
        TaskFinished(
            task_id=task.task_id,
            outcome=Outcome.SUCCEEDED,
            output=output,
            latency_ms=5,
            commit="c0ffee",
            awaits_grade=task.awaits_grade,
            **where,
        ),
    )
    await delivery.ack()
    in_hand -= 1


async def main() -> None:
    stop = asyncio.Event()
    if os.environ.get("AGENT_MODE") == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    bus = await nats_bus.connect(os.environ["THYMOS_NATS_URL"], WORKTREE)
    print(f"agent {WORKTREE} on {BRANCH}", flush=True)  # noqa: T201  (an agent's own output, which goes to its log)
    beating = asyncio.create_task(beat(bus))
    subscription = await bus.subscribe(subjects.task_consumer(TENANT, AGENT, BRANCH))
    while not stop.is_set():
        for delivery in await subscription.fetch(1, timedelta(milliseconds=100)):
            await work(bus, delivery)
    beating.cancel()
    await bus.close()


if os.environ.get("AGENT_MODE") == "crash":
    sys.exit(3)
asyncio.run(main())
