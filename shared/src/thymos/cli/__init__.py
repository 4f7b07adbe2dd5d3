"""The command line `thymos`: `main` finds the verb, runs it, and turns what went wrong into one line and an exit code.

To add a verb: write `register(app)` in a module of this package named by its noun, and name the module in
`verbs.BUILT_IN`. A service contributes its own under the entry point group `thymos.verbs`. Only the modules that a
command line needs are imported, so that each verb starts quickly.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

DEBUG = "THYMOS_DEBUG"
GLOBAL_OPTIONS = ("--nats", "--tenant", "--config")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit. `argv` is without the program's name; None: the process's own."""
    tokens = _options_last(list(sys.argv[1:] if argv is None else argv))
    try:
        code = run(tokens)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def run(tokens: list[str]) -> int:
    """Run one command line; the exit code. Every error ends here, as one line on stderr."""
    from thymos.cli import exit_codes, verbs

    try:
        result = verbs.app_for(tokens)(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except SystemExit as end:  # a verb that minds its own exit code
        return end.code if isinstance(end.code, int) else exit_codes.FAILED
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001  (whatever it is, it ends here)
        return _told(error)
    return result if isinstance(result, int) else exit_codes.DONE


def _told(error: Exception) -> int:
    """Say what is wrong; the exit code. A bug is one line, too, and a traceback for whoever asks."""
    from cyclopts import CycloptsError
    from pydantic import ValidationError

    from thymos.cli import exit_codes, verbs
    from thymos.cli.output import say
    from thymos.envelope import first_problem
    from thymos.errors import ConfigError, ThymosError

    match error:
        case CycloptsError():
            words, code = verbs.told(error), exit_codes.USAGE
        case ValidationError():
            words, code = first_problem(error).replace("Value error, ", ""), exit_codes.USAGE
        case ConfigError():
            words, code = str(error), exit_codes.of_error(error)
        case ThymosError():
            words, code = " ".join(str(error).split("\n")), exit_codes.of_error(error)
        case _:
            if os.environ.get(DEBUG):
                raise error
            words = f"internal error: {type(error).__name__}: {error} ({DEBUG}=1 shows the traceback)"
            words, code = " ".join(words.split("\n")), exit_codes.FAILED
    for line in words.splitlines():  # a configuration has a line for each of its problems
        say(f"thymos: {line}")
    return code


def _options_last(tokens: list[str]) -> list[str]:
    """Options of every verb may stand before it: `thymos --nats URL watch` is `thymos watch --nats URL`."""
    moved: list[str] = []
    while tokens:
        name = tokens[0].split("=", 1)[0]
        if tokens[0] == "--json" or (name in GLOBAL_OPTIONS and "=" in tokens[0]):
            moved.append(tokens.pop(0))
        elif name in GLOBAL_OPTIONS and len(tokens) > 1:
            moved += [tokens.pop(0), tokens.pop(0)]
        else:
            break
    end = tokens.index("--") if "--" in tokens else len(tokens)
    return [*tokens[:end], *moved, *tokens[end:]]
