"""Each service killed (-9) at many random moments of the demo's story: the outcome stays the same.

A run is one story with a kill every other second, of a service and at a moment that follow from the seed. Runs go on
until each service has had its kills, at least one of them in each part of the story: when the story comes to a part in
which some service was not killed yet, the next kill is that service's, soon. What must come out depends on no timing:
every part of the story happens, one experiment is merged, the bad commit is rolled back to the commit before it, and
every invariant of `checks` holds.
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
SOON_SECONDS = (0.0, 0.5)
LOOK_SECONDS = 0.02
ALIVE_SECONDS = 30.0
RUNS_MAX_PER_MOMENT = 2
"""Runs are given up when there were so many times more of them than kills wanted of each service."""


@dataclass
class Campaign:
    """The runs so far; `kills` counts those of each service, by the part of the story."""

    moments: int = 0
    """Kills of each service that are wanted."""
    runs: list[Result] = field(default_factory=list)

    @property
    def kills(self) -> Counter[tuple[str, str]]:
        """How often each service was killed, in which part of the story."""
        done = (each for result in self.runs for each in result.timeline)
        return Counter((each.fault.target, each.part) for each in done if each.hit)

    def of(self, service: str) -> int:
        """How often a service was killed."""
        return sum(count for (name, _), count in self.kills.items() if name == service)

    @property
    def left(self) -> dict[str, int]:
        """How often which services are still to be killed."""
        return {s: self.moments - self.of(s) for s in SERVICES if self.of(s) < self.moments}

    @property
    def spared(self) -> set[tuple[str, str]]:
        """Services and parts of the story that no kill of the service fell into. Nobody asks for all parts with fewer
        kills than parts."""
        kills, all_parts = self.kills, PARTS if self.moments >= len(PARTS) else ()
        return {(service, part) for service in SERVICES for part in all_parts if not kills[service, part]}

    @property
    def problems(self) -> list[str]:
        """What the campaign did not come to: kills that it was to do."""
        spared = [f"{service} was never killed during {part}" for service, part in sorted(self.spared)]
        return spared + [f"{service} was killed {count} times too few" for service, count in self.left.items()]

    @property
    def held(self) -> bool:
        """Whether every run came to the same outcome, and every kill was done."""
        return bool(self.runs) and not self.problems and not any(result.broken for result in self.runs)


async def campaign(
    data_dir: Path, moments: int, seed: int, tell: Callable[[str], None], over: Callable[[Result], None]
) -> Campaign:
    """Runs until every service was killed `moments` times, and in each part. `over` is told of each run."""
    whole = Campaign(moments)
    while (whole.left or whole.spared) and len(whole.runs) < RUNS_MAX_PER_MOMENT * moments:
        number = len(whole.runs)
        result = await one_run(data_dir / f"run-{number}", seed * 1_000 + number, whole.left, whole.spared, tell)
        whole.runs.append(result)
        over(result)
    return whole


@dataclass
class Aim:
    """Whom to kill next in a run: who still needs kills, and in which parts of the story."""

    remaining: Counter[str]
    spared: set[tuple[str, str]]

    def wanted(self, part: str) -> list[str]:
        """Services that were not killed in this part yet."""
        return sorted(service for service, spared in self.spared if spared == part)

    def hit(self, service: str, part: str) -> None:
        """A service was killed."""
        self.remaining[service] -= 1
        self.spared.discard((service, part))

    @property
    def over(self) -> bool:
        """Whether there is nobody left to kill."""
        return not +self.remaining and not self.spared


async def one_run(
    data_dir: Path, seed: int, left: dict[str, int], spared: set[tuple[str, str]], tell: Callable[[str], None]
) -> Result:
    """One story with kills of those services that still need some."""
    aim = Aim(Counter(left), set(spared))

    async def kill(stage: Stage, hand: Hand) -> None:
        chance = random.Random(seed)
        while not aim.over:
            part = await _moment(stage, aim, chance)
            targets = aim.wanted(part) or sorted(+aim.remaining)
            if not targets:
                continue
            target = chance.choice(targets)
            await _alive(stage, target)
            await hand.do(Fault(round(time.monotonic() - stage.began, 2), Action.KILL, target))
            aim.hit(target, hand.done[-1].part)
        await asyncio.Event().wait()

    async def story(stage: Stage) -> None:
        await stage.load.tell(stage.agents[0])

    result = await run(data_dir, seed, 1, kill, story, tell)
    result.findings.append(same_outcome(result))
    return result


async def _moment(stage: Stage, aim: Aim, chance: random.Random) -> str:
    """Wait for the moment of the next kill: some seconds, or less when a part begins in which somebody was spared.
    Returns the part of the story."""
    clock = asyncio.get_running_loop().time
    until = clock() + chance.uniform(*GAP_SECONDS)
    soon = chance.uniform(*SOON_SECONDS)
    while clock() < until:
        if aim.wanted(stage.part):
            until = min(until, clock() + soon)
        await asyncio.sleep(LOOK_SECONDS)
    return stage.part


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
