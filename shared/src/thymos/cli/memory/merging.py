"""Verbs that bring one branch into another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from thymos.cli.exit_codes import CONFLICT, DONE, UsageError
from thymos.cli.memory.asking import ask, key
from thymos.cli.memory.parameters import Agent, Author, Switch, Why
from thymos.cli.memory.printing import shortened
from thymos.cli.options import HERE, Json, Where, me
from thymos.cli.output import cell, count, emit, say, short, table

if TYPE_CHECKING:
    from thymos.requests import ConflictAnswer, MergeAnswer, WriteRequest

OPEN_PAGES_MAX = 1_000
"""Of `thymos memory merges AGENT MERGE`: 100 memories each."""
Strategy = Literal["Ours", "Theirs", "Manual", "AutoMerge", "Custom"]
MergeId = Annotated[str, Parameter(help="The kept merge; `thymos memory merges` lists them.")]


def register(verbs: App) -> None:
    """Add the verbs to `thymos memory`."""
    for verb in (merge, merges, resolve):
        verbs.command(verb, name=verb.__name__)
    verbs.command(number_rule, name="number-rule")


async def merge(
    agent: Agent,
    source: str | None = None,
    target: str = "main",
    /,
    *,
    strategy: Strategy | None = None,
    dry_run: Switch = False,
    keep: Switch = False,
    resolver: str | None = None,
    continue_: Annotated[str | None, Parameter(name="--continue")] = None,
    approve: str | None = None,
    abort: str | None = None,
    reason: Why = "",
    by: Author | None = None,
    json: Json = False,
    where: Where = HERE,
) -> int:
    """Merge a branch into another. Conflicts are shown, change nothing, and exit 5.

    Parameters
    ----------
    source
        The branch that is merged.
    target
        The branch that it is merged into.
    strategy
        How what collides is settled: by the target's side, the source's side, a person (so it is by default), a model,
        or a resolver.
    dry_run
        Only say what would be.
    keep
        Keep a merge whose conflicts are open, to be resolved later; AutoMerge does so in any case.
    resolver
        With the strategy Custom: which one.
    continue_
        Go on with a kept merge, as it was asked for, instead of beginning one.
    approve
        Go on with a merge into a protected branch, in which a model has decided: you have looked at it.
    abort
        Keep a merge no longer.
    """
    from thymos.requests import Merge

    kept = {"merge_continue": continue_, "merge_approve": approve, "merge_abort": abort}
    named = {verb: merge_id for verb, merge_id in kept.items() if merge_id is not None}
    if len(named) + (source is not None) != 1:
        raise UsageError("say one thing: the SOURCE to merge, or --continue, --approve or --abort with a kept merge")
    if source == target:
        raise UsageError(f"{source} cannot be merged into itself: name the branch to merge, or another target")
    if source is None:
        ((verb, merge_id),) = named.items()
        meaningless = {"--dry-run": dry_run, "--keep": keep, "--strategy": strategy, "--resolver": resolver}
        if verb == "merge_approve":
            meaningless["--reason"] = reason
        _refuse_beside(f"--{verb.removeprefix('merge_')}", meaningless)
        return await _go_on(where, agent, verb, merge_id, by or me(), reason, json)
    if strategy == "Custom" and resolver is None:
        raise UsageError("the strategy Custom asks a resolver: say which one, --resolver NAME")
    request = Merge(
        source=source,
        target=target,
        strategy=strategy or "Manual",
        dry_run=dry_run,
        keep=keep,
        resolver=resolver,
        by=by or me(),
        reason=reason,
        idempotency_key=key(),
    )
    return await _merged(where, agent, "merge", request, source, target, json)


async def merges(agent: Agent, merge_id: str | None = None, /, *, json: Json = False, where: Where = HERE) -> None:
    """The merges that wait for decisions; with the id of one, what collides in it and what was decided.

    Parameters
    ----------
    merge_id
        Which one.
    """
    if merge_id is not None:
        await _show(where, agent, merge_id, json)
        return
    from thymos.requests import ListMerges, MergesAnswer

    answer = await ask(where, agent, "merges", ListMerges(), MergesAnswer)
    if json:
        emit(answer.merges)
        return
    table(
        ("merge", "source", "target", "since", "waits for", "decided", "by", "why"),
        [
            (m.merge_id, m.source, m.target, m.opened_at, m.state, f"{m.decided}/{m.conflicts}", m.author, m.reason)
            for m in answer.merges
        ],
        empty="no merge is kept",
    )


async def resolve(
    agent: Agent,
    merge_id: MergeId,
    memory: str,
    /,
    *,
    take: Literal["ours", "theirs", "base", "value", "delete"] | None = None,
    value: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    part: str | None = None,
    reason: Why = "",
    by: Author | None = None,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """Decide about a memory that collides in a kept merge. Nothing is merged until the merge is continued.

    Parameters
    ----------
    memory
        The memory's id.
    take
        Which side, the base, a --value, or that it goes.
    value
        What it shall be: text for the content or the kind; JSON for a field, where a text is quoted, or {"content",
        "kind", "fields"}.
    part
        Only this part of it: content, kind, fields/<path>, as `merges` shows them.
    """
    from thymos.requests import MergeSummary, ResolveConflict

    chosen = take or ("value" if value is not None else None)
    if chosen is None or (chosen == "value") != (value is not None):
        raise UsageError("say what to take: --take ours, theirs, base or delete, or --value with what it shall be")
    request = ResolveConflict(
        merge_id=merge_id,
        memory_id=memory,
        part=part,
        take=chosen,
        value=None if value is None else _value(part, value),
        by=by or me(),
        reason=reason,
        idempotency_key=key(),
    )
    answer = await ask(where, agent, "merge_resolve", request, MergeSummary)
    if json:
        emit(answer)
        return
    left = answer.conflicts - answer.decided
    after = f"{count(left, 'conflict')} to decide" if left else f"all decided: merge --continue {answer.merge_id}"
    say(f"{memory} is decided; {after}")


async def number_rule(
    agent: Agent,
    path: str | None = None,
    rule: Literal["sum", "max", "min", "none"] | None = None,
    /,
    *,
    json: Json = False,
    where: Where = HERE,
) -> None:
    """How numbers merge that both sides changed. Without a rule they collide; without arguments all rules are shown.

    Parameters
    ----------
    path
        The field: its keys, joined by "/".
    rule
        sum of what both added, max, min, or none to take the rule back.
    """
    from thymos.requests import DeclareNumberRule, NumberRulesAnswer, ReadNumberRules

    if (path is None) != (rule is None):
        raise UsageError("give both: the field and its rule")
    if path is None:
        answer = await ask(where, agent, "number_rules", ReadNumberRules(), NumberRulesAnswer)
    else:
        declared = None if rule == "none" else rule
        request = DeclareNumberRule(path=path, rule=declared, idempotency_key=key())
        answer = await ask(where, agent, "number_rule", request, NumberRulesAnswer)
    if json:
        emit(answer.rules)
    else:
        table(("field", "rule"), sorted(answer.rules.items()), empty="no rules: changed numbers collide")


def _refuse_beside(verb: str, given: Mapping[str, object]) -> None:
    """Refuse options that say how a merge begins beside a verb that goes on with one: nobody shall think that they
    counted. Raises UsageError."""
    named = [option for option, value in given.items() if value]
    if named:
        raise UsageError(f"{verb} takes a kept merge as it is: leave out {', '.join(named)}")


async def _go_on(where: Where, agent: str, verb: str, merge_id: str, by: str, reason: str, json: bool) -> int:
    from thymos.requests import AbortMerge, ApproveMerge, ContinueMerge, MergeSummary

    if verb == "merge_abort":
        aborting = AbortMerge(merge_id=merge_id, by=by, reason=reason, idempotency_key=key())
        summary = await ask(where, agent, verb, aborting, MergeSummary)
        if json:
            emit(summary)
        else:
            say(f"{merge_id} is aborted; {summary.target} is as it was")
        return DONE
    if verb == "merge_approve":
        return await _merged(
            where, agent, verb, ApproveMerge(merge_id=merge_id, by=by, idempotency_key=key()), merge_id, "", json
        )
    going_on = ContinueMerge(merge_id=merge_id, by=by, message=reason, idempotency_key=key())
    return await _merged(where, agent, verb, going_on, merge_id, "", json)


async def _merged(
    where: Where, agent: str, verb: str, request: WriteRequest, source: str, target: str, json: bool
) -> int:
    """Ask, and show what came of it. Exits 5 where conflicts are open."""
    from thymos.requests import MergeAnswer

    answer = await ask(where, agent, verb, request, MergeAnswer)
    if json:
        emit(answer)
    elif answer.result == "conflicts":
        _print_conflicts(answer.conflicts)
        say(_waiting(answer))
    else:
        say(_what_came(answer, source, target or answer.target or "the target"))
    return CONFLICT if answer.result == "conflicts" else DONE


def _what_came(answer: MergeAnswer, source: str, target: str) -> str:
    if answer.result == "unchanged":
        return f"nothing to merge: {target} has all of {source}"
    if answer.dry_run:
        return f"{source} would bring {count(answer.changes, 'change')} to {target}"
    if answer.changes == 0:  # the commit records how what collided was decided
        return f"{source} merged, nothing changed: {target} at {short(answer.commit)}"
    return f"{source} merged into {target}: {count(answer.changes, 'change')}, {target} at {short(answer.commit)}"


def _waiting(answer: MergeAnswer) -> str:
    said = f"{count(len(answer.conflicts), 'conflict')}, nothing was changed"
    if answer.merge_id is None:
        return f"{said}; --strategy Ours or Theirs settles them, --keep keeps them to be resolved"
    return f"{said}; kept as {answer.merge_id}: {answer.reason}"


async def _show(where: Where, agent: str, merge_id: str, json: bool) -> None:
    from thymos.requests import KeptMergeAnswer, ShowMerge

    after: str | None = None
    conflicts: list[ConflictAnswer] = []
    for _ in range(OPEN_PAGES_MAX):
        page = await ask(where, agent, "merge_show", ShowMerge(merge_id=merge_id, after=after), KeptMergeAnswer)
        conflicts += page.conflicts
        after = page.next_after
        if after is None:
            break
    if json:
        emit({**page.merge.model_dump(mode="json"), "conflicts": [c.model_dump(mode="json") for c in conflicts]})
        return
    _print_conflicts(conflicts)
    kept = page.merge
    decided = f"{kept.decided} of {count(kept.conflicts, 'conflict')} decided"
    say(f"{kept.source} into {kept.target}: {decided}; {kept.reason}")


def _print_conflicts(conflicts: list[ConflictAnswer]) -> None:
    table(
        ("memory", "part", "kind", "base", "ours", "theirs", "decided", "by", "why"),
        [
            (
                *(c.memory_id, c.part, c.kind, cell(c.base), cell(c.ours), cell(c.theirs)),
                *(_decided(c), cell(c.by), shortened(c.reason or None)),
            )
            for c in conflicts
        ],
        empty="nothing collides",
    )


def _decided(conflict: ConflictAnswer) -> str:
    """What it shall be: a side, or the value that somebody gave."""
    return shortened(f"value {cell(conflict.value)}" if conflict.take == "value" else conflict.take)


def _value(part: str | None, text: str) -> Any:
    """A value as written: text for the content and the kind, JSON for the rest.

    Raises UsageError where it is none, or a whole memory is none: text alone would silently drop its fields.
    """
    import json

    if part in ("content", "kind"):
        return text
    try:
        value = json.loads(text)
    except ValueError as error:
        if part not in (None, "whole"):
            quoted = json.dumps(text, ensure_ascii=False)
            raise UsageError(f"--value: {text!r:.80} is no JSON; a text is quoted: --value '{quoted:.80}'") from error
        value = text
    if part in (None, "whole") and not isinstance(value, dict):
        raise UsageError('--value: say which --part it is for, or give a whole memory: {"content": "…", "fields": {…}}')
    return value
