"""Looking after a repository: what is old goes, what was written is checked, what must not be there is erased."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from memory_repository.core.limits import check_callable, check_is, check_texts
from memory_repository.core.retention import Retention
from memory_repository.library.opening import OpenRepository
from memory_repository.operations import collecting, redacting, verify
from memory_repository.operations.collecting import Collected
from memory_repository.operations.redacting import Redacted
from memory_repository.operations.verify import Verification
from memory_repository.storage import erasing
from memory_repository.storage.redactions import Redaction


class Upkeep(OpenRepository):
    """What keeps a repository small and honest; see MemoryRepository."""

    def gc(self, retention: Retention | None = None, *, dry_run: bool = False) -> Collected:
        """Drop what is older than the retention and what nothing reaches, in steps of a transaction each; with
        `dry_run` only say what would go. The space is used again by what is written next; `compact` gives it back."""
        wanted = Retention() if retention is None else retention
        check_is("the retention", Retention, wanted)
        if dry_run:
            with self._writing() as (repo, now):
                return collecting.dry_run(repo, wanted, now=now)
        done = Collected(more=True)
        while done.more:
            with self._writing() as (repo, now):
                done = done.plus(collecting.collect(repo, wanted, now=now))
        self._erase()
        return done

    def verify(
        self, *, known: Iterable[str] = (), progress: Callable[[Verification], None] | None = None
    ) -> Verification:
        """Recompute every hash of the history; `known` are ids of commits, noted elsewhere, that it must have."""
        noted = check_texts("the known commits", known)
        if progress is not None:
            check_callable("the progress", progress)
        with self._reading() as repo:
            return verify.verify(repo, known=noted, progress=progress)

    def redact(self, memory_id: str, *, reason: str, ref: str | None = None, actor: str | None = None) -> Redacted:
        """Erase what a memory held, at all commits or what is visible of it at `ref`; the chain still verifies.

        When it returns, the bytes are in none of the store's files, unless another process reads at the moment: then
        they go with the next redaction or `gc`. Where it finds no room for that, nobody reads them any more, it raises,
        and erases the rest when it is called again.
        """
        with self._writing() as (repo, now):
            done = redacting.redact(repo, memory_id, ref=ref, actor=self._by(actor), reason=reason, now=now)
        self._erase()
        return done

    def redactions(self, limit: int = 100, skip: int = 0) -> list[Redaction]:
        """What was erased, by whom and why; the newest first, without the newest `skip`."""
        with self._reading() as repo:
            return redacting.redactions(repo, limit, skip)

    def compact(self) -> None:
        """Give the space that is free back to the disk. Rewrites the file; nobody else can write meanwhile."""
        with self._turn:
            if self._connection.engine == "sqlite":
                self._connection.execute("VACUUM")
            erasing.cut_log(self._connection)

    def _erase(self) -> None:
        done = False
        while not done:
            with self._writing() as (repo, _):
                done = erasing.step(repo.db)
        with self._turn:
            done = erasing.cut_log(self._connection)
        if done:
            with self._writing() as (repo, _):
                erasing.finish(repo.db)
