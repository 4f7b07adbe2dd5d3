"""Spans of a client and of the services arrive at a real OTLP/HTTP receiver, in one trace and with their parents."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.deadline import DEADLINE_SECONDS

from thymos.client import Client
from thymos.observability import tracing
from thymos.suite import Suite
from thymos.telemetry import Outcome, TaskFinished


class Receiver(ThreadingHTTPServer):
    """Keeps the spans that it is sent, by (service, name)."""

    def __init__(self) -> None:
        self.spans: dict[tuple[str, str], Span] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    named = {each.key: each.value.string_value for each in resource.resource.attributes}
                    for scope in resource.scope_spans:
                        receiver.spans |= {(named["service.name"], span.name): span for span in scope.spans}
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        super().__init__(("127.0.0.1", 0), Handler)


@contextmanager
def receiving() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()


async def test_the_spans_of_one_outcome_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv(tracing.OWN_VARIABLE, f"http://127.0.0.1:{receiver.server_address[1]}")
        tracing.exporter_of_this_process.cache_clear()
        async with Suite(tmp_path, sync_always=False) as suite:
            await suite.ready()
            client = Client(suite.bus, source="test")
            task = TaskFinished(task_id="t1", outcome=Outcome.SUCCEEDED, branch="main")
            await client.publish(client.envelope(task, "support"))
            wanted = {
                "reported": ("agent", "publish task.finished"),
                "counted": ("metrics-collector", "process task.finished"),
                "told": ("metrics-collector", "publish metrics.outcomes"),
                "heard": ("decision-engine", "process metrics.outcomes"),
            }
            async with asyncio.timeout(DEADLINE_SECONDS):
                while not set(wanted.values()) <= set(receiver.spans):
                    await asyncio.sleep(0.1)
        exporter = tracing.exporter_of_this_process()
        assert exporter is not None
        await asyncio.to_thread(exporter.close)
        tracing.exporter_of_this_process.cache_clear()

    spans = {name: receiver.spans[key] for name, key in wanted.items()}
    assert len({span.trace_id for span in spans.values()}) == 1
    assert spans["counted"].parent_span_id == spans["reported"].span_id
    assert spans["told"].parent_span_id == spans["counted"].span_id
    assert spans["heard"].parent_span_id == spans["told"].span_id
