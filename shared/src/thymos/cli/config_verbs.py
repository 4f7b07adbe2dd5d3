"""`thymos config check FILE` and `thymos config show`."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from thymos.cli.config_files import problems_here
from thymos.cli.exit_codes import DONE, FAILED, of_error
from thymos.config import Config, effective, load
from thymos.config.readers import printable
from thymos.errors import ConfigError

Switch = Annotated[bool, Parameter(negative=(), show_default=False)]


def register(app: App) -> None:
    """Add the verbs to the command line."""
    verbs = App(name="config", help="Check a configuration; show what it amounts to.")
    verbs.command(check, name="check")
    verbs.command(show, name="show")
    app.command(verbs)


def check(file: Path, /, *, json: Switch = False) -> None:
    """Check a configuration file: every problem on a line of its own, with its line, key and what is allowed.

    What it names is looked for on this machine, too: scenario files and each line of them, the agents' programs, and
    evaluators, which are imported. The environment is left aside; `thymos config show` takes it in. Exits 0 if the file
    is right, 1 if not, 3 if there is none.

    Parameters
    ----------
    file
        The thymos.toml to check.
    json
        Print one JSON object: {"ok", "file", "problems"}.
    """
    code, config, problems = DONE, None, []
    try:
        config = load(file, {})
        problems = problems_here(config)
        code = FAILED if problems else DONE
    except ConfigError as error:
        code, problems = of_error(error), str(error).splitlines()
    if json:
        sys.stdout.write(json_format.dumps({"ok": code == DONE, "file": str(file), "problems": problems}) + "\n")
        raise SystemExit(code)
    for problem in problems:
        _say(problem)
    if config and not problems:
        rules = _count(len(config.versioning.rules), "rule") if config.versioning.rules else "built-in rules"
        sys.stdout.write(f"{printable(str(file))}: right: {_count(len(config.agents), 'agent')}, {rules}\n")
    raise SystemExit(code)


def show(
    *,
    config: Path | None = None,
    json: Switch = False,
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
