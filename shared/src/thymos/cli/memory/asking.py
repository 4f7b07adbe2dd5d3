"""Requests to memory-repository from the command line."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from thymos.cli.options import agent_name

if TYPE_CHECKING:
    from thymos.cli.options import Where

Q = TypeVar("Q", bound=BaseModel)
A = TypeVar("A", bound=BaseModel)


async def ask(where: Where, agent: str, verb: str, request: BaseModel, answer: type[A]) -> A:
    """One request on a connection of its own.

    Raises:
        UsageError: `agent` is no name.
        Refusal: the repository says no.
        UnavailableError: nobody answers.
    """
    from thymos import subjects

    name = agent_name(agent)
    async with where.client() as client:
        return await client.ask_as(answer, subjects.MEMORY_REPOSITORY, name, verb, request)


async def ask_all(where: Where, agent: str, verb: str, request: Q, answer: type[A], *lists: str) -> A:
    """All pages of an answer, as one with these lists of all of them. Raises as `ask`."""
    from thymos.paging import whole

    return await whole(lambda asked: ask(where, agent, verb, asked, answer), request, *lists)


def key() -> str:
    """An idempotency key: a request that is made again has its effect once."""
    return str(uuid.uuid4())
