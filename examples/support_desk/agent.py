"""The support-desk agent: it recalls by full-text search, and says what its memory says.

worktree-scaler starts it, once per worktree, as `thymos.toml` says. It may be started by hand, too, on any machine that
reaches NATS, and then takes a share of the questions on main:

    THYMOS_AGENT=support python examples/support_desk/agent.py
"""

from thymos import worker


@worker.task
async def answer(task: worker.WorkerTask) -> str:
    """The answer of the best matching article."""
    hits = await task.memory.search(str(task.input), limit=3)
    return str(hits[0].fields["answer"]) if hits else "I do not know."


if __name__ == "__main__":
    worker.run()
