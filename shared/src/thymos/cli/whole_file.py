"""A file that a verb writes: there when it is whole, and not before."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from thymos.errors import ThymosError


@contextmanager
def output(file: Path | None) -> Iterator[Callable[[bytes], object]]:
    """Where lines go. A file is written aside, and gets its name when it is whole and on the disk."""
    if file is None:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with aside.open("xb") as lines:
            yield lines.write
            _to_disk(lines)
        aside.replace(file)
    except OSError as error:
        raise ThymosError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        aside.unlink(missing_ok=True)


def _to_disk(lines: BinaryIO) -> None:
    lines.flush()
    os.fsync(lines.fileno())
