"""Every table of `thymos.toml`, with its keys, defaults and limits. Names and defaults of the seed are the seed's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PrivateAttr, ValidationInfo, model_validator

from thymos.config import readers
from thymos.config.contradictions import contradictions
from thymos.config.criteria import FailureCriteria, SuccessCriteria
from thymos.config.readers import key_in_toml
from thymos.config.rules import MERGE_STRATEGIES, MergeStrategy, Rule
from thymos.config.section import Section
from thymos.config.toml_lines import KeyPath
from thymos.names import check_agent

Budget = Literal["per_20", "each", "lifetime"]
Generator = Literal["learn-from-success", "cautious", "aggressive"]
GENERATORS: tuple[Generator, ...] = ("learn-from-success", "cautious", "aggressive")
Grader = Literal["exact", "contains", "normalised"]

COLLECT: dict[str, bool] = {"collect": True}
"""The validation context under which contradictions raise nothing."""

_LATER = "not supported in this version"


class WorktreeScaling(Section):
    """How many worktrees, and so agent processes, there are per branch."""

    enabled: Annotated[bool, readers.switch()] = Field(
        default=True, description="Whether their number follows the load (also needs `auto_scaling_enabled`)."
    )
    min_worktrees: Annotated[int, readers.whole(0, 1000)] = Field(default=1, description="Never fewer than this.")
    max_worktrees: Annotated[int, readers.whole(1, 1000)] = Field(default=10, description="Never more than this.")
    target_load: Annotated[Decimal, readers.number("0", "1", open_low=True)] = Field(
        default=Decimal("0.8"), description="The load (tasks in hand / capacity) that scaling aims at."
    )
    scale_up_threshold: Annotated[Decimal, readers.number("0", "1")] = Field(
        default=Decimal("0.9"), description="The load above which worktrees are added."
    )
    scale_down_threshold: Annotated[Decimal, readers.number("0", "1")] = Field(
        default=Decimal("0.5"), description="The load below which worktrees are drained and removed."
    )
    target_lag: Annotated[int, readers.whole(1, 1_000_000)] = Field(
        default=10, description="How many waiting or unanswered tasks one worktree is meant to carry."
    )
    scale_period_seconds: Annotated[int, readers.whole_seconds(1, 86_400)] = Field(
        default=15, description="Within one such period the number at most doubles (or grows by 4)."
    )
    scale_down_window_seconds: Annotated[int, readers.whole_seconds(1, 86_400)] = Field(
        default=300, description="Scaling down goes to the highest number recommended within this window."
    )


class Evidence(Section):
    """How sure an experiment must be before a challenger counts as better."""

    alpha: Annotated[Decimal, readers.number("0", "1", open_low=True, open_high=True)] = Field(
        default=Decimal("0.05"), description="The tolerated probability of merging what is not better."
    )
    budget: Annotated[
        Budget,
        readers.choice("per_20", "each", "lifetime", refused={"fdr": f'{_LATER}: use "per_20", the default'}),
    ] = Field(
        default="per_20",
        description="What `alpha` is spent on: any 20 successive experiments, each experiment, or all there ever are.",
    )


class Experiments(Section):
    """How experiments are prepared and run."""

    learning_outcomes: Annotated[int, readers.whole(0, 1000)] = Field(
        default=100, description="Outcomes on main recorded since the drop began, before variants are generated."
    )
    learning_timeout: Annotated[timedelta, readers.duration()] = Field(
        default=timedelta(minutes=10), description="The longest wait for them; then the experiment goes on without."
    )
    preparing_timeout: Annotated[timedelta, readers.duration()] = Field(
        default=timedelta(minutes=2), description="The longest wait for variants, branches and ready worktrees."
    )
    task_timeout: Annotated[timedelta, readers.duration()] = Field(
        default=timedelta(seconds=30), description="After this a scenario task counts as timed out."
    )
    generators: Annotated[tuple[str, ...], readers.texts(len(GENERATORS), what="generators", allowed=GENERATORS)] = (
        Field(default=GENERATORS, description="Who writes the variants of memory; each makes one challenger.")
    )
    baseline_samples: Annotated[int, readers.whole(100, 300)] = Field(
        default=300, description="Outcomes on main after which the baseline is frozen."
    )


class Schedule(Section):
    """When experiments may start."""

    type: Annotated[
        Literal["Always"],
        readers.choice(
            "Always",
            refused={
                "LowTrafficOnly": f"{_LATER}: experiments start whenever a rule asks for one",
                "CronWindows": f"{_LATER}: experiments start whenever a rule asks for one",
            },
        ),
    ] = Field(default="Always", description="Experiments start whenever a rule asks for one.")


class Versioning(Section):
    """What the supervisor does on its own. The seed's `VersioningSupervisorConfig`."""

    auto_branching_enabled: Annotated[bool, readers.switch()] = Field(
        default=True, description="Branch memory for an experiment when performance drops."
    )
    auto_ab_testing_enabled: Annotated[bool, readers.switch()] = Field(
        default=True, description="Run the experiment: prepare variants and test them side by side."
    )
    auto_rollback_enabled: Annotated[bool, readers.switch()] = Field(
        default=True, description="Return main to its last good commit when a change to it fails."
    )
    auto_merge_enabled: Annotated[bool, readers.switch()] = Field(
        default=True, description="Merge a challenger that is proven better."
    )
    auto_scaling_enabled: Annotated[bool, readers.switch()] = Field(
        default=True, description="Let the number of worktrees follow the load."
    )
    experiment_timeout: Annotated[timedelta, readers.duration()] = Field(
        default=timedelta(minutes=30), description="The longest that an experiment runs; then it is inconclusive."
    )
    max_concurrent_experiments: Annotated[int, readers.whole(1, 100)] = Field(
        default=1, description="Experiments at the same time, per agent."
    )
    merge_strategy: Annotated[MergeStrategy, readers.choice(*MERGE_STRATEGIES)] = Field(
        default="AutoMerge",
        description="How a merge settles what collides: main's side, the branch's side, a person, "
        "or a model (a person where there is none).",
    )
    success_criteria: SuccessCriteria = SuccessCriteria()
    failure_criteria: FailureCriteria = FailureCriteria()
    worktree_scaling: WorktreeScaling = WorktreeScaling()
    evidence: Evidence = Evidence()
    experiments: Experiments = Experiments()
    schedule: Schedule = Schedule()
    rules: tuple[Rule, ...] = Field(
        default=(), max_length=100, description="Decision rules. Without any, the built-in ones apply."
    )

    @model_validator(mode="after")
    def _is_consistent(self, info: ValidationInfo) -> Versioning:
        if info.context is COLLECT:  # `load` looks for them itself, to report them beside the other problems
            return self
        if found := list(contradictions(self)):
            raise ValueError("; ".join(f"{key_in_toml(str(each.keys[0][-1]))}: {each.message}" for each in found))
        return self


class Supervisor(Section):
    """The supervisor of all agents."""

    versioning: Versioning = Versioning()


class Agent(Section):
    """One agent: how its processes are started and its experiments are graded."""

    command: Annotated[tuple[str, ...], readers.texts(100, what="arguments", least=0)] = Field(
        default=(),
        description="The program and its arguments, started once per worktree. "
        "Unset: somebody else starts the agent, which then registers by its heartbeat.",
    )
    capacity: Annotated[int, readers.whole(1, 1000)] = Field(
        default=1, description="Tasks that one process works on at the same time."
    )
    scenario: Annotated[Path, readers.path("a file of JSON lines {task_id, input, expect}")] | None = Field(
        default=None, description="The held-out tasks of its experiments. Unset: it takes part in none."
    )
    drain_timeout: Annotated[timedelta, readers.duration()] = Field(
        default=timedelta(seconds=10), description="How long a stopping process may take to finish its task."
    )
    grader: Annotated[Grader, readers.choice("exact", "contains", "normalised")] = Field(
        default="exact",
        description="An answer is right when it equals what is expected, contains it, "
        "or equals it but for case, spaces and punctuation.",
    )
    environment: Annotated[Mapping[str, str], readers.variables()] = Field(
        default={}, description="Further environment variables of the process."
    )

    @model_validator(mode="after")
    def _scenario_can_run(self) -> Agent:
        if self.scenario and not self.command:
            raise ValueError("a scenario needs a command: worktree-scaler starts one process per arm to answer it")
        return self


class Storage(Section):
    """Where services keep their state."""

    directory: Annotated[Path, readers.path("a directory")] = Field(
        default=Path(".thymos"),
        description="One SQLite file per service, and logs. The default is in the current directory. "
        "`THYMOS_DATA_DIR` and `--data` on the command line win.",
    )
    url: Annotated[str, readers.postgresql_url()] | None = Field(
        default=None,
        description="The PostgreSQL database of memory-repository, which replicas of it share (docs/postgresql.md). "
        "Needs the extra `thymos[postgresql]`. Unset: an SQLite file in `directory`, like the other services.",
    )


class Nats(Section):
    """The bus."""

    url: Annotated[str, readers.server_urls()] = Field(
        default="nats://127.0.0.1:4222", description="The server. `THYMOS_NATS_URL` is the short form of its override."
    )
    replicas: Annotated[int, readers.whole(1, 5)] = Field(
        default=1,
        description="Copies of each stream that `thymos provision` and `thymos up` make: 1 on one server, 3 on a "
        "cluster of three, which then loses nothing and works on when any one server is away.",
    )


class Retention(Section):
    """How much history each agent's memory keeps; what is named (branches, tags, worktrees, …) stays at any age."""

    enabled: Annotated[bool, readers.switch()] = Field(default=True, description="Whether older commits are dropped.")
    commits_max: Annotated[int, readers.whole(1, 1_000_000_000)] = Field(
        default=100_000, description="The newest so many commits stay."
    )
    age_max: Annotated[timedelta, readers.duration()] = Field(
        default=timedelta(days=365), description="Of these, those that are younger than this stay."
    )
    reflog_age: Annotated[timedelta, readers.duration()] = Field(
        default=timedelta(days=30), description="How long commits stay that a deleted or moved branch left behind."
    )


class Memory(Section):
    """The memories of agents."""

    retention: Retention = Retention()
    embedder: Literal["", "wordllama"] = Field(
        default="",
        description="The model for searches by meaning; none by default. `wordllama` runs on this machine and comes "
        "with the extra `thymos-memory-repository[embeddings]`.",
    )


class Observability(Section):
    """What services show of themselves: metrics and health over HTTP, and traces."""

    host: Annotated[str, readers.host()] = Field(
        default="127.0.0.1",
        description="Where each service listens for `/metrics`, `/ready` and `/live`. They ask for no password: "
        "open them to machines that you trust.",
    )
    port: Annotated[int, readers.whole(0, 65_535)] = Field(
        default=0,
        description="The port; 0 for none. Services on one machine need one each: `thymos up --metrics-port`.",
    )
    otlp_endpoint: Annotated[str, readers.http_url()] | None = Field(
        default=None,
        description="Where traces are sent by OTLP over HTTP (`/v1/traces` is added); needs the extra `thymos[otel]`. "
        "`OTEL_EXPORTER_OTLP_ENDPOINT` is another name for it. Unset: none are made.",
    )


class Llm(Section):
    """A language model, for merges with the strategy AutoMerge. Without one a person resolves what collides."""

    url: Annotated[str, readers.http_url()] | None = Field(
        default=None,
        description="Where an API of chat completions begins, such as OpenAI's `https://api.openai.com/v1` or that of "
        "a server of your own; `/chat/completions` is added. Unset: there is no model.",
    )
    model: Annotated[str, readers.text(200, "the name of a model")] | None = Field(
        default=None, description="Which model of that server. Needed with `url`."
    )
    api_key_env: Annotated[str, readers.variable_name()] | None = Field(
        default=None,
        description="The environment variable that holds the server's key. The key itself never stands in this file. "
        "Unset: none is sent.",
    )
    timeout: Annotated[timedelta, readers.duration()] = Field(
        default=timedelta(seconds=60),
        description="The longest wait for an answer, with all attempts; then a person resolves what collides.",
    )
    max_tokens: Annotated[int, readers.whole(1, 1_000_000)] = Field(
        default=4096, description="The longest answer, in tokens."
    )

    @model_validator(mode="after")
    def _names_a_model(self) -> Llm:
        if (self.url is None) != (self.model is None):
            raise ValueError("a model needs both: `url`, where it is asked, and `model`, its name there")
        return self


@dataclass(frozen=True)
class Provenance:
    """Where a configuration came from; two that say the same are equal wherever they came from.

    `origins` holds, by the path of its key, ``file:line`` or ``env NAME`` for each value that is not a default.
    """

    origins: Mapping[KeyPath, str] = field(default_factory=dict, compare=False)
    directory: Path = field(default=Path(), compare=False)


class Config(Section):
    """All of `thymos.toml`. `thymos.config.load` reads one; `Config()` holds the defaults."""

    supervisor: Supervisor = Supervisor()
    agents: Mapping[Annotated[str, AfterValidator(check_agent)], Agent] = Field(
        default={}, max_length=10_000, description="One table per agent."
    )
    storage: Storage = Storage()
    nats: Nats = Nats()
    memory: Memory = Memory()
    observability: Observability = Observability()
    llm: Llm = Llm()

    _provenance: Provenance = PrivateAttr(default=Provenance())

    @property
    def versioning(self) -> Versioning:
        """Short for `supervisor.versioning`."""
        return self.supervisor.versioning

    @property
    def directory(self) -> Path:
        """The directory of the file (where none was read, the current one): what relative paths are relative to."""
        return self._provenance.directory
