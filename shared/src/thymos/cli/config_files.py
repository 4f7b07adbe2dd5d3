"""What a configuration names and this machine must have: scenario files, programs, and evaluators of rules.

Reading a configuration leaves these aside, since each service needs only its own; `thymos config check` asks for all.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from thymos.config import Agent, Config, Custom, effective
from thymos.scenario import check_file


def problems_here(config: Config) -> list[str]:
    """What would keep a suite on this machine from running as configured, each with its place and key."""
    places = {setting.key: setting.origin for setting in effective(config)}
    found = [*_of_agents(config), *_of_rules(config)]
    return [f"{places.get(key, 'default')}: {key}: {problem}" for key, problem in found]


def _of_agents(config: Config) -> Iterator[tuple[str, str]]:
    for name, agent in config.agents.items():
        if agent.command and not _program(agent, config.directory):
            missing = f"there is no program {agent.command[0]!r} on this machine"
            yield f"agents.{name}.command", f"{missing}; give its path, or install it where PATH leads"
        if agent.scenario:
            for problem in check_file(agent.scenario).problems:
                yield f"agents.{name}.scenario", problem


def _program(agent: Agent, directory: Path) -> str | None:
    """Where an agent's program is: by PATH, or, if it is a path, from the configuration's directory."""
    program = agent.command[0]
    if os.path.dirname(program):
        return shutil.which(directory / program)
    return shutil.which(program, path=agent.environment.get("PATH"))


def _of_rules(config: Config) -> Iterator[tuple[str, str]]:
    for index, rule in enumerate(config.versioning.rules):
        if isinstance(rule.condition, Custom) and (problem := _evaluator(rule.condition.evaluator)):
            yield f"supervisor.versioning.rules[{index}].condition.evaluator", problem


def _evaluator(name: str) -> str:
    """Why decision-engine could not call an evaluator; empty if it could. Imports the module, as the engine does."""
    module, _, function = name.partition(":")
    if not module or not function:
        return f"expected 'module:function'; got {name!r}"
    here = str(Path().absolute())
    sys.path.insert(0, here)  # as `python -m` has it, by which services are started
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # noqa: BLE001  (foreign code may raise anything)
        return f"{name!r} cannot be imported: {type(error).__name__}: {error}"
    finally:
        sys.path.remove(here)
    return "" if callable(found) else f"{name!r} cannot be called"
