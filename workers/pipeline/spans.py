"""Traces by OpenTelemetry; needs the extra `otel`."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, Tracer, get_current_span
from typing_extensions import override

from ingest.contracts.traces.context import context_of
from ingest.contracts.traces.spans import fail, span_context
from workers.model.batch import Delivery
from workers.pipeline.traces import Traces, Work


class SpanTraces(Traces):
    """The traces of one worker."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @override
    def of(
        self, work: Work, deliveries: Sequence[Delivery]
    ) -> AbstractContextManager[object]:
        found = (context_of(each.payload) for each in deliveries)
        contexts = dict.fromkeys(filter(None, found))
        if not contexts:
            return nullcontext()
        return self._span(
            work,
            context=Context(),
            kind=SpanKind.CONSUMER,
            attributes={"messaging.batch.message_count": len(deliveries)},
            links=[Link(span_context(each)) for each in contexts],
        )

    @override
    def writing(self) -> AbstractContextManager[object]:
        if not get_current_span().is_recording():
            return nullcontext()
        return self._span("write")

    @contextmanager
    def _span(self, name: str, **said: Any) -> Iterator[None]:
        """A span of a block; `said` goes to `start_as_current_span`."""
        with self._tracer.start_as_current_span(
            name, **said, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                fail(span, error)
                raise
