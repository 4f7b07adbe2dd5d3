"""Chaos for a stated time: the demo's load for one agent after the other, faults from a seed."""

from collections.abc import Callable, Sequence
from pathlib import Path

from .faults import Fault, Hand, plan
from .run import Result, Stage, run

STORY_SECONDS = 30.0
"""About as long as one agent's story takes with faults: says how many agents there are."""
AGENTS_MAX = 4


async def soak(data_dir: Path, seconds: float, seed: int, tell: Callable[[str], None]) -> Result:
    """Faults at random for `seconds`; the load goes on until then, and ends what it has begun."""
    agents = min(AGENTS_MAX, 1 + int(seconds / STORY_SECONDS))
    return await _run(data_dir, seed, agents, seconds, plan(seed, seconds), tell)


async def fixed(data_dir: Path, seed: int, faults: Sequence[Fault], tell: Callable[[str], None]) -> Result:
    """One agent's story with these faults."""
    return await _run(data_dir, seed, 1, 0.0, faults, tell)


async def _run(
    data_dir: Path, seed: int, agents: int, seconds: float, faults: Sequence[Fault], tell: Callable[[str], None]
) -> Result:
    async def go_wrong(stage: Stage, hand: Hand) -> None:
        del stage
        await hand.do_all(faults)

    async def work(stage: Stage) -> None:
        for agent in stage.agents:
            await stage.load.tell(agent)
            if stage.has_lasted(seconds):
                return
        while not stage.has_lasted(seconds):
            await stage.load.more(stage.agents[-1])

    return await run(data_dir, seed, agents, go_wrong, work, tell)
