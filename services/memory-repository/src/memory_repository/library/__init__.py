"""The repository as a library, without a bus: `MemoryRepository.open("sqlite:///memory.db")`.

    with MemoryRepository.open("sqlite:///memory.db", agent="support") as memory:
        memory.commit([Put(Memory("refunds", "A refund takes thirty days."))], message="what we know")
        memory.create_branch("idea")
        memory.commit([Modify("refunds", fields={"keywords": ["reimbursement"]})], branch="idea")
        memory.merge("idea", "main", Strategy.MANUAL)
        print(memory.search("when is my reimbursement due").hits)

Each call is one transaction, on disk when it returns. A repository may be used from several threads: calls take
turns. From an event loop, run a call with `asyncio.to_thread`. The time comes from `clock`, the author from `author`.
"""

from memory_repository.library.merging import Merging
from memory_repository.library.reading import Reading
from memory_repository.library.transfer import Transfer
from memory_repository.library.upkeep import Upkeep
from memory_repository.library.worktrees import Worktrees
from memory_repository.library.writing import Writing


class MemoryRepository(Reading, Writing, Merging, Worktrees, Transfer, Upkeep):
    """One agent's versioned memory in an SQLite file or in PostgreSQL. See the module for an example.

    Every method raises `thymos.errors.Refusal` for an expected "no", with a code and a hint. When the store cannot be
    used it raises sqlite3.Error, or with PostgreSQL `thymos.errors.StoreUnavailableError` (docs/postgresql.md).
    """
