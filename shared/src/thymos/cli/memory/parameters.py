"""Parameters that many verbs of memory take, each described once."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from thymos.cli.exit_codes import UsageError

Agent = Annotated[str, Parameter(help="The agent's name.")]
RefName = Annotated[str, Parameter(help="A branch, tag, snapshot or commit; ~3, ^2, @{2h} behind it.")]
Why = Annotated[str, Parameter(help="Why, for the record.")]
Author = Annotated[str, Parameter(help="Of the commit [default: you].")]
Message = Annotated[str, Parameter(help="Of the commit.")]
Limit = Annotated[int, Parameter(help="At most so many.", validator=Number(gte=1, lte=1_000))]
Skip = Annotated[
    int, Parameter(help="Leave out so many: those of the pages before.", validator=Number(gte=0, lte=1_000_000))
]
After = Annotated[str | None, Parameter(help="Begin after this memory, where the page before ended.")]
Hits = Annotated[int, Parameter(help="At most so many.", validator=Number(gte=1, lte=100))]
HitsSkipped = Annotated[
    int, Parameter(help="Leave out so many of the best: those of the pages before.", validator=Number(gte=0, lte=1_000))
]
Fields = Annotated[
    list[str] | None,
    Parameter(
        name="--field",
        negative=(),
        show_default=False,
        help="Only where a field is so: name=value, or a JSON object such as "
        '{"weight": {"$gte": 3}}; repeat it for several.',
    ),
]
Kind = Annotated[str | None, Parameter(help="Only memories of this kind.")]
Switch = Annotated[bool, Parameter(negative=(), show_default=False)]


def named_values(option: str, given: Sequence[str]) -> dict[str, Any]:
    """What `--field` and its like say: name=value each, where a value that is JSON is taken as such.

    Raises UsageError.
    """
    values: dict[str, Any] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise UsageError(f"{option} {each!r}: it is name=value")
        try:
            values[name] = json_format.loads(value)
        except ValueError:
            values[name] = value
    return values
