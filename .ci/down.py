"""`.ci/down.py FOLDER`: stops the `thymos up` that uses a data folder, and waits until it has ended."""

import contextlib
import fcntl
import os
import signal
import sys
from pathlib import Path

from thymos.data_folder import LOCK

lock = Path(sys.argv[1]) / LOCK
if not lock.exists():
    raise SystemExit(0)
with lock.open("r") as held:
    try:
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(held.read()), signal.SIGTERM)
        fcntl.flock(held, fcntl.LOCK_SH)  # free once it has stopped its services
