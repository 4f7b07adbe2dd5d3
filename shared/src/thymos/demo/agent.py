"""The support-desk agent of the demo: it recalls by full-text search and says what its memory says.

There is no language model and no rule in it: whether it is right depends on what its branch of memory holds. It
takes a moment per question, as a person typing would, so that a burst of questions makes a queue.
"""

import asyncio
import os

from thymos import worker

THINK_SECONDS = float(os.environ.get("DEMO_THINK_SECONDS") or "0.02")
RECALLED_MAX = 3


@worker.task
async def answer(task: worker.WorkerTask) -> str:
    """The answer of the best matching article."""
    hits = await task.memory.search(str(task.input), limit=RECALLED_MAX)
    await asyncio.sleep(THINK_SECONDS)
    if not hits:
        return "I do not know."
    return str(hits[0].fields.get("answer", hits[0].content))


if __name__ == "__main__":
    worker.run()
