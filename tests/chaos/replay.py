"""The replay of the event log, as `thymos replay --verify` makes it."""

from thymos.audit import verify_log
from thymos.bus import Bus


async def differences(bus: Bus) -> list[str]:
    """What differs when every decision is computed anew. A log in which nothing could be compared differs, too."""
    report = await verify_log(bus)
    found = [] if report.identical else [str(problem) for problem in report.problems] or ["not identical"]
    if not report.decisions:
        found.append("no decision was computed again")
    if not report.checked:
        found.append("no event lies under a seal that holds")
    return found
