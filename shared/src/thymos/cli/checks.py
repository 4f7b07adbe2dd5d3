"""What `thymos doctor` looks at. A check asks one question; its findings each say how to mend them."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from thymos import nats_bus, nats_room, subjects
from thymos.cli.backlog import BACKLOG_MAX, Look, standstill
from thymos.cli.findings import Check, Finding, crash_finding, mend_of_standstill, of_refusal, of_service, skew_findings
from thymos.cli.fleet import crashing, read_worktrees
from thymos.cli.options import Where
from thymos.cli.output import count
from thymos.client import Client
from thymos.errors import ConfigError, Refusal, ThymosError, TransientError, UnavailableError
from thymos.events import WorktreeFailed
from thymos.nats_bus import NatsBus
from thymos.provision import provision
from thymos.requests import AgentWorktree
from thymos.settlement import UNKNOWN_TENANT
from thymos.suite import MODULES, readiness

CONNECT_WAIT = timedelta(seconds=3)
FREE_BYTES_MIN = 512 * 1024 * 1024
SECOND_LOOK_SECONDS = 2.0


async def examine(where: Where, data: Path | None) -> list[Check]:
    """All checks that can be made, in the order in which to mend: without NATS nothing beyond it can be looked at.

    Raises:
        UsageError: the tenant is no name.
    """
    tenant = where.tenant_name()
    try:
        url = where.url()
        folder = data or where.data_folder()
    except ConfigError as error:
        mend = "mend the file; `thymos config check FILE` says whether it is right"
        return [Check("config", tuple(Finding(problem, mend) for problem in str(error).splitlines()))]
    storage = storage_check(folder, named=data is not None)
    try:
        bus = await nats_bus.connect(url, "thymos-doctor", wait=CONNECT_WAIT)
    except UnavailableError as error:
        mend = "start it with `thymos up`, or name yours with --nats or THYMOS_NATS_URL"
        return [Check("nats", (Finding(str(error).split("; start one")[0], mend),)), storage]
    try:
        checks = [_nats(bus), _streams(bus), *(_service(bus, name) for name in MODULES)]
        agents = _agents(bus, tenant, folder)
        found = await asyncio.gather(*checks, agents, _backlog(bus), _clock(bus), _dead_letters(bus, tenant))
    finally:
        await bus.close()
    return [*found, storage]


async def _nats(bus: NatsBus) -> Check:
    version = bus.client.connected_server_version
    return Check("nats", detail=f"{bus.url}, version {version.major}.{version.minor}.{version.patch}")


async def _streams(bus: NatsBus) -> Check:
    """Streams, consumers and buckets: what `thymos provision` would do."""
    mend = "run `thymos provision`"
    try:
        changes = await provision(bus, await _replicas(bus), dry_run=True)
    except TransientError as error:
        return Check("streams", (Finding(str(error), "start the server with JetStream: `nats-server -js`"),))
    except ThymosError as error:
        return Check("streams", (of_refusal(str(error)),))
    words = {"created": "is missing", "updated": "has other settings than this version's"}
    findings = [
        Finding(f"{change.what} {change.name} {words[change.action]}", mend)
        for change in changes
        if change.action in words
    ]
    for full in await nats_room.full(bus.jetstream, subjects.STREAMS):
        problem, _, mend = full.rpartition(": ")
        findings.append(Finding(problem, mend))
    return Check("streams", tuple(findings), f"{len(changes)} streams, consumers and buckets are as they should be")


async def _replicas(bus: NatsBus) -> int:
    """How many copies the operator chose: that is no finding."""
    info = await _jetstream(bus, f"STREAM.INFO.{subjects.EVENTS.name}")
    return int((info or {}).get("config", {}).get("num_replicas", 1))


async def _service(bus: NatsBus, name: str) -> Check:
    asked = datetime.now(UTC)
    answer = await readiness(Client(bus), name)
    answered = datetime.now(UTC)
    findings = of_service(name, MODULES[name], answer.findings)
    if answer.time is not None:
        findings += skew_findings(f"the clock of {name}", asked, answer.time, answered)
    return Check(name, findings, "ready")


async def _agents(bus: NatsBus, tenant: str, data: Path) -> Check:
    """Whether the agents' processes stay up."""
    try:
        worktrees = await read_worktrees(Client(bus, tenant))
    except (Refusal, UnavailableError):  # the check of the service says so
        return Check("agents", detail=f"not known: {subjects.WORKTREE_SCALER} does not answer")
    crashed: dict[str, list[AgentWorktree]] = {}
    for each in crashing(worktrees):
        crashed.setdefault(each.agent, []).append(each)
    findings = [
        crash_finding(of_agent, await _exit_code(bus, tenant, agent), data) for agent, of_agent in crashed.items()
    ]
    return Check("agents", tuple(findings), f"{count(len(worktrees), 'worktree')}, none crashed")


async def _exit_code(bus: NatsBus, tenant: str, agent: str) -> int | None:
    """What the agent's process that failed last exited with, if that was told."""
    last = {"last_by_subj": subjects.event_subject(tenant, agent, WorktreeFailed.NAME)}
    answer = await _jetstream(bus, f"STREAM.MSG.GET.{subjects.EVENTS.name}", last)
    try:
        code = json.loads(base64.b64decode((answer or {})["message"]["data"]))["data"].get("exit_code")
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return code if isinstance(code, int) else None


async def _backlog(bus: NatsBus) -> Check:
    """Two looks at each durable: how far behind it is, and whether it gets on."""
    before = await _looks(bus)
    if any(look.lag for look in before.values()):
        await asyncio.sleep(SECOND_LOOK_SECONDS)
        after = await _looks(bus)
    else:
        after = before
    findings: list[Finding] = []
    for consumer, look in after.items():
        name = f"{consumer.service} on {consumer.stream.name}"
        if consumer in before and (why := standstill(before[consumer], look)):
            findings.append(Finding(f"{name} {why}", mend_of_standstill(consumer)))
        elif look.lag > BACKLOG_MAX:
            mend = "see whether it is ready, and its log; it catches up by itself when it can"
            findings.append(Finding(f"{name} is {look.lag} messages behind", mend))
    waiting = sum(look.lag for look in after.values())
    return Check("backlog", tuple(findings), f"{count(waiting, 'message')} on the way")


async def _looks(bus: NatsBus) -> dict[subjects.Consumer, Look]:
    """The durables that exist: of a missing one the check of the streams says so."""
    found: dict[subjects.Consumer, Look] = {}
    for consumer in subjects.CONSUMERS:
        info = await _jetstream(bus, f"CONSUMER.INFO.{consumer.stream.name}.{consumer.durable}")
        if info is not None:
            found[consumer] = Look.of(info)
    return found


async def _clock(bus: NatsBus) -> Check:
    """The server's clock against this machine's; what the question took is not held against it."""
    asked = datetime.now(UTC)
    info = await _jetstream(bus, f"STREAM.INFO.{subjects.EVENTS.name}")
    answered = datetime.now(UTC)
    if not info or "ts" not in info:
        return Check("clock", detail="the server does not tell the time")
    server = datetime.fromisoformat(info["ts"][:26].rstrip("Z") + "+00:00")
    return Check("clock", skew_findings("the server's clock", asked, server, answered), "as the server's")


async def _dead_letters(bus: NatsBus, tenant: str) -> Check:
    """The tenant's letters, and those of messages that are nobody's: who else would look for them?"""
    findings = []
    if letters := await _letters_of(bus, tenant):
        mend = "`thymos dead list` says why; `thymos dead retry --all` when that is mended"
        findings.append(Finding(f"{count(letters, 'message')} could not be processed", mend))
    if tenant != UNKNOWN_TENANT and (letters := await _letters_of(bus, UNKNOWN_TENANT)):
        words = f"{count(letters, 'message')} of no tenant could not be processed"
        findings.append(Finding(words, f"`thymos dead list --tenant {UNKNOWN_TENANT}` says why; mend who sends them"))
    return Check("dead letters", tuple(findings), "none")


async def _letters_of(bus: NatsBus, tenant: str) -> int:
    asked = {"subjects_filter": subjects.dead_subject("*", tenant)}
    info = await _jetstream(bus, f"STREAM.INFO.{subjects.DEAD_LETTERS.name}", asked)
    return sum(((info or {}).get("state", {}).get("subjects") or {}).values())


def storage_check(folder: Path, named: bool) -> Check:
    """Whether a data folder can be written, and has room. One that nobody named need not be on this machine."""
    if not folder.is_dir() and not named:
        return Check("storage", detail="no data folder here; name one with --data")
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        mend = "make room: a full disk stops every service" if full else "mend its permissions"
        return Check("storage", (Finding(f"{folder} cannot be written: {error.strerror}", mend),))
    if free < FREE_BYTES_MIN:
        what = f"{folder} has {free // 2**20} MiB free, less than {FREE_BYTES_MIN // 2**20}"
        return Check("storage", (Finding(what, "make room: a full disk stops every service"),))
    return Check("storage", detail=f"{folder}, {free // 2**20} MiB free")


async def _jetstream(bus: NatsBus, call: str, request: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """An answer of JetStream's own interface, if there is one."""
    body = json.dumps(request).encode() if request else b""
    try:
        answer = json.loads(await bus.request(f"$JS.API.{call}", body, CONNECT_WAIT))
    except (UnavailableError, ValueError):
        return None
    return answer if isinstance(answer, dict) and "error" not in answer else None
