"""What happens in a life: each operation of the library that writes, its choices taken from a seed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from io import BytesIO
from random import Random
from typing import TYPE_CHECKING, Final

from memory_repository import Delete, Memory, Modify, Put
from memory_repository.core.merge import MergeState, Strategy
from memory_repository.core.number_rules import NumberRule
from memory_repository.core.resolution import Resolution, Take
from memory_repository.core.retention import Retention
from memory_repository.operations import auto_merging, checkpointing, kept_merges, merging, open_merges
from memory_repository.operations.checkpointing import NewCheckpoint, NewWrite
from memory_repository.operations.committing import Committed
from memory_repository.operations.open_merges import Wanted
from memory_repository.storage.checkpoint_values import Typed
from memory_repository.storage.store import Repository

if TYPE_CHECKING:
    from .life import Life

WORDS: Final = ("red", "green", "blue", "refund", "thirty", "days")
NAMES: Final = ("one", "two", "three")


def commit(life: Life, choose: Random) -> Committed:
    branch = _branch(life, choose)
    there = [memory.id for memory in life.memory.memories(branch)]
    changes: list[Put | Modify | Delete] = []
    for memory_id in choose.sample(range(12), choose.choice((1, 1, 2, 5))):
        name = f"m{memory_id}"
        if name in there and choose.random() < 0.3:
            changes.append(Delete(name))
        elif name in there and choose.random() < 0.5:
            changes.append(Modify(name, fields={choose.choice(WORDS): choose.randrange(9)}))
        else:
            changes.append(Put(Memory(name, _text(choose))))
    head = choose.choice((None, None, *_commits(life, branch)))
    return life.memory.commit(changes, branch=branch, message=_text(choose), expected_head=head)


def commit_many(life: Life, choose: Random) -> Committed:
    puts = [Put(Memory(f"n{number}", _text(choose))) for number in range(choose.choice((20, 200)))]
    return life.memory.commit(puts, branch=_branch(life, choose))


def merge(life: Life, choose: Random) -> object:
    strategy = choose.choice((Strategy.OURS, Strategy.THEIRS, Strategy.MANUAL))
    return life.memory.merge(_branch(life, choose), _branch(life, choose), strategy)


def rollback(life: Life, choose: Random) -> Committed:
    branch = _branch(life, choose)
    return life.memory.rollback(choose.choice(_commits(life, branch)), branch=branch)


def cherry_pick(life: Life, choose: Random) -> Committed:
    picked = choose.choice(_commits(life, _branch(life, choose)))
    return life.memory.cherry_pick(picked, _branch(life, choose), strategy=Strategy.THEIRS)


def revert(life: Life, choose: Random) -> Committed:
    branch = _branch(life, choose)
    return life.memory.revert(choose.choice(_commits(life, branch)), branch, strategy=Strategy.OURS)


def rebase(life: Life, choose: Random) -> object:
    return life.memory.rebase(_branch(life, choose), _branch(life, choose), strategy=Strategy.THEIRS)


def create_branch(life: Life, choose: Random) -> object:
    return life.memory.create_branch(choose.choice(NAMES), choose.choice(_commits(life, _branch(life, choose))))


def rename_branch(life: Life, choose: Random) -> object:
    return life.memory.rename_branch(_branch(life, choose), choose.choice(NAMES))


def delete_branch(life: Life, choose: Random) -> object:
    return life.memory.delete_branch(_branch(life, choose), force=choose.random() < 0.7)


def tag(life: Life, choose: Random) -> object:
    name = choose.choice(NAMES)
    if any(each.name == name for each in life.memory.tags()):
        return life.memory.delete_tag(name)
    return life.memory.tag(name, _branch(life, choose))


def snapshot(life: Life, choose: Random) -> object:
    name = choose.choice(NAMES)
    if any(each.name == name for each in life.memory.snapshots()):
        return life.memory.delete_snapshot(name)
    return life.memory.snapshot(name, _branch(life, choose), reason=_text(choose))


def fork(life: Life, choose: Random) -> object:
    del choose
    return life.memory.create_branch(f"fork{life.done}")


def rewrite(life: Life, choose: Random) -> Committed:
    """The same three memories on whatever branch: what collides in a merge."""
    puts = [Put(Memory(f"m{number}", f"{life.done}\n{_text(choose)}")) for number in range(3)]
    return life.memory.commit(puts, branch=_branch(life, choose))


def keep_merge(life: Life, choose: Random) -> object:
    """A merge whose conflicts are kept, for a person or for a model to decide."""
    target = _branch(life, choose)
    source = choose.choice([branch.name for branch in life.memory.branches() if branch.name != target] or [target])
    state = choose.choice((MergeState.OPEN, MergeState.AWAITING_MODEL))

    def kept(repo: Repository, now: datetime) -> object:
        wanted = Wanted(source, target, Strategy.MANUAL, "life", "", None)
        done = merging.merge(repo, source, target, wanted.strategy, author=wanted.author, now=now)
        if not done.open:
            return done
        name = f"merge-{life.done}"
        return open_merges.keep(repo, done, wanted, merge_id=name, state=state, reason="it collides", now=now)

    return life.memory.write(kept)


def decide(life: Life, choose: Random) -> object:
    """About one part of what collides in a kept merge, by a person."""
    merge_id = _kept(life, choose)
    collisions = life.memory.collisions(merge_id)
    if not collisions:
        return None
    contested = choose.choice(collisions).contested
    part = choose.choice([None, *(conflict.part for conflict in contested.conflicts)])
    take = choose.choice((Take.OURS, Take.THEIRS, Take.BASE, Take.DELETE, Take.VALUE))
    return life.memory.resolve_conflict(merge_id, contested.id, take, value=_text(choose), part=part)


def answer_by_model(life: Life, choose: Random) -> object:
    """What a model, if one is waited for, has decided about everything; or that it has failed."""
    merge_id = _kept(life, choose)
    fails = choose.random() < 0.3

    def answered(repo: Repository, now: datetime) -> object:
        asked = auto_merging.ask(repo, merge_id)
        if fails:
            return auto_merging.fall_back(repo, asked, "it does not answer")
        theirs = Resolution(Take.THEIRS, by="model:life", rationale="it is newer")
        decided = {
            each.contested.id: {conflict.part: theirs for conflict in each.open}
            for each in kept_merges.collisions(repo, merge_id)
        }
        return auto_merging.answer(repo, asked, decided, model="life", now=now)

    return life.memory.write(answered)


def continue_merge(life: Life, choose: Random) -> object:
    merge_id = _kept(life, choose)
    return life.memory.approve_merge(merge_id, "jo") if choose.random() < 0.5 else life.memory.continue_merge(merge_id)


def abort_merge(life: Life, choose: Random) -> object:
    return life.memory.abort_merge(_kept(life, choose))


def declare(life: Life, choose: Random) -> object:
    """Which branches are protected, and how numbers merge."""
    branch = _branch(life, choose)
    what = choose.randrange(3)
    if what == 0:
        return life.memory.protect_branch(branch, reason=_text(choose))
    if what == 1:
        return life.memory.unprotect_branch(branch)
    return life.memory.declare_number_rule(choose.choice(WORDS), choose.choice((None, *NumberRule)))


def embed(life: Life, choose: Random) -> object:
    return life.memory.embed(_branch(life, choose))


def put_checkpoint(life: Life, choose: Random) -> object:
    """A checkpoint that follows from one of the last, and what a task wrote on that one."""
    thread, run = choose.choice(NAMES), choose.choice(("a", "b"))
    version = str(life.done)

    def put(repo: Repository, now: datetime) -> object:
        del now
        known = checkpointing.page(repo, thread, "", 3)
        parent = choose.choice(known).id if known else None
        if parent is not None:
            write = NewWrite(0, "said", _typed(choose), replace=choose.random() < 0.5)
            checkpointing.put_writes(repo, thread, "", parent, "task", "path", [write])
        said = {"said": _typed(choose), "heard": choose.choice((None, _typed(choose)))}
        versions = dict.fromkeys(said, version)
        body, facts = _typed(choose), ("json", b"{}")
        return checkpointing.put(repo, NewCheckpoint(thread, "", version, parent, run, body, facts, versions, said))

    return life.memory.write(put)


def tidy_checkpoints(life: Life, choose: Random) -> object:
    thread, other, what = choose.choice(NAMES), choose.choice(NAMES), choose.randrange(4)

    def tidy(repo: Repository, now: datetime) -> None:
        del now
        if what == 0:
            checkpointing.prune(repo, thread)
        elif what == 1:
            checkpointing.copy_thread(repo, thread, other)
        elif what == 2:
            checkpointing.delete_runs(repo, ["a"])
        else:
            checkpointing.delete_thread(repo, thread)

    return life.memory.write(tidy)


def work(life: Life, choose: Random) -> object:
    tree = choose.choice(NAMES)
    if all(each.id != tree for each in life.memory.worktrees()):
        return life.memory.open_worktree(tree, _branch(life, choose))
    return life.memory.stage(tree, [Put(Memory(f"m{choose.randrange(12)}", _text(choose)))])


def commit_worktree(life: Life, choose: Random) -> Committed:
    return life.memory.commit_worktree(choose.choice(NAMES))


def close_worktree(life: Life, choose: Random) -> object:
    return life.memory.close_worktree(choose.choice(NAMES), force=choose.random() < 0.5)


def gc(life: Life, choose: Random) -> object:
    return life.memory.gc(Retention(choose.choice((5, 20)), reflog_age=timedelta(seconds=choose.choice((0, 30)))))


def redact(life: Life, choose: Random) -> object:
    return life.memory.redact(f"m{choose.randrange(12)}", reason="asked to")


def compact(life: Life, choose: Random) -> object:
    del choose
    life.memory.compact()
    return None


def reopen(life: Life, choose: Random) -> object:
    del choose
    life.reopen()
    return None


def copy_begun(life: Life, choose: Random) -> object:
    del choose
    life.begin(_copy_agent(life))
    return None


def copy(life: Life, choose: Random) -> object:
    """The history is exported, and imported by another agent that is there and holds nothing yet."""
    del choose
    agent = _copy_agent(life)
    if not life.has(agent):
        return None
    lines = b"".join(life.memory.export_lines(with_key=True))
    return life.of(agent).import_lines(BytesIO(lines))


def _branch(life: Life, choose: Random) -> str:
    return choose.choice(["main", *(branch.name for branch in life.memory.branches())])


def _commits(life: Life, branch: str) -> list[str]:
    return [row.id for row in life.memory.log(branch, 8)]


def _kept(life: Life, choose: Random) -> str:
    """A kept merge; where there is none, a name that is refused."""
    return choose.choice([kept.id for kept in life.memory.merges()] or ["merge-none"])


def _copy_agent(life: Life) -> str:
    return f"copy{life.done // 50}"


def _typed(choose: Random) -> Typed:
    return "text", _text(choose).encode()


def _text(choose: Random) -> str:
    return "\n".join(choose.choice(WORDS) for _ in range(choose.randrange(1, 6)))


Operation = Callable[["Life", Random], object]
OPERATIONS: Final[tuple[Operation, ...]] = (
    *(commit, commit, commit, commit, commit, commit_many, rewrite, rewrite, rewrite, rewrite),
    *(merge, merge, rollback, cherry_pick, revert, rebase),
    *(create_branch, create_branch, fork, fork, rename_branch, delete_branch, tag, snapshot),
    *(keep_merge, keep_merge, keep_merge, decide, decide, decide, answer_by_model, answer_by_model),
    *(continue_merge, continue_merge, abort_merge, declare),
    *(work, work, commit_worktree, close_worktree),
    *(gc, redact, compact, reopen, copy_begun, copy, embed),
    *(put_checkpoint, put_checkpoint, put_checkpoint, tidy_checkpoints),
)
"""Those that come more often stand there more than once."""
