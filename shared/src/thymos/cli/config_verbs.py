"""`thymos config check FILE` and `thymos config show`."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from thymos.cli.exit_codes import DONE, of_error
from thymos.config import Config, effective, load
from thymos.config.readers import printable
from thymos.errors import ConfigError


def register(app: App) -> None:
    """Add the verbs to the command line."""
    verbs = App(name="config", help="Check a configuration; show what it amounts to.")
    verbs.command(check, name="check")
    verbs.command(show, name="show")
    app.command(verbs)


def check(file: Path, /) -> None:
    """Check a configuration file: every problem on a line of its own, with its line, key and what is allowed.

    The environment is left aside; `thymos config show` takes it in. Exits 0 if the file is right, 1 if not, 3 if there
    is none.

    Parameters
    ----------
    file
        The thymos.toml to check.
    """
    config = _loaded(file, environ={})
    for name, agent in config.agents.items():
        if agent.scenario and not agent.scenario.is_file():
            _say(f"note: agents.{name}.scenario: there is no file {agent.scenario} on this machine")
    sys.stdout.write(f"{printable(str(file))}: right: {_count(len(config.agents), 'agent')}, ")
    sys.stdout.write(
        f"{_count(len(config.versioning.rules), 'rule') if config.versioning.rules else 'built-in rules'}\n"
    )
    raise SystemExit(DONE)


def show(
    *,
    config: Path | None = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Show every setting with its value and where it comes from: the default, a line of the file, or a variable.

    Passwords and secrets are hidden. Exits 1 if the configuration is wrong, and says how; 3 if there
    is no such file.

    Parameters
    ----------
    config
        The file [default: what THYMOS_CONFIG names, else ./thymos.toml if it exists].
    json
        Print one JSON array of {"key", "value", "origin"}.
    """
    settings = effective(_loaded(config, environ=None))
    if json:
        # A decimal becomes the float that prints with the same digits: this is for reading, not for computing.
        sys.stdout.write(json_format.dumps([each._asdict() for each in settings], default=float) + "\n")
    else:
        width = max(len(str(each)) for each in settings)
        for each in settings:
            sys.stdout.write(f"{each!s:<{min(width, 90)}}  # {printable(each.origin)}\n")
    raise SystemExit(DONE)


def _loaded(file: Path | None, environ: dict[str, str] | None) -> Config:
    try:
        return load(file, environ)
    except ConfigError as error:
        for line in str(error).splitlines():
            _say(line)
        raise SystemExit(of_error(error)) from None


def _say(line: str) -> None:
    sys.stderr.write(f"{printable(line)}\n")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
