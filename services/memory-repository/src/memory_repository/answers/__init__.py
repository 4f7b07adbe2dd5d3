"""What the service answers: one short function per verb of `thymos.request.memory-repository.<tenant>.<agent>.<verb>`.

A retry with the same `idempotency_key` gets the first answer again (thymos.unit_of_work), so that nothing here has to.
"""

from memory_repository.answers import (
    declaring,
    merging,
    names,
    reading,
    searching,
    tracing,
    transfer,
    transplanting,
    upkeep,
    writing,
)
from memory_repository.answers.searching import Stopwatch
from memory_repository.core.retention import Retention
from memory_repository.embedders import Embedder
from memory_repository.sampling import MemoryUse
from thymos.service import Endpoint

_GROUPS = (reading, writing, names, tracing, transplanting, transfer, upkeep, declaring)


def endpoints(
    retention: Retention, embedder: Embedder | None, use: MemoryUse, stopwatch: Stopwatch, *, asks_model: bool = False
) -> tuple[Endpoint, ...]:
    """Every verb, as `build` serves them; with `asks_model` what collides in an AutoMerge waits for a model."""
    return (
        *(endpoint for group in _GROUPS for endpoint in group.ENDPOINTS),
        *merging.endpoints(asks_model=asks_model),
        searching.endpoint(embedder, use, stopwatch),
        upkeep.gc_endpoint(retention),
    )
