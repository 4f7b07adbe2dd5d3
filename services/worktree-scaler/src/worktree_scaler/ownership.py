"""One scaler per data folder: two would start everything twice.

The lock is the operating system's: it ends with the process that holds it, however that ends, and no agent
inherits it.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

ATTEMPT_SECONDS = 0.25


class Ownership:
    """The right to run the agents of a data folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether it is ours now."""
        return self._descriptor is not None

    @property
    def place(self) -> str:
        """Which folder this is, on this machine: another one for every copy of it. Only while it is ours."""
        if self._descriptor is None:
            raise RuntimeError("the folder is not ours")
        status = os.fstat(self._descriptor)
        return f"{status.st_dev:x}-{status.st_ino:x}"

    def try_acquire(self) -> bool:
        """Take it if nobody has it. Raises OSError when the file cannot be opened."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    async def acquire(self) -> None:
        """Wait until it is ours."""
        said = False
        while not self.try_acquire():
            if not said:
                log.warning("worktree-scaler: another scaler runs the agents of %s; waiting", self._path.parent)
                said = True
            await asyncio.sleep(ATTEMPT_SECONDS)

    def release(self) -> None:
        """Give it up."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
