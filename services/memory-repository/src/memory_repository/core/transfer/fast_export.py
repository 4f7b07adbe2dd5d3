"""A history as a stream for `git fast-import`: one file per memory, branches, and annotated tags. Values to bytes.

Every commit is written on the first branch, with its parents named, and the branches are set at the end. The stream
begins with `feature done` and ends with `done`, so that git refuses one that breaks off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from memory_repository.core.transfer import messages
from memory_repository.core.transfer.files import file_of
from memory_repository.core.transfer.messages import Said
from memory_repository.core.transfer.paths import git_ref_of, path_of
from memory_repository.core.transfer.values import (
    CommitLine,
    DeleteLine,
    EndLine,
    Header,
    Line,
    PutLine,
    RedactionLine,
    RefLine,
)

TAGGER: Final = "memory-repository"
"""Who has made a tag or snapshot of which nobody knows it."""


def fast_export(lines: Iterable[Line]) -> Iterator[bytes]:
    """The stream, in pieces: one for each line. Raises ValueError when the lines are not those of a whole history."""
    stream = FastExport()
    yield from (stream.told(line) for line in lines)
    if not stream.is_done:
        raise ValueError("the history breaks off")


class FastExport:
    """A stream as its lines come. Holds a number per commit. Every put has to have its memory."""

    def __init__(self) -> None:
        self.is_done = False
        self._marks: dict[str, int] = {}

    def told(self, line: Line) -> bytes:
        """The piece of the stream that says what a line says. Raises ValueError for one that is out of order."""
        match line:
            case Header():
                return b"feature done\n"
            case CommitLine():
                return _commit(line, self._marks)
            case PutLine():
                data = file_of(line)
                return b"M 100644 inline %s\ndata %d\n%s\n" % (path_of(line.id).encode(), len(data), data)
            case DeleteLine():
                return b"D %s\n" % path_of(line.id).encode()
            case RefLine():
                return _ref(line, self._marks)
            case RedactionLine():
                return b""  # git knows nothing of it: what was erased is told by its file
            case EndLine():
                self.is_done = True
                return b"done\n"


def _commit(line: CommitLine, marks: dict[str, int]) -> bytes:
    parents = [_mark(parent, marks) for parent in line.parents]
    marks[line.label] = mark = len(marks) + 1
    trailers = {"Commit": line.label, "Kind": line.kind}
    if line.meta:
        trailers["Meta"] = messages.meta_text(line.meta)
    ident, text = messages.written(Said(line.author, line.at, line.message, trailers))
    head = f"commit refs/heads/main\nmark :{mark}\nauthor {ident}\ncommitter {ident}\ndata {len(text)}\n".encode()
    above = "".join(f"{'merge' if position else 'from'} :{parent}\n" for position, parent in enumerate(parents))
    return b"".join((b"reset refs/heads/main\n" if not parents else b"", head, text, above.encode()))


def _ref(line: RefLine, marks: dict[str, int]) -> bytes:
    name, mark = git_ref_of(line.type, line.name), _mark(line.commit, marks)
    if line.type == "branch":
        return f"reset {name}\nfrom :{mark}\n\n".encode()
    trailers = {"Ref": line.type}
    if line.meta:
        trailers["Meta"] = messages.meta_text(line.meta)
    at = line.created_at or messages.EPOCH
    ident, text = messages.written(Said(line.actor or TAGGER, at, line.reason, trailers))
    head = f"tag {name.removeprefix('refs/tags/')}\nfrom :{mark}\ntagger {ident}\ndata {len(text)}\n"
    return head.encode() + text + b"\n"


def _mark(label: str, marks: dict[str, int]) -> int:
    if label not in marks:
        raise ValueError(f"{label:.12} is named before it is there")
    return marks[label]
