"""The base of every message body, and the registry that finds its class by type name.

A message class is declared once, in the module of its kind (telemetry, events, metrics, commands, tasks). Its
CloudEvents type is `thymos.<NAME>.v<VERSION>`; its subject follows from its kind, its name and the ids (subjects.py).
Readers ignore fields they do not know; writers never send them. A change that is not additive is a new version.
"""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from thymos.names import BRANCH_PATTERN, NAME_PATTERN, check_agent, check_branch, check_tenant

_NAME_SCHEMA = WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN}$"})
_BRANCH_SCHEMA = WithJsonSchema({"type": "string", "pattern": f"^{BRANCH_PATTERN}$"})
TenantName = Annotated[str, AfterValidator(check_tenant), _NAME_SCHEMA]
AgentName = Annotated[str, AfterValidator(check_agent), _NAME_SCHEMA]
BranchName = Annotated[str, AfterValidator(check_branch), _BRANCH_SCHEMA]
Id = Annotated[str, Field(min_length=1, max_length=200)]
"""An opaque identifier (task, experiment, decision, worktree, commit): at most 200 characters."""
Reason = Annotated[str, Field(max_length=4096)]
"""Why, in words a person can read."""
Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Milliseconds = Annotated[float, Field(ge=0.0, le=1e12, allow_inf_nan=False)]


class Kind(StrEnum):
    """Which stream a message travels on."""

    TELEMETRY = "telemetry"
    EVENT = "event"
    METRICS = "metrics"
    COMMAND = "command"
    TASK = "task"
    DEAD_LETTER = "dead"


class Value(BaseModel):
    """A frozen part of a message."""

    # A process needs few of some two hundred models: each is built when it is first used, none at every start.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, defer_build=True)


REGISTRY: dict[str, type["Message"]] = {}


class Message(Value):
    """A frozen message body (`data` of the CloudEvent)."""

    KIND: ClassVar[Kind]
    NAME: ClassVar[str] = ""
    VERSION: ClassVar[int] = 1

    @classmethod
    def type_name(cls) -> str:
        """The CloudEvents `type`, for example `thymos.branch.merged.v1`."""
        return f"thymos.{cls.NAME}.v{cls.VERSION}"

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.NAME:
            known = REGISTRY.setdefault(cls.type_name(), cls)
            if known is not cls:
                raise TypeError(f"{cls.type_name()} is declared twice: {known.__name__} and {cls.__name__}")
