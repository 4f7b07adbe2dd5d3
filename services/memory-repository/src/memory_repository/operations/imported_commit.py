"""Writing a commit of an import once all of its changes are in: checked, on top of its parents. O(changes)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memory_repository.core import limits
from memory_repository.core.commit_id import CommitHeader, commit_id, delta_hash, timestamp
from memory_repository.core.transfer.values import ORIGINAL, CommitLine
from memory_repository.operations.committing import checked_draft
from memory_repository.storage import commits, imports, timeline
from memory_repository.storage.commits import CommitRow, Draft
from memory_repository.storage.imports import OWNER, OpenImport, StagedChange
from memory_repository.storage.store import Repository
from memory_repository.storage.timeline import Differing, Slot, View


def write(file: OpenImport, line: CommitLine, parent_nos: Sequence[int]) -> CommitRow:
    """Write the commit that `line` begins, with the changes that are staged for it.

    In a hashed file its id is recomputed from what came in; with the key it has to be its id here too.

    Raises:
        Refusal: invalid, too_large.
    """
    repo = file.repository
    staged = list(imports.take_staged(repo))
    if file.hashed:
        _check_id(line, staged)
    facts: dict[str, Any] = dict(line.meta)
    if file.hashed and not file.keyed:
        facts.setdefault(ORIGINAL, line.label)
    draft = checked_draft(
        OWNER, line.author, line.message, line.at, line.kind, facts, meta_max=limits.META_REMADE_BYTES_MAX
    )
    if parent_nos:
        row = _on_top(repo, draft, [commits.by_no(repo.db, number) for number in parent_nos], staged)
    elif staged:
        raise limits.invalid("the first commit holds memories; it must be empty")
    else:
        row = commits.write_initial(repo.db, repo.id, draft)
    if file.keyed and row.id != line.label:
        raise limits.invalid("its state is not the one that it recorded", "the file was changed")
    return row


def _check_id(line: CommitLine, staged: Sequence[StagedChange]) -> None:
    header = CommitHeader(
        parents=line.parents,
        delta=delta_hash((change.memory_id, change.hash) for change in staged),
        state_id=line.state or "",
        author=line.author,
        at=timestamp(line.at),
        message=line.message,
        kind=line.kind,
        meta=line.meta,
    )
    if commit_id(header) != line.label:
        raise limits.invalid("its id does not follow from what it holds", "the file was changed, or lines are missing")


def _on_top(repo: Repository, draft: Draft, parents: list[CommitRow], staged: list[StagedChange]) -> CommitRow:
    views = [timeline.view_of(repo.db, parent.place) for parent in parents]
    delta: Differing = {}
    for change in staged:
        old, *others = (timeline.visible(repo.db, view, change.memory_id) for view in views)
        new = change.slot and _from_a_parent(change.slot, others)
        if old is None and new is None:
            raise limits.invalid(f"it deletes {change.memory_id}, which is not there")
        if (old and old.version) != (new and new.version):
            delta[change.memory_id] = (old, new)
    if len(parents) == 2 and len(views[1]) < len(views[0]):
        on_theirs, gap = _on_theirs(repo, views, delta)
        # As merging does it, so that a branch that kept taking in another does not lie ever further from it.
        if gap > 2 * len(on_theirs):
            return commits.write_commit(repo.db, repo.id, draft, parents, delta, parents[1], on_theirs)
    return commits.write_commit(repo.db, repo.id, draft, parents, delta)


def _from_a_parent(new: Slot, others: Sequence[Slot | None]) -> Slot:
    """What a merge took over from another side was written there, if the file does not say who wrote it."""
    if new.commit_no:
        return new
    return next((slot for slot in others if slot is not None and slot.version == new.version), new)


def _on_theirs(repo: Repository, views: Sequence[View], delta: Differing) -> tuple[Differing, int]:
    """The merged state as changes against the second parent, and how many entries lie between the two."""
    ours, theirs = views
    between = timeline.entries_between(repo.db, ours, theirs)
    found: Differing = {}
    for memory_id in sorted({*between, *delta}):
        there = timeline.visible(repo.db, theirs, memory_id)
        merged = delta[memory_id][1] if memory_id in delta else timeline.visible(repo.db, ours, memory_id)
        if (there and there.version) != (merged and merged.version):
            found[memory_id] = (there, merged)
    return found, len(between)
