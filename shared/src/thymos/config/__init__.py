"""The configuration of the suite: `thymos.toml` and the environment.

    config = load()                                             # ./thymos.toml if it exists, THYMOS_…__… on top
    config.versioning.success_criteria.min_success_rate         # Decimal("0.9"): exact, as it was written

Every table is a frozen model (sections.py); numbers are exact decimals, durations are `timedelta`. `load` reports all
problems of a file together, each with its line, its key and what is allowed. `effective` says where each value is from.
"""

from thymos.config.criteria import FailureCriteria, SuccessCriteria
from thymos.config.effective import Setting, effective
from thymos.config.loading import load
from thymos.config.rules import (
    Action,
    Condition,
    CreateBranch,
    CreateWorktree,
    Custom,
    DeleteBranch,
    ExperimentTimeout,
    FailureCriteriaMet,
    MergeBranch,
    MergeStrategy,
    NewStrategyAvailable,
    PerformanceDrop,
    ResourceConstraint,
    Rollback,
    Rule,
    RuleMode,
    ScaleWorktrees,
    SuccessCriteriaMet,
)
from thymos.config.sections import (
    GENERATORS,
    Agent,
    Budget,
    Config,
    Evidence,
    Experiments,
    Generator,
    Grader,
    Llm,
    Memory,
    Nats,
    Retention,
    Schedule,
    Storage,
    Supervisor,
    Versioning,
    WorktreeScaling,
)
from thymos.config.written import as_written

__all__ = [
    "GENERATORS",
    "Action",
    "Agent",
    "Budget",
    "Condition",
    "Config",
    "CreateBranch",
    "CreateWorktree",
    "Custom",
    "DeleteBranch",
    "Evidence",
    "ExperimentTimeout",
    "Experiments",
    "FailureCriteria",
    "FailureCriteriaMet",
    "Generator",
    "Grader",
    "Llm",
    "Memory",
    "MergeBranch",
    "MergeStrategy",
    "Nats",
    "NewStrategyAvailable",
    "PerformanceDrop",
    "ResourceConstraint",
    "Retention",
    "Rollback",
    "Rule",
    "RuleMode",
    "ScaleWorktrees",
    "Schedule",
    "Setting",
    "Storage",
    "SuccessCriteria",
    "SuccessCriteriaMet",
    "Supervisor",
    "Versioning",
    "WorktreeScaling",
    "as_written",
    "effective",
    "load",
]
