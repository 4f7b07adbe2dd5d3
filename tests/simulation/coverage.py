"""What some seeds have to bring about, whatever they are; a simulation in which it never happens proves little."""

from __future__ import annotations

from dataclasses import fields

from thymos import subjects

from .faults import Rates, points_of

SEEDS_FOR_ALL = 40
"""Seeds of the usual length that bring all of it about, with room to spare."""
CRASHES = frozenset(f"crash {point}" for name in subjects.SERVICES for point in points_of(name))
FAULTS = frozenset(each.name.replace("_", " ") for each in fields(Rates))
TROUBLE = frozenset(
    {"bus away", "bus killed", "acknowledgements forgotten", "redelivered", "agent killed", "clock steps"}
    | {f"{what} of {name}" for what in ("pause", "full disk") for name in subjects.SERVICES}
    | {f"{name} killed" for name in subjects.SERVICES}
)
STORY = frozenset(
    {
        "decision experiment-on-drop: done",
        "decision merge-on-success: done",
        "decision rollback-on-failure: done",
        "closed: merge",
        "closed: inconclusive",
        "closed: aborted",
        "closed: error",
        "whole stories",
        "ids minted again",
        "decisions computed again",
        "merges and rollbacks computed again",
        "seals that hold",
    }
)
"""What the engine has to do by itself: detect the drift, merge the winner, take the bad commit back."""
MUST_HAPPEN = CRASHES | FAULTS | TROUBLE | STORY
