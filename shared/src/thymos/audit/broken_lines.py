"""Lines of a file that cannot be read. Which events stood there is known by what stands before and after them: a line's
own number says nothing, because one byte can make two lines of one, or one of two."""

from __future__ import annotations

from collections.abc import Iterator

from thymos.audit.missing import Gap
from thymos.audit.record import UNKNOWN, BadLine
from thymos.audit.report import KEPT_MAX, Difference, Problem


class BrokenLines:
    """Lines that follow each other and cannot be read."""

    def __init__(self) -> None:
        self.count = 0
        self._kept: list[BadLine] = []

    def take(self, bad: BadLine) -> None:
        """One more of them."""
        self.count += 1
        if len(self._kept) < KEPT_MAX:
            self._kept.append(bad)

    def told(self, gap: Gap | None, after: int | None = None, before: int | None = None) -> Iterator[Problem]:
        """What to say of them, in their order.

        Args:
            gap: the events that are missing in their place; None when none is, or nothing is known of it.
            after: the event before them.
            before: the event after them, for lines that nothing stands before.
        """
        if gap is not None and gap.number == 1:
            known = [(bad.type, bad.event_id) for bad in self._kept]
            kind = next((one for one, _ in known if one != UNKNOWN), UNKNOWN)
            event_id = next((one for _, one in known if one != UNKNOWN), UNKNOWN)
            yield _unreadable(self._kept[0], kind, event_id, gap, after, before)
            return
        for bad in self._kept:
            yield _unreadable(bad, bad.type, bad.event_id, gap, after, before)


def _unreadable(
    bad: BadLine, kind: str, event_id: str, gap: Gap | None, after: int | None, before: int | None
) -> Problem:
    name = " ".join(known for known in (kind, event_id) if known != UNKNOWN)
    if gap is not None:
        place = f" (where {gap.words}{f', {name},' if name else ''} was)"
    else:
        beside = f"after event {after}" if after else f"before event {before}" if before else ""
        place = f" ({', '.join(words for words in (beside, name) if words)})" if beside or name else ""
    return Problem(
        Difference.UNREADABLE,
        f"unreadable: line {bad.line}{place}: {bad.why}",
        gap.first if gap is not None and gap.number == 1 else None,
        event_id if event_id != UNKNOWN else None,
        kind if kind != UNKNOWN else None,
        bad.line,
        after,
    )
