"""Which commits an export holds, and in which order: fixed when it begins, whatever moves and goes meanwhile.

A row number alone says nothing some time later: SQLite gives it anew once its row is gone, perhaps to a commit of
somebody else. So the beginning of each commit's id is remembered with its number, and whoever goes on with an export
that another has begun (after a restart, or in another replica) has to find the same commits.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from memory_repository.storage import commits, dropping
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import Repository
from thymos.errors import Refusal, RefusalCode


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """The commits of an export, every one after its parents: their row numbers, ascending, and the first 64 bits of
    their ids. Sixteen bytes each. `digest` tells it from any other."""

    numbers: array[int]
    names: array[int]
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        """The digest of the ids."""
        object.__setattr__(self, "digest", sha256(self.names.tobytes()).hexdigest())

    def __len__(self) -> int:
        return len(self.numbers)

    def label(self, repo: Repository, number: int, end: int | None = None) -> str | None:
        """The id of the commit that has a row number now; None where it is not among the first `end`."""
        end = len(self.numbers) if end is None else end
        found = bisect_left(self.numbers, number, 0, end)
        if found == end or self.numbers[found] != number:
            return None
        (identity,) = commits.ids_of(repo.db, [number])
        return identity if self.names[found] == _name(identity) else None

    def commit(self, repo: Repository, position: int) -> CommitRow:
        """The commit that stands at a position. Raises Refusal (conflict): it was dropped, be it that its header is
        kept."""
        found = commits.find(repo.db, self.numbers[position])
        if found is None or self.names[position] != _name(found.id):
            raise removed()
        if found.place.line == dropping.find_attic(repo.db, repo.id):
            raise removed()
        return found


def order(repo: Repository, last: str | None = None) -> Order:
    """The commits of an export: all that are reachable, or those up to the commit `last`. O(history).

    Raises Refusal (conflict): `last` is not there any more.
    """
    number = None if last is None else commits.number_of(repo.db, repo.id, last)
    if last is not None and number is None:
        raise removed()
    numbers, names = array("q"), array("Q")
    for reached, identity in _reached(repo, number):
        numbers.append(reached)
        names.append(_name(identity))
    return Order(numbers, names)


def removed() -> Refusal:
    """What an export held is not there any more."""
    return Refusal(RefusalCode.CONFLICT, "a commit was removed while it was exported", "begin again")


def _reached(repo: Repository, last: int | None) -> Iterator[tuple[int, str]]:
    for number, identity in commits.reachable_ids(repo.db, repo.id):
        if last is not None and number > last:
            return
        yield number, identity


def _name(identity: str) -> int:
    return int(identity[:16], 16)
