"""Verbs that take a whole history out and in. What they do needs the core of memory-repository, which brings it."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated, Any

from cyclopts import App, Parameter

from thymos.cli.exit_codes import UsageError
from thymos.cli.memory.asking import ask, key
from thymos.cli.memory.parameters import Agent, Switch
from thymos.cli.options import HERE, Json, Where, agent_name
from thymos.cli.output import count, emit, say
from thymos.errors import ThymosError

ENTRY_POINTS = "thymos.histories"

File = Annotated[str, Parameter(allow_leading_hyphen=True)]
Git = Annotated[
    bool,
    Parameter(negative=(), show_default=False, help="A stream of git fast-import and fast-export, not JSON lines."),
]


def register(verbs: App) -> None:
    """Add the verbs to `thymos memory`."""
    verbs.command(export, name="export")
    verbs.command(import_, name="import")


async def export(
    agent: Agent,
    file: File = "-",
    /,
    *,
    git: Git = False,
    with_key: Switch = False,
    force: Switch = False,
    where: Where = HERE,
) -> None:
    """The whole history, to be kept, imported elsewhere, or read with git.

    A file appears whole or not at all. Exits 5 when there is one already.

    Parameters
    ----------
    file
        Where to write; - for standard output.
    with_key
        With the repository's key, so that an import gives the same commit ids. Keep such a file secret; others
        may not read it.
    force
        Write over a file that is there.
    """
    await _histories().export(where, agent_name(agent), file, git=git, with_key=with_key, force=force)


async def import_(
    agent: Agent,
    file: File = "-",
    /,
    *,
    git: Git = False,
    resume: Switch = False,
    abandon: Switch = False,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Bring a whole history into an agent that has no memory yet: all of it, or nothing is seen of it.

    Parameters
    ----------
    file
        What `thymos memory export` or git wrote; - for standard input.
    resume
        Go on with an import that broke off, with the same file.
    abandon
        Forget an import that broke off, instead.
    """
    from thymos.requests import AbandonImport, ImportAnswer

    if abandon and resume:
        raise UsageError("either --resume or --abandon")
    name = agent_name(agent)
    if abandon:
        done = await ask(where, name, "import_abandon", AbandonImport(idempotency_key=key()), ImportAnswer)
    else:
        done = await _histories().import_(where, name, file, git=git, resume=resume)
    if json:
        emit(done)
    elif abandon:
        say(f"the import is forgotten; {count(done.commits, 'commit')} had come in")
    else:
        say(f"{name} has a memory of {count(done.commits, 'commit')} and {count(done.refs, 'ref')} now")


def _histories() -> Any:
    """Loaded when it is needed: the other verbs begin faster without it."""
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        return point.load()
    raise ThymosError("this needs the package thymos-memory-repository; install it")
