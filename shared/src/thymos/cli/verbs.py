"""Every verb of the command line, and where it is registered."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

from cyclopts import App, CycloptsError, UnknownCommandError

from thymos import __version__
from thymos.cli.output import one_line, say
from thymos.errors import ThymosError

BUILT_IN: Mapping[str, str] = {
    "up": "thymos.cli.up",
    "demo": "thymos.cli.demo",
    "doctor": "thymos.cli.doctor",
    "provision": "thymos.cli.provisioning",
    "publish": "thymos.cli.publish",
    "watch": "thymos.cli.watch",
    "agents": "thymos.cli.agents",
    "metrics": "thymos.cli.agents",
    "memory": "thymos.cli.memory",
    "experiment": "thymos.cli.experiment",
    "stats": "thymos.cli.stats",
    "dead": "thymos.cli.dead_letters",
    "backup": "thymos.cli.backup",
    "restore": "thymos.cli.backup",
    "replay": "thymos.cli.replay",
    "why": "thymos.cli.why",
    "export": "thymos.cli.export",
    "config": "thymos.cli.config_verbs",
}
"""The verb, and the module whose `register(app)` adds it. A new verb is one line here and its module."""

ENTRY_POINTS = "thymos.verbs"
"""Where services contribute verbs: the entry point's name is the verb, its object is `register(app)`."""

HELP = "Versioned memory for fleets of AI agents: watch, test, merge, roll back, scale."
EPILOGUE = "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 conflict, 6 the suite cannot be reached."


def app_for(tokens: Sequence[str]) -> App:
    """The command line with the verb that `tokens` begin with, or with all verbs when they name none.

    Raises:
        ThymosError: the verb's module cannot be loaded.
    """
    app = App(
        name="thymos", help=HELP, help_epilogue=EPILOGUE, version=__version__, help_format="plaintext",
        suppress_keyboard_interrupt=False,
    )  # fmt: skip
    verb = next(iter(tokens), "")
    if verb in ("--version",):
        return app
    contributed = {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    if verb in BUILT_IN or verb in contributed:
        _register(app, verb, contributed)
        return app
    modules: set[str] = set()
    for name in (*BUILT_IN, *contributed):
        if BUILT_IN.get(name, name) in modules:
            continue
        modules.add(BUILT_IN.get(name, name))
        try:
            _register(app, name, contributed)
        except ThymosError as error:
            say(f"thymos: {error}")
    return app


def _register(app: App, verb: str, contributed: Mapping[str, Any]) -> None:
    place = BUILT_IN.get(verb) or contributed[verb].value
    try:
        if verb in BUILT_IN:
            importlib.import_module(place).register(app)
        else:
            contributed[verb].load()(app)
    except Exception as error:
        raise ThymosError(
            f"the verb `{verb}` cannot be loaded from {place} ({type(error).__name__}: {one_line(str(error))}); "
            "reinstall the package that it comes from"
        ) from error


def told(error: CycloptsError) -> str:
    """What is wrong with a command line, in one line, and where its help is."""
    chain = " ".join(error.command_chain or ())
    words = _no_verb(error) if isinstance(error, UnknownCommandError) else " ".join(str(error).split())
    return f"{words.rstrip('.')}; see `thymos {chain + ' ' if chain else ''}--help`"


def _no_verb(error: UnknownCommandError) -> str:
    """There is no such verb, and which one it resembles."""
    from thymos.config.readers import nearest

    said = (error.unused_tokens or [""])[0]
    near = nearest(said, [name for name in error.app or () if not name.startswith("-")], likeness=0.5)
    return f"unknown verb {said!r}" + (f", did you mean {near!r}?" if near else "")
