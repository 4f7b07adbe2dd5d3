"""What people declare about a repository: which branches are protected, and how numbers in fields merge."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from memory_repository.core import limits
from memory_repository.core.number_rules import NumberRule, check_rules
from memory_repository.storage import branch_rules, commits, refs
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import Repository
from thymos.errors import Refusal, RefusalCode


@dataclass(frozen=True, slots=True)
class Protection:
    """A branch, its head, and whether it is protected; `changed` is False when it was so before."""

    branch: str
    commit: CommitRow
    protected: bool
    changed: bool


def protect(repo: Repository, branch: str, *, actor: str, now: datetime, reason: str = "") -> Protection:
    """Protect a branch: it is not deleted, and what a model decides about a merge into it waits for a person.

    Commits, merges that people decide, and rollbacks go on as before: each is a commit that can be taken back.

    Raises:
        Refusal: invalid, not_found.
    """
    ref = refs.branch(repo.db, repo.id, branch)
    limits.check_author(actor)
    limits.check_reason(reason)
    changed = branch_rules.protect(repo.db, repo.id, branch, actor=actor, now=now, reason=reason)
    return Protection(branch, commits.by_no(repo.db, ref.commit_no), True, changed)


def unprotect(repo: Repository, branch: str) -> Protection:
    """Protect a branch no longer. Raises Refusal (invalid, not_found)."""
    ref = refs.branch(repo.db, repo.id, branch)
    changed = branch_rules.unprotect(repo.db, repo.id, branch)
    return Protection(branch, commits.by_no(repo.db, ref.commit_no), False, changed)


def protected_branches(repo: Repository) -> set[str]:
    """The names of the protected branches."""
    return branch_rules.protected(repo.db, repo.id)


def check_unprotected(repo: Repository, branch: str, done: str) -> None:
    """Refuse what is not `done` ("deleted", "renamed") to a protected branch."""
    if branch_rules.is_protected(repo.db, repo.id, branch):
        raise Refusal(RefusalCode.REFUSED, f"{branch} is protected and cannot be {done}", "unprotect it first")


def number_rules(repo: Repository) -> dict[str, NumberRule]:
    """How numbers merge, by the path of their field."""
    return branch_rules.number_rules(repo.db, repo.id)


def declare_number_rule(repo: Repository, path: str, rule: str | None) -> dict[str, NumberRule]:
    """Declare how the numbers of a field merge; None: they collide, as without a rule.

    It counts for merges and rebased commits from now on. Returns all rules.

    Raises:
        Refusal: invalid, too_large (100 rules).
    """
    limits.check_field_path(path)
    if rule is None:
        branch_rules.set_number_rule(repo.db, repo.id, path, None)
    else:
        checked = check_rules({**number_rules(repo), path: rule})
        branch_rules.set_number_rule(repo.db, repo.id, path, checked[path])
    return number_rules(repo)
