"""Trace contexts, and spans, which are encoded here as OpenTelemetry's SDK encodes them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from ingest.contracts.traces import otlp
from ingest.contracts.traces.context import context_of, is_sampled
from ingest.contracts.traces.otlp import Attribute, Context, Kind
from ingest.contracts.traces.spans import Span, span_context
from tests.support.otlp import CALLER, SAMPLED, TRACE, UNSAMPLED

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
IDS = st.binary(min_size=16, max_size=16)
NUMBERS = st.integers(0, 2**63 - 1)


def contexts(*, is_remote: bool) -> st.SearchStrategy[Context]:
    span_ids = st.binary(min_size=8, max_size=8)
    return st.builds(Context, IDS, span_ids, is_remote=st.just(is_remote))


SPANS = st.fixed_dictionaries(
    {
        "context": contexts(is_remote=False),
        "parent": st.none() | contexts(is_remote=False) | contexts(is_remote=True),
        "name": TEXTS,
        "kind": st.sampled_from(Kind),
        "began": NUMBERS,
        "ended": NUMBERS,
        "attributes": st.dictionaries(
            TEXTS.filter(bool),
            TEXTS | NUMBERS | st.lists(IDS, max_size=300),
            max_size=5,
        ),
        "links": st.lists(contexts(is_remote=True), max_size=200),
        "failed": st.booleans(),
    }
)


@given(st.dictionaries(TEXTS.filter(bool), TEXTS), TEXTS, TEXTS, st.lists(SPANS))
def test_spans_are_encoded_as_the_sdk_encodes_them(
    process: dict[str, str], scope: str, version: str, spans: Sequence[dict[str, Any]]
) -> None:
    before = otlp.resource(process, scope, version)
    found = otlp.request(before, [otlp.span(**each) for each in spans])

    resource, made_by = Resource(process), InstrumentationScope(scope, version)
    expected = encode_spans([readable(each, resource, made_by) for each in spans])
    said = ExportTraceServiceRequest.FromString(found)
    if spans:
        assert expected == said
    else:
        assert not [
            span for each in said.resource_spans for span in each.scope_spans[0].spans
        ]


def readable(
    span: dict[str, Any], resource: Resource, scope: InstrumentationScope
) -> ReadableSpan:
    parent = span["parent"]
    return ReadableSpan(
        span["name"],
        context=known(span["context"]),
        parent=None if parent is None else known(parent),
        resource=resource,
        attributes={name: value(each) for name, each in span["attributes"].items()},
        links=[Link(known(each)) for each in span["links"]],
        kind=SpanKind[span["kind"].name],
        status=Status(StatusCode.ERROR) if span["failed"] else Status(),
        start_time=span["began"],
        end_time=span["ended"],
        instrumentation_scope=scope,
    )


def known(context: Context) -> SpanContext:
    trace_id, span_id, is_remote = context
    ids = int.from_bytes(trace_id), int.from_bytes(span_id)
    return SpanContext(*ids, is_remote, TraceFlags(TraceFlags.SAMPLED))


def value(attribute: Attribute) -> str | int | list[str]:
    if isinstance(attribute, str | int):
        return attribute
    return [str(UUID(bytes=each)) for each in attribute]


def test_a_span_says_what_it_is_within_and_why_it_failed() -> None:
    ended: list[Span] = []
    remote = span_context(SAMPLED)
    request = Span(ended.append, "request", Kind.SERVER, remote)
    append = request.within("append", Kind.PRODUCER)
    append.end({}, error=KeyError("an e-mail address"))
    request.end({"http.response.status_code": 500}, failed=True)

    before = otlp.resource({}, "", "")
    body = otlp.request(before, [span.encoded() for span in ended])
    [group] = ExportTraceServiceRequest.FromString(body).resource_spans
    inner, outer = group.scope_spans[0].spans
    assert (TRACE, CALLER) == (outer.trace_id.hex(), outer.parent_span_id.hex())
    assert (TRACE, outer.span_id) == (inner.trace_id.hex(), inner.parent_span_id)
    assert append.traceparent == f"00-{TRACE}-{inner.span_id.hex()}-01"
    assert {2} == {span.status.code for span in (inner, outer)}
    [error] = inner.attributes
    assert ("error.type", "KeyError") == (error.key, error.value.string_value)
    assert 0 < outer.start_time_unix_nano <= inner.start_time_unix_nano
    assert inner.end_time_unix_nano <= outer.end_time_unix_nano


@pytest.mark.parametrize("flags", ["01", "03", "ff"])
def test_a_context_whose_caller_records_is_sampled(flags: str) -> None:
    assert is_sampled(SAMPLED[:-2] + flags)


@pytest.mark.parametrize(
    "traceparent",
    [
        UNSAMPLED,
        "",
        SAMPLED + "-",
        SAMPLED[1:],
        SAMPLED.upper(),
        "01" + SAMPLED[2:],  # a later version
        f"00-{'0' * 32}-{CALLER}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}g-{CALLER}-01",
        SAMPLED[:-2] + "g1",
        SAMPLED.replace("4", "٤"),
    ],
)
def test_what_is_no_sampled_context_of_version_00_is_passed_over(
    traceparent: str,
) -> None:
    assert not is_sampled(traceparent)


@given(st.text() | st.text(min_size=55, max_size=55))
def test_no_text_makes_reading_a_context_fail(traceparent: str) -> None:
    is_sampled(traceparent)


@given(st.binary() | st.binary().map(b'{"v":3'.__add__))
def test_no_bytes_make_looking_for_a_context_fail(payload: bytes) -> None:
    context_of(payload)
