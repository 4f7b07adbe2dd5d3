"""Asks a model about the merges that wait for one, beside everything else that the service does.

What waits is found in the store, and so it is found again after a kill. The model is asked between transactions. Every
way in which it may fail ends with a person: the merge stays, and says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from memory_repository import announcing, merge_orders
from memory_repository.core.merge import MergeState
from memory_repository.core.resolution import MODEL_PREFIX
from memory_repository.operations import auto_merging, kept_merges
from memory_repository.operations.auto_merging import Answered, Asked
from memory_repository.operations.kept_merges import KeptMerge
from memory_repository.storage import open_merges as rows
from memory_repository.storage.store import Repository, find_repository
from thymos.bus import Bus
from thymos.errors import Refusal, TransientError
from thymos.llm import Model, ModelError
from thymos.unit_of_work import Cause, ServiceStore, Transaction

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK_SECONDS = 0.5
"""Between two looks for merges that wait, while none does."""
TOGETHER_MAX = 4
"""Merges that the model is asked about at the same time."""
TICK = "auto-merge"


class AutoMerge:
    """Decides waiting merges for one service. Without a model those that still wait for one are left to a person."""

    def __init__(self, store: ServiceStore, model: Model | None) -> None:
        self._store = store
        self._model = model

    async def run(self, bus: Bus) -> None:
        """Go on until cancelled; without a model, until none waits."""
        del bus
        said = ""
        while True:
            try:
                worked = await self.step()
                said = ""
            except TransientError as error:
                worked = False
                if said != str(error):
                    said = str(error)
                    log.warning("merges that wait for a model: %s", said)
            if not worked:
                if self._model is None and not said:
                    return
                await asyncio.sleep(LOOK_SECONDS)

    async def step(self) -> bool:
        """Decide the oldest merges that wait; False when there is none. Raises TransientError."""
        waiting = await self._store.tick(TICK, _waiting)
        await asyncio.gather(*(self._settle(*each) for each in waiting))
        return bool(waiting)

    async def _settle(self, tenant: str, agent: str, merge_id: str) -> None:
        try:
            await self._decide(tenant, agent, merge_id)
        except TransientError:
            raise
        except (Refusal, ModelError) as error:
            await self._left(tenant, agent, merge_id, str(error))
        except Exception as error:
            log.exception("%s/%s: the merge %s failed", tenant, agent, merge_id)
            await self._left(tenant, agent, merge_id, f"an internal error: {type(error).__name__}")

    async def _decide(self, tenant: str, agent: str, merge_id: str) -> None:
        model = self._model
        if model is None:
            raise ModelError(merge_orders.NO_MODEL)

        def ask(tx: Transaction) -> tuple[KeptMerge, Asked]:
            repo = find_repository(tx.connection, tenant, agent)
            return kept_merges.find(repo, merge_id), auto_merging.ask(repo, merge_id)

        kept, asked = await self._store.tick(TICK, ask)
        decided = await auto_merging.decided_by(model, asked)

        def answer(tx: Transaction, repo: Repository) -> None:
            result = auto_merging.answer(repo, asked, decided, model=model.name, now=tx.now)
            _announce(tx, repo, kept, result, f"{MODEL_PREFIX}{model.name}", sorted(decided))

        await self._written(tenant, agent, kept, answer)

    async def _left(self, tenant: str, agent: str, merge_id: str, reason: str) -> None:
        def find(tx: Transaction) -> KeptMerge:
            return kept_merges.find(find_repository(tx.connection, tenant, agent), merge_id)

        def leave(tx: Transaction, repo: Repository) -> None:
            left = auto_merging.leave_to_person(repo, merge_id, reason)
            if left is not None:
                announcing.publish_kept(tx, repo, merge_orders.command_of(left), left)

        try:
            kept = await self._store.tick(TICK, find)
        except Refusal:
            return  # it was aborted meanwhile
        await self._written(tenant, agent, kept, leave)

    async def _written(
        self, tenant: str, agent: str, kept: KeptMerge, work: Callable[[Transaction, Repository], None]
    ) -> None:
        """One transaction, as the answer to what the merge was ordered by."""
        known = kept.meta["cause"]
        key = f"{TICK}|{tenant}/{agent}|{kept.id}|{kept.revision}"
        cause = Cause(
            key, tenant, agent, known.get("message_id"), known.get("correlation_id"), known.get("traceparent")
        )

        def whole(tx: Transaction) -> bytes:
            work(tx, find_repository(tx.connection, tenant, agent))
            return b""

        await self._store.answer(cause, None, whole)


def _announce(
    tx: Transaction, repo: Repository, before: KeptMerge, result: Answered, by: str, memory_ids: list[str]
) -> None:
    if result.merge is not None:
        merge_orders.announce(tx, repo, before, result.merge, by)
    elif result.kept is not None:
        announcing.publish_resolved(tx, result.kept, memory_ids, by)
        if result.kept.state is not MergeState.AWAITING_MODEL:
            announcing.publish_kept(tx, repo, merge_orders.command_of(result.kept), result.kept)


def _waiting(tx: Transaction) -> list[tuple[str, str, str]]:
    return rows.first_in_state(tx.connection, MergeState.AWAITING_MODEL, TOGETHER_MAX)
