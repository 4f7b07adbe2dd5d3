"""`thymos memory`: git-shaped verbs on an agent's memory, a module per group; to add a verb, see any of them."""

from __future__ import annotations

from cyclopts import App

from thymos.cli.memory import merging, reading, refs, tracing, transfer, transplanting, upkeep, worktrees, writing


def register(app: App) -> None:
    """Add the verbs to the command line."""
    verbs = App(name="memory", help="An agent's memory: search, log, diff, branch, commit, merge, roll back.")
    for group in (reading, tracing, writing, transplanting, refs, merging, worktrees, transfer, upkeep):
        group.register(verbs)
    app.command(verbs)
