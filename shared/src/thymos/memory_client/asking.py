"""How memory-repository is asked: once, or patiently."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from thymos import requests as r
from thymos import subjects
from thymos.client import Client
from thymos.envelope import first_problem
from thymos.errors import Refusal, RefusalCode, UnavailableError
from thymos.paging import whole

A = TypeVar("A", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)
Seen = Callable[[str, Sequence[str]], None]
"""Told of every read: the commit it saw, and the ids it recalled."""
ATTEMPT = timedelta(seconds=3)
AGAIN_SECONDS = 0.2
"""One attempt of a patient client, and the pause before the next."""


class Asking:
    """The memory of one agent, as seen from one branch. `connected` gives the client when it is first needed.

    With `patience` a request is made again, for so long, while memory-repository does not answer, as when it is started
    anew; a write carries a key then, so that it is carried out once. Without, each request is made once.

    Every method raises Refusal (the repository says no, with a hint) or UnavailableError (nobody answers).
    """

    def __init__(
        self,
        connected: Callable[[], Awaitable[Client]],
        agent: str,
        branch: str = "main",
        author: str = "",
        seen: Seen | None = None,
        patience: timedelta | None = None,
    ) -> None:
        self._connected = connected
        self.agent = agent
        self.branch = branch
        self._author = author or agent
        self._seen = seen
        self._patience = patience

    async def _ask(self, answer: type[A], verb: str, request: Callable[[], r.Request]) -> A:
        asked = built(request)
        client = await self._connected()
        try:
            data = await self._answer(client, verb, asked)
        except PydanticSerializationError as error:
            raise Refusal(RefusalCode.INVALID, f"{verb}: this is no text: {error}") from error
        try:
            return answer.model_validate(data)
        except ValidationError as error:
            raise UnavailableError(f"{verb}: the answer cannot be read: {first_problem(error)}") from error

    async def _all(self, answer: type[A], verb: str, request: Callable[[], r.Request], *lists: str) -> A:
        """All pages of an answer, as one with these lists of all of them."""
        return await whole(lambda asked: self._ask(answer, verb, lambda: asked), built(request), *lists)

    async def _answer(self, client: Client, verb: str, request: r.Request) -> Any:
        if self._patience is None:
            return await client.ask(subjects.MEMORY_REPOSITORY, self.agent, verb, request)
        if isinstance(request, r.WriteRequest) and request.idempotency_key is None:
            request = request.model_copy(update={"idempotency_key": str(uuid.uuid4())})
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience.total_seconds()
        while True:
            try:
                return await client.ask(subjects.MEMORY_REPOSITORY, self.agent, verb, request, ATTEMPT)
            except (Refusal, UnavailableError) as error:
                if not _is_away(error) or clock() + AGAIN_SECONDS > deadline:
                    raise
            await asyncio.sleep(AGAIN_SECONDS)

    def _note(self, commit: str | None, ids: Sequence[str]) -> None:
        if self._seen is not None and commit is not None:
            self._seen(commit, ids)


def _is_away(error: Refusal | UnavailableError) -> bool:
    return isinstance(error, UnavailableError) or error.code == RefusalCode.UNAVAILABLE


def built(build: Callable[[], B]) -> B:
    """A request, or what is part of one. Raises Refusal when the caller's values are out of bounds."""
    try:
        return build()
    except ValidationError as error:
        raise Refusal(RefusalCode.INVALID, first_problem(error)) from error
