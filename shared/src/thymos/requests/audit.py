"""The request about the event log: sealing it now.

It concerns the whole log, of all tenants: tenant and agent in the subject may be `_`.
"""

from typing import Annotated

from pydantic import Field

from thymos.message import Count
from thymos.requests.base import Answer, Nothing


class SealLog(Nothing):
    """`seal` of decision-engine: seal the events stored by now, without waiting for more; answered by `LogSealed`."""


class LogSealed(Answer):
    """Where the chain of seals stands: the newest seal's own sequence (0: there is none), up to which event it and
    those before it cover the log, and its hash. Later events are seals, or came later."""

    sequence: Count
    to_sequence: Count
    hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
