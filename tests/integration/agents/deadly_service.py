"""A service whose handler ends the process: `python deadly_service.py NATS_URL DATABASE`."""

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from thymos import nats_bus, subjects
from thymos.envelope import Envelope
from thymos.message import Message
from thymos.service import Route, Service, run
from thymos.unit_of_work import ServiceStore, Transaction

DIES_WITH = 9
CONSUMER = replace(
    subjects.consumer(subjects.MEMORY_REPOSITORY, subjects.COMMANDS), deliver_max=1, ack_wait=timedelta(seconds=1)
)
"""As in production, but given up sooner."""


def die(envelopes: Sequence[Envelope[Message]] | Envelope[Message], tx: Transaction) -> None:
    """What a bug in a library written in C does."""
    del envelopes, tx
    os._exit(DIES_WITH)


async def main(url: str, database: str) -> None:
    """Run until killed, or until a message does it."""
    store = ServiceStore(Path(database), CONSUMER.service)
    bus = await nats_bus.connect(url, "deadly")
    await bus.ensure_consumer(CONSUMER)
    await run(Service(CONSUMER.service, store, [Route(CONSUMER, die)]), bus, asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
