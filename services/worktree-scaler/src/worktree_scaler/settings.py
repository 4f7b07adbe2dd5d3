"""What worktree-scaler is told from outside, in the form its parts need. Read once, at the outermost layer."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

from thymos.config import Agent, Config, WorktreeScaling
from thymos.service import ServiceSettings
from worktree_scaler.reconcile import Limits
from worktree_scaler.scaling import ScalingPolicy

LOG_BYTES_MAX = 1024 * 1024
FAILED_RETRY_AFTER = timedelta(minutes=5)
"""A crash loop on main is tried again after this; only a new commit or a mended environment will change its
end.
"""
FAILED_KEPT = timedelta(hours=1)
"""A failed worktree is shown this long; then it is forgotten."""
MAIN = "main"


@dataclass(frozen=True)
class AgentSettings:
    """One configured agent. Without a `command` somebody else starts it, and it registers by its heartbeat."""

    command: tuple[str, ...]
    capacity: int = 1
    scenario: Path | None = None
    drain_timeout: timedelta = timedelta(seconds=10)
    grader: str = "exact"
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ScalerSettings:
    """Everything the service is told.

    `environment` is what agent processes inherit; `directory` is where they run. `tenant` is whose agents are
    configured. Log files of agents are cut at `log_bytes_max`.
    """

    nats_url: str
    data_dir: Path
    directory: Path
    agents: Mapping[str, AgentSettings]
    policy: ScalingPolicy = field(default_factory=ScalingPolicy)
    scaling_enabled: bool = True
    limits: Limits = field(default_factory=Limits)
    environment: Mapping[str, str] = field(default_factory=dict)
    tenant: str = "default"
    log_bytes_max: int = LOG_BYTES_MAX
    failed_retry_after: timedelta = FAILED_RETRY_AFTER
    failed_kept: timedelta = FAILED_KEPT

    def limits_of(self, agent: str) -> Limits:
        """The limits of reconciling, with the agent's own drain time-out."""
        own = self.agents.get(agent)
        return replace(self.limits, drain_timeout=own.drain_timeout) if own else self.limits


def scaler_settings(settings: ServiceSettings, environment: Mapping[str, str]) -> ScalerSettings:
    """The settings of a service process. `environment` is inherited by agents, with this Python's programs first on
    its PATH, so that `command = ["python", …]` is the Python that Thymos is installed in."""
    config = settings.config
    path = f"{Path(sys.executable).parent}:{environment.get('PATH', '/usr/bin:/bin')}"
    return ScalerSettings(
        nats_url=settings.nats_url,
        data_dir=settings.data_dir,
        directory=config.directory,
        agents={name: _agent(agent) for name, agent in config.agents.items()},
        policy=_policy(config.versioning.worktree_scaling),
        scaling_enabled=_enabled(config),
        environment={**environment, "PATH": path},
        tenant=environment.get("THYMOS_TENANT") or "default",
    )


def _enabled(config: Config) -> bool:
    return config.versioning.auto_scaling_enabled and config.versioning.worktree_scaling.enabled


def _agent(agent: Agent) -> AgentSettings:
    return AgentSettings(
        command=tuple(agent.command),
        capacity=agent.capacity,
        scenario=agent.scenario,
        drain_timeout=agent.drain_timeout,
        grader=agent.grader,
        environment=dict(agent.environment),
    )


def _policy(scaling: WorktreeScaling) -> ScalingPolicy:
    window = timedelta(seconds=scaling.scale_down_window_seconds)
    return ScalingPolicy(
        min_worktrees=scaling.min_worktrees,
        max_worktrees=scaling.max_worktrees,
        target_lag=scaling.target_lag,
        target_load=Fraction(scaling.target_load),
        scale_down_threshold=Fraction(scaling.scale_down_threshold),
        scale_up_threshold=Fraction(scaling.scale_up_threshold),
        scale_period=timedelta(seconds=scaling.scale_period_seconds),
        scale_down_window=window,
        idle_period=window,
    )
