"""What the scaling policy does to a real hour of requests, beside a fixed fleet of the same mean size.

    python benchmarks/scaling_trace.py [requests.csv]

The trace holds arrival times and token counts of a production language-model service
(`llm_requests_code.csv` of the
shared data: THYMOS_SHARED_DIR, else `../shared` beside the repository). The simulation is event-driven and
has no
randomness: arrivals, completions and new worktrees becoming ready are events, and after each of them (at
most once per
`LOOK`) the policy decides, as the service does. Tasks wait in one queue; a worktree works on one task at a
time.

How long a task takes is a model, not a measurement: an overhead, plus the prompt at 2,000 tokens a second,
plus the
answer at 20 tokens a second. A new worktree needs `START` before it takes tasks and is paid for from its
start to the
end of its last task. The first task finds the minimum fleet ready.

The trace is a hard case: whole minutes of nothing, then hundreds of requests in ten seconds. Against a
fixed fleet of
the same mean size (which somebody would have had to guess), a window shorter than the gaps saves worktrees
and loses
delay in each ramp; a longer one holds the peak and behaves like the fixed fleet. Neither is better
throughout.
"""

from __future__ import annotations

import csv
import heapq
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import Path

from worktree_scaler.scaling import (
    Direction,
    ScalingHistory,
    ScalingPolicy,
    ScalingSignal,
    decide,
    evolve,
)

OVERHEAD = timedelta(milliseconds=300)
PROMPT_TOKENS_PER_SECOND = 2_000
ANSWER_TOKENS_PER_SECOND = 20
START = timedelta(seconds=2)
LOOK = timedelta(milliseconds=500)
WINDOWS_SECONDS = (300, 60, 15, 5)


@dataclass(frozen=True)
class Request:
    """One task: when it arrives and how long a worktree works on it."""

    at: datetime
    takes: timedelta


@dataclass(frozen=True)
class Report:
    """What became of the trace under one fleet; delays are seconds from arrival to a worktree taking the
    task.
    """

    name: str
    requests: int
    delay_p50: float
    delay_p95: float
    delay_p99: float
    worktree_seconds: float
    mean_worktrees: float
    peak_worktrees: int
    steps: int
    turns: int


def read_trace(path: Path) -> list[Request]:
    """The requests of a trace in order of arrival. Raises ValueError if the file has none."""
    with path.open(newline="") as file:
        requests = [_request(row) for row in csv.DictReader(file)]
    if not requests:
        raise ValueError(f"{path} holds no requests")
    return sorted(requests, key=lambda request: request.at)


def _request(row: dict[str, str]) -> Request:
    at = datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=UTC)
    prompt = timedelta(seconds=int(row["ContextTokens"]) / PROMPT_TOKENS_PER_SECOND)
    answer = timedelta(seconds=int(row["GeneratedTokens"]) / ANSWER_TOKENS_PER_SECOND)
    return Request(at, OVERHEAD + prompt + answer)


class Simulation:
    """A queue and a fleet of worktrees with one task each; call `run` once."""

    def __init__(self, requests: Sequence[Request], policy: ScalingPolicy) -> None:
        self.requests, self.policy = requests, policy
        self.history = ScalingHistory()
        self.now = requests[0].at
        self.begun_at = self.now
        self.waiting: deque[Request] = deque()
        self.idle, self.busy, self.starting = policy.min_worktrees, 0, 0
        self.leaving = 0
        self.ends: list[datetime] = []
        self.readies: deque[datetime] = deque()
        self.delays: list[timedelta] = []
        self.paid = timedelta(0)
        self.peak = self.idle
        self.directions: list[Direction] = []
        self.looked_at = self.now - LOOK

    def run(self) -> Simulation:
        """Plays the whole trace, until the last task is done."""
        for request in self.requests:
            self._advance(request.at)
            self.waiting.append(request)
            self._take()
            self._look()
        while self.waiting or self.busy:
            self._advance(self._next_event())
        return self

    def _next_event(self) -> datetime:
        """The next moment something happens without a new arrival; a waiting queue is looked at again and
        again.
        """
        known = [*self.ends[:1], *list(self.readies)[:1], self.looked_at + LOOK]
        return min(at for at in known if at > self.now)

    def _advance(self, until: datetime) -> None:
        """Plays completions, starts and looks up to `until`."""
        while (at := min((t for t in self._due(until)), default=None)) is not None:
            self._pass(at)
            while self.ends and self.ends[0] <= at:
                heapq.heappop(self.ends)
                self.busy, self.idle = self.busy - 1, self.idle + 1
                self._leave()
            while self.readies and self.readies[0] <= at:
                self.readies.popleft()
                self.starting, self.idle = self.starting - 1, self.idle + 1
            self._take()
            self._look()
        self._pass(until)

    def _due(self, until: datetime) -> Iterator[datetime]:
        for at in (*self.ends[:1], *list(self.readies)[:1], self.looked_at + LOOK):
            if self.now < at <= until:
                yield at

    def _pass(self, until: datetime) -> None:
        self.paid += (until - self.now) * (self.idle + self.busy + self.starting)
        self.now = until

    def _take(self) -> None:
        while self.waiting and self.idle:
            request = self.waiting.popleft()
            self.idle, self.busy = self.idle - 1, self.busy + 1
            self.delays.append(self.now - request.at)
            heapq.heappush(self.ends, self.now + request.takes)

    def _leave(self) -> None:
        """Idle worktrees go first; a busy one is never interrupted, it leaves when its task is done."""
        gone = min(self.idle, self.leaving)
        self.idle, self.leaving = self.idle - gone, self.leaving - gone

    def _look(self) -> None:
        if self.now - self.looked_at < LOOK:
            return
        self.looked_at = self.now
        current = self.idle + self.busy + self.starting - self.leaving
        signal = ScalingSignal(current, len(self.waiting), self.busy, self.busy, current)
        action = decide(self.history, signal, self.policy, self.now)
        self.history = evolve(self.history, signal, self.policy, action, self.now)
        if action.direction is not Direction.HOLD:
            self.directions.append(action.direction)
        self._obey(action.count - current)

    def _obey(self, change: int) -> None:
        if change > 0:
            stay = min(change, self.leaving)
            self.leaving -= stay
            self.starting += change - stay
            self.readies.extend([self.now + START] * (change - stay))
        else:
            self.leaving -= change
            self._leave()
        self.peak = max(self.peak, self.idle + self.busy + self.starting)


def simulate(name: str, requests: Sequence[Request], policy: ScalingPolicy) -> Report:
    """The report of one fleet on the trace."""
    done = Simulation(requests, policy).run()
    delays = sorted(done.delays)
    paid = done.paid.total_seconds()
    turns = sum(1 for was, now in pairwise(done.directions) if was is not now)
    return Report(
        name,
        len(delays),
        _quantile(delays, Fraction(50, 100)),
        _quantile(delays, Fraction(95, 100)),
        _quantile(delays, Fraction(99, 100)),
        paid,
        paid / (done.now - done.begun_at).total_seconds(),
        done.peak,
        len(done.directions),
        turns,
    )


def _quantile(ordered: Sequence[timedelta], share: Fraction) -> float:
    """The smallest value that at least `share` of the values do not exceed, in seconds."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)].total_seconds()


def fixed(size: int) -> ScalingPolicy:
    """A fleet that never changes."""
    return ScalingPolicy(min_worktrees=size, max_worktrees=size)


def compare(requests: Sequence[Request], policy: ScalingPolicy, windows: Sequence[int]) -> tuple[Report, ...]:
    """The policy with each scale-down window (seconds), and for each a fixed fleet of (at least) its mean
    size.
    """
    reports: list[Report] = []
    for window in windows:
        candidate = replace(policy, scale_down_window=timedelta(seconds=window))
        scaled = simulate(f"window {window} s", requests, candidate)
        size = ceil(scaled.mean_worktrees)
        reports += [scaled, simulate(f"fixed {size}", requests, fixed(size))]
    return tuple(reports)


def table(reports: Iterable[Report]) -> str:
    """The reports as text, one line each."""
    lines = [
        f"{'fleet':<14}{'requests':>9}{'delay p50':>11}{'p95':>9}{'p99':>9}"
        f"{'worktree-s':>12}{'mean':>7}{'peak':>6}{'steps':>7}{'turns':>7}"
    ]
    lines += [
        f"{r.name:<14}{r.requests:>9}{r.delay_p50:>10.2f}s{r.delay_p95:>8.2f}s{r.delay_p99:>8.2f}s"
        f"{r.worktree_seconds:>12.0f}{r.mean_worktrees:>7.2f}{r.peak_worktrees:>6}{r.steps:>7}{r.turns:>7}"
        for r in reports
    ]
    return "\n".join(lines)


def shared_trace() -> Path:
    """Where the trace is looked for; the file may be absent."""
    beside = Path(__file__).resolve().parents[1].parent / "shared"
    return Path(os.environ.get("THYMOS_SHARED_DIR", beside)) / "data" / "llm_requests_code.csv"


def main(arguments: Sequence[str]) -> int:
    """Prints the table; 2 when the trace is not there."""
    path = Path(arguments[0]) if arguments else shared_trace()
    if not path.exists():
        sys.stderr.write(f"no trace at {path}: name one, or set THYMOS_SHARED_DIR\n")
        return 2
    requests = read_trace(path)
    work = sum((request.takes for request in requests), timedelta(0)).total_seconds()
    span = (requests[-1].at - requests[0].at).total_seconds()
    policy = ScalingPolicy(max_worktrees=60)
    sys.stdout.write(f"{len(requests)} requests in {span:.0f} s, {work:.0f} s of work (mean {work / span:.1f} busy)\n")
    sys.stdout.write(table(compare(requests, policy, WINDOWS_SECONDS)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
