"""What the service answers about whole histories: an export page by page, an import batch by batch.

A page of an export knows nothing of the pages before it but its cursor. Which commits are reachable is asked of the
store once and remembered for the next page; whoever is asked for it and does not know, such as another replica, asks
again.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import Final
from weakref import WeakKeyDictionary

from memory_repository import handlers, wire
from memory_repository.handlers import found
from memory_repository.operations import export_order, exporting, importing
from memory_repository.operations.export_order import Order
from memory_repository.operations.exporting import Cursor, Options
from memory_repository.operations.importing import Imported
from memory_repository.storage import commits, refs, store
from memory_repository.storage.store import MAIN, Repository
from thymos import events, requests
from thymos.database import Connection
from thymos.service import Endpoint
from thymos.unit_of_work import Transaction

ORDERS_MAX: Final = 8
"""Exports whose order is remembered: sixteen bytes per commit each."""

_orders: WeakKeyDictionary[Connection, OrderedDict[tuple[int, str], Order]] = WeakKeyDictionary()
"""By repository and digest."""


def export(request: requests.ExportHistory, tx: Transaction) -> requests.ExportAnswer:
    """`export`."""
    repo = found(tx)
    at = None if request.after is None else Cursor.read(request.after)
    options = Options(with_key=request.with_key, whole=request.whole)
    page = exporting.page(repo, _order(repo, at), at, options, wire.ANSWER_BYTES_MAX)
    return requests.ExportAnswer(
        lines=[line.decode() for line in page.lines],
        commits=page.commits,
        next_after=None if page.next_after is None else str(page.next_after),
    )


def import_standing(request: requests.ReadImport, tx: Transaction) -> requests.ImportAnswer:
    """`import_standing`."""
    del request
    return _answer(importing.standing(tx.connection, tx.tenant, tx.agent))


def import_history(request: requests.ImportHistory, tx: Transaction) -> requests.ImportAnswer:
    """`import`. The last batch tells the others, in the same transaction, of the memory that is there now."""
    done = importing.take(
        tx.connection,
        tx.tenant,
        tx.agent,
        request.first_line,
        [line.encode() for line in request.lines],
        now=tx.now,
        key=secrets.token_bytes(store.KEY_BYTES),
    )
    if done.repository is not None:
        _publish(done, done.repository, tx)
    return _answer(done)


def import_abandon(request: requests.AbandonImport, tx: Transaction) -> requests.ImportAnswer:
    """`import_abandon`."""
    del request
    return _answer(importing.abandon(tx.connection, tx.tenant, tx.agent))


def _order(repo: Repository, at: Cursor | None) -> Order:
    known = _orders.setdefault(repo.db, OrderedDict())
    order = None if at is None else known.get((repo.id, at.order))
    if order is None:
        order = export_order.order(repo, None if at is None else at.last)
        known[repo.id, order.digest] = order
        if len(known) > ORDERS_MAX:
            known.popitem(last=False)
    return order


def _publish(done: Imported, repo: Repository, tx: Transaction) -> None:
    """What a memory that begins says: where main stands, which commit is good; and its other branches."""
    first = commits.first(repo.db, repo.id)
    for branch in refs.every(repo.db, repo.id, "branch"):
        head = commits.by_no(repo.db, branch.commit_no)
        if branch.name != MAIN:
            begun = events.BranchCreated(branch=branch.name, from_commit=head.id, state_id=head.state_id)
            tx.publish(begun)
            continue
        handlers.publish_commit(tx, repo, MAIN, head)
        tx.publish(
            events.HistoryImported(
                commit=head.id,
                state_id=head.state_id,
                commits=done.commits,
                refs=done.refs,
                lines=done.next_line - 1,
                digest=done.digest,
                ids_kept=done.ids_kept,
            )
        )
    criteria = {"declared": "the first commit of a repository is good"}
    tx.publish(events.CommitMarkedGood(branch=MAIN, commit=first.id, samples=0, criteria=criteria))


def _answer(done: Imported) -> requests.ImportAnswer:
    return requests.ImportAnswer(
        next_line=done.next_line,
        digest=done.digest,
        commits=done.commits,
        refs=done.refs,
        done=done.repository is not None,
    )


ENDPOINTS = (
    Endpoint("export", requests.ExportHistory, export),
    Endpoint("import_standing", requests.ReadImport, import_standing),
    Endpoint("import", requests.ImportHistory, import_history),
    Endpoint("import_abandon", requests.AbandonImport, import_abandon),
)
