"""The base of every table of the configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen table: an unknown key in it is an error, an absent key has its default."""

    model_config = ConfigDict(frozen=True, extra="forbid")
