"""Which lines two texts share: the shortest edit script, slid to where people and git would put it.

Where lines repeat, several scripts are equally short: of `a a` that became `a a a`, any of the three may be the new
one. Each run of changed lines is slid as far down as it goes, runs that meet become one, and a run that can stand
beside a change of the other text stands there, as git does it. Two sides of a merge that made the same change then
made it at the same place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

EDITS_MAX = 500
"""Edits up to which a shortest edit script is looked for: the work is O(lines + edits squared)."""


def matches(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Index pairs of lines that both texts keep, increasing in both: a longest common subsequence, but none of it
    between two lines that are more than EDITS_MAX edits apart (lines that only one text has do not count as such)."""
    old_changed, new_changed = [True] * len(old), [True] * len(new)
    for i, j in _shared(old, new):
        old_changed[i] = new_changed[j] = False
    _slide(old, old_changed, new_changed)
    _slide(new, new_changed, old_changed)
    kept = ([index for index, changed in enumerate(side) if not changed] for side in (old_changed, new_changed))
    return list(zip(*kept, strict=True))


def compared(olds: int, news: int, kept: int) -> int:
    """What it took to find so many matches, as a number of lines: a script's edits cost an eighth of their square."""
    edits = min(olds + news - 2 * kept, EDITS_MAX)
    return olds + news + edits * edits // 8


def _shared(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The matches of one shortest edit script, in no order: the common beginning and end, and what lies between them
    cut in two at its middle, again and again (Myers, An O(ND) difference algorithm and its variations, 1986, 4b)."""
    start, end = _common_ends(old, new, Box(0, len(old), 0, len(new)))
    yield from ((i, i) for i in range(start))
    yield from ((len(old) - i, len(new) - i) for i in range(1, end + 1))
    # A line that the other text does not have is changed whatever the script.
    in_old, in_new = set(old), set(new)
    olds = [i for i in range(start, len(old) - end) if old[i] in in_new]
    news = [j for j in range(start, len(new) - end) if new[j] in in_old]
    one, other = [old[i] for i in olds], [new[j] for j in news]
    boxes = [Box(0, len(one), 0, len(other))]
    while boxes:
        box = boxes.pop()
        before, after = _common_ends(one, other, box)
        yield from ((olds[box.left + i], news[box.top + i]) for i in range(before))
        yield from ((olds[box.right - i], news[box.bottom - i]) for i in range(1, after + 1))
        box = Box(box.left + before, box.right - after, box.top + before, box.bottom - after)
        middle = _middle(one, other, box) if box.left < box.right and box.top < box.bottom else None
        if middle:
            x, y = middle
            boxes += Box(box.left, x, box.top, y), Box(x, box.right, y, box.bottom)


class Box(NamedTuple):
    """Lines `left` to before `right` of the old text, `top` to before `bottom` of the new one."""

    left: int
    right: int
    top: int
    bottom: int


def _common_ends(old: Sequence[str], new: Sequence[str], box: Box) -> tuple[int, int]:
    """How many lines are equal at the beginning of a box, and at the end of what is left."""
    shorter = min(box.right - box.left, box.bottom - box.top)
    before = 0
    while before < shorter and old[box.left + before] == new[box.top + before]:
        before += 1
    after = 0
    while after < shorter - before and old[box.right - 1 - after] == new[box.bottom - 1 - after]:
        after += 1
    return before, after


def _middle(old: Sequence[str], new: Sequence[str], box: Box) -> tuple[int, int] | None:
    """Where the shortest scripts from the beginning and from the end meet; None beyond EDITS_MAX edits.

    `ahead[d]` is how far the script from the beginning gets on the diagonal d = x - y, `behind[d]` the other one.
    """
    first, last = box.left - box.top, box.right - box.bottom
    ahead, behind = {first: box.left}, {last: box.right}
    odd = (first - last) % 2 == 1
    for edits in range(1, EDITS_MAX // 2 + 1):
        for d in _diagonals(box, first, edits):
            left, above = ahead.get(d - 1, -1), ahead.get(d + 1, -1)
            x = left + 1 if left >= above else above
            while x < box.right and x - d < box.bottom and old[x] == new[x - d]:
                x += 1
            ahead[d] = x
            if odd and d in behind and behind[d] <= x:
                return x, x - d
        for d in _diagonals(box, last, edits):
            below, right = behind.get(d - 1, len(old) + 1), behind.get(d + 1, len(old) + 1)
            x = below if below < right else right - 1
            while x > box.left and x - d > box.top and old[x - 1] == new[x - d - 1]:
                x -= 1
            behind[d] = x
            if not odd and d in ahead and x <= ahead[d]:
                return x, x - d
    return None


def _diagonals(box: Box, centre: int, edits: int) -> range:
    """The diagonals that a script of so many edits can end on, within the box."""
    lowest, highest = box.left - box.bottom, box.right - box.top
    low, high = centre - edits, centre + edits
    low += max(0, lowest - low + 1) // 2 * 2
    high -= max(0, high - highest + 1) // 2 * 2
    return range(high, low - 1, -2)


def _slide(lines: Sequence[str], changed: list[bool], other: list[bool]) -> None:
    """Slide the runs of changed lines of one text. `other` are the changed lines of the other text: between the same
    two kept lines, each text has one run, which may be empty."""
    run, beside = _Run(changed), _Run(other)
    while True:
        if run.length:
            _settle(lines, run, beside)
        if not run.next():
            return
        beside.next()


def _settle(lines: Sequence[str], run: _Run, beside: _Run) -> None:
    length, meets = 0, False
    while length != run.length:
        # What it meets on its way it takes in, and may then slide further.
        length = run.length
        while run.slide_up(lines):
            beside.back()
        meets = beside.length > 0
        while run.slide_down(lines):
            beside.next()
            meets = meets or beside.length > 0
    while meets and not beside.length:
        run.slide_up(lines)
        beside.back()


class _Run:
    """Changed lines in a row, from `start` to before `end`: between two kept lines, and possibly none."""

    def __init__(self, changed: list[bool]) -> None:
        self._changed = changed
        self.start = self.end = 0
        self._stretch()

    @property
    def length(self) -> int:
        return self.end - self.start

    def next(self) -> bool:
        """Go to the run after the next kept line; False at the end of the text."""
        if self.end == len(self._changed):
            return False
        self.start = self.end = self.end + 1
        self._stretch()
        return True

    def back(self) -> None:
        """Go to the run before the previous kept line."""
        self.start = self.end = self.start - 1
        self._stretch()

    def slide_up(self, lines: Sequence[str]) -> bool:
        """Change the line before instead of the last one, if both are equal."""
        if not self.start or lines[self.start - 1] != lines[self.end - 1]:
            return False
        self.start, self.end = self.start - 1, self.end - 1
        self._changed[self.start], self._changed[self.end] = True, False
        self._stretch()
        return True

    def slide_down(self, lines: Sequence[str]) -> bool:
        """Change the line after instead of the first one, if both are equal."""
        if self.end == len(lines) or lines[self.start] != lines[self.end]:
            return False
        self._changed[self.start], self._changed[self.end] = False, True
        self.start, self.end = self.start + 1, self.end + 1
        self._stretch()
        return True

    def _stretch(self) -> None:
        while self.start and self._changed[self.start - 1]:
            self.start -= 1
        while self.end < len(self._changed) and self._changed[self.end]:
            self.end += 1
