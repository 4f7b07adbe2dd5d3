"""Whether a file holds memories as they were written: what a restore asks before it says that it worked."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from memory_repository.operations.verify import verify
from memory_repository.storage.store import Repository
from thymos.database import open_sqlite


def problems(database: Path) -> Sequence[str]:
    """What is wrong with each repository of a store, recomputed from its first commit on; nothing when all is well.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    found: list[str] = []
    with contextlib.closing(open_sqlite(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT repo_id, tenant, agent, key FROM repository ORDER BY repo_id").fetchall()
        for repo_id, tenant, agent, key in rows:
            checked = verify(Repository(connection, repo_id, tenant, agent, key))
            found += [f"{tenant}/{agent}: {problem}" for problem in checked.problems]
    return found
