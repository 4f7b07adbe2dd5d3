"""Branches, tags and snapshots: each is one row that names a commit. O(1), whatever the memory holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from memory_repository.core import limits
from memory_repository.operations import declaring, kept_merges, open_merges, worktrees
from memory_repository.operations.kept_merges import KeptMerge
from memory_repository.storage import commits, refs
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.refs import RefType
from memory_repository.storage.store import MAIN, Repository
from thymos.errors import Refusal, RefusalCode

ROLL_BACK: Final = "roll it back to bring an earlier state back"
BEGIN_ANOTHER: Final = "begin a branch of another name at it"
NAMES_OF: Final = {"branch": "branches", "tag": "tags", "snapshot": "snapshots"}


@dataclass(frozen=True, slots=True)
class Named:
    """A name and its commit; `created` is False when the same name for the same commit was there already. `aborted` are
    the kept merges that went with a deleted branch."""

    name: str
    commit: CommitRow
    created: bool = True
    aborted: tuple[KeptMerge, ...] = ()


def create_branch(
    repo: Repository, branch: str, from_ref: str = MAIN, *, actor: str, now: datetime, reason: str = ""
) -> Named:
    """Begin a branch at a commit. The same branch at the same commit again is no error.

    Raises:
        Refusal: invalid, not_found, conflict (the branch exists elsewhere, or a tag or snapshot is called so),
            too_large (10,000 branches).
    """
    limits.check_branch_name(branch)
    return _name(repo, "branch", branch, from_ref, actor, now, reason, {}, limits.BRANCHES_MAX)


def delete_branch(
    repo: Repository, branch: str, *, actor: str, now: datetime, force: bool = False, reason: str = ""
) -> Named:
    """Delete a branch, the worktrees open on it, and the merges from and into it that are kept. Its commits stay
    reachable by their ids, until the retention drops them. Unless forced, O(commits that descend from its head).

    Raises:
        Refusal: not_found; refused for `main`, for a protected branch, and unless forced for a branch with commits
            that no other branch, tag or snapshot reaches, with a kept merge, or with uncommitted changes in a worktree.
    """
    ref = refs.branch(repo.db, repo.id, branch)
    if branch == MAIN:
        raise Refusal(RefusalCode.REFUSED, f"{MAIN} cannot be deleted: it is always kept", ROLL_BACK)
    declaring.check_unprotected(repo, branch, "deleted")
    limits.check_reason(reason)
    kept = kept_merges.of_branch(repo, branch)
    if kept and not force:
        message = f"the merge {kept[0].id} from or into {branch} waits for decisions"
        raise Refusal(RefusalCode.REFUSED, message, "continue or abort it, or force the deletion to abort it")
    if not force and refs.is_only_name(repo.db, repo.id, ref):
        message = f"{branch} holds commits that are nowhere else"
        raise Refusal(RefusalCode.REFUSED, message, "merge it, tag it, or force the deletion")
    worktrees.close_all(repo, branch, force=force)
    aborted = tuple(open_merges.abort(repo, each.id) for each in kept)
    refs.delete(repo.db, repo.id, ref, actor=actor, now=now, reason=reason)
    return Named(branch, commits.by_no(repo.db, ref.commit_no), aborted=aborted)


def rename_branch(repo: Repository, branch: str, name: str, *, actor: str, now: datetime, reason: str = "") -> Named:
    """Give a branch another name: its commits, worktrees, kept merges and reflog go with it. O(1) in the memory's size.

    Raises:
        Refusal: not_found, invalid; refused for `main` and for a protected branch; conflict when a branch, a tag or
            a snapshot has that name.
    """
    ref = refs.branch(repo.db, repo.id, branch)
    limits.check_branch_name(name)
    limits.check_reason(reason)
    if branch == MAIN:
        raise Refusal(RefusalCode.REFUSED, f"{MAIN} cannot be renamed: it is always called so", BEGIN_ANOTHER)
    declaring.check_unprotected(repo, branch, "renamed")
    commit = commits.by_no(repo.db, ref.commit_no)
    if name == branch:
        return Named(name, commit, created=False)
    if refs.find(repo.db, repo.id, "branch", name) is not None:
        raise Refusal(RefusalCode.CONFLICT, f"the branch {name} exists already", "choose another name")
    _check_unshared(repo, "branch", limits.check_new_name(name))
    refs.rename(repo.db, repo.id, ref, name, actor=actor, now=now, reason=reason)
    open_merges.rename_branch(repo, branch, name)
    return Named(name, commit)


def delete_named(
    repo: Repository, type_: Literal["tag", "snapshot"], name: str, *, actor: str, now: datetime, reason: str = ""
) -> Named:
    """Forget a tag or a snapshot; the commit stays while anything else leads to it. Raises Refusal (not_found)."""
    ref = refs.find(repo.db, repo.id, type_, limits.check_ref_id(name))
    if ref is None:
        raise Refusal(RefusalCode.NOT_FOUND, f"there is no {type_} {name}")
    refs.delete(repo.db, repo.id, ref, actor=actor, now=now, reason=limits.check_reason(reason))
    return Named(name, commits.by_no(repo.db, ref.commit_no))


def create_snapshot(
    repo: Repository,
    snapshot_id: str,
    ref: str = MAIN,
    *,
    actor: str,
    now: datetime,
    reason: str = "",
    meta: Mapping[str, Any] | None = None,
) -> Named:
    """Keep a commit under a snapshot's id, with a reason and metadata. Raises Refusal as `create_branch`."""
    limits.check_ref_id(snapshot_id)
    return _name(repo, "snapshot", snapshot_id, ref, actor, now, reason, meta or {}, limits.SNAPSHOTS_MAX)


def create_tag(repo: Repository, tag: str, ref: str = MAIN, *, actor: str, now: datetime, reason: str = "") -> Named:
    """Name a commit for good. Raises Refusal as `create_branch`."""
    limits.check_ref_id(tag)
    return _name(repo, "tag", tag, ref, actor, now, reason, {}, limits.TAGS_MAX)


def _check_room(repo: Repository, type_: RefType, most: int) -> None:
    count = repo.db.execute("SELECT count(*) FROM ref WHERE repo_id = ? AND type = ?", (repo.id, type_)).fetchone()[0]
    if count >= most:
        raise limits.too_large("the repository", count + 1, most, NAMES_OF[type_])


def _check_unshared(repo: Repository, type_: RefType, name: str) -> None:
    """Raises Refusal (conflict) when a name of another type is called so: one of the two would mean the other's commit.
    Histories that were written before this was refused have such names, and keep them."""
    for other in commits.named(repo.db, repo.id, name):
        if other != type_:
            raise Refusal(RefusalCode.CONFLICT, f"there is a {other} {name} already", "choose another name")


def _name(
    repo: Repository,
    type_: RefType,
    name: str,
    ref: str,
    actor: str,
    now: datetime,
    reason: str,
    meta: Mapping[str, Any],
    most: int,
) -> Named:
    commit = repo.resolve(ref)
    known = refs.find(repo.db, repo.id, type_, name)
    if known is not None:
        if known.commit_no == commit.no:
            return Named(name, commit, created=False)
        there = commits.ids_of(repo.db, [known.commit_no])[0]
        message = f"the {type_} {name} exists already, at {there[:12]}"
        raise Refusal(RefusalCode.CONFLICT, message, "choose another name")
    _check_room(repo, type_, most)
    _check_unshared(repo, type_, limits.check_new_name(name))
    limits.check_json("the metadata", meta)
    refs.create(repo.db, repo.id, type_, name, commit, actor=actor, now=now, reason=reason, meta=meta)
    return Named(name, commit)
