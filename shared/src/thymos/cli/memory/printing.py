"""How memory is shown to people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from thymos.cli.output import cell, count, emit, say, short, table

if TYPE_CHECKING:
    from thymos import requests
    from thymos.requests import CommitAnswer

CONTENT_WIDTH = 72
DECISION = ("memory", "part", "take", "by", "rationale")


def print_changes(changes: list[requests.Change]) -> None:
    """A table of changes: what became of each memory."""
    table(("", "memory", "what"), [_change_row(change) for change in changes], empty="no changes")


def provenance(meta: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What else stands in a commit, by name; each decision of a merge on a line of its own."""
    decisions = meta.get("decisions")
    listed = decisions if isinstance(decisions, list) else []
    rows = [(name, value) for name, value in meta.items() if name != "decisions" or not listed]
    return rows + [("decided", _decision(each)) for each in listed]


def _decision(each: Any) -> str:
    if not isinstance(each, dict):  # whoever imports a history says what stands in it
        return cell(each)
    return ", ".join(f"{name} {cell(each[name])}" for name in DECISION if name in each)


def say_more(after: str | None, of: str) -> None:
    """What to add for the next page, if there is one; `of` names commits, because a branch may move meanwhile."""
    if after is not None:
        say(f"there are more: {of} --after {after}")


def commit_row(commit: requests.Commit) -> tuple[Any, ...]:
    """Its short id, time, author and message."""
    return short(commit.commit), commit.time, commit.author, shortened(commit.message)


def print_commits(commits: list[requests.Commit]) -> None:
    """A table of commits."""
    table(("commit", "time", "author", "message"), [commit_row(each) for each in commits], empty="no commits")


def print_commit(answer: CommitAnswer, json: bool) -> None:
    """Where a branch stands after a write."""
    if json:
        emit(answer)
    elif answer.commit == answer.previous_commit:
        say(f"nothing changed; {answer.branch} stays at {short(answer.commit)}")
    else:
        before = short(answer.previous_commit)
        say(f"{answer.branch} at {short(answer.commit)}: {count(answer.changes, 'change')}, before {before}")


def shortened(text: Any) -> str:
    """At most one line of it."""
    words = cell(text)
    return words if len(words) <= CONTENT_WIDTH else words[: CONTENT_WIDTH - 1] + "…"


def _change_row(change: requests.Change) -> tuple[str, str, str]:
    """`+` added, `-` deleted, `~` changed; and what it says, or said, or says instead."""
    before, after = change.before, change.after
    if before is None or after is None:
        only = after or before
        return ("+" if after else "-", change.id, shortened(only.content if only else ""))
    differing: list[str] = []
    if before.content != after.content:
        differing.append(f"{shortened(before.content)} → {shortened(after.content)}")
    if before.kind != after.kind:
        differing.append(f"kind: {before.kind or '-'} → {after.kind or '-'}")
    for name in sorted({*before.fields, *after.fields}):
        old, new = before.fields.get(name), after.fields.get(name)
        if old != new:
            differing.append(f"{name}: {shortened(cell(old))} → {shortened(cell(new))}")
    return ("~", change.id, "; ".join(differing))
