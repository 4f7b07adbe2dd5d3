"""Two processes that use the adapters on one file at the same time lose nothing of each other's."""

import subprocess
import sys
from pathlib import Path

from langchain_core.runnables import RunnableConfig

from memory_repository import MemoryRepository
from memory_repository.adapters.langgraph import CheckpointSaver, MemoryStore
from memory_repository.adapters.mem0 import Memory

ROUNDS = 40
WORKER = """
import sys
from langgraph.checkpoint.base import empty_checkpoint
from memory_repository import MemoryRepository
from memory_repository.adapters.langgraph import CheckpointSaver, MemoryStore
from memory_repository.adapters.mem0 import Memory

url, me, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
with MemoryRepository.open(url) as memory:
    store, saver, mem0 = MemoryStore(memory), CheckpointSaver(memory), Memory(memory)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(rounds):
        store.put(("all",), f"{me}-{number}", {"text": f"written by {me}"})
        store.put(("shared",), str(number), {"by": me})
        mem0.add(f"{me} likes number {number}", user_id=me)
        made = empty_checkpoint()
        made["id"] = f"{me}-{number:03}"
        made["channel_values"] = {"n": number, "same in both": "x" * 20_000}
        made["channel_versions"] = {"n": number, "same in both": 1}
        named = {"thread_id": "shared", "checkpoint_ns": ""}
        parent = {"checkpoint_id": f"{me}-{number - 1:03}"} if number else {}
        written = saver.put({"configurable": {**named, **parent}}, made, {}, made["channel_versions"])
        saver.put_writes(written, [("n", number)], f"task of {me}")
"""


def test_two_processes_on_one_file_lose_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/memory.db"
    with MemoryRepository.open(url) as memory:
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, url, name, str(ROUNDS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in ("ada", "bob")
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        for worker in workers:
            worker.communicate()
            assert worker.returncode == 0

        store = MemoryStore(memory)
        names = [item.key for item in store.search(("all",), limit=10 * ROUNDS)]
        assert sorted(names) == sorted(f"{name}-{n}" for name in ("ada", "bob") for n in range(ROUNDS))
        shared = store.search(("shared",), limit=10 * ROUNDS)
        assert sorted(int(item.key) for item in shared) == list(range(ROUNDS))
        for name in ("ada", "bob"):
            found = Memory(memory).get_all(filters={"user_id": name}, top_k=10 * ROUNDS)["results"]
            assert len(found) == ROUNDS
            threads: RunnableConfig = {"configurable": {"thread_id": "shared", "checkpoint_ns": ""}}
            listed = [one for one in CheckpointSaver(memory).list(threads) if one.checkpoint["id"].startswith(name)]
            assert [one.checkpoint["channel_values"]["n"] for one in listed] == list(reversed(range(ROUNDS)))
            assert [[write[2] for write in one.pending_writes or []] for one in listed] == [
                [n] for n in reversed(range(ROUNDS))
            ]
        # Each round of each process is three commits, and none is in the way of another.
        assert len(memory.log(limit=1_000)) == 1 + 2 * 3 * ROUNDS
        assert memory.verify().ok
