"""A collector that takes spans by OTLP over HTTP, and what it was sent."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.eventually import eventually

#: A caller's context, and the same without the flag that says it is sampled.
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{CALLER}-01"
UNSAMPLED = f"00-{TRACE}-{CALLER}-00"


@dataclass(frozen=True, slots=True)
class Received:
    """A span; ids are hexadecimal, links are pairs of trace and span."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    links: list[tuple[str, str]]
    attributes: dict[str, object]
    failed: bool


@dataclass(slots=True)
class Collector:
    """Keeps every span."""

    url: str = ""
    spans: list[Received] = field(default_factory=list)
    #: What requests were compressed with.
    codings: set[str] = field(default_factory=set)

    @property
    def variables(self) -> dict[str, str]:
        """What a process needs to trace into it, soon after spans end."""
        return {
            "REFTIDE_TRACES_PER_SECOND": "100",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }

    def named(self, name: str) -> list[Received]:
        return [span for span in self.spans if span.name == name]

    async def one(self, name: str) -> Received:
        """The span of a name, once it has come; there is one."""

        async def has_come() -> bool:
            return bool(self.named(name))

        await eventually(has_come)
        [span] = self.named(name)
        return span

    async def take(self, request: web.Request) -> web.Response:
        assert "application/x-protobuf" == request.content_type
        self.codings.add(request.headers.get("Content-Encoding", "none"))
        said = ExportTraceServiceRequest.FromString(await request.read())
        self.spans += _spans(said)
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")


@asynccontextmanager
async def a_collector(here: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector to which this process exports what it traces."""
    found, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", found.take)
    server = TestServer(app)
    async with server:
        found.url = str(server.make_url("")).rstrip("/")
        for name, value in found.variables.items():
            here.setenv(name, value)
        yield found


def _spans(said: ExportTraceServiceRequest) -> Iterator[Received]:
    for group in said.resource_spans:
        resource = _values(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Received(
                    service=str(resource["service.name"]),
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    links=[(e.trace_id.hex(), e.span_id.hex()) for e in span.links],
                    attributes=_values(span.attributes),
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                )


def _values(attributes: object) -> dict[str, object]:
    return {each.key: _value(each.value) for each in attributes}  # type: ignore[attr-defined]  # protobuf's


def _value(value: object) -> object:
    kind = value.WhichOneof("value")  # type: ignore[attr-defined]  # likewise
    found = getattr(value, kind)
    return [_value(each) for each in found.values] if kind == "array_value" else found
