"""All windows and baselines of one collector, within fixed limits: the least recently used leaves first."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from metrics_collector.baseline import Baseline
from metrics_collector.window import Limits, Window, WindowKey

AgentKey = tuple[str, str]
"""(tenant, agent)"""


@dataclass(frozen=True, slots=True)
class FleetLimits:
    """How much one collector tracks. What is dropped loses its window; its outcomes stay counted."""

    agents_max: int = 10_000
    windows_per_agent_max: int = 256
    """Branches and experiment arms of one agent."""
    samples_max: int = 1_000_000
    """Samples in all windows together."""
    window: Limits = field(default_factory=Limits)


@dataclass(slots=True)
class AgentWindows:
    """The windows of one agent, least recently used first, and its baseline."""

    windows: OrderedDict[WindowKey, Window] = field(default_factory=OrderedDict)
    baseline: Baseline | None = None


class Fleet:
    """Every tracked window by its key."""

    def __init__(self, limits: FleetLimits) -> None:
        self.limits = limits
        self.samples = 0
        """Samples in all windows: whoever adds or drops some keeps this up to date."""
        self._agents: OrderedDict[AgentKey, AgentWindows] = OrderedDict()
        self._grown: set[AgentKey] = set()

    def __iter__(self) -> Iterator[tuple[WindowKey, Window]]:
        for agent in self._agents.values():
            yield from agent.windows.items()

    def get(self, key: WindowKey) -> Window | None:
        """The window of `key`, if it is tracked; asking does not make it more recently used."""
        agent = self._agents.get((key.tenant, key.agent))
        return None if agent is None else agent.windows.get(key)

    def of_agent(self, tenant: str, agent: str) -> dict[WindowKey, Window]:
        """The windows of one agent; empty for an unknown one."""
        known = self._agents.get((tenant, agent))
        return {} if known is None else dict(known.windows)

    def agents(self, tenant: str) -> list[str]:
        """The tracked agents of a tenant, in the order of their names."""
        return sorted(agent for owner, agent in self._agents if owner == tenant)

    def use(self, key: WindowKey) -> Window:
        """The window of `key`, created if need be, now the most recently used one."""
        agent = self._agents.setdefault((key.tenant, key.agent), AgentWindows())
        self._agents.move_to_end((key.tenant, key.agent))
        window = agent.windows.get(key)
        if window is None:
            self._grown.add((key.tenant, key.agent))
            window = agent.windows[key] = Window(self.limits.window)
        agent.windows.move_to_end(key)
        return window

    def baseline(self, tenant: str, agent: str) -> Baseline:
        """The agent's baseline epoch, begun if there is none."""
        known = self._agents.setdefault((tenant, agent), AgentWindows())
        if known.baseline is None:
            known.baseline = Baseline()
        return known.baseline

    def keep_baseline(self, tenant: str, agent: str, baseline: Baseline) -> None:
        """Puts back the epoch that was stored."""
        self._agents.setdefault((tenant, agent), AgentWindows()).baseline = baseline

    def drop(self, key: WindowKey) -> bool:
        """Drops a window with all it holds; False if there is none."""
        agent = self._agents.get((key.tenant, key.agent))
        window = None if agent is None else agent.windows.pop(key, None)
        if window is not None:
            self.samples -= len(window)
        return window is not None

    def forget(self, tenant: str, agent: str) -> None:
        """Drops everything of one agent."""
        known = self._agents.pop((tenant, agent), AgentWindows())
        self.samples -= sum(len(window) for window in known.windows.values())

    def excess(self) -> tuple[list[WindowKey], list[AgentKey]]:
        """What is to be dropped to be within the limits again, least recently used first: (windows, whole agents).

        It changes nothing but what to look at next time. Main's windows, and the agent used last, are never in it.
        """
        windows: list[WindowKey] = []
        for name in self._grown:
            keys = list(self._agents[name].windows) if name in self._agents else []
            count = len(keys) - self.limits.windows_per_agent_max
            windows += [key for key in keys if not key.is_main][: max(count, 0)]
        self._grown.clear()
        return windows, self._excess_agents()

    def _excess_agents(self) -> list[AgentKey]:
        agents, samples = len(self._agents), self.samples
        leaving: list[AgentKey] = []
        for name, agent in self._agents.items():
            within = agents <= self.limits.agents_max and samples <= self.limits.samples_max
            if within or agents == 1:
                break
            leaving.append(name)
            agents -= 1
            samples -= sum(len(window) for window in agent.windows.values())
        return leaving
