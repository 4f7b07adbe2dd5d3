"""How the story is shown: a live view on a terminal, plain lines elsewhere, nothing but JSON with `--json`."""

import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from thymos.cli.output import cell

FACTS_SHOWN_MAX = 14
REFRESH_PER_SECOND = 8


class PlainScreen:
    """One line per stage and fact, on stderr: for logs and for `--json`. Progress is left out."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def _line(self, text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - self._began:5.1f} s  {text}\n")
        sys.stderr.flush()

    def stage(self, number: int, title: str) -> None:
        self._line(f"[{number}] {title}")

    def progress(self, text: str) -> None:
        """A line that would be replaced at once is not worth writing."""

    def fact(self, text: str) -> None:
        self._line(f"    {text}")

    def graph(self, lines: list[str]) -> None:
        """A picture that is redrawn in place is not for a log."""

    def __enter__(self) -> "PlainScreen":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put away."""


class LiveScreen:
    """Stages, the latest facts, and what is going on, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._began = time.monotonic()
        self._stages: list[str] = []
        self._facts: list[str] = []
        self._graph: list[str] = []
        self._now = "starting NATS and the four services"
        self._live = Live(get_renderable=self._draw, console=console, refresh_per_second=REFRESH_PER_SECOND)

    def stage(self, number: int, title: str) -> None:
        self._stages.append(f"{number}  {title}")
        self._now = ""

    def progress(self, text: str) -> None:
        self._now = text

    def fact(self, text: str) -> None:
        self._facts.append(f"{time.monotonic() - self._began:5.1f} s  {text}")

    def graph(self, lines: list[str]) -> None:
        self._graph = lines

    def _draw(self) -> Group:
        done = [Text(f"✓ {line}", style="green") for line in self._stages[:-1]]
        stages = [*done, *(Text(f"▸ {line}", style="bold") for line in self._stages[-1:])]
        facts = [Text(line, style="dim", overflow="ellipsis", no_wrap=True) for line in self._facts[-FACTS_SHOWN_MAX:]]
        graph = [Text(line, style="magenta", overflow="ellipsis", no_wrap=True) for line in self._graph]
        return Group(*stages, Text(f"  {self._now}", style="cyan"), *graph, *facts)

    def __enter__(self) -> "LiveScreen":
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)


BAR_CELLS = 40


def summary_table(summary: dict[str, Any]) -> Group:
    """The figures of a run as a picture: success by stage, then what was done."""
    rates = Table(box=None, show_header=False, pad_edge=False)
    for stage, rate in summary["success_rate"].items():
        bar = Text("█" * round((rate or 0) * BAR_CELLS), style="green")
        rates.add_row(Text(stage), Text("-" if rate is None else f"{rate:.2f}"), bar)
    done = Table(box=None, show_header=False, pad_edge=False)
    for name, value in summary.items():
        if name not in ("success_rate", "failures"):
            done.add_row(Text(name.replace("_", " ")), Text(cell(value)))
    failures = [Text(f"failed: {failure}", style="bold red") for failure in summary["failures"]]
    return Group(Text("success rate", style="bold"), rates, Text(), done, *failures)
