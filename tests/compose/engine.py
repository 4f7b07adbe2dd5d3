"""Docker as a person uses it: `docker` and `docker compose` (or `docker-compose`), told by command lines alone."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thymos.errors import ThymosError

ROOT = Path(__file__).parents[2]
COMMAND_SECONDS = 900.0
LAST_WORDS = 2_000


def run(command: Sequence[str], environment: Mapping[str, str] | None = None, *, check: bool = True) -> str:
    """What a command prints. Raises ThymosError with its last words when it fails, unless `check` is off."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if check and done.returncode != 0:
        said = (done.stdout + done.stderr).strip()[-LAST_WORDS:]
        raise ThymosError(f"{' '.join(command)} ended with {done.returncode}: {said}")
    return done.stdout


def compose_command() -> tuple[str, ...]:
    """`docker compose` where it is installed, else `docker-compose`. Raises ThymosError when there is neither."""
    if run(["docker", "compose", "version"], check=False):
        return ("docker", "compose")
    if shutil.which("docker-compose"):
        return ("docker-compose",)
    raise ThymosError("neither `docker compose` nor `docker-compose` is installed: install one of them")


class Project:
    """The suite of docker-compose.yml under a project name and on ports of its own, beside any other."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        if not shutil.which("docker") or not run(["docker", "info", "--format", "{{.ServerVersion}}"], check=False):
            raise ThymosError("no Docker engine answers: start it (`docker info` says what it sees)")
        self.name = name
        self._environment = environment
        self._compose = (*compose_command(), "--project-name", name)

    def compose(self, *arguments: str, check: bool = True) -> str:
        """`docker compose …` of this project."""
        return run([*self._compose, *arguments], self._environment, check=check)

    def container(self, service: str) -> str:
        """The id of a service's container, running or not. Raises ThymosError when there is none."""
        labels = {"project": self.name, "service": service, "oneoff": "False"}
        filters = [f"--filter=label=com.docker.compose.{key}={value}" for key, value in labels.items()]
        found = run(["docker", "ps", "--all", "--quiet", *filters]).split()
        if len(found) != 1:
            raise ThymosError(f"{len(found)} containers of {service}; expected one")
        return found[0]

    def inspect(self, service: str) -> dict[str, Any]:
        """All that the engine knows of a service's container."""
        details: dict[str, Any] = json.loads(run(["docker", "inspect", self.container(service)]))[0]
        return details

    def health(self, service: str) -> str:
        """`healthy`, `unhealthy` or `starting`; of a container that does not run, its state."""
        state = self.inspect(service)["State"]
        return str(state["Health"]["Status"] if state["Running"] and "Health" in state else state["Status"])

    def inside(self, service: str, *command: str, check: bool = True) -> str:
        """What a command prints that runs in a service's container, as that container's user."""
        return run(["docker", "exec", self.container(service), *command], check=check)

    def signal(self, service: str, process: str, number: str) -> None:
        """Signal the processes of that name in a container, from inside: to the engine it is a crash, no order."""
        script = (
            f'for each in /proc/[0-9]*; do if [ "$(cat $each/comm 2>/dev/null)" = {process} ]; '
            f"then kill -{number} ${{each#/proc/}}; fi; done"
        )
        self.inside(service, "sh", "-c", script, check=False)

    def left(self) -> list[str]:
        """What of this project exists: containers, volumes and networks."""
        mine = f"--filter=label=com.docker.compose.project={self.name}"
        return [
            *run(["docker", "ps", "--all", "--quiet", mine]).split(),
            *run(["docker", "volume", "ls", "--quiet", mine]).split(),
            *run(["docker", "network", "ls", "--quiet", mine]).split(),
        ]


def fetch(url: str) -> Any:
    """A JSON document. Raises ThymosError when there is none."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise ThymosError(f"{url}: {error}") from error
