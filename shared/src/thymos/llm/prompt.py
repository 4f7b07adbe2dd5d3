"""What a model is asked, and how much of it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PROMPT_BYTES_MAX = 512 * 1024
"""A longer prompt is not sent."""
ANSWER_BYTES_MAX = 1024 * 1024
"""A longer answer is not read."""


@dataclass(frozen=True)
class Prompt:
    """What a model is asked: `system` says what to do, `user` what to do it with."""

    system: str
    user: str

    @property
    def size(self) -> int:
        """Bytes of both."""
        return len(self.system.encode()) + len(self.user.encode())

    def digest(self, schema: Mapping[str, Any]) -> str:
        """Names the question for the record, together with the schema of the answer: 64 hex digits."""
        facts = json.dumps([self.system, self.user, schema], sort_keys=True)
        return hashlib.sha256(facts.encode()).hexdigest()
