"""A tiny agent process for tests: it does what its input says."""

import asyncio
import sys

from thymos import worker
from thymos.commands import MemoryChange


@worker.task
async def answer(task: worker.WorkerTask) -> str:
    """Do what `task.input` says: fail in one of many ways, wait, learn or recall; anything else is echoed."""
    match task.input:
        case "boom":
            raise RuntimeError("kaput")
        case "long":
            raise RuntimeError("x" * 5_000)
        case "cancelled":
            inner = asyncio.create_task(asyncio.sleep(3600))
            inner.cancel()
            await inner
        case "exit":
            sys.exit(3)
        case "surrogate":
            task.record(cost_usd=0.25, quality={"\ud83d": 1.0})
            return "half a \ud83d face"
        case "hang":
            await asyncio.sleep(3600)
        case "pause":
            await asyncio.sleep(0.5)
        case "learn":
            change = MemoryChange(op="put", id="learned", content="something new")
            await task.memory.stage(worker.Workplace.from_environment().worktree_id, [change])
        case "recall":
            return ",".join(hit.id for hit in await task.memory.search("new"))
    task.record(cost_usd=0.25)
    return str(task.input)


if __name__ == "__main__":
    worker.run()
