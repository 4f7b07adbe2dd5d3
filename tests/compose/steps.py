"""What is asked of a suite in containers, one method a step: each returns what it found, or raises ThymosError."""

import asyncio
import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import quote

from thymos import nats_bus, requests, subjects
from thymos.client import Client
from thymos.errors import ThymosError

from .engine import ROOT, Project, fetch, run
from .load import DESK, Books, Load, counting, sending

SERVICES = subjects.SERVICES
LASTING = ("nats", *SERVICES, "prometheus")
ONE_SHOT = ("volumes", "provision")
PROCESS = {"nats": "nats-server", "prometheus": "prometheus", **dict.fromkeys(SERVICES, "service")}
"""What the process of a container is called, under the init process."""
LISTED = "import importlib.metadata as m; print(*{d.name for d in m.distributions()})"
HEALTHY_SECONDS = 180.0
LOOK_SECONDS = 0.5
EXAMPLE = ROOT / "examples" / "support_desk"

Step = Callable[[], Awaitable[str]]


class Steps:
    """The steps, on one project."""

    def __init__(self, project: Project, ports: Mapping[str, int]) -> None:
        self._project = project
        self._url = f"nats://127.0.0.1:{ports['NATS']}"
        self._prometheus = f"http://127.0.0.1:{ports['PROMETHEUS']}"
        self._load: Load | None = None

    def before(self) -> Sequence[tuple[str, Step]]:
        """From nothing to a suite that works."""
        return (
            ("images are built", self._build),
            ("everything is up and healthy", self._up),
            ("containers are confined", self._confined),
            ("images hold what they need and no more", self._lean),
            ("the example: drift, experiment, merge, from the host", self._example),
            ("Prometheus scrapes every service", self._scraped),
            ("alert rules are in force, and none fires", self._alerts),
        )

    def faults(self) -> Sequence[tuple[str, Step]]:
        """What goes wrong, one after the other, while traffic goes on."""
        crashes = [(f"{name} crashes and comes back by itself", partial(self._crash, name)) for name in LASTING]
        kills = [(f"docker kill {name}, then up", partial(self._kill, name)) for name in LASTING]
        frozen = [(f"{name} that hangs is unhealthy", partial(self._freeze, name)) for name in SERVICES]
        missing = [(f"{name} without its consumer is unhealthy", partial(self._unprovide, name)) for name in SERVICES]
        return (("traffic flows", self._flows), *crashes, *kills, *frozen, *missing)

    def afterwards(self) -> Sequence[tuple[str, Step]]:
        """When all of it is over."""
        return (
            ("thymos doctor finds nothing wrong", self._doctor),
            ("a backup is restored into new volumes", self._restored),
            ("Prometheus finds every service again", self._scraped),
            ("an agent started on the host is one of the fleet", self._external),
        )

    @contextlib.asynccontextmanager
    async def under_load(self) -> AsyncIterator[None]:
        """Count while the block runs, and send."""
        async with counting(self._url) as self._load, contextlib.AsyncExitStack() as self._traffic:
            await self._traffic.enter_async_context(sending(self._load))
            yield

    # --- from nothing to a suite that works -------------------------------------------------------------------------

    async def _compose(self, *arguments: str) -> str:
        return await asyncio.to_thread(self._project.compose, *arguments)

    async def _build(self) -> str:
        await self._compose("build")
        images = [json.loads(run(["docker", "image", "inspect", f"thymos/{name}:local"]))[0] for name in SERVICES]
        return ", ".join(f"{name} {image['Size'] // 10**6} MB" for name, image in zip(SERVICES, images, strict=True))

    async def _up(self) -> str:
        await self._compose("up", "--detach")
        await self._healthy()
        ended = {name: self._project.inspect(name)["State"] for name in ONE_SHOT}
        if bad := [name for name, state in ended.items() if state["Status"] != "exited" or state["ExitCode"] != 0]:
            raise ThymosError(f"{', '.join(bad)} did not end with exit code 0")
        return f"{', '.join(LASTING)}; {' and '.join(ONE_SHOT)} ended well"

    async def _confined(self) -> str:
        for name in LASTING:
            details = self._project.inspect(name)
            host = details["HostConfig"]
            wanted = {
                "the root is read-only": host["ReadonlyRootfs"] is True,
                "it has no capability": host["CapDrop"] == ["ALL"] and not host["CapAdd"],
                "it gets no new privileges": any("no-new-privileges" in one for one in host["SecurityOpt"]),
                "memory is limited": host["Memory"] > 0,
                "processor time is limited": host["NanoCpus"] > 0,
                "processes are limited": (host["PidsLimit"] or 0) > 0,
                "it is restarted": host["RestartPolicy"]["Name"] == "unless-stopped",
                "its log is limited": "max-size" in host["LogConfig"]["Config"],
                "ports are the loopback's": all(
                    binding["HostIp"] == "127.0.0.1"
                    for bound in (host["PortBindings"] or {}).values()
                    for binding in bound
                ),
                "its user is not root": self._project.inside(name, "id", "-u").strip() not in ("", "0"),
                "it cannot write to the root": not self._writes(name, "/written")
                and not self._writes(name, "/etc/written"),
                "it can write to /tmp": self._writes(name, "/tmp/written"),
            }
            if bad := [what for what, is_so in wanted.items() if not is_so]:
                raise ThymosError(f"{name}: it is not so that {', '.join(bad)}")
        users = {self._project.inside(name, "id", "-u").strip() for name in LASTING}
        return (
            f"{len(LASTING)} containers, users {', '.join(sorted(users))}, read-only, no capabilities, loopback ports"
        )

    def _writes(self, service: str, path: str) -> bool:
        return "yes" in self._project.inside(service, "sh", "-c", f"touch {path} && echo yes", check=False)

    async def _lean(self) -> str:
        """No compiler, no installer, no tools of development; in each image its own service and no other."""
        for name in SERVICES:
            if found := self._project.inside(name, "sh", "-c", "command -v cc gcc g++ make ld", check=False).strip():
                raise ThymosError(f"the image of {name} has {found}")
            packages = set(self._project.inside(name, "python", "-I", "-c", LISTED).lower().replace("_", "-").split())
            wanted = {
                line.split("==")[0] for line in (ROOT / "deploy" / "run.lock").read_text().splitlines() if "==" in line
            }
            if strange := packages - wanted - {"thymos", f"thymos-{name}"}:
                raise ThymosError(
                    f"the image of {name} has {', '.join(sorted(strange))}, which deploy/run.lock has not"
                )
        return f"{len(packages)} packages in each"

    async def _host_python(self, program: Path, **environment: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            str(program),
            env={**os.environ, "THYMOS_NATS_URL": self._url, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def _example(self) -> str:
        process = await self._host_python(EXAMPLE / "customers.py")
        said = (await process.communicate())[0].decode(errors="replace").strip()
        if process.returncode != 0 or "branch.merged" not in said:
            raise ThymosError(f"exit code {process.returncode}: {said}")
        return said.splitlines()[-1].strip()

    async def _external(self) -> str:
        process = await self._host_python(EXAMPLE / "agent.py", THYMOS_AGENT=DESK)
        try:
            async with self._client() as client:
                await self._wait("its worktree is ready", partial(self._backends_are, client, {"external", "process"}))
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()
        return f"{DESK} runs on the host (external) and in worktree-scaler (process)"

    async def _backends_are(self, client: Client, backends: set[str]) -> str:
        request = requests.ListAgentWorktrees()
        answer = await client.ask_as(
            requests.AgentWorktreesAnswer, subjects.WORKTREE_SCALER, subjects.WHOLE_SERVICE, "worktrees", request
        )
        ready = {each.backend for each in answer.worktrees if each.agent == DESK and each.phase == "ready"}
        return "" if ready == backends else f"ready are {ready}"

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[Client]:
        bus = await nats_bus.connect(self._url, "compose-test", wait=timedelta(seconds=10))
        try:
            yield Client(bus, source="compose-test")
        finally:
            await bus.close()

    async def _query(self, expression: str) -> dict[str, float]:
        """The value of an expression by service."""
        answer = await asyncio.to_thread(fetch, f"{self._prometheus}/api/v1/query?query={quote(expression)}")
        return {one["metric"].get("service", ""): float(one["value"][1]) for one in answer["data"]["result"]}

    async def _scraped(self) -> str:
        async def all_ready() -> str:
            ready = await self._query("thymos_ready == 1 and on (instance) up == 1")
            return "" if set(ready) == set(SERVICES) else f"ready are {', '.join(sorted(ready)) or 'none'}"

        await self._wait("Prometheus finds every service ready", all_ready)
        targets = await asyncio.to_thread(fetch, f"{self._prometheus}/api/v1/targets")
        down = [one["scrapeUrl"] for one in targets["data"]["activeTargets"] if one["health"] != "up"]
        if down:
            raise ThymosError(f"not up: {', '.join(down)}")
        series = await self._query('count by (service) ({__name__=~"thymos_.*"})')
        return ", ".join(f"{name} {int(many)} series" for name, many in sorted(series.items()))

    async def _alerts(self) -> str:
        groups = (await asyncio.to_thread(fetch, f"{self._prometheus}/api/v1/rules"))["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        if bad := [rule["name"] for rule in rules if rule["health"] == "err" or rule["state"] == "firing"]:
            raise ThymosError(f"{', '.join(bad)} of {len(rules)} fire or cannot be evaluated")
        named = {name for rule in rules for name in re.findall(r"\bthymos_\w+", rule["query"])}
        known = (await asyncio.to_thread(fetch, f"{self._prometheus}/api/v1/metadata"))["data"]
        if not named or named - set(known):
            raise ThymosError(
                f"no service shows {', '.join(sorted(named - set(known))) or 'a metric that is asked for'}"
            )
        return f"{len(rules)} rules over {len(named)} metrics"

    # --- what goes wrong --------------------------------------------------------------------------------------------

    async def _flows(self) -> str:
        """Before anything goes wrong: what follows the streams begins while NATS is there."""
        if self._load is None:
            raise ThymosError("there is no traffic")
        books = self._load.books

        async def begun() -> str:
            return "" if books.counted and books.committed and books.answered & books.questions else str(books)

        await self._wait("every kind of message is sent and counted", begun)
        return str(books)

    async def _crash(self, name: str) -> str:
        """Its process dies as by kill -9, and nobody does anything."""
        restarts = self._project.inspect(name)["RestartCount"]
        self._project.signal(name, PROCESS[name], "KILL")
        await self._wait(
            f"{name} is restarted",
            lambda: self._in_thread(
                lambda: "" if self._project.inspect(name)["RestartCount"] > restarts else "not yet"
            ),
        )
        await self._healthy()
        return await self._caught_up()

    async def _kill(self, name: str) -> str:
        """For the engine that is an order: whether it restarts the container is its own matter, so `up` does."""
        await asyncio.to_thread(run, ["docker", "kill", self._project.container(name)])
        if name == "nats":
            await self._all_become("unhealthy", SERVICES)
        await self._compose("up", "--detach")
        await self._healthy()
        return await self._caught_up() + ("; services were unhealthy meanwhile" if name == "nats" else "")

    async def _freeze(self, name: str) -> str:
        """It runs and does nothing: SIGSTOP."""
        self._project.signal(name, PROCESS[name], "STOP")
        try:
            await self._all_become("unhealthy", (name,))
        finally:
            self._project.signal(name, PROCESS[name], "CONT")
        await self._healthy()
        return await self._caught_up()

    async def _unprovide(self, name: str) -> str:
        """A durable of its goes; provisioning makes it anew, and no event counts twice for it."""
        consumer = subjects.consumers_of(name)[0]
        async with self._client() as client:
            await client.bus.delete_consumer(consumer)
        await self._all_become("unhealthy", (name,))
        others = [other for other in SERVICES if other != name and self._project.health(other) != "healthy"]
        if others:
            raise ThymosError(f"{', '.join(others)} became unhealthy, too")
        await self._compose("up", "--detach")
        await self._healthy()
        return await self._caught_up()

    async def _caught_up(self) -> str:
        load = self._load
        if load is None:
            raise ThymosError("there is no traffic")
        sent = (frozenset(load.books.outcomes), frozenset(load.books.commits), frozenset(load.books.questions))

        async def done() -> str:
            books = load.books
            came = (set(books.counted), set(books.committed), books.answered)
            late = [len(out - back) for out, back in zip(sent, came, strict=True)]
            return "" if not any(late) else f"outcomes, commits, questions to come: {late}"

        await self._wait("what was sent before is done", done)
        if doubled := load.books.doubled():
            raise ThymosError(doubled)
        return f"all {sum(map(len, sent))} messages sent so far are done, once"

    async def nothing_lost(self) -> str:
        """The traffic ends, and the books are compared."""
        if self._load is None:
            raise ThymosError("there was no traffic")
        await self._traffic.aclose()
        books = self._load.books

        async def all_done() -> str:
            return books.missing()

        await self._wait("everything that was acknowledged is done", all_done)
        if doubled := books.doubled():
            raise ThymosError(doubled)
        return str(books)

    async def survives_down(self) -> str:
        """Containers and network go, volumes stay; then traffic again."""
        await self._compose("down")
        await self._compose("up", "--detach")
        await self._healthy()
        return "healthy again"

    async def _doctor(self) -> str:
        said = await asyncio.to_thread(
            self._project.inside, subjects.MEMORY_REPOSITORY, "thymos", "doctor", "--data", "/data"
        )
        return f"{len(said.splitlines())} checks"

    async def _restored(self) -> str:
        """As docs/backup.md says it: everything goes, volumes too, and comes back from a folder on the host."""
        if self._load is None:
            raise ThymosError("there was no traffic")
        with tempfile.TemporaryDirectory(prefix="thymos-compose-") as folder:
            await self._thymos("backup", f"{folder}/backup")
            await self._compose("down", "--volumes")
            await self._compose("up", "--detach", "nats")
            await self._all_become("healthy", ("nats",))
            await self._thymos("restore", f"{folder}/backup", "--data", f"{folder}/restored")
            run(["chmod", "-R", "a+rX", f"{folder}/restored"])
            for name in SERVICES:
                once = ("run", "--rm", "--no-deps", "-T", "-v", f"{folder}/restored:/restored:ro", name)
                await self._compose(*once, "install", "-m", "600", f"/restored/{name}.db", "/data/")
        await self._compose("up", "--detach")
        await self._healthy()
        return await self._counted_anew(self._load.books)

    async def _counted_anew(self, before: Books) -> str:
        """Whether the restored streams tell what the books from before say, and go on from there."""
        async with counting(self._url) as anew:
            books = anew.books
            books.outcomes, books.commits, books.questions = before.outcomes, before.commits, before.questions

            async def all_there() -> str:
                return books.missing()

            await self._wait("everything is in what was restored", all_there)
            if doubled := books.doubled():
                raise ThymosError(doubled)
            return str(books)

    async def _thymos(self, *arguments: str) -> None:
        """The command line, on the host."""
        command = [str(Path(sys.executable).parent / "thymos"), *arguments, "--nats", self._url]
        await asyncio.to_thread(run, command)

    # --- waiting ----------------------------------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], str]) -> str:
        return await asyncio.to_thread(work)

    async def _wait(self, what: str, why_not: Step) -> None:
        """Until `why_not` is empty. Raises ThymosError with its last words when that takes too long."""
        words = ""
        try:
            async with asyncio.timeout(HEALTHY_SECONDS):
                while True:
                    try:
                        words = await why_not()
                    except ThymosError as error:
                        words = str(error)
                    if not words:
                        return
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError as error:
            raise ThymosError(f"not within {HEALTHY_SECONDS:g} s: {what}: {words}") from error

    async def _all_become(self, health: str, services: Sequence[str]) -> None:
        def others() -> str:
            now = {name: self._project.health(name) for name in services}
            return ", ".join(f"{name} is {state}" for name, state in now.items() if state != health)

        await self._wait(f"{', '.join(services)} {health}", lambda: self._in_thread(others))

    async def _healthy(self) -> None:
        await self._all_become("healthy", LASTING)
