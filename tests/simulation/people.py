"""Who asks: customers of the agents, operators with commands, and strangers with hostile messages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from thymos import commands
from thymos.client import Client
from thymos.commands import MemoryChange
from thymos.errors import PoisonError, ThymosError, TransientError
from thymos.events import ApprovalRequested
from thymos.memory_client import MemoryClient
from thymos.message import Message
from thymos.tasks import TaskAssigned

from . import hostile
from .dataset import articles, damage, question
from .invariants import DAMAGE, Monitor
from .virtual_time import now

Notes = dict[tuple[str, str, str], bool]


async def until_stored(client: Client, message: Message, agent: str) -> str:
    """Publish under one id until it is acknowledged; returns the id."""
    envelope = client.envelope(message, agent)
    while True:
        try:
            await client.publish(envelope)
        except ThymosError:
            await asyncio.sleep(0.5)
        else:
            return envelope.id


@dataclass
class Customers:
    """They put questions into the queue of an agent's main branch; `answers` tells who grades what is right."""

    client: Client
    agent: str
    random: Random
    drifted: Callable[[], bool]
    answers: dict[str, str]

    async def run(self, seconds: float, pause: float) -> None:
        """Ask for a time."""
        loop = asyncio.get_running_loop()
        until, asked = loop.time() + seconds, 0
        while loop.time() < until:
            asked += 1
            text, self.answers[text] = question(self.random, self.drifted())
            task = TaskAssigned(task_id=f"live-{asked}", branch="main", input=text)
            await until_stored(self.client, task, self.agent)
            await asyncio.sleep(pause * (0.5 + self.random.random()))


@dataclass
class Operator:
    """A person with a command line, for one tenant."""

    client: Client
    random: Random
    monitor: Monitor
    notes: Notes = field(default_factory=dict)
    _told: int = 0

    async def seed_memory(self, agent: str) -> None:
        """What the agent knows in the beginning."""
        await self.send(agent, commands.CommitMemory(changes=articles(), author="operator", message="articles"))

    async def send(self, agent: str, command: Message) -> None:
        """A command."""
        await until_stored(self.client, command, agent)

    async def break_main(self, agent: str) -> None:
        """A bad commit."""
        await self.send(agent, commands.CommitMemory(changes=damage(), author="operator", message=DAMAGE))

    async def commit_notes(self, agent: str, count: int, pause: float) -> None:
        """Small commits by requests; half of them under a key, and then asked for again until they are answered."""
        memory = MemoryClient(self._connected, agent)
        for _ in range(count):
            self._told += 1
            message = f"note {self.client.source} {self._told}"
            key = message if self.random.random() < 0.5 else None
            change = MemoryChange(op="put", id=f"note-{self._told}", content=message.replace("note", "remark"))
            self.notes[self.client.tenant, agent, message] = False
            for _ in range(20 if key else 1):
                try:
                    await memory.commit([change], message, idempotency_key=key)
                except ThymosError:
                    await asyncio.sleep(1.0)
                else:
                    self.notes[self.client.tenant, agent, message] = True
                    break
            await asyncio.sleep(pause * (0.5 + self.random.random()))

    async def meddle(self, agent: str, seconds: float) -> None:
        """Commands of every kind, sensible or not."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            await asyncio.sleep(3.0 + 8.0 * self.random.random())
            await self.send(agent, self._some_command(agent))

    def _some_command(self, agent: str) -> Message:
        number = self.random.randrange(1000)
        running = [key[2] for key in sorted(self.monitor.open_experiments) if key[:2] == (self.client.tenant, agent)]
        abort = commands.AbortExperiment(experiment_id=running[-1] if running else "none", by="operator")
        choices: list[Message] = [
            commands.CreateSnapshot(reason=f"snapshot {number}"),
            commands.CreateBranch(branch=f"idea-{number}"),
            commands.DeleteBranch(branch=f"idea-{number}"),
            commands.RollbackBranch(target_commit="main"),
            commands.ScaleWorktree(count=self.random.randrange(8), for_seconds=5.0),
            commands.MergeBranch(source=f"idea-{number}"),
            commands.ApproveDecision(decision_id=f"decision-{number}", by="operator"),
        ]
        rare = [abort, commands.StartExperiment(by="operator", reason="curious")]
        return self.random.choice([*choices, *rare] if self.random.random() < 0.3 else choices)

    async def approve(self, seen: set[str]) -> None:
        """Answer every question that is open."""
        asked = [
            (envelope.agent, envelope.data.decision_id)
            for answers in list(self.monitor.answers.values())
            for envelope in answers
            if isinstance(envelope.data, ApprovalRequested) and envelope.tenant == self.client.tenant
        ]
        for agent, decision in asked:
            if decision not in seen:
                seen.add(decision)
                answer = self.random.choice(("approved", "rejected"))
                command = commands.ApproveDecision(decision_id=decision, by="operator", answer=answer)
                await self.send(agent, command)

    async def _connected(self) -> Client:
        return self.client


@dataclass
class Stranger:
    """Publishes what nobody can process."""

    client: Client
    random: Random
    monitor: Monitor

    async def run(self, agent: str, pause: float) -> None:
        """One message of each kind."""
        for raw in hostile.messages(self.random, now(), self.client.tenant, agent):
            await asyncio.sleep(pause * self.random.random())
            if raw.dead:
                self.monitor.hostile.add(raw.body)
            await self._publish(raw)
            if self.random.random() < 0.3:
                other = json.dumps({"the same id": "other content"}).encode()
                await self._publish(hostile.Raw(raw.subject, other, raw.message_id))

    async def _publish(self, raw: hostile.Raw) -> None:
        while True:
            try:
                await self.client.bus.publish(raw.subject, raw.body, raw.message_id, hostile.headers(raw))
            except TransientError:
                await asyncio.sleep(0.5)
            except PoisonError:
                self.monitor.hostile.discard(raw.body)  # the server itself refuses it
                return
            else:
                return
