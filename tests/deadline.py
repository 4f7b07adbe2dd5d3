"""How long a test waits for what has to happen."""

from typing import Final

DEADLINE_SECONDS: Final = 120.0
"""Only a test that fails waits so long; on a machine that is busy otherwise, others wait for a while."""
