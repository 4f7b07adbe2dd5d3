"""An agent's memory over the bus: git-shaped verbs, answered by memory-repository. One module per group of verbs."""

from thymos.memory_client.asking import Seen
from thymos.memory_client.merging import Merging
from thymos.memory_client.reading import Reading
from thymos.memory_client.refs import Refs
from thymos.memory_client.transfer import Transfer
from thymos.memory_client.upkeep import Upkeep
from thymos.memory_client.worktrees import Worktrees
from thymos.memory_client.writing import Writing

__all__ = ["MemoryClient", "Seen"]


class MemoryClient(Reading, Writing, Refs, Merging, Worktrees, Transfer, Upkeep):
    """The memory of one agent, as seen from one branch. `connected` gives the client when it is first needed.

    With `patience` a request is made again, for so long, while memory-repository does not answer, as when it is started
    anew; a write carries a key then, so that it is carried out once. Without, each request is made once.

    Every method raises Refusal (the repository says no, with a hint) or UnavailableError (nobody answers).
    """
