"""The fleet as two services see it: how each agent does, and in which worktrees it works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thymos import subjects
from thymos.cli.output import say
from thymos.errors import ThymosError, UnavailableError

if TYPE_CHECKING:
    from thymos.client import Client
    from thymos.requests import AgentFleet, AgentSummary, AgentWorktree


@dataclass(frozen=True)
class Member:
    """One agent. `summary` is None where metrics-collector has not heard of it, `fleet` where worktree-scaler has not;
    `crashed` are its worktrees whose process does not stay up.
    """

    agent: str
    summary: AgentSummary | None = None
    fleet: AgentFleet | None = None
    crashed: tuple[AgentWorktree, ...] = ()

    @property
    def worktrees(self) -> str | None:
        """How many worktrees in which phase, in words; None where it is not known."""
        if self.fleet is None:
            return None
        return ", ".join(f"{number} {phase}" for phase, number in self.fleet.worktrees.items()) or "none"

    @property
    def trouble(self) -> str:
        """Why its processes do not stay up; empty when they do."""
        return "; ".join(dict.fromkeys(each.reason or each.phase for each in self.crashed))

    def as_json(self) -> dict[str, Any]:
        """What metrics-collector says of it, and `backend`, `worktrees` (None: not known) and `crashed` beside that."""
        known = self.summary.model_dump(mode="json") if self.summary else {}
        return {
            "agent": self.agent, "last_seen": None, "branches": list(self.fleet.branches) if self.fleet else [],
            "main": None, **known, "backend": self.fleet and self.fleet.backend,
            "worktrees": self.fleet and self.fleet.worktrees,
            "crashed": [each.model_dump(mode="json") for each in self.crashed],
        }  # fmt: skip


def joined(
    summaries: Sequence[AgentSummary], fleets: Sequence[AgentFleet], worktrees: Sequence[AgentWorktree]
) -> list[Member]:
    """Every agent that either service knows, in the order of names."""
    by_name = {each.agent: each for each in summaries}
    fleet_of = {each.agent: each for each in fleets}
    crashed = crashing(worktrees)
    return [
        Member(name, by_name.get(name), fleet_of.get(name), tuple(each for each in crashed if each.agent == name))
        for name in sorted({*by_name, *fleet_of})
    ]


def crashing(worktrees: Sequence[AgentWorktree]) -> list[AgentWorktree]:
    """Those that were given up, wait to be started again, or have not come up since they crashed."""
    return [
        each
        for each in worktrees
        if each.phase in ("failed", "waiting") or (each.phase == "starting" and each.crashes > 0)
    ]


async def read_fleet(client: Client) -> list[Member]:
    """The tenant's agents. What a service that is away would have said is left out, and told on stderr.

    Raises:
        UnavailableError: neither service answers.
    """
    away: list[ThymosError] = []
    summaries: list[AgentSummary] = []
    fleets: list[AgentFleet] = []
    worktrees: list[AgentWorktree] = []
    try:
        summaries = await _summaries(client)
    except UnavailableError as error:
        away.append(error)
        missing = f"{subjects.METRICS_COLLECTOR} does not answer: metrics are missing"
    try:
        fleets, worktrees = await _fleets(client), await read_worktrees(client)
    except UnavailableError as error:
        away.append(error)
        missing = f"{subjects.WORKTREE_SCALER} does not answer: worktrees are missing"
    if len(away) == 2:
        raise away[0]
    if away:
        say(f"note: {missing} (`thymos doctor`)")
    return joined(summaries, fleets, worktrees)


async def _summaries(client: Client) -> list[AgentSummary]:
    from thymos.requests import AgentsAnswer, ListAgents

    found: list[AgentSummary] = []
    request = ListAgents()
    while True:
        page = await client.ask_as(AgentsAnswer, subjects.METRICS_COLLECTOR, subjects.WHOLE_SERVICE, "agents", request)
        found += page.agents
        if page.next_after is None:
            return found
        request = ListAgents(after=page.next_after)


async def _fleets(client: Client) -> list[AgentFleet]:
    from thymos.requests import FleetsAnswer, ListFleets

    service, everybody = subjects.WORKTREE_SCALER, subjects.WHOLE_SERVICE
    return (await client.ask_as(FleetsAnswer, service, everybody, "agents", ListFleets())).agents


async def read_worktrees(client: Client) -> list[AgentWorktree]:
    """The tenant's worktrees that have not ended. Raises UnavailableError."""
    from thymos.requests import AgentWorktreesAnswer, ListAgentWorktrees

    answer = await client.ask_as(
        AgentWorktreesAnswer, subjects.WORKTREE_SCALER, subjects.WHOLE_SERVICE, "worktrees", ListAgentWorktrees()
    )
    return answer.worktrees
