"""Every key of a TOML document is found on its line, however it is written."""

import tomllib
from collections.abc import Iterator
from typing import Any

from thymos.config.toml_lines import KeyPath, key_lines

DOCUMENT = '''\
title = "a # b"            # 1
a.b . "c d" = [            # 2
  1, # ]
  [2, "]"],                # 4
  {x = 1, y.z = 2},        # 5
]
text = """
[not] = a table
quotes: \\""" "" """"      # 9
path = \'\'\'
it''s = C:\\'\'\'            # 11
empty = ""                 # 12
'literal # key' = ''       # 13
[table]                    # 14
date = 1979-05-27 07:32:00 # 15
[[rules]]                  # 16
name = "a"
[rules.condition]          # 18
type = "x"                 # 19
[[rules.parts]]            # 20
[[rules.parts]]            # 21
deep = {}                  # 22
[[rules]]                  # 23
condition = {type = "y", "quoted\\u0021" = +inf} # 24
[table.inner."x.y"]        # 25
e = 1e-3'''


def test_the_line_of_each_key() -> None:
    lines = key_lines(DOCUMENT)
    assert {path: lines[path] for path in paths(tomllib.loads(DOCUMENT))} == {
        ("title",): 1,
        ("a",): 2,
        ("a", "b"): 2,
        ("a", "b", "c d"): 2,
        ("a", "b", "c d", 0): 3,
        ("a", "b", "c d", 1): 4,
        ("a", "b", "c d", 1, 0): 4,
        ("a", "b", "c d", 1, 1): 4,
        ("a", "b", "c d", 2): 5,
        ("a", "b", "c d", 2, "x"): 5,
        ("a", "b", "c d", 2, "y"): 5,
        ("a", "b", "c d", 2, "y", "z"): 5,
        ("text",): 7,
        ("path",): 10,
        ("empty",): 12,
        ("literal # key",): 13,
        ("table",): 14,
        ("table", "date"): 15,
        ("table", "inner"): 25,
        ("table", "inner", "x.y"): 25,
        ("table", "inner", "x.y", "e"): 26,
        ("rules",): 16,
        ("rules", 0): 16,
        ("rules", 0, "name"): 17,
        ("rules", 0, "condition"): 18,
        ("rules", 0, "condition", "type"): 19,
        ("rules", 0, "parts"): 20,
        ("rules", 0, "parts", 0): 20,
        ("rules", 0, "parts", 1): 21,
        ("rules", 0, "parts", 1, "deep"): 22,
        ("rules", 1): 23,
        ("rules", 1, "condition"): 24,
        ("rules", 1, "condition", "type"): 24,
        ("rules", 1, "condition", "quoted!"): 24,
    }


def test_windows_line_ends_count_once() -> None:
    assert key_lines("a = 1\r\n\r\nb = 2\r\n") == {("a",): 1, ("b",): 3}


def paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Every path in a parsed document."""
    if path:
        yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in parts:
        yield from paths(each, (*path, key))
