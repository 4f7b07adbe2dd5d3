"""Names of files and refs in a git tree for the names that Thymos allows: injective, and safe on every system.

    upper-case letter           !a for A: no two files differ in case alone
    :                           %3a
    . or - at the start,        %2e %2d: no hidden file, no .git, no .., no option
    . at the end                %2e
    / before / or at the end    %2f: no empty name
    .md at a folder's end       %2emd: no folder where another memory's file is
    con, nul, com1, … up to .   first letter as %xx: not a device of Windows
    more than 200 characters    %/ : goes on in the folder of that name

Neither ! nor % is allowed in an id, so that every path is that of one id.
"""

from __future__ import annotations

import re
from typing import Final

from memory_repository.core import limits

FOLDER: Final = "memories/"
SUFFIX: Final = ".md"
PART_MAX: Final = 200
"""Characters of one folder's or file's name, without its suffix; systems hold 255."""

_TAGS: Final = "refs/tags/"
_PREFIXES: Final = {"branch": "refs/heads/", "snapshot": f"{_TAGS}snapshot/", "tag": _TAGS}
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?=\.|$)")
_ESCAPE = re.compile(r"!([a-z])|%([0-9a-f]{2})")


def path_of(memory_id: str) -> str:
    """The path of a memory's file."""
    text = re.sub(r"/(?=/|$)", "%2f", memory_id).replace(":", "%3a")
    *folders, name = text.split("/")
    parts = [_part(re.sub(r"\.(?=md$)", "%2e", folder)) for folder in folders]
    return f"{FOLDER}{'/'.join([*parts, _part(name)])}{SUFFIX}"


def memory_id_of(path: str) -> str:
    """The memory whose file this is. Raises Refusal (invalid): no memory has this path."""
    if not path.startswith(FOLDER) or not path.endswith(SUFFIX):
        raise limits.invalid(f"{path!r:.120} is no memory's file", f"memories are {FOLDER}<id>{SUFFIX}")
    joined = path.removeprefix(FOLDER).removesuffix(SUFFIX).replace("%/", "")
    memory_id = limits.check_memory_id(_unescaped(joined))
    if path_of(memory_id) != path:
        raise limits.invalid(f"{path!r:.120} is not how a memory's file is named", f"use {path_of(memory_id)!r}")
    return memory_id


def git_ref_of(type_: str, name: str) -> str:
    """The git ref of a branch, tag or snapshot. Snapshots are tags in a folder of their own."""
    if type_ == "tag" and name == "snapshot":
        return f"{_TAGS}%73napshot"
    return f"{_PREFIXES[type_]}{_ref_name(name)}"


def named_by(git_ref: str) -> tuple[str, str]:
    """The type and name behind a git ref; a name that nobody escaped is itself. Raises Refusal (invalid)."""
    for type_, prefix in _PREFIXES.items():
        if git_ref.startswith(prefix):
            text = git_ref.removeprefix(prefix)
            name = _unescaped(text)
            known = git_ref_of(type_, name) == git_ref
            return type_, name if known else text
    raise limits.invalid(f"{git_ref!r:.120} is neither branch nor tag", "export with --branches --tags")


def _ref_name(name: str) -> str:
    return _lower(re.sub(r"\.(?=\.|lock$|$)", "%2e", name.replace(":", "%3a")))


def _part(text: str) -> str:
    text = re.sub(r"^[.-]|\.$", lambda found: _hex(found[0]), text)
    text = _lower(text)
    if _DEVICES.match(text):
        text = _hex(text[0]) + text[1:]
    return "%/".join(_pieces(text))


def _pieces(text: str) -> list[str]:
    """Pieces of at most 200 characters, none of which begins within an escape or with a dot."""
    pieces: list[str] = []
    while len(text) > PART_MAX:
        end = PART_MAX
        while "%" in text[end - 2 : end] or text[end - 1] == "!" or text[end] in ".-" or _DEVICES.match(text, end):
            end -= 1
        pieces.append(text[:end])
        text = text[end:]
    return [*pieces, text]


def _lower(text: str) -> str:
    return re.sub("[A-Z]", lambda found: f"!{found[0].lower()}", text)


def _hex(character: str) -> str:
    return f"%{ord(character):02x}"


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: found[1].upper() if found[1] else chr(int(found[2], 16)), text)
