"""Resolvers that others bring: what the strategy Custom asks, by name.

A package offers one as an entry point of the group `thymos.merge_resolvers`: a function from a conflict to a
`Resolution`, or None to leave it open. It is called within the merge's transaction, so it must be quick and must not
ask the repository.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from memory_repository.core.limits import invalid
from memory_repository.core.merge import Conflict
from memory_repository.core.resolution import Resolution
from memory_repository.operations.merge_plan import Resolver, by_conflict
from thymos.errors import Refusal, RefusalCode

GROUP = "thymos.merge_resolvers"


def named(name: str) -> Resolver:
    """The resolver of that name; who it is stands in what it decides.

    Raises:
        Refusal: not_found, with the names there are.
    """
    offered = {point.name: point for point in entry_points(group=GROUP)}
    if name not in offered:
        there = f"there are {', '.join(sorted(offered))}" if offered else "no installed package brings one"
        hint = f"{there}; a package offers one as an entry point of {GROUP}"
        raise Refusal(RefusalCode.NOT_FOUND, f"there is no merge resolver {name!r:.100}", hint)
    function = offered[name].load()

    def resolve(conflict: Conflict) -> Resolution | None:
        try:
            decided = function(conflict)
        except Exception as error:
            words = f"the resolver {name} failed at {conflict.id}: {type(error).__name__}: {error}"[:1000]
            raise Refusal(RefusalCode.REFUSED, words, "merge with another strategy") from error
        if decided is not None and not isinstance(decided, Resolution):
            raise invalid(f"the resolver {name} gave a {type(decided).__name__}, and no Resolution")
        return decided

    return by_conflict(resolve, f"resolver {name}")
