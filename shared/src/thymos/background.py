"""Work that goes on beside a block of code, and ends with it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

NUDGE_SECONDS = 0.5


async def cancelled(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait for its end; its own failure is raised.

    Cancels more than once if need be: in Python 3.11 `asyncio.wait_for` loses a cancellation that comes together with
    the result that it waits for.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=NUDGE_SECONDS)
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


@asynccontextmanager
async def running(work: Coroutine[Any, Any, Any]) -> AsyncIterator["asyncio.Task[Any]"]:
    """Run a coroutine while the block runs; it is cancelled at the block's end, and its failure is raised there."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        await cancelled(task)
