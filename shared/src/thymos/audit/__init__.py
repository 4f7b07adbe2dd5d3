"""The event log as something to rely on: sealed while it grows, exported, replayed, verified, explained.

    record.py         one event of the log as bytes, its line in a file, its hash
    chain.py          the chain of seals: what is sealed next
    sealer.py         publishes the seals (runs in decision-engine)
    closing.py        how an exported file ends
    reading.py        records of the live log or of a file
    verification.py   the fold that compares; seal_check.py for the seals, recomputation.py for decisions
                      missing.py and broken_lines.py for what is not there, or cannot be read
    verify.py         `verify_log`, `verify_file`

Everything that is in an event is covered: sequence, time, subject, message id and body. What that proves, and what it
does not, stands in docs/audit.md.
"""

from thymos.audit.record import LogRecord as LogRecord
from thymos.audit.report import Difference as Difference
from thymos.audit.report import Problem as Problem
from thymos.audit.report import Report as Report
from thymos.audit.verify import verify_file as verify_file
from thymos.audit.verify import verify_log as verify_log
