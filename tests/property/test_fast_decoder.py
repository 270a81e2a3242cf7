"""A body that is read swiftly says what it says when it is read as any other."""

from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.dialects.affitor_wire import Click, read_click
from ingest.dialects.body import read
from ingest.dialects.spec import Refusal

NAMES = [*Click.model_fields]

TEXT = st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
    ),
    max_leaves=5,
)
TEXTS = st.dictionaries(st.sampled_from(NAMES), TEXT | st.none())
ANYTHING = st.dictionaries(st.sampled_from(NAMES) | TEXT, JSON)


def said(reader: Callable[[bytes], Click], raw: bytes) -> Any:
    try:
        click = reader(raw)
    except Refusal as refusal:
        return refusal.args
    fields = {name: getattr(click, name) for name in NAMES}
    return fields, dict(click.extra), click.is_test, dict(click.about)


def plainly(raw: bytes) -> Click:
    return read(Click, raw)


@given(TEXTS | ANYTHING)
def test_every_document_is_read_alike(document: Any) -> None:
    raw = orjson.dumps(document)
    assert repr(said(plainly, raw)) == repr(said(read_click, raw))


@given(TEXTS, st.integers(0, 200), st.binary(max_size=3))
@example({"page_url": "x"}, 14, b"\xed\xa0\x80")
@example({"page_url": "x"}, 14, b"\\ud800")
@example({"page_url": "x"}, 14, b"\n")
@example({"page_url": "x"}, 0, b"\xef\xbb\xbf")
@example({"page_url": "x"}, 16, b',"page_url":"y"')
def test_what_was_spoilt_is_read_alike(
    document: Any, place: int, spoilt: bytes
) -> None:
    raw = orjson.dumps(document)
    raw = raw[:place] + spoilt + raw[place:]
    assert repr(said(plainly, raw)) == repr(said(read_click, raw))


def test_a_click_as_trackers_send_it_is_read_swiftly() -> None:
    raw = orjson.dumps({name: "x" for name in NAMES if name != "additional_data"})
    assert type(read_click(raw)) is not Click
    assert type(read_click(b"{}")) is not Click
    assert type(read_click(b'{"additional_data": {"a": 1}}')) is Click
