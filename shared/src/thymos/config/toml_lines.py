"""On which line of a TOML document each key stands. (`tomllib` reads documents, but keeps no positions.)"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

KeyPath = tuple[str | int, ...]
"""The keys from the root to a value; whole numbers index arrays, from 0."""

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_KEY = re.compile(r'[ \t]*("(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[A-Za-z0-9_-]+)[ \t]*')
_TEXT = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}\n#]*")


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line (from 1) of every key, table and array element of a valid TOML document.

    A table that is opened several times, or only named in a dotted key, has the line where it is first named.
    `text` must have been accepted by `tomllib`; for any other text the answer is undefined.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.lines: dict[KeyPath, int] = {}
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._last_element: dict[KeyPath, int] = {}

    def document(self) -> None:
        table: KeyPath = ()
        while self._skip() < len(self.text):
            if self.text.startswith("[", self.position):
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        line = self._line()
        is_array = self.text.startswith("[[", self.position)
        self.position += 2 if is_array else 1
        table = self._dotted((), line)
        self.position += 2 if is_array else 1
        if is_array:
            index = self._last_element[table] = self._last_element.get(table, -1) + 1
            table = (*table, index)
            self.lines[table] = line
        return table if is_array else self._inside(table)

    def _pair(self, table: KeyPath) -> None:
        path = self._dotted(table, self._line())
        self.position += 1  # the equals sign
        self._value(path)

    def _dotted(self, path: KeyPath, line: int) -> KeyPath:
        """Read ``a.b.c`` below `path`; what is named on the way is noted unless it already was."""
        while True:
            match = _KEY.match(self.text, self.position)
            assert match is not None, "a valid document has a key here"
            self.position = match.end()
            path = (*self._inside(path), _unquoted(match.group(1)))
            self.lines.setdefault(path, line)
            if not self.text.startswith(".", self.position):
                return path
            self.position += 1

    def _inside(self, path: KeyPath) -> KeyPath:
        """Where keys of `path` go: an array of tables stands for its last element."""
        return (*path, self._last_element[path]) if path in self._last_element else path

    def _value(self, path: KeyPath) -> None:
        self._skip()
        opening = self.text[self.position]
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        else:
            match = (_TEXT if opening in "\"'" else _SCALAR).match(self.text, self.position)
            assert match is not None, "a valid document has a value here"
            self.position = match.end()

    def _array(self, path: KeyPath) -> None:
        self.position += 1
        index = 0
        while not self._closes("]"):
            self.lines[(*path, index)] = self._line()
            self._value((*path, index))
            index += 1

    def _inline_table(self, path: KeyPath) -> None:
        self.position += 1
        while not self._closes("}"):
            self._pair(path)

    def _closes(self, bracket: str) -> bool:
        """Pass the comma between elements; at the closing bracket pass that and say so."""
        self._skip()
        if self.text.startswith(",", self.position):
            self.position += 1
            self._skip()
        if not self.text.startswith(bracket, self.position):
            return False
        self.position += 1
        return True

    def _skip(self) -> int:
        match = _BLANK.match(self.text, self.position)
        assert match is not None, "the pattern matches nothing, too"
        self.position = match.end()
        return self.position

    def _line(self) -> int:
        return bisect_right(self._newlines, self.position) + 1


def _unquoted(key: str) -> str:
    if key[0] not in "\"'":
        return key
    return str(tomllib.loads(f"key = {key}")["key"])
