"""What the service is given from outside: its file, and for each agent the policy that its decisions follow.

Scenario files are read here, once, for task ids and digests only: what an answer should be is none of this service's
business.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from decision_engine.policy import Policy, Predicate
from decision_engine.rules import builtin_rules
from thymos import config
from thymos.config import Config, Rule
from thymos.errors import ConfigError
from thymos.events import ExperimentTask
from thymos.metrics import AgentMetrics
from thymos.scenario import read_scenario
from thymos.service import ServiceSettings

log = logging.getLogger(__name__)

FILE_NAME = "decision-engine.db"
TASKS_MAX = 5_000
"""Tasks of one scenario that an experiment can use: what `experiment.started` holds."""


@dataclass(frozen=True)
class Settings:
    """The service's settings. `policies` holds those of configured agents; any other follows `policy`."""

    database: Path
    policy: Policy
    policies: Mapping[str, Policy] = field(default_factory=dict)

    @staticmethod
    def of(settings: ServiceSettings) -> Settings:
        """From the settings that every service is given. Raises ConfigError for a scenario or a predicate."""
        policy, policies = policies_of(settings.config)
        return Settings(settings.data_dir / FILE_NAME, policy, policies)

    def policy_of(self, agent: str) -> Policy:
        """What decisions about an agent follow."""
        return self.policies.get(agent, self.policy)


def policies_of(configured: Config) -> tuple[Policy, dict[str, Policy]]:
    """The policy of agents that are not configured, and those of the others. Raises ConfigError."""
    versioning = configured.versioning
    rules = versioning.rules or builtin_rules(versioning)
    predicates = {
        rule.condition.evaluator: predicate_of(rule) for rule in rules if isinstance(rule.condition, config.Custom)
    }
    policy = Policy(versioning, rules, predicates=predicates)
    policies = {
        name: Policy(versioning, rules, tasks_of(configured.directory / agent.scenario), predicates)
        for name, agent in configured.agents.items()
        if agent.scenario is not None
    }
    return policy, policies


def tasks_of(path: Path) -> tuple[ExperimentTask, ...]:
    """The ids and digests of a scenario's tasks, in the file's order. Raises ConfigError: it cannot be used."""
    tasks = [ExperimentTask(task_id=task.task_id, digest=task.digest) for task in read_scenario(path).values()]
    if len(tasks) > TASKS_MAX:
        log.warning("scenario %s has %d tasks; experiments use the first %d", path, len(tasks), TASKS_MAX)
    return tuple(tasks[:TASKS_MAX])


def predicate_of(rule: Rule) -> Predicate:
    """The Python predicate of a `Custom` condition, named `module:function`.

    Raises:
        ConfigError: there is no such function.
    """
    assert isinstance(rule.condition, config.Custom)
    name = rule.condition.evaluator
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"rule {rule.name}: evaluator {name!r} is no 'module:function': {error}") from error
    if not callable(found):
        raise ConfigError(f"rule {rule.name}: evaluator {name!r} cannot be called")

    def holds(metrics: AgentMetrics) -> bool:
        try:
            return bool(found(metrics))
        except Exception:
            # Foreign code: its bug must not stop the agent's other rules.
            log.exception("rule %s: evaluator %s failed; it counts as false", rule.name, name)
            return False

    return holds
