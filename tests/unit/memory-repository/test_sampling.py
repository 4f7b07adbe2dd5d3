"""Which branches the service reports as moved."""

from datetime import timedelta
from typing import Any

from memory_repository import Memory, MemoryRepository, Put, Retention
from memory_repository.sampling import MemoryUse
from thymos.telemetry import MemorySampled


class Reports:
    """A transaction that takes what is published."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.told: list[tuple[str, int]] = []

    def publish(self, sample: MemorySampled, **_: str) -> None:
        self.told.append((sample.branch, sample.memories_stored))


def reported(use: MemoryUse, memory: MemoryRepository) -> list[tuple[str, int]]:
    def report(repo: Any) -> list[tuple[str, int]]:
        reports: Any = Reports(repo.db)
        use.report(reports)
        told: list[tuple[str, int]] = reports.told
        return told

    return memory.read(report)


def test_a_branch_is_told_of_once_after_it_moved(memory: MemoryRepository) -> None:
    use = MemoryUse()
    memory.commit([Put(Memory("a", "1"))])
    assert reported(use, memory) == [], "what was there when the service began is known"
    memory.commit([Put(Memory("b", "1"))])
    memory.create_branch("idea")
    assert sorted(reported(use, memory)) == [("idea", 2), ("main", 2)]
    assert reported(use, memory) == []


def test_a_branch_whose_commits_got_the_numbers_of_dropped_ones_has_moved(memory: MemoryRepository) -> None:
    use = MemoryUse()
    memory.commit([Put(Memory("a", "1"))])
    memory.create_branch("x")
    for number in range(5):
        memory.commit([Put(Memory("b", f"{number}"))], branch="x")
    reported(use, memory)
    memory.delete_branch("x", force=True)
    memory.gc(Retention(reflog_age=timedelta(0)))
    for number in range(5):
        memory.commit([Put(Memory(f"m{number}", "1"))])
    assert reported(use, memory) == [("main", 6)]
