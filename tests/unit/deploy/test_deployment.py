"""What can be said of docker-compose.yml and deploy/ without Docker; `make test-compose` does the rest."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from thymos import config, subjects
from thymos.demo.dataset import load_dataset
from thymos.embedded import STORE_BYTES_MAX
from thymos.subjects import MIB

ROOT = Path(__file__).parents[3]
ONE_SHOT = {"volumes", "provision"}
RUN_EXTRAS = {"cli", "service", "otel", "postgresql"}
PACKAGES = ("thymos", *(f"thymos-{service}" for service in subjects.SERVICES))


@pytest.fixture(scope="module")
def containers() -> dict[str, dict[str, Any]]:
    """The containers of docker-compose.yml, by name."""
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return dict(document["services"])


def test_every_container_is_confined(containers: dict[str, dict[str, Any]]) -> None:
    for name, container in containers.items():
        assert container["read_only"] is True, name
        assert container["cap_drop"] == ["ALL"], name
        assert container["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "pids_limit", "logging"} <= set(container), name
        assert container["restart"] == ("no" if name in ONE_SHOT else "unless-stopped"), name


def test_ports_are_open_on_the_loopback_only(containers: dict[str, dict[str, Any]]) -> None:
    ports = [port for container in containers.values() for port in container.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_root_is_used_once_and_without_a_network(containers: dict[str, dict[str, Any]]) -> None:
    roots = [name for name, container in containers.items() if str(container.get("user", "")).startswith("0")]
    assert roots == ["volumes"]
    assert containers["volumes"]["network_mode"] == "none"
    assert "USER 10001:10001" in (ROOT / "deploy/Dockerfile").read_text()


def test_every_service_has_a_container_and_is_scraped(containers: dict[str, dict[str, Any]]) -> None:
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert {
        target for job in scraped if job["job_name"] == "thymos" for target in job["static_configs"][0]["targets"]
    } == {f"{service}:9000" for service in subjects.SERVICES}
    for service in subjects.SERVICES:
        assert containers[service]["build"]["args"] == {"SERVICE": service}
        assert (ROOT / "services" / service).is_dir()


def test_nats_is_configured_as_the_one_of_thymos_up() -> None:
    text = (ROOT / "deploy/nats/nats-server.conf").read_text()
    assert re.search(r"^\s*sync_interval: always\b", text, re.MULTILINE)
    assert re.search(rf"^\s*max_file_store: {STORE_BYTES_MAX}\b", text, re.MULTILINE)
    assert re.search(rf"^\s*max_payload: {MIB}\b", text, re.MULTILINE)


def closure(package: str, extras: frozenset[str], found: set[str]) -> set[str]:
    """The packages that are installed here and that a package needs with these extras, and theirs in turn."""
    for line in importlib.metadata.requires(package) or ():
        needed = Requirement(line)
        wanted = [needed.marker.evaluate({"extra": extra}) for extra in (extras or {""})] if needed.marker else [True]
        name = canonicalize_name(needed.name)
        if any(wanted) and name not in found:
            found.add(name)
            closure(name, frozenset(needed.extras), found)
    return found


def test_the_images_install_what_runs_and_nothing_else() -> None:
    lines = re.findall(r"^([\w.-]+==[^\\\n]+)", (ROOT / "deploy/run.lock").read_text(), re.MULTILINE)
    pinned = [Requirement(line.strip()) for line in lines]
    locked = {each.name for each in pinned if each.marker is None or each.marker.evaluate()}
    needed: set[str] = set()
    for package in PACKAGES:
        closure(package, frozenset(RUN_EXTRAS), needed)
    assert locked == {name for name in needed if name not in PACKAGES}


def check_lock(which: str, lock: Path) -> str:
    """What `make verify` says of a lock."""
    command = [sys.executable, str(ROOT / ".ci/dependencies.py"), which, "--check", str(lock)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("which", ["run", "build"])
def test_a_lock_that_says_something_else_than_requirements_lock_is_noticed(which: str, tmp_path: Path) -> None:
    good = (ROOT / f"deploy/{which}.lock").read_text()
    assert check_lock(f"--{which}", ROOT / f"deploy/{which}.lock") == ""
    changed = tmp_path / "changed.lock"
    changed.write_text(good + "left-pad==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    assert "has left-pad==1.0, which requirements.lock has not" in check_lock(f"--{which}", changed)
    changed.write_text(good.replace("sha256:", "sha256:0", 1))
    assert "make lock" in check_lock(f"--{which}", changed)


def test_the_example_can_be_read_and_holds_the_held_out_questions() -> None:
    folder = ROOT / "examples/support_desk"
    agent = config.load(folder / "thymos.toml").agents["support"]
    assert (folder / "scenario.jsonl").read_text() == load_dataset().scenario_lines()
    assert agent.scenario is not None
    assert (folder / agent.command[-1]).is_file()


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    """A service's `/ready` with a given answer; yields its port."""

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/ready" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            serving.join()


def health(port: int) -> subprocess.CompletedProcess[str]:
    """The images' health check, asked of a port."""
    command = [sys.executable, "-I", str(ROOT / "deploy/ready.py")]
    environment = {**os.environ, "THYMOS_OBSERVABILITY__PORT": str(port)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_healthy_is_ready() -> None:
    with answering(200, json.dumps({"ready": True, "findings": []}).encode()) as port:
        assert health(port).returncode == 0
    assert health(port).returncode == 1  # nobody listens there any more


def test_unhealthy_says_why() -> None:
    with answering(503, json.dumps({"ready": False, "findings": ["the durable is gone"]}).encode()) as port:
        checked = health(port)
    assert checked.returncode == 1
    assert "the durable is gone" in checked.stdout
