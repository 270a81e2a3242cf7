import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contracts.traces.context import context_of, is_sampled
from tests.support.otlp import CALLER, SAMPLED, TRACE, UNSAMPLED


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
