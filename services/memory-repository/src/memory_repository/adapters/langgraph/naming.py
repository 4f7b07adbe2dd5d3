"""Names of items as ids of memories: one to one, sorted so that what lies under a namespace stands together.

    ("users", "u 1"), "likes"   lg/users/u+201:likes
    a key that is too long      lg/users/u+201:@<SHA-256 of the whole name>
    a namespace that is         lg@<SHA-256 of the whole name>

What is no letter, digit, ".", "_" or "-" is written as "+" and two hex digits a byte, so "/", ":" and "@" stand only
where they part. A name that gave way to its hash is kept in the memory itself.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

ROOT: Final = "lg"
ID_CHARACTERS_MAX: Final = 200
HASH_CHARACTERS: Final = 64
Name = tuple[tuple[str, ...], str]
"""A namespace and a key."""
Range = tuple[str, str]
"""Ids from the first up to, and not with, the second."""

_STRANGE: Final = re.compile(r"[^A-Za-z0-9._-]")
_ESCAPED: Final = re.compile(r"(?:\+[0-9a-f]{2})+")


def memory_id(namespace: tuple[str, ...], key: str) -> str:
    """The id of an item's memory."""
    name = full_name(namespace, key)
    if len(name) <= ID_CHARACTERS_MAX:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()
    short = f"{_folder(namespace)}:@{digest}"
    return short if len(short) <= ID_CHARACTERS_MAX else f"{ROOT}@{digest}"


def full_name(namespace: tuple[str, ...], key: str) -> str:
    """A name as text, however long; the text of no other name."""
    return f"{_folder(namespace)}:{_escaped(key) or '@'}"


def is_hashed(memory_id: str) -> bool:
    """Whether an id does not tell the name that it stands for."""
    return re.search(r"@.", memory_id) is not None


def parsed(name: str) -> Name:
    """The namespace and key of a name as text."""
    folder, _, key = name.partition(":")
    labels = folder.split("/")[1:]
    return tuple(_plain(label) for label in labels), "" if key == "@" else _plain(key)


def ranges(prefix: tuple[str, ...]) -> list[Range]:
    """Where the ids under a namespace stand. The last range holds those of long namespaces, whoever they belong to."""
    folder = _folder(prefix)
    return [*(_beginning(folder + part) for part in ("/", ":")), _beginning(f"{ROOT}@")]


def _beginning(text: str) -> Range:
    return text, text[:-1] + chr(ord(text[-1]) + 1)


def _folder(namespace: tuple[str, ...]) -> str:
    return "/".join((ROOT, *(_escaped(label) for label in namespace)))


def _escaped(text: str) -> str:
    return _STRANGE.sub(lambda m: "".join(f"+{byte:02x}" for byte in m[0].encode("utf-8", "surrogatepass")), text)


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda m: bytes.fromhex(m[0].replace("+", "")).decode("utf-8", "surrogatepass"), text)
