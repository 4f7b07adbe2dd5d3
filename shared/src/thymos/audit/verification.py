"""The verification of a log, as a fold: records in the order they stand, seals ahead of them; a report comes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from thymos.audit.broken_lines import BrokenLines
from thymos.audit.chain import SEAL_SUBJECT
from thymos.audit.closing import End
from thymos.audit.missing import MissingEvents
from thymos.audit.record import SEQUENCE_END, BadLine, LogRecord
from thymos.audit.report import KEPT_MAX, Difference, Problem, Report
from thymos.audit.seal_check import FoundSeal, SealCheck


@dataclass(frozen=True)
class Recomputed:
    """A decision computed again: the fields that differ (in the log, today), or why it could not be.

    `broken` is why it is none that can be read, which is a difference; `cannot` is no difference. `without_inputs` says
    that it holds none at all: so did those that were made before logs were sealed, and no others.
    """

    fields: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    cannot: str = ""
    broken: str = ""
    without_inputs: bool = False


Recompute = Callable[[LogRecord], Recomputed | None]
"""A decision's event, computed again; None for an event that is no decision. Raises nothing."""


class Verifier:
    """Feed it with `take_seal` while `wants_seal`, and each record with `take`; after `records_end` with the seals that
    are left; then ask for the `report`.

    Args:
        recompute: computes a decision's event again.
        whole: the records begin where the log began.
        wanted: a seal's hash that was kept elsewhere.
    """

    def __init__(self, recompute: Recompute, *, whole: bool = True, wanted: str | None = None) -> None:
        self._recompute = recompute
        self._whole = whole
        self.seals = SealCheck(wanted)
        self._due_seal = 0
        self._seal_stands_before = False
        self._next: int | None = None
        self._first = 0
        self._missing = MissingEvents()
        self._broken = BrokenLines()
        self._first_broken = BrokenLines()
        self._misplaced = False
        self._end: End | None = None
        self._ended_before = False
        self._unsealed_names: list[Problem] = []
        self._problems: dict[object, Problem] = {}
        self._count = 0
        self._events = self._checked = self._unsealed = self._unchecked = 0
        self._last_seals = self._decisions = 0
        self._not_recomputed: Counter[str] = Counter()

    # --- seals -----------------------------------------------------------------------------------------------------

    def wants_seal(self, record: LogRecord, following: int | None) -> bool:
        """Whether the next seal is needed before the record is taken; `following` is the sequence after it."""
        needed = record.sequence if self._is_in_place(record, following) else self._due(record, following)
        self._follow_seals(needed)
        return not self.seals.exhausted and self.seals.sealed_to < needed

    def records_end(self) -> None:
        """There are no more records: the seals that are left are followed for their own sake."""
        self._follow_seals(SEQUENCE_END)

    def take_seal(self, found: FoundSeal | None) -> None:
        """The next seal, or None when there are no more."""
        if found is None:
            self.seals.exhausted = True
        elif problem := self.seals.take(found):
            self._add(problem)
        self._follow_seals(self._due_seal)

    def _follow_seals(self, due: int) -> None:
        self._due_seal = due
        for problem in self.seals.follow(due, from_sequence=self._next or 1):
            self._add(problem)

    # --- records ---------------------------------------------------------------------------------------------------

    def take(self, record: LogRecord, following: int | None) -> None:
        """The next record; `following` is the sequence of the one after it, None at the end."""
        self._events += 1
        self._ended_before = self._end is not None
        expected = self._due(record, following)
        if self._next is None:
            self._first = self._next = expected
            self._first_broken, self._broken = self._broken, BrokenLines()
        if record.sequence != expected and self._is_renumbered(record, expected):
            self._skip_to(expected, expected)
            words = f"its sequence was {expected} and says {record.sequence}"
            self._differs(Difference.CHANGED, replace(record, sequence=expected), words)
            self._next = expected + 1
        elif self._is_in_place(record, following):
            self._skip_to(record.sequence, expected)
            self._compare(record)
            self._next = record.sequence + 1
        else:
            self._out_of_place(record, expected)
        self._compute_again(record)
        self._seal_stands_before = self._seal_stands_before or record.subject == SEAL_SUBJECT

    def _due(self, record: LogRecord, following: int | None) -> int:
        """The sequence that should come now; at the beginning the record's own, unless the following one is lower."""
        if self._next is not None:
            return self._next
        return max(1, following - 1) if following and following <= record.sequence else record.sequence

    def _is_in_place(self, record: LogRecord, following: int | None) -> bool:
        """The one that is due, or one after a gap; not one that the following shows to have been put there."""
        due = self._due(record, following)
        return record.sequence == due or (record.sequence > due and not (following and following <= record.sequence))

    def _is_renumbered(self, record: LogRecord, expected: int) -> bool:
        wanted = self.seals.expected(expected)
        return wanted is not None and replace(record, sequence=expected).hash().hex() == wanted

    def _skip_to(self, found: int, due: int) -> None:
        """Events that should have come before it."""
        if self._broken.count:
            self._tell_broken(due, found)
        else:
            self._missing.passed_by(due, found)

    def _tell_broken(self, due: int, found: int) -> None:
        """Lines that could not be read, where events from `due` to before `found` should have come."""
        gap, broken = self._missing.gap(due, found), self._broken
        self._broken = BrokenLines()
        for problem in broken.told(gap, after=due - 1):
            self._add(problem)
        if gap is not None and (more := gap.number - broken.count) > 0:
            self._missing.among(gap)
            words = f"missing: {more} of the events {gap.first} to {gap.last} of the log"
            self._add(Problem(Difference.MISSING, words, after=gap.first - 1))
            self._count += more - 1

    def _out_of_place(self, record: LogRecord, expected: int) -> None:
        wanted = self.seals.expected(record.sequence)
        self._unchecked += wanted is None
        self._checked += wanted is not None
        if wanted is not None and record.hash().hex() != wanted:
            self._differs(Difference.INSERTED, record, "no seal knows it", twice=True)
        elif record.sequence > expected:
            self._missing.came_early(record.sequence)
            self._differs(Difference.REORDERED, record, f"it stands where {expected} should")
        elif self._missing.turned_up(record.sequence) or record.sequence < self._first:
            self._first = min(self._first, record.sequence)
            self._differs(Difference.REORDERED, record, f"it stands after {expected - 1}")
        else:
            self._differs(Difference.INSERTED, record, f"event {record.sequence} stands there already", twice=True)

    def _compare(self, record: LogRecord) -> None:
        wanted = self.seals.expected(record.sequence)
        if wanted is not None:
            self._checked += 1
            if record.hash().hex() != wanted:
                self._differs(Difference.CHANGED, record, "it is not what its seal says")
        elif record.sequence > self.seals.sealed_to:
            self._unsealed += record.subject != SEAL_SUBJECT
            self._last_seals += record.subject == SEAL_SUBJECT
            if len(self._unsealed_names) < KEPT_MAX:
                self._unsealed_names.append(_problem(Difference.INSERTED, record, "the file's end knows nothing of it"))
        else:
            self._unchecked += 1

    def take_bad_line(self, bad: BadLine) -> None:
        """A line of a file that is none of an export."""
        self._broken.take(bad)

    def take_misplaced(self, line: int) -> None:
        """A line with a seal of the file's own, before its last event."""
        self._misplaced = True
        words = f"inserted: line {line}: an export writes such seals after the last event; it was not looked at"
        self._add(Problem(Difference.INSERTED, words, line=line, after=(self._next or 1) - 1))

    def take_end(self, end: End) -> None:
        """A file's last line."""
        self._ended_before = self._end is not None
        self._end = end

    def finish_log(self, last_sequence: int) -> None:
        """The live log is at its end, and its stream has given out numbers up to `last_sequence`."""
        if self._whole or self._next is not None:
            self._gone(range(self._next or 1, last_sequence + 1))

    # --- decisions -------------------------------------------------------------------------------------------------

    def _compute_again(self, record: LogRecord) -> None:
        again = self._recompute(record)
        if again is None:
            return
        if again.broken or (again.without_inputs and self._is_sealed_before()):
            why = again.broken or "it holds no inputs, as only those do that were made before the log was sealed"
            self._differs(Difference.DECISION, record, why)
            return
        if again.cannot:
            self._not_recomputed[again.cannot] += 1
            return
        self._decisions += 1
        if again.fields:
            differing = "; ".join(f"{name}: the log says {a}, today {b}" for name, (a, b) in again.fields.items())
            problem = _problem(Difference.DECISION, record, f"computed again, it comes out otherwise: {differing}")
            self._add(replace(problem, fields=again.fields))

    def _is_sealed_before(self) -> bool:
        """Whether a seal was stored before the record: it was read, or what was read continues one."""
        return self._seal_stands_before or (self.seals.count > 0 and not self.seals.from_the_start)

    # --- what came out ---------------------------------------------------------------------------------------------

    def finish_file(self) -> None:
        """A file is at its end: compare with what its last line says."""
        end, last = self._end, None if self._next is None else self._next - 1
        if end is None:
            self._tell_ends(None)
            words = f"the file ends after {f'event {last}' if last else 'nothing'}, without its last line: cut off"
            self._add(Problem(Difference.MISSING, f"missing: {words}", after=last))
            return
        follows = end.follows(self.seals.head)
        whole = not (self._misplaced or self.seals.closing_broken or self._broken.count)
        for problem in self._unsealed_names:
            if whole or (problem.sequence or 0) > end.last_sequence:
                self._add(problem)
        self._tell_ends(end if follows or end.is_plausible else None)
        if self._ended_before and not self._differs_anywhere():
            self._add(Problem(Difference.INSERTED, "inserted: lines after the one that ends the file"))
        if not follows and not self._differs_anywhere():
            self._add(Problem(Difference.CHANGED, "changed: the file's last line is not that of what it holds"))

    def _differs_anywhere(self) -> bool:
        return bool(self._count or self._missing)

    def _tell_ends(self, end: End | None) -> None:
        """What is missing or cannot be read at the beginning and at the end of a file. Without an `end` that is to be
        believed, nothing is known of what is missing there."""
        before, after = self._first_broken, self._broken
        if end is None:
            for problem in (*before.told(None, before=self._first), *after.told(None, after=(self._next or 1) - 1)):
                self._add(problem)
            return
        if self._next is not None:
            self._tell_absent(before, end.first_sequence, self._first)
        if self._next is not None or end.records:
            self._tell_absent(after, self._next or end.first_sequence, end.last_sequence + 1)
        else:
            self._tell_absent(after, 1, 1)

    def _tell_absent(self, broken: BrokenLines, due: int, found: int) -> None:
        """Events from `due` to before `found` did not come; some may be on lines that could not be read."""
        self._broken = broken
        if broken.count:
            self._tell_broken(due, max(due, found))
        else:
            self._gone(range(due, found))

    def report(self) -> Report:
        """What was found. Raises nothing; call it once, at the end."""
        if self._whole and self._next is not None:
            self._gone(range(1, self._first))
        for sequence in self._missing.sequences:
            self._gone(range(sequence, sequence + 1))
        self._count += self._missing.beyond
        if problem := self.seals.wanted_missing():
            self._add(problem)
        if not self._count and (problem := self._unproven()):
            self._add(problem)
        kept = sorted(self._problems.values(), key=lambda problem: problem.place)
        return Report(
            events=self._events,
            first_event=self._first,
            checked=self._checked,
            unsealed=self._unsealed,
            last_seals=self._last_seals,
            unchecked=self._unchecked,
            seals=self.seals.count,
            last_seal=self.seals.newest,
            last_sealed=self.seals.newest_covers,
            decisions=self._decisions,
            not_recomputed=dict(self._not_recomputed),
            differences=tuple(kept),
            difference_count=self._count,
        )

    def _unproven(self) -> Problem | None:
        """What no difference explains: a chain that is not one, although nothing is missing."""
        if self._first == 1 and self.seals.count and not self.seals.from_the_start:
            words = "missing: the first seal of the log: the oldest that is there names one before it"
            return Problem(Difference.SEAL, words)
        return self.seals.unlinked

    def _gone(self, sequences: range) -> None:
        for sequence in sequences[:KEPT_MAX]:
            self._add(Problem(Difference.MISSING, f"missing: event {sequence} of the log", sequence))
        self._count += max(0, len(sequences) - KEPT_MAX)

    def _differs(self, kind: Difference, record: LogRecord, why: str, *, twice: bool = False) -> None:
        self._add(_problem(kind, record, why), twice=twice)

    def _add(self, problem: Problem, *, twice: bool = False) -> None:
        """Count it, and keep its words if it is among the first; an event that differs in two ways counts once."""
        key = problem.sequence if problem.sequence is not None and not twice else (problem.words, self._count)
        if key in self._problems:
            return
        self._count += 1
        if len(self._problems) < KEPT_MAX:
            self._problems[key] = problem


def _problem(kind: Difference, record: LogRecord, why: str) -> Problem:
    words = f"{kind}: event {record.sequence}, {record.name}: {why}"
    return Problem(kind, words, record.sequence, record.event_id, record.type)
