"""Each service killed (-9) at many random moments of the demo's story: the outcome stays the same.

A run is one story with a kill every other second, of a service and at a moment that follow from the seed. Runs go on
until each service has had its kills. What must come out depends on no timing: every part of the story happens, one
experiment is merged, the bad commit is rolled back to the commit before it, and every invariant of `checks` holds.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .checks import Finding
from .faults import SERVICES, Action, Fault, Hand
from .load import PARTS
from .run import Result, Stage, run

GAP_SECONDS = (0.5, 4.5)
ALIVE_SECONDS = 30.0


@dataclass
class Campaign:
    """The runs so far; `kills` counts those of each service, by the part of the story."""

    runs: list[Result] = field(default_factory=list)

    @property
    def kills(self) -> Counter[tuple[str, str]]:
        """How often each service was killed, in which part of the story."""
        done = (each for result in self.runs for each in result.timeline)
        return Counter((each.fault.target, each.stage.split(" ", 1)[-1]) for each in done if each.hit)

    def of(self, service: str) -> int:
        """How often a service was killed."""
        return sum(count for (name, _), count in self.kills.items() if name == service)

    @property
    def held(self) -> bool:
        """Whether every run came to the same outcome."""
        return not any(result.broken for result in self.runs)


async def campaign(
    data_dir: Path, moments: int, seed: int, tell: Callable[[str], None], over: Callable[[Result], None]
) -> Campaign:
    """Runs until every service was killed `moments` times. `over` is told of each run."""
    whole = Campaign()
    number = 0
    while left := {s: moments - whole.of(s) for s in SERVICES if whole.of(s) < moments}:
        result = await one_run(data_dir / f"run-{number}", seed * 1_000 + number, left, tell)
        whole.runs.append(result)
        over(result)
        number += 1
    return whole


async def one_run(data_dir: Path, seed: int, left: dict[str, int], tell: Callable[[str], None]) -> Result:
    """One story with kills of those services that still need some."""
    remaining = Counter(left)

    async def kill(stage: Stage, hand: Hand) -> None:
        chance = random.Random(seed)
        while remaining.total():
            await asyncio.sleep(chance.uniform(*GAP_SECONDS))
            target = chance.choice(sorted(+remaining))
            await _alive(stage, target)
            await hand.do(Fault(round(time.monotonic() - stage.began, 2), Action.KILL, target))
            remaining[target] -= 1
        await asyncio.Event().wait()

    async def story(stage: Stage) -> None:
        await stage.load.tell(stage.agents[0])

    result = await run(data_dir, seed, 1, kill, story, tell)
    result.findings.append(same_outcome(result))
    return result


async def _alive(stage: Stage, service: str) -> None:
    """A service that is just being started again cannot be killed: wait until it is there."""
    async with asyncio.timeout(ALIVE_SECONDS):
        while stage.suite.services[service].pid is None:
            await asyncio.sleep(0.02)


def same_outcome(result: Result) -> Finding:
    """What the story comes to, whatever happens meanwhile."""
    expected = {"experiments": 1, "merges": 1, "rollbacks": 1}
    problems = [
        f"{what}: {result.counts[what]} instead of {n}" for what, n in expected.items() if result.counts[what] != n
    ]
    problems += [f"did not happen: {missed}" for missed in result.missed]
    if result.stages != list(PARTS):
        problems.append(f"only these parts happened: {', '.join(result.stages)}")
    return Finding("the outcome is the same", len(result.stages), tuple(problems))
