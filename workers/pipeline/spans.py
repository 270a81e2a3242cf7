"""Traces of batches, as spans."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Final

from typing_extensions import override

from ingest.contracts.traces.context import context_of
from ingest.contracts.traces.otlp import Attribute, Kind
from ingest.contracts.traces.spans import Span, span_context
from workers.model.batch import Delivery
from workers.pipeline.traces import Traces, Work

#: Of the work that a task does.
_CURRENT: Final[ContextVar[Span | None]] = ContextVar("span", default=None)


class SpanTraces(Traces):
    """The traces of one worker."""

    def __init__(self, send: Callable[[Span], None]) -> None:
        """`send` takes spans that have ended."""
        self._send = send

    @override
    def of(
        self, work: Work, deliveries: Sequence[Delivery]
    ) -> AbstractContextManager[object]:
        found = (context_of(each.payload) for each in deliveries)
        links = [span_context(each) for each in dict.fromkeys(filter(None, found))]
        if not links:
            return nullcontext()
        span = Span(self._send, work, Kind.CONSUMER, links=links)
        return _during(span, {"messaging.batch.message_count": len(deliveries)})

    @override
    def writing(self) -> AbstractContextManager[object]:
        work = _CURRENT.get()
        return nullcontext() if work is None else _during(work.within("write"), {})


@contextmanager
def _during(span: Span, attributes: Mapping[str, Attribute]) -> Iterator[None]:
    """A block of which this is the span."""
    token = _CURRENT.set(span)
    try:
        yield
    except BaseException as error:
        span.end(attributes, error=error)
        raise
    else:
        span.end(attributes)
    finally:
        _CURRENT.reset(token)
