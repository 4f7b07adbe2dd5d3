"""What a new JSON Schema takes away from an older one: `buf breaking` cannot see it, for to it a text is a text.

A reader of today must understand a writer of then, and a writer of then must be understood: so nothing that was
allowed is forbidden, nothing that was optional is required, and nothing that was there is gone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_BOUNDS = {**dict.fromkeys(_LOWER, 1), **dict.fromkeys(_UPPER, -1)}
"""Which way each bound is stricter."""
_SAME = ("type", "const", "pattern", "format")
REPLY = "Reply"
"""The definition that a request's schema holds its reply's under, and refers to in words only."""
Schema = Mapping[str, Any]


def narrowings(old: Schema, new: Schema) -> list[str]:
    """One line for each thing that `new` refuses or lacks and `old` had; both are whole schemas with `$defs`."""
    found = list(_narrowings(_Pair(old, new), old, new, ""))
    reply = {"$ref": f"#/$defs/{REPLY}"}
    if REPLY in old.get("$defs", {}):
        if REPLY not in new.get("$defs", {}):
            return [*found, f"{REPLY}: is gone"]
        found += _narrowings(_Pair(old, new, reply=True), reply, reply, REPLY)
    return found


class _Pair:
    """The two documents that `$ref` leads into, and which of their definitions were compared; in a `reply` it is the
    reader who relies on what is required."""

    def __init__(self, old: Schema, new: Schema, *, reply: bool = False) -> None:
        self.reply = reply
        self.roots = (old, new)
        self.compared: set[tuple[str, str]] = set()

    def resolved(self, schema: Schema, which: int) -> Schema:
        name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
        if not name:
            return schema
        found: Schema = self.roots[which]["$defs"][name]
        return found


def _narrowings(pair: _Pair, old: Schema, new: Schema, where: str) -> Iterator[str]:
    names = (old.get("$ref", ""), new.get("$ref", ""))
    if all(names):
        if names in pair.compared:
            return
        pair.compared.add(names)
    old, new = pair.resolved(old, 0), pair.resolved(new, 1)
    found = (
        *_other_values(old, new),
        *_tighter_bounds(old, new),
        *_fewer_choices(old, new),
        *_required(pair, old, new),
    )
    yield from (f"{where or 'the whole'}: {problem}" for problem in found)
    yield from _within(pair, old, new, where)


def _other_values(old: Schema, new: Schema) -> Iterator[str]:
    for key in _SAME:
        if key in new and old.get(key) != new[key]:
            yield f"{key} was {old.get(key)!r} and is {new[key]!r}"
    if "default" in old and "default" in new and old["default"] != new["default"]:
        yield f"absent was {old['default']!r} and is {new['default']!r}"


def _tighter_bounds(old: Schema, new: Schema) -> Iterator[str]:
    for key, sign in _BOUNDS.items():
        if key in new and (key not in old or sign * new[key] > sign * old[key]):
            yield f"{key} was {old.get(key)!r} and is {new[key]!r}"


def _fewer_choices(old: Schema, new: Schema) -> Iterator[str]:
    known = [old["const"]] if "const" in old else old.get("enum")
    if "enum" in new and known is None:
        yield "any value was allowed"
    elif "enum" in new and known is not None:
        yield from (f"{value!r} was allowed" for value in known if value not in new["enum"])
    if new.get("additionalProperties") is False and old.get("additionalProperties") is not False:
        yield "any other field was allowed"


def _required(pair: _Pair, old: Schema, new: Schema) -> Iterator[str]:
    before, after = old.get("required", ()), new.get("required", ())
    if pair.reply:
        yield from (f"{name!r} was always there" for name in before if name not in after)
    else:
        yield from (f"{name!r} was not required" for name in after if name not in before)


def _alternatives(pair: _Pair, old: Sequence[Schema], new: Sequence[Schema] | None, where: str) -> Iterator[str]:
    """Alternatives stay in their order, new ones come last; where there are none any more, anything is allowed."""
    if new is None:
        return
    for number, before in enumerate(old):
        if number < len(new):
            yield from _narrowings(pair, before, new[number], f"{where}{number + 1}")
        else:
            yield f"{where}{number + 1}: is gone"


def _within(pair: _Pair, old: Schema, new: Schema, where: str) -> Iterator[str]:
    for name, schema in old.get("properties", {}).items():
        inner = f"{where}.{name}".lstrip(".")
        if name not in new.get("properties", {}):
            yield f"{inner}: is gone"
        else:
            yield from _narrowings(pair, schema, new["properties"][name], inner)
    for key in ("anyOf", "oneOf"):
        yield from _alternatives(pair, old.get(key, ()), new.get(key), f"{where}|")
    for key in ("items", "additionalProperties"):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _narrowings(pair, before, after, f"{where}[]")
