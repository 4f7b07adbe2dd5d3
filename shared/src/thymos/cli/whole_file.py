"""A file that a verb writes: there when it is whole, and not before."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from thymos.errors import Refusal, RefusalCode, ThymosError


@contextmanager
def output(file: Path | None, *, force: bool, private: bool = False) -> Iterator[Callable[[bytes], object]]:
    """Where lines go. A file is written aside, and gets its name when it is whole and on the disk; with `force` even
    where there is one of that name, see `keep`. A `private` one is its owner's alone."""
    if file is None:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with open(aside, "xb", opener=_private if private else None) as lines:
            yield lines.write
            _to_disk(lines)
        if not force:
            keep(file)
        aside.replace(file)
    except OSError as error:
        raise ThymosError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        aside.unlink(missing_ok=True)


def keep(file: Path | None) -> None:
    """Raises Refusal when there is a file of that name, which may be the only copy of something."""
    if file is not None and os.path.lexists(file):
        raise Refusal(RefusalCode.CONFLICT, f"{file} exists already", "name another one, or write over it with --force")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _to_disk(lines: BinaryIO) -> None:
    lines.flush()
    os.fsync(lines.fileno())
