"""Supervise AI agents whose memory is versioned: the SDK and the contract.

import thymos

async with thymos.connect() as bus:
    agent = bus.agent("support")
    async with agent.task() as task:
        hits = await task.memory.search("refund window")
        task.record(cost_usd=0.0021)
"""

from thymos.commands import MemoryChange
from thymos.errors import (
    ConfigError,
    Refusal,
    RefusalCode,
    ThymosError,
    TransientError,
    UnavailableError,
)
from thymos.events import (
    BaselineFrozen,
    BranchCreated,
    BranchDeleted,
    BranchMerged,
    BranchRolledBack,
    CommitCreated,
    CommitMarkedGood,
    DecisionMade,
    ExperimentClosed,
    ExperimentDecided,
    ExperimentRunning,
    ExperimentStarted,
    MergeConflicted,
    SnapshotCreated,
    VariantsPrepared,
    WorktreeScaled,
)
from thymos.sdk import Agent, Connection, Notification, Task, connect
from thymos.sync_sdk import SyncConnection, connect_sync
from thymos.telemetry import Outcome

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "BaselineFrozen",
    "BranchCreated",
    "BranchDeleted",
    "BranchMerged",
    "BranchRolledBack",
    "CommitCreated",
    "CommitMarkedGood",
    "ConfigError",
    "Connection",
    "DecisionMade",
    "ExperimentClosed",
    "ExperimentDecided",
    "ExperimentRunning",
    "ExperimentStarted",
    "MemoryChange",
    "MergeConflicted",
    "Notification",
    "Outcome",
    "Refusal",
    "RefusalCode",
    "SnapshotCreated",
    "SyncConnection",
    "Task",
    "ThymosError",
    "TransientError",
    "UnavailableError",
    "VariantsPrepared",
    "WorktreeScaled",
    "connect",
    "connect_sync",
]
