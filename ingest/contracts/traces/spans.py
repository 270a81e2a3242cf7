"""Spans of OpenTelemetry, and their export by OTLP over HTTP; needs the extra `otel`.

The SDK reads its own variables: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME` and the
others of its specification.
"""

import logging
from threading import Thread
from time import monotonic
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanContext, Status, StatusCode, TraceFlags
from typing_extensions import override

from ingest.contracts.metrics.build import version
from ingest.contracts.telemetry import Bounded
from ingest.contracts.variables import SettingsError

#: How long a process that ends waits for its last spans.
_CLOSE_SECONDS: Final = 1.0
#: A collector that is away would be an error each time.
_SAY_SECONDS: Final = 60.0


class _Complaints(logging.Handler):
    """Writes some of what the SDK complains about."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said = Bounded("trace.unexported", monotonic, _SAY_SECONDS)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._said.warning(cause=record.getMessage())


class SpanExport:
    """Exports the spans of one process, from a thread of its own."""

    def __init__(self, service: str) -> None:
        """`service` is the name where `OTEL_SERVICE_NAME` says no other.

        Raises SettingsError for a variable that the SDK does not take.
        """
        sdk = logging.getLogger("opentelemetry")
        sdk.handlers, sdk.propagate = [_Complaints()], False
        own = {"service.name": service, "service.version": version()}
        resource = Resource.create(own).merge(OTELResourceDetector().detect())
        try:
            self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        except ValueError as error:
            raise SettingsError(
                f"a variable that begins with OTEL_ is wrong: {error}; correct it, or unset"
                " REFTIDE_TRACES_PER_SECOND"
            ) from error
        self.tracer = self._provider.get_tracer("reftide", version())

    def close(self) -> None:
        """Export what is left, unless nobody takes it within a second."""
        # The SDK would wait for half a minute.
        closing = Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)


def fail(span: Span, error: BaseException) -> None:
    """Say of a span that it failed, and of the error the class: messages may quote events."""
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR))


def span_context(traceparent: str) -> SpanContext:
    """The context of a span elsewhere; `traceparent` passes `traces.is_sampled`."""
    _, trace_id, span_id, _ = traceparent.split("-")
    return SpanContext(
        trace_id=int(trace_id, 16),
        span_id=int(span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def traceparent_of(context: SpanContext) -> str:
    """The context of a sampled span, in the form of a `traceparent`."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
