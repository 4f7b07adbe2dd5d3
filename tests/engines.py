"""Which engine the tests of stores run on, and how many random examples that leaves time for."""

import os

ENGINE = os.environ.get("THYMOS_TEST_ENGINE", "sqlite")


def examples(count: int) -> int:
    """So many on SQLite; fewer where every statement goes to a server and back."""
    return count if ENGINE == "sqlite" else max(1, count // 8)
