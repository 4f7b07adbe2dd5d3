"""Requests: `experiments`, `experiment`, `decisions`, `stats`. With `_` as the agent they concern the whole tenant."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeVar

from decision_engine import store
from decision_engine.record import versioning_metrics
from thymos.errors import Refusal, RefusalCode
from thymos.requests import (
    Answer,
    DecisionsAnswer,
    ExperimentRecord,
    ExperimentsAnswer,
    ListDecisions,
    ListExperiments,
    ReadExperiment,
    ReadStats,
    VersioningMetrics,
)
from thymos.service import Endpoint
from thymos.subjects import MESSAGE_BYTES_MAX
from thymos.unit_of_work import Transaction

A = TypeVar("A", bound=Answer)
BYTES_MAX = MESSAGE_BYTES_MAX - 65_536
"""What a list may take of a message; the oldest of its entries are left out beyond that."""


def list_experiments(request: ListExperiments, tx: Transaction) -> ExperimentsAnswer:
    """Experiments, newest first."""
    newest = store.experiments(tx.connection, tx.tenant, tx.agent, request.limit)
    return ExperimentsAnswer(experiments=fitting(newest))


def read_experiment(request: ReadExperiment, tx: Transaction) -> ExperimentRecord:
    """One experiment, whole. Raises Refusal (not_found)."""
    found = store.experiment(tx.connection, tx.tenant, tx.agent, request.experiment_id)
    if found is None:
        raise Refusal(
            RefusalCode.NOT_FOUND,
            f"there is no experiment {request.experiment_id}",
            "`thymos experiment list` shows those there are",
        )
    return found


def list_decisions(request: ListDecisions, tx: Transaction) -> DecisionsAnswer:
    """Decisions, newest first."""
    newest = store.decisions(tx.connection, tx.tenant, tx.agent, request.limit)
    return DecisionsAnswer(decisions=fitting(newest))


def fitting(records: Iterable[A]) -> list[A]:
    """The first records that fit into one message together."""
    kept: list[A] = []
    room = BYTES_MAX
    for record in records:
        room -= len(json.dumps(record.model_dump(mode="json"), ensure_ascii=False).encode()) + 2
        if room < 0:
            break
        kept.append(record)
    return kept


def stats(request: ReadStats, tx: Transaction) -> VersioningMetrics:
    """The eight figures of `VersioningMetrics`."""
    del request
    return versioning_metrics(store.figures(tx.connection, tx.tenant, tx.agent))


ENDPOINTS = (
    Endpoint("experiments", ListExperiments, list_experiments),
    Endpoint("experiment", ReadExperiment, read_experiment),
    Endpoint("decisions", ListDecisions, list_decisions),
    Endpoint("stats", ReadStats, stats),
)
