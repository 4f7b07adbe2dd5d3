"""The protobuf number of every field: given once, kept for ever.

A number names a field in everything that was ever written in protobuf's binary form. So numbers do not follow the
order of declaration: they stand in `proto/field_numbers.json`, to which generation only ever adds. A field that is
gone keeps its number, and with it a `reserved` in its message.
"""

from collections.abc import Iterable, Mapping

FieldNumbers = Mapping[str, Mapping[str, int]]
"""The numbers of the fields of each message, by the messages' names."""


def with_new_fields(known: FieldNumbers, fields: Mapping[str, Iterable[str]]) -> dict[str, dict[str, int]]:
    """`known` and, after its highest number, a number for each field that has none; sorted by message and number.

    Raises ValueError when two fields of `known` share a number.
    """
    numbers = {message: dict(given) for message, given in known.items()}
    for message, names in fields.items():
        given = numbers.setdefault(message, {})
        for name in names:
            if name not in given:
                given[name] = max(given.values(), default=0) + 1
    for message, given in numbers.items():
        if len(set(given.values())) < len(given):
            raise ValueError(f"two fields of {message} have the same number: restore proto/field_numbers.json")
    return {message: dict(sorted(numbers[message].items(), key=lambda entry: entry[1])) for message in sorted(numbers)}


def removed(numbers: Mapping[str, int], fields: Iterable[str]) -> dict[str, int]:
    """The fields of a message that are gone, with their numbers."""
    present = set(fields)
    return {name: number for name, number in numbers.items() if name not in present}
