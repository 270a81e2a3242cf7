"""Spans, and their export by OTLP over HTTP with OpenTelemetry's SDK: the extra `otel`.

The SDK reads its own variables: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME` and others.
Spans are made here and not by its tracers, which take ten times as long for what they can do
besides.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from random import getrandbits
from threading import Thread
from time import monotonic, time_ns
from typing import Any, Final
from uuid import UUID

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)
from typing_extensions import override

from ingest.contracts.metrics.build import version
from ingest.contracts.telemetry import Bounded
from ingest.contracts.variables import SettingsError

Attribute = str | int | Sequence[str | UUID]

#: How long a process that ends waits for its last spans.
_CLOSE_SECONDS: Final = 1.0
#: A collector that is away would be an error each time.
_SAY_SECONDS: Final = 60.0
#: Of one span.
_MOST_LINKS: Final = 128
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_OK: Final = Status()
_FAILED: Final = Status(StatusCode.ERROR)


class _Complaints(logging.Handler):
    """Writes some of what the SDK complains about."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said = Bounded("trace.unexported", monotonic, _SAY_SECONDS)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._said.warning(cause=record.getMessage())


class _Process(Resource):
    """A resource that is equal to itself only: others are compared by their JSON, span by span."""

    __hash__ = object.__hash__

    @override
    def __eq__(self, other: object) -> bool:
        return self is other


class _Exporter(OTLPSpanExporter):
    """Makes in its thread, of many spans at once, what the SDK knows as a span."""

    @override
    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        return super().export([span.readable() for span in spans])


class SpanExport:
    """Exports the spans of one process, from a thread of its own."""

    def __init__(self, service: str) -> None:
        """`service` is the name where `OTEL_SERVICE_NAME` says no other.

        Raises SettingsError for a variable that the SDK does not take.
        """
        sdk = logging.getLogger("opentelemetry")
        sdk.handlers, sdk.propagate = [_Complaints()], False
        own = {"service.name": service, "service.version": version()}
        known = Resource.create(own).merge(OTELResourceDetector().detect())
        self.resource = _Process(known.attributes, known.schema_url)
        self.scope = InstrumentationScope("reftide", version())
        try:
            self._processor = BatchSpanProcessor(_Exporter())
        except ValueError as error:
            raise SettingsError(
                f"a variable that begins with OTEL_ is wrong: {error}; correct it, or unset"
                " REFTIDE_TRACES_PER_SECOND"
            ) from error
        self.send: Callable[[Any], None] = self._processor.on_end

    def close(self) -> None:
        """Export what is left, unless nobody takes it within a second."""
        # The SDK would wait for half a minute.
        closing = Thread(target=self._processor.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)


class Span:
    """A span under way. It is exported when it ends."""

    #: What the processor asks of a span: whether it is sampled.
    context: Final = SpanContext(1, 1, False, _SAMPLED)  # noqa: FBT003 -- SpanContext's

    def __init__(
        self,
        export: SpanExport,
        name: str,
        kind: SpanKind,
        parent: "SpanContext | Span | None" = None,
        links: Sequence[SpanContext] = (),
    ) -> None:
        """`parent` is the span around it; without one it begins a trace."""
        self._export = export
        self._name = name
        self._kind = kind
        self._parent = parent
        self._links = links
        self.trace_id: int = getrandbits(128) if parent is None else parent.trace_id
        self.span_id = getrandbits(64)
        self._began = time_ns()

    def within(self, name: str, kind: SpanKind = SpanKind.INTERNAL) -> "Span":
        """A span that begins inside this one."""
        return Span(self._export, name, kind, self)

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-01"

    def end(
        self,
        attributes: Mapping[str, Attribute],
        *,
        error: BaseException | None = None,
        failed: bool = False,
    ) -> None:
        """Of an error it says the class: messages may quote events."""
        if error is not None:
            attributes = {**attributes, "error.type": type(error).__name__}
        self._attributes = attributes
        self._status = _FAILED if failed or error else _OK
        self._ended = time_ns()
        self._export.send(self)

    def readable(self) -> ReadableSpan:
        """As the SDK exports it, once it has ended."""
        parent = self._parent
        return ReadableSpan(
            self._name,
            context=_own_context(self),
            parent=_own_context(parent) if isinstance(parent, Span) else parent,
            resource=self._export.resource,
            attributes={name: _said(each) for name, each in self._attributes.items()},
            links=[Link(each) for each in self._links[:_MOST_LINKS]],
            kind=self._kind,
            status=self._status,
            start_time=self._began,
            end_time=self._ended,
            instrumentation_scope=self._export.scope,
        )


def _own_context(span: Span) -> SpanContext:
    return SpanContext(span.trace_id, span.span_id, False, _SAMPLED)  # noqa: FBT003 -- likewise


def _said(attribute: Attribute) -> str | int | Sequence[str]:
    if isinstance(attribute, str | int):
        return attribute
    return [str(each) for each in attribute]


def span_context(traceparent: str) -> SpanContext:
    """The context of a span elsewhere; `traceparent` passes `context.is_sampled`."""
    _, trace_id, span_id, _ = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), True, _SAMPLED)  # noqa: FBT003 -- likewise
