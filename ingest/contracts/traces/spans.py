"""Spans: made here and not by OpenTelemetry's tracers, which take ten times as long.

What they can do besides is not needed.
"""

from collections.abc import Callable, Mapping, Sequence
from random import getrandbits
from time import time_ns
from typing import Final

from ingest.contracts.traces import otlp
from ingest.contracts.traces.otlp import Attribute, Context, Kind

#: Of one span.
_MOST_LINKS: Final = 128


class _Flags:
    sampled = True


class _Sampled:
    trace_flags = _Flags


class Span:
    """A span under way. It is sent when it ends."""

    __slots__ = (
        "_attributes",
        "_began",
        "_ended",
        "_failed",
        "_kind",
        "_links",
        "_name",
        "_parent",
        "_send",
        "_within",
    )

    #: What the SDK's queue asks of a span: whether it is sampled.
    context: Final = _Sampled

    def __init__(
        self,
        send: "Callable[[Span], None]",
        name: str,
        kind: Kind,
        parent: Context | None = None,
        links: Sequence[Context] = (),
    ) -> None:
        """`parent` is of the span around it; without one it begins a trace."""
        self._send = send
        self._name = name
        self._kind = kind
        self._parent = parent
        self._links = links
        trace_id = getrandbits(128).to_bytes(16) if parent is None else parent.trace_id
        self._within = Context(trace_id, getrandbits(64).to_bytes(8))
        self._began = time_ns()

    def within(self, name: str, kind: Kind = Kind.INTERNAL) -> "Span":
        """A span that begins inside this one."""
        return Span(self._send, name, kind, self._within)

    @property
    def traceparent(self) -> str:
        return f"00-{self._within.trace_id.hex()}-{self._within.span_id.hex()}-01"

    def end(
        self,
        attributes: Mapping[str, Attribute],
        *,
        error: BaseException | None = None,
        failed: bool = False,
    ) -> None:
        """Of an error it says the class: messages may quote events."""
        if error is not None:
            attributes, failed = (
                {**attributes, "error.type": type(error).__name__},
                True,
            )
        self._attributes = attributes
        self._failed = failed
        self._ended = time_ns()
        self._send(self)

    def encoded(self) -> bytes:
        """As OTLP has it, once it has ended."""
        return otlp.span(
            self._within,
            self._parent,
            name=self._name,
            kind=self._kind,
            began=self._began,
            ended=self._ended,
            attributes=self._attributes,
            links=self._links[:_MOST_LINKS],
            failed=self._failed,
        )


def span_context(traceparent: str) -> Context:
    """The context of a span elsewhere; `traceparent` passes `context.is_sampled`."""
    _, trace_id, span_id, _ = traceparent.split("-")
    return Context(bytes.fromhex(trace_id), bytes.fromhex(span_id), is_remote=True)
