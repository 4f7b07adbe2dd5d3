"""What the service answers: one short function per verb of `thymos.request.memory-repository.<tenant>.<agent>.<verb>`.

A retry with the same `idempotency_key` gets the first answer again (thymos.unit_of_work), so that nothing here has to.
"""

from memory_repository.answers import names, reading, tracing, transfer, transplanting, writing

ENDPOINTS = tuple(
    endpoint for group in (reading, writing, names, tracing, transplanting, transfer) for endpoint in group.ENDPOINTS
)
"""Every verb, as `build` serves them."""
