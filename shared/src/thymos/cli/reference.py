"""The reference documentation of the command line, written from the verbs.

python -m thymos.cli.reference > docs/reference/cli.md
"""

from __future__ import annotations

import sys

from thymos.cli.verbs import EPILOGUE, app_for

INTRODUCTION = f"""\
<!-- Generated from the verbs in shared/src/thymos/cli by `python -m thymos.cli.reference`. -->

# The command line: `thymos`

Data goes to standard output, everything else to standard error. `--json` prints data as JSON. {EPILOGUE}

"""


def reference() -> str:
    """The page, as Markdown."""
    pages = app_for(()).generate_docs(output_format="markdown", heading_level=1)
    _, _, verbs = pages.partition("## Table of Contents")
    return INTRODUCTION + "## Table of Contents" + verbs.rstrip() + "\n"


if __name__ == "__main__":
    sys.argv[0] = "thymos"  # else usage lines name this module
    sys.stdout.write(reference())
