"""Answers a service's requests: its own verbs, `ready`, and those of its upkeep."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ValidationError

from thymos import subjects
from thymos.envelope import first_problem
from thymos.errors import Refusal, RefusalCode, ThymosError, TransientError
from thymos.kept_answers import Asked
from thymos.names import check_agent, check_tenant
from thymos.unit_of_work import Cause, ServiceStore, Transaction
from thymos.upkeep import UPKEEP, Upkeep

log = logging.getLogger(__name__)

READY = "ready"
REQUESTS_MAX = 64
"""Requests in hand; more are refused as `unavailable`, so that events have their turn."""
REPLY_TEXT_MAX = 2_000


@dataclass(frozen=True)
class Endpoint:
    """One verb of the service's requests. `answer(request, tx)` returns what goes into `data` of the reply."""

    verb: str
    request: type[BaseModel]
    answer: Callable[[Any, Transaction], Any]

    @property
    def reads(self) -> bool:
        """Whether it changes nothing: whoever may change something takes an idempotency key."""
        return "idempotency_key" not in self.request.model_fields


class Answers:
    """Answers requests. Every failure is part of the answer, so that the caller never waits in vain."""

    def __init__(
        self,
        store: ServiceStore,
        endpoints: Sequence[Endpoint],
        findings: Callable[[], Sequence[str]],
        upkeep: Upkeep,
    ) -> None:
        self._store = store
        self._upkeep = upkeep
        self._findings = findings
        self._endpoints = {endpoint.verb: endpoint for endpoint in endpoints}
        self._in_hand = 0

    def subjects(self) -> dict[str, str]:
        """Every verb, and the pattern of the subjects that it is asked on."""
        verbs = (READY, *UPKEEP, *self._endpoints)
        return {verb: subjects.request_subject(self._store.service, "*", "*", verb) for verb in verbs}

    async def answer(self, subject: str, body: bytes) -> bytes:
        """The reply to a request, whatever it is. Never raises."""
        if self._in_hand >= REQUESTS_MAX:
            return error_reply(Refusal(RefusalCode.UNAVAILABLE, f"{REQUESTS_MAX} requests are in hand", "try again"))
        self._in_hand += 1
        try:
            return await self._told(subject, body)
        finally:
            self._in_hand -= 1

    async def _told(self, subject: str, body: bytes) -> bytes:
        try:
            return await self._answer(subject, body)
        except Refusal as refusal:
            return error_reply(refusal)
        except TransientError as error:
            return error_reply(Refusal(RefusalCode.UNAVAILABLE, str(error), "try again"))
        except ValidationError as error:
            return error_reply(Refusal(RefusalCode.INVALID, first_problem(error)))
        except (ThymosError, ValueError) as error:
            return error_reply(Refusal(RefusalCode.INVALID, str(error)))
        except Exception as error:
            log.exception("%s: request %s failed", self._store.service, subject)
            return error_reply(Refusal(RefusalCode.UNAVAILABLE, f"internal error: {error}", "see the service's log"))

    async def _answer(self, subject: str, body: bytes) -> bytes:
        verb = subject.rsplit(".", 1)[-1]
        where = subjects.address(subject)
        for name, check in ((where.tenant, check_tenant), (where.agent, check_agent)):
            if name != subjects.WHOLE_SERVICE:
                check(name)
        if verb == READY:
            findings = self._findings()
            now = datetime.now(UTC).isoformat()
            return reply({"ready": not findings, "findings": findings, "time": now})
        if verb in UPKEEP:
            return reply(await self._upkeep.answer(verb, where, body))
        endpoint = self._endpoints[verb]
        request = endpoint.request.model_validate_json(body or b"{}")
        asked = _asked(where, verb, request)
        cause = Cause(f"request|{asked.key if asked else os.urandom(16).hex()}", where.tenant, where.agent)

        def work(tx: Transaction) -> bytes:
            return reply(endpoint.answer(request, tx))

        return await self._store.answer(cause, asked, work, reads=endpoint.reads)


def _asked(where: subjects.Address, verb: str, request: BaseModel) -> Asked | None:
    key = getattr(request, "idempotency_key", None)
    if not key:
        return None
    rest = request.model_dump_json(exclude={"idempotency_key"})
    return Asked("/".join((where.tenant, where.agent, verb, key)), hashlib.sha256(rest.encode()).hexdigest())


def reply(data: Any) -> bytes:
    """A positive answer. Raises Refusal when it would be larger than a message may be."""
    body = json.dumps({"ok": True, "data": data}, default=_jsonable, ensure_ascii=False).encode()
    if len(body) > subjects.MESSAGE_BYTES_MAX:
        raise Refusal(
            RefusalCode.TOO_LARGE,
            f"the answer would be {len(body)} bytes; a message holds at most {subjects.MESSAGE_BYTES_MAX}",
            "ask for fewer with `limit`, or page by page with `after`, where the request has them",
        )
    return body


def error_reply(refusal: Refusal) -> bytes:
    """A negative answer."""
    message, hint = refusal.message[:REPLY_TEXT_MAX], refusal.hint[:REPLY_TEXT_MAX]
    error = {"code": refusal.code.value, "message": message, "hint": hint}
    return json.dumps({"ok": False, "error": error}).encode()


def _jsonable(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} cannot be part of an answer")
