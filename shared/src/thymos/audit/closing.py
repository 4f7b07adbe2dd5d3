"""How an exported file ends: seals over the events that the log had not sealed yet, and a line that says what was
exported. So every byte of the file is covered, and a file that was cut off lacks its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thymos.audit.chain import Seal
from thymos.audit.record import SEQUENCE_END, NotARecordError, digest, encoded, parsed_line

COVER, END = b'{"cover":', b'{"end":'
"""How these lines begin; an event's begins otherwise."""


@dataclass(frozen=True)
class End:
    """The last line: how many events the file holds, the first and the last (0 where there is none), and a hash over
    that and the hash of the last seal, in the log or in the file."""

    records: int
    first_sequence: int
    last_sequence: int
    hash: str

    @staticmethod
    def of(records: int, first_sequence: int, last_sequence: int, seal_hash: str) -> End:
        """The end of an export after its last seal."""
        return End(records, first_sequence, last_sequence, _hash(records, first_sequence, last_sequence, seal_hash))

    @property
    def is_plausible(self) -> bool:
        """Whether its numbers agree with each other, as they do where no event of the log was ever deleted."""
        return self.records == (self.last_sequence - self.first_sequence + 1 if self.last_sequence else 0)

    def follows(self, seal_hash: str) -> bool:
        """Whether it is the end of a file whose last seal has this hash."""
        return self.hash == _hash(self.records, self.first_sequence, self.last_sequence, seal_hash)


def _hash(records: int, first_sequence: int, last_sequence: int, seal_hash: str) -> str:
    fields = (str(records), str(first_sequence), str(last_sequence), seal_hash)
    return digest("thymos export 1", *(field.encode() for field in fields)).hex()


def cover_line(seal: Seal) -> bytes:
    """The line of a seal that only the file holds."""
    return encoded({"cover": {**vars(seal), "hashes": list(seal.hashes)}})


def end_line(end: End) -> bytes:
    """The file's last line."""
    return encoded({"end": vars(end)})


def cover_of_line(line: bytes) -> Seal:
    """The seal of a line. Raises NotARecordError."""
    values = _values(line, "cover")
    try:
        seal = Seal(**{**values, "hashes": tuple(values["hashes"])})
        _check(seal.from_sequence, seal.to_sequence)
        if not all(isinstance(text, str) for text in (seal.previous_hash, seal.hash, *seal.hashes)):
            raise NotARecordError("a hash in it is no text")
    except (KeyError, TypeError) as error:
        raise NotARecordError(f"it is no closing seal ({error})") from error
    if cover_line(seal) != line:
        raise NotARecordError("it is not as `thymos export` writes it")
    return seal


def end_of_line(line: bytes) -> End:
    """The end that a line says. Raises NotARecordError."""
    try:
        end = End(**_values(line, "end"))
        _check(end.records, end.first_sequence, end.last_sequence)
    except TypeError as error:
        raise NotARecordError(f"it is no end of an export ({error})") from error
    if end_line(end) != line:
        raise NotARecordError("it is not as `thymos export` writes it")
    return end


def _values(line: bytes, key: str) -> dict[str, Any]:
    values = parsed_line(line).get(key)
    if not isinstance(values, dict):
        raise NotARecordError(f"{key} is no JSON object")
    return values


def _check(*numbers: object) -> None:
    if not all(type(number) is int and 0 <= number < SEQUENCE_END for number in numbers):
        raise NotARecordError("a number in it is none")
