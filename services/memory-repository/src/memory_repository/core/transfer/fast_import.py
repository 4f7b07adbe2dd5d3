"""Reads a stream of `git fast-export` as a history: what fast_export.py writes, and what git makes of it.

Strict: files that are no memories, modes, commands and references that such a stream does not hold are refused with
the number of the line. The commits are labelled by their marks. A stream whose first commit is not the first commit
of an exported memory, so one that began in git, gets an empty first commit below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NoReturn, Protocol

from memory_repository.core import limits
from memory_repository.core.transfer import messages
from memory_repository.core.transfer.files import put_of
from memory_repository.core.transfer.lines import at_line
from memory_repository.core.transfer.messages import Said
from memory_repository.core.transfer.paths import memory_id_of, named_by
from memory_repository.core.transfer.values import (
    INITIAL,
    ORIGINAL,
    CommitLine,
    DeleteLine,
    EndLine,
    Header,
    Line,
    RefLine,
)
from thymos.errors import Refusal

COMMAND_BYTES_MAX: Final = 16 * 1024
"""One line of the stream that is not data."""
BEGINNING: Final = "beginning"
"""The label of the empty first commit that a history from git gets; no mark is called so."""

_DATA = re.compile(r"data (\d{1,12})")
_MARK = re.compile(r":([1-9]\d{0,17})")
_CHANGE = re.compile(r"M (\d+) (\S+) (.+)|D (.+)", re.DOTALL)


class Source(Protocol):
    """Where bytes come from, such as an open file."""

    def readline(self, limit: int, /) -> bytes:
        """The next line with its end, or the first `limit` bytes of it; empty at the end."""
        ...

    def read(self, size: int, /) -> bytes:
        """The next bytes; fewer at the end only."""
        ...


class Marks(Protocol):
    """Keeps what marks stand for until commits name them: a stream may hold more than fits into memory."""

    def put(self, mark: int, data: bytes | None) -> None:
        """Keep a file's data under its mark; None for a commit."""
        ...

    def file(self, mark: int) -> bytes | None:
        """The data of that file; None when there is none."""
        ...

    def is_commit(self, mark: int) -> bool:
        """Whether a commit has this mark."""
        ...


def fast_import(source: Source, marks: Marks) -> Iterator[tuple[int, Line]]:
    """The lines of the history, each with the number of the line of the stream that it comes from.

    Holds the refs of the stream, one commit's header and one file. Raises Refusal (invalid, too_large) with the line.
    """
    yield from _Stream(source, marks).lines()


class _Stream:
    def __init__(self, source: Source, marks: Marks) -> None:
        self._source = source
        self._marks = marks
        self._number = 0
        self._again: str | None = None
        self._refs: dict[str, str] = {}
        self._tags: dict[str, RefLine] = {}
        self._commits = 0
        self._must_be_done = False

    def lines(self) -> Iterator[tuple[int, Line]]:
        yield 1, Header()
        done = False
        while not done and (command := self._command()) is not None:
            number = self._number
            try:
                done = command == "done"
                for line in self._carried_out(command):
                    yield self._number, line
            except Refusal as refusal:
                raise (refusal if refusal.message.startswith("line ") else at_line(number, refusal)) from None
        if self._must_be_done and not done:
            self._refuse("the stream breaks off: it promises `done` at its end")
        yield from ((self._number, line) for line in self._named())

    # --- reading ------------------------------------------------------------------------------------------------------

    def _command(self) -> str | None:
        """The next line that is not blank; None at the end."""
        if self._again is not None:
            command, self._again = self._again, None
            return command
        while line := self._source.readline(COMMAND_BYTES_MAX):
            self._number += 1
            if line != b"\n" and not line.startswith(b"#"):
                break
        if not line:
            return None
        if not line.endswith(b"\n"):
            self._refuse("the line is too long, or the stream breaks off here")
        try:
            return line[:-1].decode()
        except UnicodeDecodeError:
            self._refuse("the line is not UTF-8")

    def _optional(self, prefix: str) -> str | None:
        """What follows `prefix` if the next line begins with it."""
        command = self._command()
        if command is not None and command.startswith(prefix):
            return command.removeprefix(prefix)
        self._again = command
        return None

    def _data(self) -> bytes:
        command = self._command() or ""
        found = _DATA.fullmatch(command)
        if found is None:
            self._refuse(f"expected `data <count>`, found {command!r:.80}")
        size = int(found[1])
        if size > limits.LINE_BYTES_MAX:
            raise at_line(self._number, limits.too_large("the data", size, limits.LINE_BYTES_MAX))
        data = self._source.read(size)
        if len(data) < size:
            self._refuse(f"the stream breaks off within {size:,} bytes of data")
        self._number += data.count(b"\n")
        return data

    def _text(self) -> str:
        data = self._data()
        try:
            return data.decode()
        except UnicodeDecodeError:
            self._refuse("the message is not UTF-8")

    def _refuse(self, message: str, hint: str = "") -> NoReturn:
        raise at_line(self._number, limits.invalid(message, hint))

    # --- commands -----------------------------------------------------------------------------------------------------

    def _carried_out(self, command: str) -> Iterator[Line]:
        verb, _, rest = command.partition(" ")
        if verb == "commit":
            yield from self._commit(rest)
        elif verb == "blob":
            self._blob()
        elif verb == "reset":
            self._reset(rest)
        elif verb == "tag":
            self._tag(rest)
        elif command == "feature done":
            self._must_be_done = True
        elif verb not in ("done", "progress", "checkpoint"):
            self._refuse(f"{command!r:.80} is no command of an exported memory", "see docs/memory-export.md")

    def _blob(self) -> None:
        mark = self._mark(self._optional("mark ") or "")
        self._optional("original-oid ")
        self._marks.put(mark, self._data())

    def _reset(self, git_ref: str) -> None:
        source = self._optional("from ")
        if source is None:
            self._refs.pop(git_ref, None)
        else:
            self._refs[git_ref] = self._label(source)

    def _tag(self, name: str) -> None:
        self._optional("mark ")
        label = self._label(self._optional("from ") or "")
        self._optional("original-oid ")
        tagger = self._optional("tagger ")
        text = self._text()
        said = messages.read(tagger or "unknown <> 0 +0000", text)
        git_ref = f"refs/tags/{name}"
        type_, ours = named_by(git_ref)
        at, actor = (said.at, said.author) if tagger else (None, None)
        meta = messages.meta_of(said.trailers)
        self._tags[git_ref] = RefLine(type_, limits.check_ref_id(ours), label, said.message, meta, at, actor)

    def _commit(self, git_ref: str) -> Iterator[Line]:
        self._commits += 1
        mark = self._optional("mark ")
        label = f"unmarked-{self._commits}" if mark is None else f"m{self._mark(mark)}"
        self._optional("original-oid ")
        author = self._optional("author ")
        committer = self._optional("committer ")
        if committer is None:
            self._refuse("the commit has no committer, or something that is not in an exported memory")
        said = messages.read(author or committer, self._text())
        parents = self._parents(git_ref)
        self._refs[git_ref] = label
        if mark is not None:
            self._marks.put(self._mark(mark), None)
        yield from self._begun(label, parents, said)
        yield from self._changes()

    def _parents(self, git_ref: str) -> list[str]:
        parents: list[str] = []
        source = self._optional("from ")
        if source is not None:
            parents = [self._label(source)]
        elif git_ref in self._refs:
            parents = [self._refs[git_ref]]
        while (source := self._optional("merge ")) is not None:
            parents.append(self._label(source))
        return parents

    def _begun(self, label: str, parents: list[str], said: Said) -> Iterator[Line]:
        """The commit; below one without parents that is not a memory's first commit, an empty first commit."""
        kind = said.trailers.get("Kind") or ("merge" if len(parents) > 1 else "commit")
        meta = messages.meta_of(said.trailers)
        original = said.trailers.get("Commit")
        if original is not None:
            meta.setdefault(ORIGINAL, original)
        first = self._commits == 1
        if not parents and not (first and kind == INITIAL):
            if first:
                yield CommitLine(BEGINNING, (), "memory-repository", said.at, "the memory begins", INITIAL)
            parents, kind = [BEGINNING], "commit" if kind == INITIAL else kind
        yield CommitLine(label, tuple(dict.fromkeys(parents)), said.author, said.at, said.message, kind, meta)

    def _changes(self) -> Iterator[Line]:
        while (command := self._command()) is not None:
            found = _CHANGE.fullmatch(command)
            if found is None:
                self._not_a_change(command)
                self._again = command
                return
            number = self._number
            try:
                yield self._change(found)
            except Refusal as refusal:
                raise (refusal if refusal.message.startswith("line ") else at_line(number, refusal)) from None

    def _change(self, found: re.Match[str]) -> Line:
        mode, source, path, deleted = found.groups()
        if deleted is not None:
            return DeleteLine(memory_id_of(deleted))
        memory_id = memory_id_of(path)
        if mode not in ("100644", "644"):
            self._refuse(f"{path!r:.120} has mode {mode}; memories are plain files (100644)")
        if source == "inline":
            return put_of(memory_id, self._data())
        data = self._marks.file(self._mark(source))
        if data is None:
            self._refuse(f"there is no file {source}")
        return put_of(memory_id, data)

    def _not_a_change(self, command: str) -> None:
        if command[:2] in ("R ", "C ", "N ") or command == "deleteall":
            hint = "export without -M, -C and --full-tree" if command[0] in "RCd" else "leave notes out"
            self._refuse(f"{command!r:.80} is not in an exported memory", hint)

    def _mark(self, text: str) -> int:
        found = _MARK.fullmatch(text)
        if found is None:
            self._refuse(f"{text!r:.80} is no mark", "export whole histories, without --no-data or negative revisions")
        return int(found[1])

    def _label(self, text: str) -> str:
        mark = self._mark(text)
        if not self._marks.is_commit(mark):
            self._refuse(f"there is no commit {text} before this line")
        return f"m{mark}"

    # --- the end ------------------------------------------------------------------------------------------------------

    def _named(self) -> Iterator[Line]:
        if "refs/heads/main" not in self._refs:
            self._refuse("the history has no branch main", "rename a branch in git, such as git branch -m master main")
        for git_ref, label in sorted(self._refs.items()):
            if git_ref not in self._tags:
                yield self._plain_ref(git_ref, label)
        yield from (self._tags[git_ref] for git_ref in sorted(self._tags))
        yield EndLine()

    def _plain_ref(self, git_ref: str, label: str) -> RefLine:
        try:
            type_, name = named_by(git_ref)
            checked = limits.check_branch_name(name) if type_ == "branch" else limits.check_ref_id(name)
        except Refusal as refusal:
            self._refuse(f"{git_ref!r:.120}: {refusal.message}", refusal.hint or "rename it in git and export again")
        return RefLine(type_, checked, label)
