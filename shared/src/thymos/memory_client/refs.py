"""Names for commits."""

from thymos import requests as r
from thymos.memory_client.asking import Asking


class Refs(Asking):
    """What names commits; see MemoryClient."""

    async def branches(self) -> list[r.BranchAnswer]:
        """All branches."""
        return (await self._ask(r.BranchesAnswer, "branches", r.ListBranches)).branches
