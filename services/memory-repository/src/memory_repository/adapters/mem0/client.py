"""mem0's `Memory` and `AsyncMemory`, as far as they can be without a model."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from memory_repository.adapters.mem0 import events, filtering, records
from memory_repository.adapters.mem0.finding import Desk
from memory_repository.adapters.mem0.records import Record
from memory_repository.adapters.retrying import retried
from memory_repository.core.limits import CHANGES_MAX, PAGE_MAX, check_page
from memory_repository.core.memory import Change, Delete, Put
from memory_repository.library import MemoryRepository
from memory_repository.operations import committing
from memory_repository.storage.store import MAIN, Repository
from thymos.errors import Refusal, RefusalCode

AUTHOR: Final = "mem0"
DEFAULT_TOP_K: Final = 20
DEFAULT_THRESHOLD: Final = 0.1
T = TypeVar("T")
Message = Mapping[str, Any]
Extract = Callable[[Sequence[Message]], Sequence[str]]
_UNSET: Final = object()


class Memory:
    """A client with the calls and answers of mem0 2.2's `Memory`, on one branch of an agent's memory.

    Every call that writes is one commit. Search is full-text: a score says how much of the query's words a memory
    holds, 1.0 for all those that any memory in scope holds. What is deleted stays in the history, until redacted.

    Calls raise ValueError where mem0 does, and `thymos.errors.Refusal` for what is over a limit.
    """

    def __init__(
        self, repository: MemoryRepository, *, branch: str = MAIN, author: str = AUTHOR, extract: Extract | None = None
    ) -> None:
        """Keep memories in `repository`, which the caller closes.

        Args:
            repository: the agent's memory.
            branch: the branch to read and write.
            author: whose commits they are.
            extract: makes facts of messages, for `add(infer=True)`; usually asks a model.
        """
        self.repository = repository
        self._branch = branch
        self._author = author
        self._extract = extract

    def add(
        self,
        messages: str | Message | Sequence[Message],
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expiration_date: Any = None,
        infer: bool = False,
    ) -> dict[str, Any]:
        """Keep each message as a memory, or with `infer` each fact that `extract` makes of them. One commit.

        Raises:
            ValueError: no scope, a message without role or content, a date that is none; `extract` gave no list of
                texts.
            Refusal: refused (`infer` without `extract`), invalid, too_large.
        """
        scope = filtering.scope({"user_id": user_id, "agent_id": agent_id, "run_id": run_id})
        last_day = records.expiration(expiration_date)
        facts = scope if last_day is None else {**scope, "expiration_date": last_day}
        kept = _metadata(metadata)
        said = _messages(messages)
        texts: list[tuple[str, dict[str, str]]]
        if infer:
            texts = [(text, {}) for text in self._extracted(said)]
        else:
            texts = [(message["content"], _speaker(message)) for message in said if message["role"] != "system"]
        made = [Record(str(uuid.uuid4()), text, {**facts, **speaker}, kept) for text, speaker in texts]
        self._commit(lambda _: [Put(record.to_memory()) for record in made], f"add {len(made)} memories")
        return {"results": [_added(record, infer) for record in made]}

    def search(
        self,
        query: str,
        *,
        top_k: int = DEFAULT_TOP_K,
        filters: Mapping[str, Any] | None = None,
        threshold: float | None = DEFAULT_THRESHOLD,
        show_expired: bool = False,
        **unknown: Any,
    ) -> dict[str, Any]:
        """The memories in scope that hold words of the query, best first, with a score of at least `threshold`.

        Raises:
            ValueError: no scope in `filters`, an empty query, a threshold that is not from 0 to 1, a bad filter.
            Refusal: too_large (`top_k` over 1,000).
        """
        filtering.reject_top_level(unknown, "search")
        scope, others = filtering.split(filters)
        if not isinstance(query, str) or not query.strip():
            raise ValueError("Invalid query: cannot be empty or whitespace-only.")
        least = DEFAULT_THRESHOLD if threshold is None else threshold
        if isinstance(least, bool) or not isinstance(least, int | float) or not 0 <= least <= 1:
            raise ValueError(f"Invalid threshold: {threshold}. Must be between 0 and 1 (inclusive).")
        limit = _limit(top_k)
        return self._read(
            lambda desk: {"results": desk.search(query, scope, others, limit, least, show_expired=show_expired)}
        )

    def get(self, memory_id: str) -> dict[str, Any] | None:
        """One memory; None when there is none."""
        return self._read(lambda desk: desk.shown(memory_id))

    def get_all(
        self,
        *,
        filters: Mapping[str, Any] | None = None,
        top_k: int = DEFAULT_TOP_K,
        show_expired: bool = False,
        **unknown: Any,
    ) -> dict[str, Any]:
        """The memories in scope, the one changed last first. Raises as `search`."""
        filtering.reject_top_level(unknown, "get_all")
        scope, others = filtering.split(filters)
        limit = _limit(top_k)
        return self._read(lambda desk: {"results": desk.listing(scope, others, limit, show_expired=show_expired)})

    def update(
        self,
        memory_id: str,
        text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expiration_date: Any = _UNSET,
        data: str | None = None,
    ) -> dict[str, str]:
        """Change a memory's text, its metadata key by key, or its last day; whose it is stays.

        Raises:
            ValueError: no such memory, or nothing to change.
        """
        text = data if text is None else text
        if text is None and metadata is None and expiration_date is _UNSET:
            raise ValueError("At least one of text, metadata, or expiration_date must be provided.")
        kept = _metadata(metadata)
        last_day = _UNSET if expiration_date is _UNSET else records.expiration(expiration_date)

        def changes(desk: Desk) -> list[Change]:
            found = desk.find(memory_id)
            if found is None:
                raise ValueError(f"Memory with id {memory_id} not found. Please provide a valid 'memory_id'")
            record, updated_at = found
            new = record.changed(text, kept, record.created_at or updated_at)
            return [Put((new if last_day is _UNSET else new.with_expiration(last_day)).to_memory())]

        self._commit(changes, f"update {memory_id}"[:200])
        return {"message": "Memory updated successfully!"}

    def delete(self, memory_id: str) -> dict[str, str]:
        """Delete a memory. Raises ValueError when there is none."""

        def changes(desk: Desk) -> list[Change]:
            if desk.find(memory_id) is None:
                raise ValueError(f"Memory with id {memory_id} not found")
            return [Delete(memory_id)]

        self._commit(changes, f"delete {memory_id}"[:200])
        return {"message": "Memory deleted successfully!"}

    def delete_all(
        self, user_id: str | None = None, agent_id: str | None = None, run_id: str | None = None
    ) -> dict[str, str]:
        """Delete the memories that belong to everybody named. Raises ValueError when nobody is."""
        scope = filtering.scope({"user_id": user_id, "agent_id": agent_id, "run_id": run_id})
        self._delete_all(scope)
        return {"message": "Memories deleted successfully!"}

    def history(self, memory_id: str) -> list[dict[str, Any]]:
        """Everything that happened to a memory on the branch, oldest first, also after it was deleted."""
        return self.repository.read(lambda repo: events.history(repo, self._branch, memory_id))

    def reset(self) -> None:
        """Delete every memory of this kind on the branch, whoever's it is."""
        self._delete_all({})

    def _read(self, look: Callable[[Desk], T]) -> T:
        now = self.repository.now()
        return self.repository.read(lambda repo: look(Desk(repo, self._branch, now)))

    def _commit(self, changes: Callable[[Desk], Sequence[Change]], message: str) -> int:
        def work(repo: Repository, now: Any) -> int:
            made = changes(Desk(repo, self._branch, now))
            if made:
                committing.commit(repo, self._branch, made, author=self._author, message=message, now=now)
            return len(made)

        return retried(lambda: self.repository.write(work))

    def _delete_all(self, scope: Mapping[str, str]) -> None:
        # Not whom it names: a message stays when what they said is erased.
        whose = " and ".join(f"one {name}" for name in scope) or "everybody"

        def changes(desk: Desk) -> list[Change]:
            return [Delete(name) for name in desk.ids(scope, CHANGES_MAX)]

        while self._commit(changes, f"delete all of {whose}") == CHANGES_MAX:
            continue

    def _extracted(self, messages: Sequence[Message]) -> Sequence[str]:
        if self._extract is None:
            raise Refusal(
                RefusalCode.REFUSED,
                "infer=True needs a model that makes facts of messages, and there is none",
                "give Memory(extract=…), or add(infer=False) to keep the messages as they are",
            )
        facts = self._extract(messages)
        if isinstance(facts, str) or not isinstance(facts, Sequence) or not all(map(_is_fact, facts)):
            raise ValueError(f"extract has to give a list of texts, none of them empty; it gave {facts!r:.80}")
        return facts


def _is_fact(fact: object) -> bool:
    return isinstance(fact, str) and bool(fact.strip())


class AsyncMemory:
    """The same calls from an event loop; each runs in a thread."""

    def __init__(
        self, repository: MemoryRepository, *, branch: str = MAIN, author: str = AUTHOR, extract: Extract | None = None
    ) -> None:
        """As `Memory`."""
        self._memory = Memory(repository, branch=branch, author=author, extract=extract)

    async def add(self, messages: str | Message | Sequence[Message], **arguments: Any) -> dict[str, Any]:
        """As `Memory.add`."""
        return await asyncio.to_thread(self._memory.add, messages, **arguments)

    async def search(self, query: str, **arguments: Any) -> dict[str, Any]:
        """As `Memory.search`."""
        return await asyncio.to_thread(self._memory.search, query, **arguments)

    async def get(self, memory_id: str) -> dict[str, Any] | None:
        """As `Memory.get`."""
        return await asyncio.to_thread(self._memory.get, memory_id)

    async def get_all(self, **arguments: Any) -> dict[str, Any]:
        """As `Memory.get_all`."""
        return await asyncio.to_thread(self._memory.get_all, **arguments)

    async def update(self, memory_id: str, *arguments: Any, **named: Any) -> dict[str, str]:
        """As `Memory.update`."""
        return await asyncio.to_thread(self._memory.update, memory_id, *arguments, **named)

    async def delete(self, memory_id: str) -> dict[str, str]:
        """As `Memory.delete`."""
        return await asyncio.to_thread(self._memory.delete, memory_id)

    async def delete_all(self, *arguments: Any, **named: Any) -> dict[str, str]:
        """As `Memory.delete_all`."""
        return await asyncio.to_thread(self._memory.delete_all, *arguments, **named)

    async def history(self, memory_id: str) -> list[dict[str, Any]]:
        """As `Memory.history`."""
        return await asyncio.to_thread(self._memory.history, memory_id)

    async def reset(self) -> None:
        """As `Memory.reset`."""
        await asyncio.to_thread(self._memory.reset)


def _messages(messages: str | Message | Sequence[Message]) -> list[Message]:
    said_alone = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    given = [said_alone] if isinstance(said_alone, Mapping) else said_alone
    if not isinstance(given, Sequence):
        raise ValueError("messages must be str, dict, or list[dict]")
    for message in given:
        said = isinstance(message, Mapping) and all(isinstance(message.get(part), str) for part in ("role", "content"))
        if not said:
            raise ValueError(f"a message needs a role and a content, both text: {message!r:.200}")
        if not message["content"].strip():
            raise ValueError("a message says nothing: no search would find it")
    return list(given)


def _speaker(message: Message) -> dict[str, str]:
    named = {"actor_id": str(message["name"])} if message.get("name") else {}
    return {**named, "role": message["role"]}


def _metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    given = dict(metadata or {})
    if taken := sorted(given.keys() & set(filtering.IDENTITIES)):
        raise ValueError(f"metadata cannot set {', '.join(taken)}: whose a memory is, the call itself says")
    return given


def _added(record: Record, infer: bool) -> dict[str, Any]:
    found = {"id": record.id, "memory": record.text, "event": "ADD"}
    if infer:
        return found
    return {**found, "actor_id": record.facts.get("actor_id"), "role": record.facts["role"]}


def _limit(top_k: int) -> int:
    if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 0:
        raise ValueError(f"Invalid top_k: {top_k}. Must be a non-negative integer.")
    return check_page(top_k, PAGE_MAX) if top_k else 0
