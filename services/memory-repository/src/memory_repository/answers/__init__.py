"""What the service answers: one short function per verb of `thymos.request.memory-repository.<tenant>.<agent>.<verb>`.

A retry with the same `idempotency_key` gets the first answer again (thymos.unit_of_work), so that nothing here has to.
"""

from memory_repository.answers import names, reading, searching, tracing, transfer, transplanting, upkeep, writing
from memory_repository.answers.searching import Stopwatch
from memory_repository.core.retention import Retention
from memory_repository.embedders import Embedder
from memory_repository.sampling import MemoryUse
from thymos.service import Endpoint

_GROUPS = (reading, writing, names, tracing, transplanting, transfer, upkeep)


def endpoints(
    retention: Retention, embedder: Embedder | None, use: MemoryUse, stopwatch: Stopwatch
) -> tuple[Endpoint, ...]:
    """Every verb, as `build` serves them."""
    return (
        *(endpoint for group in _GROUPS for endpoint in group.ENDPOINTS),
        searching.endpoint(embedder, use, stopwatch),
        upkeep.gc_endpoint(retention),
    )
