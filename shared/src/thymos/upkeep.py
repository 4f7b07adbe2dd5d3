"""Requests that every service answers for those who look after it: `retry` a dead letter, `backup` the store.

Both are of one version with the service: they are no part of the published contract.
"""

import asyncio
import base64
import binascii
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from thymos import subjects
from thymos.backup.copies import Copies
from thymos.backup.requests import BackupRequest
from thymos.bus import CONTENT_TYPE_HEADER, Stored
from thymos.dead_letters_retry import RetryAnswer, RetryMessage
from thymos.envelope import first_problem
from thymos.errors import PoisonError, Refusal, RefusalCode, TransientError

log = logging.getLogger(__name__)

RETRY = "retry"
BACKUP = "backup"
UPKEEP = (RETRY, BACKUP)

Again = Callable[[Stored], Awaitable[None]]
"""Handles a message as a delivery of the service's own consumer would be. Raises what the handler raises."""


class Upkeep:
    """Answers them for one service.

    Args:
        again: by the stream that the service reads, how a message of it is handled.
        copies: of the service's store.
    """

    def __init__(self, service: str, again: Mapping[str, Again], copies: Copies) -> None:
        self._service = service
        self._again = again
        self._copies = copies

    async def answer(self, verb: str, where: subjects.Address, body: bytes) -> Any:
        """The answer's `data`. Raises Refusal, TransientError, ValidationError."""
        if verb == RETRY:
            return await self._retry(RetryMessage.model_validate_json(body), where.tenant)
        if where.tenant != subjects.WHOLE_SERVICE:
            raise Refusal(RefusalCode.INVALID, f"a backup is of the whole service: ask as {subjects.WHOLE_SERVICE!r}")
        return await self._copies.answer(BackupRequest.model_validate_json(body))

    async def _retry(self, request: RetryMessage, tenant: str) -> RetryAnswer:
        """Handle a message that was given up once more. The inbox knows it if it was handled meanwhile."""
        again = self._again.get(request.stream)
        if again is None:
            raise Refusal(RefusalCode.REFUSED, f"{self._service} reads nothing of {request.stream}")
        if _tenant_of(request.subject) != tenant:
            raise Refusal(RefusalCode.REFUSED, f"{request.subject} is not of tenant {tenant}")
        headers = {CONTENT_TYPE_HEADER: request.content_type} if request.content_type else {}
        try:
            body = base64.b64decode(request.original, validate=True)
            await again(Stored(request.subject, body, 0, datetime.now(UTC), headers))
        except (TransientError, Refusal, asyncio.CancelledError):
            raise
        except binascii.Error as error:
            raise Refusal(RefusalCode.INVALID, f"original: {error}") from error
        except Exception as error:
            bug = not isinstance(error, PoisonError | ValidationError)
            log.log(logging.ERROR if bug else logging.WARNING, "%s: retry on %s failed: %s", self._service,
                    request.subject, error, exc_info=error if bug else None)  # fmt: skip
            words = first_problem(error) if isinstance(error, ValidationError) else str(error)
            raise Refusal(RefusalCode.REFUSED, f"it failed again: {type(error).__name__}: {words}"[:2000]) from error
        return RetryAnswer(handled=True)


def _tenant_of(subject: str) -> str | None:
    try:
        return subjects.address(subject).tenant
    except ValueError:
        return None
