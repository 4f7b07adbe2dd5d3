"""What the service answers to those who look after a memory: gc, verify, redact, redactions."""

from __future__ import annotations

from memory_repository import wire
from memory_repository.core.proof import Position
from memory_repository.core.retention import Retention
from memory_repository.handlers import found, publish_collected
from memory_repository.operations import collecting, redacting
from memory_repository.operations import verify as verifying
from memory_repository.storage import commits, outcomes
from thymos import events, kept_answers, requests
from thymos.service import Endpoint
from thymos.unit_of_work import Transaction

DRY_STEPS_MAX = 20
"""Steps that a dry run over the bus makes and takes back: 10,000 commits."""


def gc_endpoint(retention: Retention) -> Endpoint:
    """`gc`, under the retention that is configured."""

    def gc(request: requests.CollectGarbage, tx: Transaction) -> requests.CollectedAnswer:
        repo = found(tx)
        if request.dry_run:
            done = collecting.dry_run(repo, retention, now=tx.now, steps_max=DRY_STEPS_MAX)
        else:
            done = collecting.collect(repo, retention, now=tx.now)
            publish_collected(tx, repo, done)
        return requests.CollectedAnswer(
            commits=done.commits,
            unreachable=done.unreachable,
            entries=done.entries,
            versions=done.versions,
            content_bytes=done.content_bytes,
            more=done.more,
            dry_run=done.dry_run,
        )

    return Endpoint("gc", requests.CollectGarbage, gc)


def verify(request: requests.VerifyMemory, tx: Transaction) -> requests.VerifiedAnswer:
    """`verify`: one part."""
    repo = found(tx)
    at = Position() if request.after is None else Position.decoded(request.after)
    part = verifying.verify_part(repo, at, most=request.limit, known=request.known)
    checked = verifying.concluded(repo, verifying.Verification().plus(part))
    orders = commits.ordinals(repo.db, repo.id, (problem.order for problem in checked.problems))
    dependents = None
    if checked.first is not None and checked.first.commit is not None and checked.dependents is not None:
        dependents = requests.DependentsAnswer(
            commit=checked.first.commit, commits=checked.dependents.commits, refs=list(checked.dependents.refs)
        )
    return requests.VerifiedAnswer(
        commits=part.commits,
        headers=part.headers,
        versions=part.versions,
        redacted=part.redacted,
        problems=[
            requests.ProblemAnswer(commit=p.commit, order=orders[p.order], what=p.what) for p in checked.problems
        ],
        problems_count=checked.problems_count,
        dependents=dependents,
        next_after=None if part.following is None else part.following.encoded(),
    )


def redact(request: requests.RedactMemory, tx: Transaction) -> requests.RedactedAnswer:
    """`redact` -> memory.redacted. Outcomes that recalled the memory and answers that may tell of it are erased too."""
    done = redacting.redact(
        found(tx), request.id, ref=request.ref, actor=request.actor, reason=request.reason, now=tx.now
    )
    if done.changed:
        outcomes.forget(tx.connection, tx.tenant, tx.agent, request.id)
        kept_answers.erase(tx.connection, tx.tenant, tx.agent, request.id)
        tx.publish(
            events.MemoryRedacted(
                memory_id=request.id,
                versions=done.versions,
                ref=request.ref,
                actor=request.actor,
                reason=request.reason,
            )
        )
    return requests.RedactedAnswer(
        id=request.id, versions=done.versions, already=done.already, unstaged=list(done.unstaged)
    )


def redactions(request: requests.ListRedactions, tx: Transaction) -> requests.RedactionsAnswer:
    """`redactions`."""
    return requests.RedactionsAnswer(
        redactions=wire.fitting(
            requests.RedactionAnswer(
                id=each.memory_id, hash=each.hash, at=each.at, actor=each.actor, reason=each.reason
            )
            for each in redacting.redactions(found(tx), request.limit, request.skip)
        )
    )


ENDPOINTS = (
    Endpoint("verify", requests.VerifyMemory, verify),
    Endpoint("redact", requests.RedactMemory, redact),
    Endpoint("redactions", requests.ListRedactions, redactions),
)
