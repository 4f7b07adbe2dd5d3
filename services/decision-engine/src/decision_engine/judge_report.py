"""What `thymos judge` prints: one JSON object for machines, or a small table and a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from decision_engine.arm_report import ArmReport
from decision_engine.evidence import approximate
from decision_engine.recorded_verdict import JudgedRecording, LeftOut
from decision_engine.recording import RecordedOutcome, Recording
from thymos.events import Verdict

_COLOURS = {Verdict.MERGE: "bold green", Verdict.ROLLBACK: "bold red", Verdict.INCONCLUSIVE: "bold yellow"}


def as_json(judged: JudgedRecording, alpha: Fraction) -> dict[str, object]:
    """The object of `--json`, as the catalogue defines it; `e_exact` is "n/d"."""
    verdict = judged.verdict
    return {
        "verdict": verdict.verdict.value,
        "winner": verdict.winner,
        "alpha": approximate(alpha),
        "reason": "; ".join((verdict.reason, *_left_out_words(judged.left_out))),
        "arms": [
            {
                "arm": arm.arm,
                "verdict": arm.verdict.value,
                "pairs": arm.pairs,
                "wins": arm.wins,
                "losses": arm.losses,
                "ties": arm.ties,
                "e_value": arm.e_value,
                "e_exact": arm.e_exact,
                "threshold": arm.threshold,
            }
            for arm in verdict.arms
        ],
    }


def show(
    console: Console,
    judged: JudgedRecording,
    recording: Recording,
    control: str,
    alpha: Fraction,
    notes: tuple[str, ...] = (),
) -> None:
    """Print the verdict for people."""
    for arm in judged.verdict.arms:
        console.print(_arm(arm, judged.left_out[arm.arm], recording, control, alpha))
        console.print()
    for note in notes:
        console.print(Text(f"note: {note}", style="dim"))
    verdict = judged.verdict
    said = Text(verdict.verdict.value.upper(), style=_COLOURS.get(verdict.verdict, "bold magenta"))
    if verdict.winner is not None:
        said.append(f" {printable(verdict.winner)}")
    if len(verdict.arms) > 1 or verdict.verdict in (Verdict.INVALID, Verdict.ERROR):
        said.append(f": {printable(verdict.reason)}", style="default not bold")
    console.print(said)


def _arm(arm: ArmReport, left_out: LeftOut, recording: Recording, control: str, alpha: Fraction) -> RenderableType:
    after = f" after {arm.pairs} pairs" if arm.pairs else ""
    title = Text(f"{printable(control)} → {printable(arm.arm)}: ")
    title.append(arm.verdict.value, style=_COLOURS.get(arm.verdict, "bold magenta"))
    title.append(after)
    parts: list[RenderableType] = [title]
    if arm.pairs:
        parts += [_rates(arm, recording, control, alpha), _pairs(arm, left_out), _evidence(arm)]
    elif left_out.total:
        parts.append(Text(f"  {_left_out(left_out)}"))
    return Group(*parts, Text(f"  {meaning(arm, control, alpha)}"))


def _rates(arm: ArmReport, recording: Recording, control: str, alpha: Fraction) -> Table:
    """Success rates over the pairs; mean latency and cost over all rows, where the file has them."""
    both = [recording.outcomes(control), recording.outcomes(arm.arm)]
    columns = {
        "": [f"  {printable(control)}", f"  {printable(arm.arm)}"],
        "success": [f"{100 * found / arm.pairs:.1f} %" for found in (arm.control_successes, arm.successes)],
        f"{_percent(1 - alpha)} % interval": [
            f"{100 * arm.control_low:.1f} to {100 * arm.control_high:.1f} %",
            f"{100 * arm.success_low:.1f} to {100 * arm.success_high:.1f} %",
        ],
        "latency": [_mean_latency(outcomes) for outcomes in both],
        "cost": [_mean_cost(outcomes) for outcomes in both],
    }
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    known = {header: cells for header, cells in columns.items() if any(cells)}
    for header in known:
        table.add_column(header, justify="right" if header else "left")
    for cells in zip(*known.values(), strict=True):
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _pairs(arm: ArmReport, left_out: LeftOut) -> Text:
    said = f"  {arm.wins} wins, {arm.losses} losses, {arm.ties} ties"
    return Text(f"{said}; {_left_out(left_out)}" if left_out.total else said)


def _evidence(arm: ArmReport) -> Text:
    return Text(
        f"  better: E = {arm.e_value:.4g} of {arm.threshold:.4g} needed, "
        f"share of wins at least {100 * arm.win_share_low:.1f} %\n"
        f"  worse:  E = {arm.harm_e_value:.4g} of {arm.harm_threshold:.4g} needed"
    )


def meaning(arm: ArmReport, control: str, alpha: Fraction) -> str:
    """The arm's verdict in a sentence for somebody who does not know what an e-value is."""
    name, base = printable(arm.arm), printable(control)
    luck = f"chance alone would show this at most {_percent(alpha)} % of the time, however often one looks"
    match arm.verdict:
        case Verdict.MERGE:
            return f"{name} is better than {base}: {luck}."
        case Verdict.ROLLBACK if arm.harm_e_value >= arm.harm_threshold:
            return f"{name} is worse than {base}: {luck}."
        case Verdict.INCONCLUSIVE if arm.e_value >= arm.threshold:
            return f"{name} is not merged: {printable(arm.reason)}."
        case Verdict.INCONCLUSIVE if arm.more_pairs_needed:
            return f"No proof either way. At these rates about {arm.more_pairs_needed} more pairs are needed."
        case Verdict.INCONCLUSIVE:
            return f"No proof either way, and more of the same would not show that {name} is better."
        case _:
            return f"{printable(arm.reason)}."


def printable(said: str) -> str:
    """Text from a file without control characters, which could move the cursor or colour the terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in said)


def _left_out_words(left_out: Mapping[str, LeftOut]) -> list[str]:
    return [f"{name}: {_left_out(tasks)}" for name, tasks in left_out.items() if tasks.total]


def _left_out(tasks: LeftOut) -> str:
    word = "task" if tasks.total == 1 else "tasks"
    return f"{tasks.total} {word} left out for want of an outcome of both"


def _mean_latency(outcomes: Mapping[str, RecordedOutcome]) -> str:
    times = [outcome.latency_us for outcome in outcomes.values() if outcome.latency_us is not None]
    return f"{sum(times) / len(times) / 1000:.4g} ms" if times else ""


def _mean_cost(outcomes: Mapping[str, RecordedOutcome]) -> str:
    costs = [outcome.cost_usd for outcome in outcomes.values() if outcome.cost_usd is not None]
    return f"${float(sum(costs, Fraction(0)) / len(costs)):.4g}" if costs else ""


def _percent(rate: Fraction) -> str:
    percent = 100 * rate
    return f"{(Decimal(percent.numerator) / Decimal(percent.denominator)).normalize():.4g}"
