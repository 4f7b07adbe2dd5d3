"""A PostgreSQL database as the place of a store that replicas of a service share."""

from __future__ import annotations

from dataclasses import dataclass, field

from thymos.database import Connection
from thymos.errors import DatabaseUnavailableError, StoreUnavailableError
from thymos.postgresql import faults
from thymos.postgresql.connection import PostgresqlConnection

IDLE_SECONDS = 60
"""A service asks the server every other second. One that is silent for so long stands still: the server ends its
connection, and what it held is free for others."""
PROBE_BYTES = 64 * 1024


@dataclass(frozen=True)
class PostgresqlDatabase:
    """See `thymos.database.Database`. Raises Refusal (invalid) for what is no URL."""

    url: str = field(repr=False)
    name: str = field(init=False)
    shared = True
    errors = (DatabaseUnavailableError,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", faults.shown(self.url))

    def opened(self) -> PostgresqlConnection:
        """See `Database`. Raises DatabaseUnavailableError."""
        return PostgresqlConnection(self.url, idle_seconds=IDLE_SECONDS)

    def opened_to_read(self) -> PostgresqlConnection:
        """See `Database`. Raises DatabaseUnavailableError."""
        return PostgresqlConnection(self.url)

    def unavailable(self, error: Exception) -> StoreUnavailableError | None:
        """See `Database`: the connection says so by itself."""
        return error if isinstance(error, DatabaseUnavailableError) else None

    def finding(self) -> str:
        """See `Database`: only the server knows."""
        return ""

    def ask(self, connection: Connection) -> None:
        """See `Database`: it answers, and takes writes."""
        connection.execute("BEGIN")  # on a new connection, if the server has ended this one meanwhile
        standby, mode = connection.execute(
            "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')"
        ).fetchone()
        connection.execute("COMMIT")
        if standby or mode == "on":
            words = "it is a standby" if standby else "`default_transaction_read_only` is on"
            raise DatabaseUnavailableError(f"the store {self.name} takes no writes: {words}: name the primary")

    def probe(self, connection: Connection) -> None:
        """See `Database`."""
        self.ask(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute("INSERT INTO probe(content) VALUES (?)", (bytes(PROBE_BYTES),))
            connection.execute("DELETE FROM probe")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def size_bytes(self, connection: Connection) -> int:
        """See `Database`: of the whole database."""
        return int(connection.execute("SELECT pg_database_size(current_database())").fetchone()[0])
