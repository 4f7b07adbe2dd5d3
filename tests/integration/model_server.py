"""A server that speaks chat completions, as a test tells it to: a real one, on a port of this machine."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Exchange"], None]
"""Answers one request."""


class Exchange(BaseHTTPRequestHandler):
    """One request, and ways to answer it."""

    protocol_version = "HTTP/1.1"
    server: "ModelServer"
    request_json: dict[str, Any]

    def do_POST(self) -> None:
        """Read the request and let the test answer it."""
        size = int(self.headers.get("Content-Length", 0))
        self.request_json = json.loads(self.rfile.read(size))
        self.server.exchanges.append(self)
        self.server.behave(self)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    @property
    def conflicts(self) -> list[dict[str, Any]]:
        """What the prompt shows of a merge."""
        found: list[dict[str, Any]] = json.loads(self.request_json["messages"][1]["content"])["conflicts"]
        return found

    def says(self, text: object, finish: str = "stop") -> None:
        """Answer with a completion."""
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        self.sends(200, json.dumps({"id": "1", "object": "chat.completion", "choices": [choice]}).encode())

    def sends(self, status: int, body: bytes, declared: int | None = None) -> None:
        """Answer with these bytes."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if declared is None else declared))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def drips(self) -> None:
        """Send a header a byte at a time, for as long as the test lasts or the client stays."""
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self.server.over.wait(0.02):
                self.wfile.write(b"x")
        except OSError:
            self.server.hung_up.set()
        self.close_connection = True

    def resolves(self, take: str = "theirs", **more: Any) -> None:
        """Decide every conflict alike."""
        decided = [{"id": each["id"], "take": take, "rationale": "newer", **more} for each in self.conflicts]
        self.says(json.dumps({"resolutions": decided}))


class ModelServer(ThreadingHTTPServer):
    """Listens until its block ends."""

    daemon_threads = True

    def __init__(self, behave: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.behave = behave
        self.exchanges: list[Exchange] = []
        self.over = threading.Event()
        self.hung_up = threading.Event()

    @property
    def url(self) -> str:
        """Where its API begins."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error here."""


@contextmanager
def model_server(behave: Behaviour) -> Iterator[ModelServer]:
    """A running server."""
    server = ModelServer(behave)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
