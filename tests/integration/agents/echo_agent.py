"""A tiny agent process for tests: it does what its input says."""

import asyncio

from thymos import worker
from thymos.commands import MemoryChange


@worker.task
async def answer(task: worker.WorkerTask) -> str:
    """`boom` raises, `hang` waits for an hour, `learn` stages a memory, anything else is echoed."""
    match task.input:
        case "boom":
            raise RuntimeError("kaput")
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
