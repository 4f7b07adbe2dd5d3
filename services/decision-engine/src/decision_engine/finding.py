"""What a condition found, and what a decision does about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import JsonValue

from thymos.message import Message


@dataclass(frozen=True)
class Finding:
    """A condition holds: on which branch, why in words, and the numbers it was seen in.

    `experiment_id` is set where it is about an experiment, `strategy` where a proposed strategy is. `failed` says why
    the condition could not be told, which is no ground for anything; "" else.
    """

    branch: str
    reason: str
    inputs: Mapping[str, JsonValue] = field(default_factory=dict)
    experiment_id: str | None = None
    strategy: str | None = None
    failed: str = ""


@dataclass(frozen=True)
class Approval:
    """A decision that waits for a person; when approved, the rule's action is planned anew on the same finding, and
    carried out if it is still what was asked: `words` and `based_on` of the plan. `key` is the decision's, `priority`
    the rule's; `rolls_back_main` says whether the plan held a rollback of main."""

    decision_id: str
    rule: str
    finding: Finding
    expires_at: datetime
    key: str = ""
    priority: int = 0
    words: str = ""
    based_on: str = ""
    rolls_back_main: bool = False


@dataclass(frozen=True)
class Send:
    """Send a command."""

    message: Message


@dataclass(frozen=True)
class OpenExperiment:
    """Open an experiment; `learn` waits for outcomes to learn from first."""

    cause: str
    budget: str
    generators: tuple[str, ...]
    strategy: str | None = None
    learn: bool = False


@dataclass(frozen=True)
class MergeWinner:
    """Merge the proven winner of an experiment."""

    experiment_id: str
    strategy: str | None = None


@dataclass(frozen=True)
class DropChallengers:
    """End an experiment whose challengers are all proven harmful."""

    experiment_id: str


@dataclass(frozen=True)
class EndExperiment:
    """End an experiment that has used up its time."""

    experiment_id: str


@dataclass(frozen=True)
class RollBackMain:
    """Bring main back to a good commit."""

    target: str
    reason: str
    evidence: Mapping[str, JsonValue]


@dataclass(frozen=True)
class AcceptMain:
    """Leave main as it is: what it has shown so far no longer counts against it."""


Effect = Send | OpenExperiment | MergeWinner | DropChallengers | EndExperiment | RollBackMain | AcceptMain


@dataclass(frozen=True)
class Plan:
    """What an action would do. `touches` are the branches it acts on, and the experiment; `ask` is why a person has to
    agree, or "". `based_on` names what the plan is for and nothing else: main's head, or what a strategy changes."""

    effects: tuple[Effect, ...]
    touches: frozenset[str]
    words: str
    ask: str = ""
    based_on: str = ""

    @property
    def rolls_back_main(self) -> bool:
        """Whether it is a rollback of main that is planned."""
        return any(isinstance(effect, RollBackMain) for effect in self.effects)


@dataclass(frozen=True)
class Refused:
    """Why an action cannot be done now. Stable words: a decision is published when they change."""

    why: str
