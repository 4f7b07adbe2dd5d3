"""A repository's history as lines, page by page: what is reachable from its refs, every commit after its parents.

Commits never change, so that an export need not hold a transaction: what is exported is fixed when it begins
(export_order.py), and each page is read as of its own moment. Commits that come meanwhile are left out. A ref that
moves meanwhile is written where it stood in what is exported, by the way of first parents. Where the retention drops a
commit meanwhile that is still to come, or a parent of one in a hashed file, the export ends with a conflict.

Where the retention has dropped commits, the ids of those that are left cannot be recomputed from what is left. Then the
file is not hashed: its commits say which ids they had, and an empty first commit stands below the oldest ones.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from memory_repository.core import limits
from memory_repository.core.transfer.lines import NO_LINES, digest_after, encode, text_size
from memory_repository.core.transfer.values import (
    INITIAL,
    ORIGINAL,
    CommitLine,
    DeleteLine,
    EndLine,
    Header,
    Line,
    Protected,
    PutLine,
    RedactionLine,
    RefLine,
)
from memory_repository.operations.export_order import Order, removed
from memory_repository.storage import branch_rules, commits, dropping, redactions, refs, timeline, versions
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.refs import Ref, RefType
from memory_repository.storage.store import INITIAL_AUTHOR, Repository
from memory_repository.storage.timeline import Slot
from thymos.errors import Refusal, RefusalCode

BEGINNING: Final = "beginning"
"""The label of the first commit of a history that has lost its own."""
REF_TYPES: Final[tuple[RefType, ...]] = ("branch", "snapshot", "tag")


@dataclass(frozen=True, slots=True)
class Options:
    """What an export holds.

    Attributes:
        with_key: whether the repository's key is in it, so that an import gives the same commit ids.
        whole: whether every put has its memory, instead of referring to an earlier line.
    """

    with_key: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where an export goes on: `last` is the id of the newest commit in it, `position` counts commits that are through,
    `after` is the last memory or ref of the next one; then the lines so far, and their digest; the digest of the
    export's order, and whether it is hashed. Nothing that is counted across repositories: whoever exports reads it."""

    last: str
    order: str
    hashed: bool
    position: int = 0
    after: str | None = None
    lines: int = 0
    digest: str = NO_LINES

    def __str__(self) -> str:
        values = [self.last, self.order, self.hashed, self.position, self.after, self.lines, self.digest]
        return base64.urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).decode()

    @classmethod
    def read(cls, text: str) -> Cursor:
        """The cursor that a text stands for. Raises Refusal (invalid)."""
        try:
            last, order, hashed, position, after, lines, digest = json.loads(base64.urlsafe_b64decode(text))
        except (ValueError, TypeError, RecursionError, binascii.Error):
            raise _no_place(text) from None
        numbers = all(type(n) is int and 0 <= n < 2**63 for n in (position, lines))
        digests = all(isinstance(each, str) and len(each) == 64 for each in (order, digest))
        if not numbers or not digests or not isinstance(after, str | None) or not isinstance(hashed, bool):
            raise _no_place(text)
        for name in (last, after or ""):
            limits.check_name("place in an export", name)
        return cls(last, order, hashed, position, after, lines, digest)


def _no_place(text: str) -> Refusal:
    return limits.invalid(f"{text!r:.60} is no place in an export", "give what the page before said")


@dataclass(frozen=True, slots=True)
class ExportPage:
    """Lines of an export; `next_after` is None after the last one. `commits` is how many the whole export has."""

    lines: tuple[bytes, ...]
    next_after: Cursor | None
    commits: int


def page(repo: Repository, among: Order, at: Cursor | None, options: Options, bytes_max: int) -> ExportPage:
    """The next lines: as many as fit `bytes_max` as JSON text, and at least one. `among` is the export's `order`.

    Raises Refusal (conflict): it is another's, or a commit was dropped meanwhile.
    """
    if at is not None and at.order != among.digest:
        raise removed()
    hashed = _is_complete(repo, among) if at is None else at.hashed
    if options.with_key and not hashed:
        message = "the retention has dropped commits, so that no import could give the others the same ids"
        raise Refusal(RefusalCode.REFUSED, message, "export without the key, or back up the store")
    spot = at or Cursor(among.commit(repo, len(among) - 1).id, among.digest, hashed)
    taken: list[bytes] = []
    size = 0
    for line, position, after in _Export(repo, among, options, hashed).lines(at):
        text = encode(line)
        size += text_size(text)
        # The lines before the first change are small, and always on the first page.
        if taken and size > bytes_max and spot.lines > 1:
            return ExportPage(tuple(taken), spot, len(among))
        taken.append(text)
        lines, digest = spot.lines + 1, digest_after(spot.digest, text)
        spot = replace(spot, position=position, after=after, lines=lines, digest=digest)
    taken.append(encode(EndLine(spot.lines, spot.digest)))
    return ExportPage(tuple(taken), None, len(among))


def _is_complete(repo: Repository, among: Order) -> bool:
    """Whether no commit of an export has lost a parent."""
    return all(among.label(repo, cut) is None for cut in dropping.cut_commits(repo.db, repo.id))


Spotted = tuple[Line, int, str | None]
"""A line, and the position and `after` of the cursor behind it."""


class _Export:
    def __init__(self, repo: Repository, among: Order, options: Options, hashed: bool) -> None:
        self._repo = repo
        self._among = among
        self._options = options
        self._hashed = hashed

    def lines(self, at: Cursor | None) -> Iterator[Spotted]:
        if at is None:
            yield self._header(), 0, None
            if not self._hashed:
                yield self._beginning(), 0, None
        position, after = (0, None) if at is None else (at.position, at.after)
        while position < len(self._among):
            commit = self._among.commit(self._repo, position)
            yield from self._commit_lines(commit, position, after)
            position, after = position + 1, None
        yield from self._refs(position, after or "")
        yield from self._redactions(position, after or "")

    def _header(self) -> Header:
        key = self._repo.key if self._options.with_key else None
        whose = self._repo.tenant, self._repo.agent
        rules = branch_rules.number_rules(self._repo.db, self._repo.id)
        return Header(*whose, hashed=self._hashed, key=key, commits=len(self._among), number_rules=rules)

    def _beginning(self) -> CommitLine:
        oldest = self._among.commit(self._repo, 0)
        return CommitLine(BEGINNING, (), INITIAL_AUTHOR, oldest.at, "older commits were dropped", INITIAL)

    def _commit_lines(self, commit: CommitRow, position: int, after: str | None) -> Iterator[Spotted]:
        db = self._repo.db
        above = commits.parents_of(db, commit.no)
        if self._hashed and dropping.parent_ids(db, commit.no):
            raise removed()
        if after is None:
            yield self._described(commit, above), position, ""
        view = timeline.view_of(db, commit.place)
        if not above:
            for memory_id, version, writer in timeline.listed(db, view, after or ""):
                slot = Slot(version, "", 0, writer)
                yield self._change(memory_id, slot, commit.no, position), position, memory_id
            return
        before = timeline.view_of(db, commits.by_no(db, above[0]).place)
        for memory_id in sorted(set(timeline.entries_between(db, before, view))):
            if after and memory_id <= after:
                continue
            old, new = timeline.visible(db, before, memory_id), timeline.visible(db, view, memory_id)
            if (old and old.version) != (new and new.version):
                yield self._change(memory_id, new, commit.no, position), position, memory_id

    def _described(self, commit: CommitRow, parents: list[int]) -> CommitLine:
        above, kind, meta = tuple(commits.ids_of(self._repo.db, parents)), commit.kind, commit.meta
        if not self._hashed:
            above = above or (BEGINNING,)
            kind = "commit" if kind == INITIAL else kind
            meta = {ORIGINAL: commit.id, **meta}
        return CommitLine(
            label=commit.id,
            parents=above,
            author=commit.author,
            at=commit.at,
            message=commit.message,
            kind=kind,
            meta=meta,
            state=commit.state_id,
        )

    def _change(self, memory_id: str, slot: Slot | None, commit_no: int, position: int) -> Line:
        if slot is None:
            return DeleteLine(memory_id)
        # A version that an ancestor wrote stands there already.
        writer = None if slot.commit_no == commit_no else self._among.label(self._repo, slot.commit_no, position)
        digest, salt, memory = versions.load_sealed(self._repo.db, slot.version)
        if memory is None:
            return PutLine(memory_id, digest, redacted=True, writer=writer)
        if writer is not None and not self._options.whole:
            return PutLine(memory_id, digest, writer=writer)
        return PutLine(memory_id, digest, memory, salt, writer=writer)

    def _refs(self, position: int, after: str) -> Iterator[Spotted]:
        for type_ in REF_TYPES:
            for ref in refs.every(self._repo.db, self._repo.id, type_):
                spot = f"{type_}/{ref.name}"
                if spot <= after or (identity := self._exported(ref)) is None:
                    continue
                yield self._ref_line(ref, identity), position, spot

    def _redactions(self, position: int, after: str) -> Iterator[Spotted]:
        for number, each in enumerate(redactions.every(self._repo.db, self._repo.id)):
            # By their order in this repository; behind all refs, for no type of them begins with a tilde.
            spot = f"~redaction/{number:012}"
            if spot > after:
                yield RedactionLine(each.memory_id, each.hash, each.at, each.actor, each.reason), position, spot

    def _exported(self, ref: Ref) -> str | None:
        """The newest commit of a ref that is in the export, its id."""
        number = ref.commit_no
        while (identity := self._among.label(self._repo, number)) is None:
            above = commits.parents_of(self._repo.db, number)
            if not above:
                return None
            number = above[0]
        return identity

    def _ref_line(self, ref: Ref, identity: str) -> RefLine:
        return RefLine(
            type=ref.type,
            name=ref.name,
            commit=identity,
            reason=ref.reason,
            meta=ref.meta,
            created_at=ref.created_at,
            actor=refs.creator(self._repo.db, self._repo.id, ref),
            protected=self._protected(ref),
        )

    def _protected(self, ref: Ref) -> Protected | None:
        found = branch_rules.protection(self._repo.db, self._repo.id, ref.name) if ref.type == "branch" else None
        return None if found is None else Protected(*found)
