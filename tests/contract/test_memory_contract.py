"""memory-repository offers exactly what the contract says, under the same names and within the same limits."""

import time
from typing import get_args

from memory_repository.answers import endpoints
from memory_repository.core import limits
from memory_repository.core.merge import ConflictKind, Strategy
from memory_repository.core.retention import Retention
from memory_repository.core.variants import GENERATORS
from memory_repository.handlers import COMMANDS
from memory_repository.sampling import MemoryUse
from thymos import commands, config, events, subjects
from thymos.catalogue import messages
from thymos.contract.verbs import VERBS
from thymos.message import Kind


def test_every_verb_is_answered() -> None:
    published = {(verb.name, verb.request) for verb in VERBS if verb.service == subjects.MEMORY_REPOSITORY}
    served = endpoints(Retention(), None, MemoryUse(), time.perf_counter)
    assert {(each.verb, each.request) for each in served} == published


def test_every_command_is_carried_out() -> None:
    declared = {cls for cls in messages(Kind.COMMAND) if getattr(cls, "SERVICE", None) == subjects.MEMORY_REPOSITORY}
    assert set(COMMANDS) == declared


def test_the_generators_are_those_that_can_be_configured() -> None:
    assert set(GENERATORS) == set(config.GENERATORS)


def test_strategies_and_conflicts_have_the_contracts_names() -> None:
    assert set(get_args(commands.MergeBranch.model_fields["strategy"].annotation)) == set(Strategy)
    assert set(get_args(events.MergeConflict.model_fields["kind"].annotation)) == set(ConflictKind)


def test_the_contract_takes_nothing_that_is_over_the_limits_by_its_length_alone() -> None:
    """Bytes are counted here and characters there: what is refused here for its size gets a clear answer."""
    commit = commands.CommitMemory.model_json_schema()
    change = commit["$defs"]["MemoryChange"]["properties"]
    assert commit["properties"]["changes"]["maxItems"] == limits.CHANGES_MAX
    assert commit["properties"]["message"]["maxLength"] == limits.MESSAGE_BYTES_MAX
    assert change["content"]["anyOf"][0]["maxLength"] == limits.CONTENT_BYTES_MAX
    assert change["id"]["maxLength"] == 200
