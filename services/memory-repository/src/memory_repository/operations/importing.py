"""Bringing a history in, batch by batch, into an agent that has no memory yet.

Every batch is a transaction: all of its lines are in or none. Until the last line is in, nobody sees anything of the
history; then all of it is there at once. So an import never moves a branch, and one that breaks off can go on where it
stood, or be abandoned.

What is checked: in a hashed file every content against its salted hash, every commit's id against what it holds, and
with the key, that the ids come out the same here; in every file the order (every commit after its parents, so that
there are no cycles), the rules for names and the limits, and at the end the count and the digest of all lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from memory_repository.core import limits
from memory_repository.core.commit_id import (
    KEY_BYTES_MIN,
    salt_of,
    version_hash,
)
from memory_repository.core.transfer.lines import NO_LINES, at_line, decode, digest_after, encode
from memory_repository.core.transfer.values import (
    INITIAL,
    CommitLine,
    DeleteLine,
    EndLine,
    Header,
    PutLine,
    RedactionLine,
    RefLine,
)
from memory_repository.operations.imported_commit import write
from memory_repository.storage import branch_rules, commits, imports, redactions, refs, store, timeline, versions
from memory_repository.storage.imports import OpenImport
from memory_repository.storage.redactions import Redaction
from memory_repository.storage.refs import RefType
from memory_repository.storage.store import MAIN, Repository
from thymos.database import Connection
from thymos.errors import Refusal, RefusalCode

KEY_BYTES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Imported:
    """Where an import stands after a batch.

    Attributes:
        next_line: the number of the line that comes next.
        digest: of all lines before it.
        commits, refs: how many are in.
        ids_kept: whether the commits have the ids that the file says.
        repository: the agent's memory once the last line is in; None before.
    """

    next_line: int
    digest: str
    commits: int
    refs: int
    ids_kept: bool = False
    repository: Repository | None = None


def standing(db: Connection, tenant: str, agent: str) -> Imported:
    """Where the import of an agent's memory stands; at line 1 when none is open. Raises Refusal (invalid)."""
    store.has_repository(db, tenant, agent)  # for its check of the names
    found = imports.find(db, tenant, agent)
    return _imported(found) if found else Imported(1, NO_LINES, 0, 0)


def take(
    db: Connection,
    tenant: str,
    agent: str,
    first_line: int,
    lines: Sequence[bytes],
    *,
    now: datetime,
    key: bytes,
    replace_blank: bool = False,
) -> Imported:
    """Take the next lines of a history in, without their ends.

    Args:
        db: the connection, in the caller's transaction: if this raises, the caller takes the whole batch back.
        tenant: whose the memory becomes.
        agent: which agent's.
        first_line: the number of the first of `lines` in the file, counted from 1: where the import stands.
        lines: at most 10,000.
        now: when, aware.
        key: random bytes, the key of the new repository unless the file brings one.
        replace_blank: whether a memory that holds nothing but its beginning may be replaced.

    Raises:
        Refusal: conflict (the agent has a memory; the import stands elsewhere), too_large, and invalid with the number
            of the line.
    """
    if len(lines) > limits.BATCH_LINES_MAX:
        raise limits.too_large("the batch", len(lines), limits.BATCH_LINES_MAX, "lines")
    _check_free(db, tenant, agent, replace_blank=replace_blank)
    found = imports.find(db, tenant, agent)
    expected = found.lines + 1 if found else 1
    if first_line != expected:
        message = f"the import of {agent} goes on at line {expected:,}, not at line {first_line:,}"
        raise Refusal(RefusalCode.CONFLICT, message, "go on there, or abandon it")
    work = _Import(db, tenant, agent, found, now, key)
    for number, line in enumerate(lines, start=first_line):
        try:
            work.take(number, line)
        except Refusal as refusal:
            raise at_line(number, refusal) from None
    return work.saved(replace_blank=replace_blank)


def abandon(db: Connection, tenant: str, agent: str) -> Imported:
    """Forget an import that is open, with all that came in. Raises Refusal (not_found)."""
    found = imports.find(db, tenant, agent)
    if found is None:
        raise Refusal(RefusalCode.NOT_FOUND, f"no import into {agent} is open")
    imports.abandon(found)
    return _imported(found)


def _check_free(db: Connection, tenant: str, agent: str, *, replace_blank: bool) -> None:
    if not store.has_repository(db, tenant, agent):
        return
    if replace_blank and imports.is_blank(store.find_repository(db, tenant, agent)):
        return
    message = f"the agent {agent} has a memory already, and an import never changes one"
    raise Refusal(RefusalCode.CONFLICT, message, "import into a new agent")


def _imported(found: OpenImport, repository: Repository | None = None) -> Imported:
    return Imported(found.lines + 1, found.digest, found.commits, found.refs, found.keyed, repository)


class _Import:
    """One batch of an import."""

    def __init__(
        self, db: Connection, tenant: str, agent: str, found: OpenImport | None, now: datetime, key: bytes
    ) -> None:
        self._db = db
        self._whose = (tenant, agent)
        self._open = found
        self._now = now
        self._key = key
        self._begun = decode(found.begun.encode()) if found and found.begun else None
        self._changes = imports.staged_count(found.repository) if found and found.begun else 0
        self._ended = False

    def take(self, number: int, text: bytes) -> None:
        line = decode(text)
        if self._ended:
            raise limits.invalid("there is more after the end")
        if isinstance(line, Header) != (number == 1):
            raise limits.invalid("the header, of type 'history', is the first line and no other")
        match line:
            case Header():
                self._header(line)
            case CommitLine():
                self._close()
                self._commit(line)
            case PutLine() | DeleteLine():
                self._change(line)
            case RefLine():
                self._close()
                self._ref(line)
            case RedactionLine():
                self._close()
                self._redaction(line)
            case EndLine():
                self._close()
                self._end(line)
        before = self._standing
        self._open = replace(before, lines=number, digest=digest_after(before.digest, text))

    def saved(self, *, replace_blank: bool) -> Imported:
        """Where the import stands now; if its last line is in, the repository is the agent's."""
        if self._open is None:
            return Imported(1, NO_LINES, 0, 0)
        if not self._ended:
            begun = encode(self._begun).decode() if self._begun else None
            self._open = replace(self._open, begun=begun)
            imports.save(self._open)
            return _imported(self._open)
        if replace_blank and store.has_repository(self._db, *self._whose):
            imports.remove_repository(store.find_repository(self._db, *self._whose))
        imports.close(self._open)
        return _imported(self._open, self._open.repository)

    @property
    def _standing(self) -> OpenImport:
        assert self._open is not None
        return self._open

    @property
    def _repo(self) -> Repository:
        return self._standing.repository

    # --- the lines ----------------------------------------------------------------------------------------------------

    def _header(self, line: Header) -> None:
        key = self._key if line.key is None else line.key
        if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
            raise limits.invalid(f"a repository's key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes")
        keyed = line.key is not None
        self._open = imports.begin(self._db, *self._whose, hashed=line.hashed, keyed=keyed, key=key, now=self._now)
        for path, rule in line.number_rules.items():
            branch_rules.set_number_rule(self._db, self._repo.id, path, rule)

    def _commit(self, line: CommitLine) -> None:
        if self._standing.refs:
            raise limits.invalid("a commit comes after refs; refs are the last lines before the end")
        if imports.commit_of(self._repo, line.label) is not None:
            raise limits.invalid(f"the commit {line.label} stands there twice")
        for parent in line.parents:
            self._known(parent, "its parent")
        if bool(self._standing.commits) == (not line.parents):
            raise limits.invalid("the first commit, and no other, has no parents")
        if (line.kind == INITIAL) != (not line.parents):
            raise limits.invalid(f"a commit is of kind {INITIAL!r} exactly if it has no parents")
        if self._standing.hashed and line.state is None:
            raise limits.invalid("the commit says no `state`, which its id is taken over")
        self._begun, self._changes = line, 0
        self._open = replace(self._standing, commits=self._standing.commits + 1)

    def _known(self, label: str, what: str) -> int:
        found = imports.commit_of(self._repo, label)
        if found is None:
            raise limits.invalid(f"{what} {label} is not among the commits before it")
        return found

    def _change(self, line: PutLine | DeleteLine) -> None:
        if self._begun is None:
            raise limits.invalid("a change of no commit: changes follow theirs")
        self._changes += 1
        if self._changes > limits.IMPORTED_CHANGES_MAX:
            raise limits.too_large("the commit", self._changes, limits.IMPORTED_CHANGES_MAX, "changes")
        digest = version = writer = None
        if isinstance(line, PutLine):
            digest, version = line.hash, self._version(line)
            label = self._begun.label if isinstance(self._begun, CommitLine) else ""
            if line.writer not in (None, label):
                writer = self._writer(line, version)
        if not imports.stage(self._repo, line.id, digest, version, writer):
            raise limits.invalid(f"the commit changes {line.id} twice")

    def _writer(self, line: PutLine, version: int) -> int | None:
        """The commit that a line names as the one which wrote the version, where that is so. It may not be: where the
        retention dropped commits, one that wrote it anew changed nothing any more, and its line was left out."""
        named = commits.by_no(self._repo.db, self._known(str(line.writer), "the writer"))
        there = timeline.visible(self._repo.db, timeline.view_of(self._repo.db, named.place), line.id)
        return there.commit_no if there is not None and there.version == version else None

    def _version(self, line: PutLine) -> int:
        repo = self._repo
        if line.redacted:
            assert line.hash is not None
            stored = versions.store_redacted(repo.db, repo.id, line.id, line.hash)
        elif line.memory is None:
            assert line.hash is not None
            known = imports.version_of(repo, line.id, line.hash)
            if known is None:
                raise limits.invalid(f"no earlier line has the content of {line.id} with this hash")
            return known
        else:
            self._check_hash(line)
            stored = versions.store_version(repo.db, repo.id, repo.key, line.memory)
        if line.hash is not None:
            imports.note_version(repo, line.id, line.hash, stored.version)
        return stored.version

    def _check_hash(self, line: PutLine) -> None:
        if not self._standing.hashed:
            return
        assert line.memory is not None
        body = line.memory.body()
        if line.salt is None or line.hash is None:
            raise limits.invalid("a put of a hashed file needs `hash` and `salt`")
        if version_hash(line.salt, body) != line.hash:
            raise limits.invalid(f"the content of {line.id} is not what its hash was taken over", "it was changed")
        if self._standing.keyed and salt_of(self._repo.key, body) != line.salt:
            raise limits.invalid(f"the salt of {line.id} does not follow from the key")

    def _ref(self, line: RefLine) -> None:
        repo = self._repo
        commit = commits.by_no(self._db, self._known(line.commit, "the commit"))
        types: dict[str, RefType] = {"branch": "branch", "tag": "tag", "snapshot": "snapshot"}
        type_ = types[line.type]
        if refs.find(self._db, repo.id, type_, line.name) is not None:
            raise limits.invalid(f"the {type_} {line.name} stands there twice")
        if self._standing.refs >= limits.IMPORTED_REFS_MAX:
            raise limits.too_large("the history", self._standing.refs + 1, limits.IMPORTED_REFS_MAX, "refs")
        at, actor = line.created_at or self._now, line.actor or store.INITIAL_AUTHOR
        refs.create(
            self._db, repo.id, type_, line.name, commit, actor=actor, now=at, reason=line.reason, meta=line.meta
        )
        if line.protected is not None:
            by = line.protected
            branch_rules.protect(self._db, repo.id, line.name, actor=by.actor, now=by.at, reason=by.reason)
        self._open = replace(self._standing, refs=self._standing.refs + 1)

    def _redaction(self, line: RedactionLine) -> None:
        if not self._standing.refs:
            raise limits.invalid("what was erased comes before the refs; it is told after them")
        redaction = Redaction(line.id, line.hash, line.at, line.actor, line.reason)
        redactions.note(self._db, self._repo.id, redaction)

    def _end(self, line: EndLine) -> None:
        before = self._standing
        if before.hashed and (line.lines is None or line.digest is None):
            raise limits.invalid("the end of a hashed file needs `lines` and `digest`")
        if line.lines not in (None, before.lines):
            raise limits.invalid(f"{before.lines:,} lines came before the end; it says {line.lines:,}")
        if line.digest not in (None, before.digest):
            raise limits.invalid("the digest is not that of the lines before", "the file was changed or is mixed up")
        main, branches = (
            refs.find(self._db, self._repo.id, "branch", MAIN),
            refs.every(self._db, self._repo.id, "branch"),
        )
        if main is None:
            raise limits.invalid(f"the history has no branch {MAIN}", f"name one of its branches {MAIN}")
        if len(branches) > limits.BRANCHES_MAX:
            raise limits.too_large("the history", len(branches), limits.BRANCHES_MAX, "branches")
        for branch in (main, *branches):
            imports.own_lines(self._repo, branch)
        self._ended = True

    # --- a commit whose changes are all in ----------------------------------------------------------------------------

    def _close(self) -> None:
        line = self._begun
        if not isinstance(line, CommitLine):
            return
        try:
            row = write(self._standing, line, [self._known(parent, "its parent") for parent in line.parents])
        except Refusal as refusal:
            message = f"the commit {line.label:.12} before it: {refusal.message}"
            raise Refusal(refusal.code, message, refusal.hint) from None
        imports.note_commit(self._repo, line.label, row.no)
        self._begun = None
