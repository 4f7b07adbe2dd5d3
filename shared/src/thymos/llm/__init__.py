"""A language model, as the suite knows one: a question in, a text out, within limits.

What a model says is never obeyed: whoever asks validates the answer against what was asked, and has something to do
without it. `prompt.py` says what a question is; `chat.py` is the one implementation, for servers that speak the chat
completions of OpenAI's API; `configured.py` makes it from `[llm]` of the configuration.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from thymos.errors import ThymosError
from thymos.llm.prompt import Prompt as Prompt


class Model(Protocol):
    """A language model."""

    @property
    def name(self) -> str:
        """Its name, for the record."""
        ...

    async def complete(self, prompt: Prompt, schema: Mapping[str, Any]) -> str:
        """The model's answer to a prompt, which should be JSON that follows `schema`.

        Raises:
            ModelError: there is no answer: in time, of that size, or at all. The text says why, in one line.
        """
        ...


class ModelError(ThymosError):
    """The model gives no answer."""
