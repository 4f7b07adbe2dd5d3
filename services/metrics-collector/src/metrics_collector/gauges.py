"""What metrics-collector shows of its store at `/metrics`."""

from collections.abc import Iterator

from thymos.database import Connection
from thymos.observability.instruments import Figure


def figures(connection: Connection) -> Iterator[Figure]:
    """Agents, outcomes and baselines, of all tenants together."""
    agents, outcomes = connection.execute("SELECT count(*), coalesce(sum(last_row), 0) FROM agent").fetchone()
    yield Figure("thymos_agents_tracked", agents)
    yield Figure("thymos_outcomes_counted_total", outcomes)
    frozen, all_of_them = connection.execute("SELECT coalesce(sum(frozen), 0), count(*) FROM baseline").fetchone()
    yield Figure("thymos_baselines", frozen, ("frozen",))
    yield Figure("thymos_baselines", all_of_them - frozen, ("collecting",))
