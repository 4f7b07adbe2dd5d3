"""The options that many verbs share, and what they lead to: a connected client."""

from __future__ import annotations

import getpass
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from thymos.cli.exit_codes import UsageError

if TYPE_CHECKING:
    from thymos.client import Client
    from thymos.nats_bus import NatsBus

SOURCE = "cli"
CONNECT_WAIT = timedelta(seconds=2)
SUITE = Group("Suite", sort_key=100)

Json = Annotated[bool, Parameter(name="--json", negative=(), show_default=False, help="Print data as JSON.")]


@Parameter(name="*", group=SUITE)
@dataclass(frozen=True)
class Where:
    """Which suite, and whose part of it."""

    nats: Annotated[
        str | None, Parameter(help="The NATS server [default: THYMOS_NATS_URL, the configuration's, or the local one].")
    ] = None
    tenant: Annotated[str | None, Parameter(help='Whose agents [default: THYMOS_TENANT, or "default"].')] = None
    config: Annotated[Path | None, Parameter(help="The configuration [default: ./thymos.toml if it exists].")] = None

    def url(self) -> str:
        """The server's address.

        Raises:
            UsageError: --nats or THYMOS_NATS_URL is no address.
            ConfigError: it stands in a configuration that is wrong.
        """
        from thymos import config
        from thymos.client import DEFAULT_URL
        from thymos.config.loading import DEFAULT_FILE

        if self.nats:
            return server_url("--nats", self.nats)
        if self.config is None and os.environ.get("THYMOS_NATS_URL"):
            return server_url("THYMOS_NATS_URL", os.environ["THYMOS_NATS_URL"])
        if self.config or os.environ.get("THYMOS_CONFIG") or DEFAULT_FILE.exists():
            return config.load(self.config).nats.url
        return DEFAULT_URL

    def data_folder(self) -> Path:
        """Where a suite on this machine keeps its state, which `storage.directory` says. Raises ConfigError."""
        from thymos import config

        if os.environ.get("THYMOS_DATA_DIR"):
            return Path(os.environ["THYMOS_DATA_DIR"])
        return config.load(self.config).storage.directory

    def database(self) -> str | None:
        """Where memories are, if not in the data folder, which `storage.url` says. Raises ConfigError."""
        from thymos import config

        return config.load(self.config).storage.url

    def replicas(self) -> int:
        """How many copies of each stream there are to be, which `nats.replicas` says. Raises ConfigError."""
        from thymos import config

        return config.load(self.config).nats.replicas

    def metrics_port(self) -> int:
        """Where services show metrics and health, which `observability.port` says. Raises ConfigError."""
        from thymos import config

        return config.load(self.config).observability.port

    def tenant_name(self) -> str:
        """The tenant. Raises UsageError when it is no name."""
        from thymos.client import tenant_from_environment
        from thymos.names import check_tenant

        try:
            return check_tenant(self.tenant or tenant_from_environment())
        except ValueError as error:
            raise UsageError(f"--tenant: {error}") from error

    def environment(self) -> dict[str, str]:
        """What leads a process that is started from here to the same suite. Raises UsageError, ConfigError."""
        config = {"THYMOS_CONFIG": str(self.config.absolute())} if self.config else {}
        return {"THYMOS_NATS_URL": self.url(), "THYMOS_TENANT": self.tenant_name(), **config}

    @asynccontextmanager
    async def bus(self) -> AsyncIterator[NatsBus]:
        """A connection. Raises UnavailableError when nobody answers."""
        from thymos import nats_bus

        logging.getLogger(nats_bus.__name__).addFilter(_Once())
        bus = await nats_bus.connect(self.url(), f"thymos-{SOURCE}", wait=CONNECT_WAIT)
        try:
            yield bus
        finally:
            await bus.close()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A connected client of the tenant. Raises UnavailableError when nobody answers."""
        from thymos.client import Client

        tenant = self.tenant_name()
        async with self.bus() as bus:
            yield Client(bus, tenant, SOURCE)


HERE = Where()


class _Once(logging.Filter):
    """Lets a message pass that is not the one before: a server that stays away is told of once."""

    def __init__(self) -> None:
        super().__init__()
        self._last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        repeated, self._last = record.getMessage() == self._last, record.getMessage()
        return not repeated


def me() -> str:
    """Who is at the command line, for the record."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user that has no name here
        return SOURCE


def server_url(option: str, text: str) -> str:
    """A server's address as given. Raises UsageError when it is none; where the scheme is missing, nats is meant."""
    from thymos.config import readers

    allowed = readers.server_urls()
    try:
        allowed.read(text if "://" in text else f"nats://{text}")
    except ValueError as error:
        raise UsageError(f"{option}: {text!r}: expected {allowed.expected}") from error
    return text


def agent_name(name: str) -> str:
    """An agent's name as given. Raises UsageError when it is none."""
    from thymos.names import check_agent

    try:
        return check_agent(name)
    except ValueError as error:
        raise UsageError(str(error)) from error


def duration(option: str, text: str | None) -> timedelta | None:
    """A duration such as `30s`, if one is given. Raises UsageError when it is none."""
    from thymos.durations import parse_duration

    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


def moment(option: str, text: str | None) -> datetime | None:
    """A time in the past: an age such as `1h`, or a time such as `2026-03-01T12:00:00Z`. Raises UsageError."""
    if text is None:
        return None
    try:
        if "-" in text.strip("-"):
            read = datetime.fromisoformat(text)
            return read if read.tzinfo else read.astimezone()
        age = duration(option, text)
    except (ValueError, UsageError) as error:
        why = f" ({str(error).removeprefix(f'{option}: ')})" if isinstance(error, UsageError) else ""
        words = f"{option}: {text!r} is neither an age such as 1h nor a time such as 2026-03-01T12:00:00Z{why}"
        raise UsageError(words) from error
    return datetime.now(UTC) - age if age is not None else None
