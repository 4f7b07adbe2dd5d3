"""Answers that come in pages, as one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import BaseModel

Q = TypeVar("Q", bound=BaseModel)
A = TypeVar("A", bound=BaseModel)


async def whole(ask: Callable[[Q], Awaitable[A]], request: Q, *lists: str) -> A:
    """The answer to a request with all of its pages: the last one, with these lists of all of them.

    Each page begins after the `next_after` of the one before. Where a page says as of which commit it is, and the
    request names a ref, the others are asked for at that commit: a branch may move meanwhile.
    """
    page: Any = await ask(request)
    found = {name: list(getattr(page, name)) for name in lists}
    while page.next_after is not None:
        further = {"after": page.next_after}
        commit = getattr(page, "commit", None)
        if commit and "ref" in type(request).model_fields:
            further["ref"] = getattr(commit, "commit", commit)
        page = await ask(request.model_copy(update=further))
        for name, items in found.items():
            items += getattr(page, name)
    answer: A = page.model_copy(update={**found, "truncated": False})
    return answer
