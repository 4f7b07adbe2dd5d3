"""What every request and every answer is built on."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from thymos.message import Id

PAGE_MAX = 1_000
SKIP_MAX = 1_000_000


class Request(BaseModel):
    """Base of every request; unknown fields are an error here, so that a misspelt option is not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class WriteRequest(Request):
    """Base of the requests that change something."""

    idempotency_key: Id | None = None


class Answer(BaseModel):
    """Base of what is answered."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


Ref = Annotated[str, Field(min_length=1, max_length=200)]
"""A branch, a tag, a snapshot, or a commit id (or a prefix of at least 8 characters); `~3`, `^2`, `@{2h}` behind it."""
Limit = Annotated[int, Field(ge=1, le=PAGE_MAX)]
Skip = Annotated[int, Field(ge=0, le=SKIP_MAX)]
"""How many of the newest are left out: those of the pages before."""


After = Annotated[str, Field(min_length=1, max_length=300)]
"""What the page before said in `next_after`: the last name or id on it."""


class Nothing(Request):
    """A request without parameters."""
