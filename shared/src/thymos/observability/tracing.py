"""Spans of OpenTelemetry, exported by OTLP over HTTP; nothing is made, and no library loaded, where no endpoint is set.

A span's ids are those of the messages' `traceparent` (trace_context.py), so that a trace is whole even when some of
the processes in it export nothing. Names come from closed sets: `process` or `publish` and a message's name.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from thymos.envelope import Envelope
from thymos.errors import ConfigError
from thymos.message import Message
from thymos.trace_context import TraceContext

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

log = logging.getLogger(__name__)

OWN_VARIABLE = "THYMOS_OBSERVABILITY__OTLP_ENDPOINT"
STANDARD_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
TRACES_PATH = "/v1/traces"
LINKS_MAX = 32
"""Other traces that a span points at; a batch may hold events of more."""
FLUSH_MILLISECONDS = 3_000


@dataclass(frozen=True)
class Span:
    """Something that was done, in Unix nanoseconds. `kind` is OpenTelemetry's: `consumer`, `producer`, `internal`."""

    name: str
    kind: str
    context: TraceContext
    parent: TraceContext | None
    began_ns: int
    ended_ns: int
    attributes: Mapping[str, str | int | bool] = field(default_factory=dict)
    links: tuple[TraceContext, ...] = ()
    error: str = ""


Export = Callable[[Iterable[Span]], None]
"""Takes spans that have ended. Never raises, never waits."""


def now_ns() -> int:
    """Unix nanoseconds."""
    return time.time_ns()


def endpoint(environ: Mapping[str, str], configured: str | None = None) -> str | None:
    """Where traces go: the address of `/v1/traces`; None for nowhere. Thymos' own setting comes before the standard's
    variables."""
    own = configured or environ.get(OWN_VARIABLE)
    if own:
        return own if own.rstrip("/").endswith(TRACES_PATH) else own.rstrip("/") + TRACES_PATH
    exact, base = (environ.get(name) for name in STANDARD_VARIABLES)
    return exact or (base.rstrip("/") + TRACES_PATH if base else None)


class Exporter:
    """Sends spans in batches from a thread of its own; what cannot be sent is dropped, and OpenTelemetry says so."""

    def __init__(self, service: str, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._resource = Resource.create({"service.name": service, "service.namespace": "thymos"})
        self._processor: Any = BatchSpanProcessor(exporter, schedule_delay_millis=1_000)

    def export(self, spans: Iterable[Span]) -> None:
        """Queue them; a trace that is not sampled is left out."""
        for span in spans:
            if span.context.sampled:
                self._processor.on_end(_read(span, self._resource))

    def close(self) -> None:
        """Send what waits, for some seconds at most."""
        self._processor.force_flush(FLUSH_MILLISECONDS)
        self._processor.shutdown()


def exporter_to(url: str, service: str) -> Exporter:
    """An exporter to an OTLP/HTTP address. Raises ConfigError when OpenTelemetry is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise ConfigError(
            f"observability.otlp_endpoint is set, but OpenTelemetry is not installed here ({error.name} is missing): "
            "`pip install 'thymos[otel]'`, or unset it"
        ) from error
    return Exporter(service, OTLPSpanExporter(endpoint=url, timeout=5))


@cache
def exporter_of_this_process() -> Exporter | None:
    """For agents: as the environment says. A missing library is said once and stops no agent."""
    url = endpoint(os.environ)
    if url is None:
        return None
    try:
        return exporter_to(url, os.environ.get("OTEL_SERVICE_NAME") or "agent")
    except ConfigError as error:
        log.warning("thymos: no traces: %s", error)
        return None


def export_if_wanted(*spans: Span) -> None:
    """Export an agent's spans, where the environment names an endpoint."""
    exporter = exporter_of_this_process()
    if exporter is not None:
        exporter.export(spans)


def published(
    envelope: Envelope[Message], parent: TraceContext | None, at_ns: int, links: Sequence[str] = ()
) -> Span | None:
    """The span of publishing a message; None where it is in no trace."""
    here = TraceContext.parse(envelope.traceparent)
    if here is None:
        return None
    others = tuple(context for link in links if (context := TraceContext.parse(link)) is not None)
    attributes = {**attributes_of(envelope), "messaging.operation.type": "send"}
    return Span(f"publish {envelope.data.NAME}", "producer", here, parent, at_ns, at_ns, attributes, others)


def attributes_of(envelope: Envelope[Message]) -> dict[str, str | int | bool]:
    """What spans about a message say of it."""
    ids = {
        "thymos.tenant": envelope.tenant,
        "thymos.agent": envelope.agent,
        "messaging.message.id": envelope.id,
        "messaging.message.conversation_id": envelope.correlation_id,
        "thymos.causation_id": envelope.causation_id,
        "thymos.experiment_id": getattr(envelope.data, "experiment_id", None),
    }
    return {"messaging.system": "nats", **{name: value for name, value in ids.items() if value}}


def export_published(envelope: Envelope[Message], before: TraceContext | None) -> None:
    """Export the span of a client's publishing, where the environment names an endpoint."""
    if exporter_of_this_process() is not None and (span := published(envelope, before, now_ns())) is not None:
        export_if_wanted(span)


def surrounding() -> TraceContext | None:
    """The step that the caller's own OpenTelemetry is in, if it uses it."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return TraceContext(f"{context.trace_id:032x}", f"{context.span_id:016x}", bool(context.trace_flags & 1))


def new_step(what: str) -> tuple[TraceContext, TraceContext | None]:
    """A step for the agent's own work, and the one before it: in the caller's trace, else the first of a new one."""
    before = surrounding()
    return (before.step(f"{what}|{os.urandom(8).hex()}"), before) if before else (TraceContext.root(_random()), None)


def _random() -> bytes:
    return os.urandom(15) + b"\1" + os.urandom(7) + b"\1"


def _read(span: Span, resource: Any) -> Any:
    """The span as OpenTelemetry's exporters take it."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanKind
    from opentelemetry.trace.status import Status, StatusCode

    return ReadableSpan(
        name=span.name,
        context=_context(span.context, remote=False),
        parent=None if span.parent is None else _context(span.parent, remote=True),
        resource=resource,
        attributes=dict(span.attributes),
        links=[Link(_context(link, remote=True)) for link in span.links[:LINKS_MAX]],
        kind=SpanKind[span.kind.upper()],
        instrumentation_scope=InstrumentationScope("thymos"),
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
        start_time=span.began_ns,
        end_time=max(span.began_ns, span.ended_ns),
    )


def _context(context: TraceContext, *, remote: bool) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), remote, flags)
