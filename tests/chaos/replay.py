"""The replay of the event log, as `thymos replay --verify` makes it."""

import importlib
import importlib.util

from thymos.bus import Bus

AUDIT = "thymos.audit"


async def differences(bus: Bus) -> list[str] | None:
    """What differs when every decision is computed anew; None where the replay is not installed."""
    verify_log = (
        getattr(importlib.import_module(AUDIT), "verify_log", None) if importlib.util.find_spec(AUDIT) else None
    )
    if verify_log is None:
        return None
    report = await verify_log(bus)
    return [] if report.identical else [str(problem) for problem in report.problems] or ["not identical"]
