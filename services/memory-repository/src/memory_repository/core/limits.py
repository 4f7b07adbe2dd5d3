"""The limits of the memory: everything that enters is checked here, and what is over a limit is refused with its rule.

Sizes are bytes of UTF-8. The numbers are part of the contract: raising one is free, lowering one is a breaking change.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from thymos.errors import Refusal, RefusalCode
from thymos.names import check_branch

C = TypeVar("C", bound=StrEnum)

CONTENT_BYTES_MAX = 64 * 1024
FIELDS_BYTES_MAX = 32 * 1024
FIELDS_DEPTH_MAX = 16
"""Levels of nesting in `fields`, counting the object itself."""
CHANGES_MAX = 10_000
"""Changes in one commit, and memories staged in one worktree."""
MESSAGE_BYTES_MAX = 1024
AUTHOR_BYTES_MAX = 800
"""200 characters of the longest encoding: what the contract allows."""
REASON_BYTES_MAX = 16 * 1024
"""4,096 characters of the longest encoding: what the contract allows."""
INTEGER_MAX = 2**63
"""Integers in `fields` lie below this and above its negative: what every reader of JSON and every store holds."""
META_BYTES_MAX = 256 * 1024
FACTS_BYTES_MAX = 1024
META_REMADE_BYTES_MAX = META_BYTES_MAX + FACTS_BYTES_MAX
"""Of a commit that is brought in or replayed: facts are added to its metadata, such as which commit it was."""
QUERY_BYTES_MAX = 16 * 1024
QUERY_TERMS_MAX = 64
"""Distinct words of a query that are looked for; the words after them are ignored."""
RESULTS_MAX = 100
PAGE_MAX = 1_000
SKIP_MAX = 1_000_000
ANCESTOR_STEPS_MAX = 10_000
"""How far `main~n` walks."""
REBASE_COMMITS_MAX = 1_000
"""Commits that one rebase makes anew."""
BISECT_COMMITS_MAX = 20_000
"""Commits between a good and a bad one that are searched for the first bad one."""
WORKTREES_MAX = 1_000
"""Open worktrees of one repository."""
BRANCHES_MAX = 10_000
CHECKPOINT_VALUE_BYTES_MAX = 64 * 1024 * 1024
"""One channel's value, one write, or the rest of one checkpoint."""
CHECKPOINT_NAME_BYTES_MAX = 1024
"""Ids of threads, checkpoints and tasks, and names of channels: what fits an index of PostgreSQL."""
LINE_BYTES_MAX = 512 * 1024
"""One line of an exported history, and one piece of data in a git stream: more than the largest memory or commit."""
PARENTS_MAX = 16
"""Parents of one commit that is imported."""
IMPORTED_CHANGES_MAX = 1_000_000
"""Changes of one commit that is imported: merges and rollbacks have no other limit. They are held in memory at once."""
IMPORTED_REFS_MAX = 100_000
BATCH_LINES_MAX = 10_000
"""Lines of a history that are imported in one transaction."""
MERGE_LINES_MAX = 3_000_000
"""Lines that one merge compares, as core/alignment.py counts them: some ten seconds, in which nobody is served."""
TAGS_MAX = 10_000
SNAPSHOTS_MAX = 10_000
NUMBER_RULES_MAX = 100
"""Rules for numbers of one repository, or of one merge."""
FIELD_PATH_BYTES_MAX = 1024
OPEN_MERGES_MAX = 100
"""Kept merges of one repository."""
OPEN_CONFLICTS_MAX = 10_000
"""Memories in conflict in one kept merge."""
RATIONALE_BYTES_MAX = 2048
"""Of one decision about a conflict."""
AGE_MAX = timedelta(days=365_000)
COMMITS_KEPT_MAX = 1_000_000_000
"""Of what the retention keeps."""
NAME_BYTES_MAX = 4096
"""Of what is looked up by name."""
PREFIX_MIN = 8
"""Characters of a commit id that are enough to name it, if they are unique."""

# Every value that enters is asked for these: a union in a call would be made anew each time, and asking whether
# something is a Mapping takes longer than whether it is a dict.
_OBJECTS, _LISTS, _NUMBERS = (dict, Mapping), (list, tuple), (int, float)
_MEMORY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,199}", re.ASCII)
_MEMORY_ID_RULE = "1 to 200 characters of A-Z, a-z, 0-9 and ._:@/+-, starting with a letter or digit"
_KIND = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_KIND_RULE = "1 to 64 characters of a-z, 0-9, '_' and '-', starting with a letter or digit"
_COMMIT_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)
_REF_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}", re.ASCII)
_REF_ID_RULE = "1 to 200 characters of A-Z, a-z, 0-9 and _.:-, starting with a letter or digit"


def invalid(message: str, hint: str = "") -> Refusal:
    """A refusal of something that can never be right."""
    return Refusal(RefusalCode.INVALID, message, hint)


def too_large(what: str, size: int, limit: int, unit: str = "bytes") -> Refusal:
    """A refusal of something over its limit."""
    return Refusal(RefusalCode.TOO_LARGE, f"{what} is {size:,} {unit}; the limit is {limit:,}")


def check_merge_lines(lines: int) -> int:
    """Return how many lines a merge has compared so far if it may go on. Raises Refusal (too_large)."""
    if lines > MERGE_LINES_MAX:
        message = f"merging these texts takes comparing more than {MERGE_LINES_MAX:,} lines"
        hint = "merge older commits of it first, or commit on both sides what some of these memories shall be"
        raise Refusal(RefusalCode.TOO_LARGE, message, hint)
    return lines


def check_memory_id(memory_id: str) -> str:
    """Return `memory_id` if it follows the rule. Raises Refusal (invalid)."""
    return _check("a memory id", _MEMORY_ID, _MEMORY_ID_RULE, memory_id)


def check_kind(kind: str) -> str:
    """Return a memory's `kind` if it follows the rule. Raises Refusal (invalid)."""
    return _check("a kind", _KIND, _KIND_RULE, kind)


def is_commit_id(text: str) -> bool:
    """Whether a text has the form of a whole commit id: then it names that commit, whatever else is called so."""
    return _COMMIT_ID.fullmatch(text) is not None


def check_ref_id(name: str) -> str:
    """Return the id of a snapshot, tag or worktree if it follows the rule. Raises Refusal (invalid)."""
    return _check("an id", _REF_ID, _REF_ID_RULE, name)


def check_branch_name(name: str) -> str:
    """Return `name` if it is a branch's name (thymos.names). Raises Refusal (invalid)."""
    try:
        return check_branch(name)
    except ValueError as error:
        raise invalid(str(error)) from None


def check_new_name(name: str) -> str:
    """Return the name that a ref is to get, unless it could be a commit's id. Raises Refusal (invalid)."""
    if is_commit_id(name):
        raise invalid(f"{name} has the form of a commit id, which names a commit", "choose another name")
    return name


def check_content(content: str) -> str:
    """Return `content` if it is text of at most 64 KiB. Raises Refusal (invalid, too_large)."""
    return _check_text("content", content, CONTENT_BYTES_MAX)


def check_message(message: str) -> str:
    """Return a commit's `message` if it is text of at most 1 KiB. Raises Refusal (invalid, too_large)."""
    return _check_text("message", message, MESSAGE_BYTES_MAX)


def check_author(author: str) -> str:
    """Return an `author` if it is text of 1 to 800 bytes. Raises Refusal (invalid, too_large)."""
    if not _check_text("author", author, AUTHOR_BYTES_MAX):
        raise invalid("the author is empty", "say who or what makes this commit")
    return author


def check_reason(reason: str) -> str:
    """Return a `reason` if it is text of at most 16 KiB. Raises Refusal (invalid, too_large)."""
    return _check_text("reason", reason, REASON_BYTES_MAX)


def check_query(query: str) -> str:
    """Return a `query` if it is text of at most 16 KiB. Raises Refusal (invalid, too_large)."""
    return _check_text("query", query, QUERY_BYTES_MAX)


def check_rationale(rationale: str) -> str:
    """Return the `rationale` of a decision if it is text of at most 2 KiB. Raises Refusal (invalid, too_large)."""
    return _check_text("rationale", rationale, RATIONALE_BYTES_MAX)


def check_field_path(path: str) -> str:
    """Return the path of a field if it is text of 1 byte to 1 KiB. Raises Refusal (invalid, too_large)."""
    if not _check_text("field's path", path, FIELD_PATH_BYTES_MAX):
        raise invalid("the field's path is empty", 'name its keys, joined by "/"')
    return path


def check_changes(changes: Sequence[Any], kinds: tuple[type, ...]) -> None:
    """Refuse (invalid, too_large) what is no list of changes, or of more than 10,000."""
    if not is_list(changes) or not all(isinstance(change, kinds) for change in changes):
        raise invalid("the changes are not a list of Put, Modify and Delete")
    check_changes_count(len(changes))


def is_list(value: object) -> bool:
    """Whether a value is a list of whatever; a text is none."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def check_texts(what: str, texts: Iterable[str]) -> list[str]:
    """Return `texts`, any iterable of text, as a list. Raises Refusal (invalid)."""
    if isinstance(texts, str | bytes | bytearray) or not isinstance(texts, Iterable):
        raise invalid(f"{what} are not a list of texts but a {type(texts).__name__}")
    return [check_name(f"text among {what}", text) for text in texts]


def check_callable(what: str, value: object) -> None:
    """Refuse (invalid) what cannot be called."""
    if not callable(value):
        raise invalid(f"{what} is not a function but a {type(value).__name__}")


def check_is(what: str, kind: type, value: object) -> None:
    """Refuse (invalid) what is not of a kind."""
    if not isinstance(value, kind):
        raise invalid(f"{what} is not a {kind.__name__} but a {type(value).__name__}")


def check_changes_count(count: int) -> None:
    """Refuse (too_large) more than 10,000 changes at once."""
    if count > CHANGES_MAX:
        raise too_large("the batch", count, CHANGES_MAX, "changes")


def check_checkpoint_value(data: bytes) -> None:
    """Refuse (too_large) a value of a checkpoint over 64 MiB."""
    if len(data) > CHECKPOINT_VALUE_BYTES_MAX:
        raise too_large("the value", len(data), CHECKPOINT_VALUE_BYTES_MAX)


def check_checkpoint_name(what: str, name: str) -> str:
    """Return the name of a thread, checkpoint, task or channel if it is text of at most 1 KiB. Raises Refusal."""
    return _check_text(what, name, CHECKPOINT_NAME_BYTES_MAX)


def check_page(limit: int, most: int = PAGE_MAX) -> int:
    """Return a page size from 1 to `most`. Raises Refusal (invalid, too_large)."""
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise invalid(f"the limit is not a number but a {type(limit).__name__}")
    if limit < 1:
        raise invalid(f"the limit is {limit}; it must be at least 1")
    if limit > most:
        raise too_large("the limit", limit, most, "results")
    return limit


def check_skip(skip: int, most: int = SKIP_MAX, hint: str = "") -> int:
    """Return how many results are left out before a page, from 0 to `most`; `hint` says what to do instead of more.
    Raises Refusal (invalid)."""
    if not isinstance(skip, int) or isinstance(skip, bool) or not 0 <= skip <= most:
        beyond = hint if isinstance(skip, int) and skip > most else ""
        raise invalid(f"cannot skip {skip!r:.60} results", beyond or f"it is a number from 0 to {most:,}")
    return skip


def check_name(what: str, name: str) -> str:
    """Return what is to be looked up - a name, a kind, an id, the place where a page begins - if it is text that both
    engines can look for. What follows no rule names nothing, which is for the caller to say. Raises Refusal."""
    return _check_text(what, name, NAME_BYTES_MAX)


def check_time(what: str, at: datetime) -> datetime:
    """Return a time in UTC. Raises Refusal (invalid): it has no time zone, or lies beyond the years 1 to 9999 there."""
    if at.tzinfo is None:
        raise invalid(f"{what} has no time zone", "end it with Z for UTC, or an offset")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise invalid(f"{what} lies beyond the years 1 to 9999 in UTC") from None


def check_age(what: str, age: timedelta) -> timedelta:
    """Return an `age` from nothing to 1,000 years. Raises Refusal (invalid)."""
    if not isinstance(age, timedelta) or not timedelta() <= age <= AGE_MAX:
        raise invalid(f"{what} is {age!r:.60}; it must be from nothing to {AGE_MAX.days:,} days")
    return age


def check_whole(what: str, number: int, least: int, most: int) -> int:
    """Return a whole `number` from `least` to `most`. Raises Refusal (invalid)."""
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise invalid(f"{what} is {number!r:.60}; it must be a whole number from {least:,} to {most:,}")
    return number


def check_choice(what: str, choices: type[C], value: str) -> C:
    """Return the choice that a `value` is. Raises Refusal (invalid)."""
    try:
        return choices(value)
    except ValueError:
        raise invalid(f"{value!r:.60} is no {what}", f"there are {', '.join(choices)}") from None


def check_object(what: str, value: Mapping[str, Any]) -> None:
    """Refuse (invalid) what is not a plain JSON object, as `check_json` does."""
    if not isinstance(value, _OBJECTS):
        raise invalid(f"{what} is not a JSON object but a {type(value).__name__}")
    check_json(what, value)


def check_json(what: str, value: Any, depth: int = 0) -> None:
    """Refuse (invalid) a value that is not plain JSON: only finite numbers, integers of 64 bits, text keys, valid text,
    16 levels."""
    if depth >= FIELDS_DEPTH_MAX:
        raise invalid(f"{what} is nested more than {FIELDS_DEPTH_MAX} levels deep")
    if isinstance(value, str):
        _check_characters(what, value)
    elif isinstance(value, _OBJECTS):
        for key, item in value.items():
            if not isinstance(key, str):
                raise invalid(f"{what} has a key that is not text: {key!r:.40}")
            _check_characters(what, key)
            check_json(what, item, depth + 1)
    elif isinstance(value, _LISTS):
        for item in value:
            check_json(what, item, depth + 1)
    else:
        _check_number(what, value)


def _check_number(what: str, value: Any) -> None:
    if value is not None and not isinstance(value, _NUMBERS):
        raise invalid(f"{what} holds a {type(value).__name__}, which is not JSON")
    if isinstance(value, float) and not math.isfinite(value):
        raise invalid(f"{what} holds {value}; only finite numbers are JSON")
    if isinstance(value, int) and not -INTEGER_MAX < value < INTEGER_MAX:
        raise invalid(f"{what} holds an integer of {value.bit_length()} bits", "at most 63 bits; write it as text")


def _check(what: str, pattern: re.Pattern[str], rule: str, name: str) -> str:
    if not isinstance(name, str) or pattern.fullmatch(name) is None:
        raise invalid(f"{what} is {rule}; got {name!r:.60}")
    return name


def _check_text(what: str, text: str, limit: int) -> str:
    if not isinstance(text, str):
        raise invalid(f"the {what} is not text but a {type(text).__name__}")
    _check_characters(f"the {what}", text)
    size = len(text) if text.isascii() else len(text.encode())
    if size > limit:
        raise too_large(f"the {what}", size, limit)
    return text


def _check_characters(what: str, text: str) -> None:
    # NUL is text in SQLite but not in PostgreSQL; a lone surrogate is neither. Refused now, not at the migration.
    if "\x00" in text:
        raise invalid(f"{what} holds a NUL character")
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise invalid(f"{what} holds a lone surrogate, which is not valid Unicode") from None
