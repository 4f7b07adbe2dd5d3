"""Record a history for the replay gate, once; it is never recorded again.

    .venv/bin/python tests/histories/record.py NAME         one of the stories below, into NAME.jsonl.gz

A history that has been recorded stays as it is, and so do its digests: the gate is that today's core makes the same of
it. What the core is to decide differently needs a setting of its own, which old histories do not have.
"""

import dataclasses
import gzip
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from decision_engine.engine import Input
from decision_engine.policy import Policy
from decision_engine.recorded_history import RecordedHistory, RecordedStep, digests, fold, to_lines
from decision_engine.testing import Story, policy
from thymos import commands, events
from thymos.message import Message

HERE = Path(__file__).parent


class Recorder(Story):
    """A story that keeps its inputs."""

    def __init__(self, configured: Policy | None = None) -> None:
        super().__init__(configured)
        self.steps: list[RecordedStep] = []

    def happens(self, message: Message | None, correlation_id: str | None = None) -> Story:
        """One input, as in `Story`; half a second later than the one before."""
        self.now += timedelta(milliseconds=500)
        self.steps.append(RecordedStep(Input(f"input-{len(self.steps) + 1}", message, correlation_id), self.now))
        return super().happens(message, correlation_id)


def merged_and_watched() -> Recorder:
    """A drop, an experiment with three variants, the merge, its clean-up, and a hundred good outcomes after it."""
    story = Recorder()
    story.runs("cautious", "aggressive", "learn-from-success")
    story.pairs("1111111111110" * 4, "0100100100101" * 4)
    story.merges().cleans_up().main("1110" * 25, "merge")
    return story


def rolled_back_twice() -> Recorder:
    """A bad commit on main goes back by itself; the next one waits for a person, who agrees."""
    story = Recorder()
    story.memory_begins().baseline(failures=15, samples=300).main("1" * 40, "c0")
    story.commits("bad")
    while not story.sent(commands.RollbackBranch):
        story.main("0", "bad")
    story.rolls_back("revert-1").commits("worse")
    while not story.sent(events.ApprovalRequested):
        story.main("0", "worse")
    asked = story.sent(events.ApprovalRequested)[-1]
    story.happens(commands.ApproveDecision(decision_id=asked.decision_id, answer="approved", by="somebody"))
    story.rolls_back("revert-2").main("1" * 30, "revert-2")
    return story


def harmful_variants() -> Recorder:
    """A person starts an experiment whose only variant is worse: main stays as it is."""
    story = Recorder(policy(tasks=128))
    story.memory_begins().baseline(failures=15, samples=300)
    story.happens(commands.StartExperiment(by="somebody", reason="to see", generators=["cautious"]))
    story.prepares("cautious").becomes_ready()
    story.pairs("0" * 60, "1" * 60, name="cautious").cleans_up()
    return story


def timed_out() -> Recorder:
    """An experiment whose agents fall silent ends without a verdict."""
    story = Recorder()
    story.runs("learn-from-success").pairs("10" * 6, "01" * 6)
    story.passes(minutes=31).passes(seconds=40).cleans_up()
    return story


def half_way() -> Recorder:
    """An experiment in the middle: the state holds its answers, its plan and its verdict so far."""
    story = Recorder()
    story.runs("cautious", "learn-from-success").pairs("110" * 4, "010" * 4)
    return story


STORIES: dict[str, Callable[[], Recorder]] = {
    "merged-and-watched": merged_and_watched,
    "rolled-back-twice": rolled_back_twice,
    "harmful-variants": harmful_variants,
    "timed-out": timed_out,
    "half-way": half_way,
}


def record(name: str, history: RecordedHistory) -> None:
    """Write a new history and note what it comes to. Raises SystemExit when there is one of this name."""
    path = HERE / f"{name}.jsonl.gz"
    if path.exists():
        raise SystemExit(f"{path.name} is recorded already and stays as it is: choose another name")
    path.write_bytes(gzip.compress("\n".join(to_lines(history)).encode(), mtime=0))
    known = json.loads((HERE / "digests.json").read_text()) if (HERE / "digests.json").exists() else {}
    known[name] = dataclasses.asdict(digests(fold(history)))
    (HERE / "digests.json").write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n")


if __name__ == "__main__":
    for asked_for in sys.argv[1:]:
        told = STORIES[asked_for]()
        record(asked_for, RecordedHistory(told.state.tenant, told.state.agent, told.policy, tuple(told.steps)))
