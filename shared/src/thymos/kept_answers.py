"""Answers that are kept for requests that are made again (unit_of_work.py): forgetting some of them."""

from thymos.database import Connection


def forget(connection: Connection, tenant: str, agent: str, holding: str) -> int:
    """Forget the answers to an agent's requests that hold a text; returns how many. A request made again is then
    carried out again."""
    own = f"{tenant}/{agent}/"
    rows = connection.execute(
        "SELECT position, reply FROM replies WHERE key >= ? AND key < ?", (own, f"{own}\U0010ffff")
    ).fetchall()
    found = [(position,) for position, reply in rows if holding.encode() in bytes(reply)]
    connection.executemany("DELETE FROM replies WHERE position = ?", found)
    return len(found)
