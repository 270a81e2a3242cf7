"""What is read in bounded time is read as if it were read value by value."""

import re
from urllib.parse import unquote_plus

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contracts.storable import Json
from ingest.dialects import weburl
from ingest.dialects.body import MAX_DEPTH, json_object
from ingest.dialects.spec.refusal import Refusal

#: Of the texts that brackets, quotes and escapes are confused in.
_TEXTS = st.text(alphabet='[]{}"\\ud8é\n', max_size=8)
_JSON = st.recursive(
    st.none() | st.integers(-9, 9) | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner),
    max_leaves=60,
)
_ESCAPES = st.lists(
    st.sampled_from(
        [r"\ud83d", r"\uDE00", r"\udbff", r"\uDc00", r"\\", r"\n", "ud83d", "é", r"\""]
    ),
    max_size=12,
).map("".join)


def _depth(value: Json) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


@given(_JSON, st.integers(0, MAX_DEPTH + 1))
def test_a_document_is_refused_for_its_depth_alone(inner: Json, around: int) -> None:
    value: Json = inner
    for _ in range(around):
        value = [value]
    document: Json = {"wide": [[] for _ in range(MAX_DEPTH)], "deep": value}
    raw = orjson.dumps(document)

    if _depth(document) <= MAX_DEPTH:
        assert document == json_object(raw)
    else:
        with pytest.raises(Refusal):
            json_object(raw)


@given(_ESCAPES)
def test_only_the_lone_halves_of_a_text_are_replaced(escapes: str) -> None:
    escape = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)|\\.")
    mended = escape.sub(lambda one: "\ufffd" if one[1] else one[0], escapes)

    found = json_object(f'{{"text":"{escapes}"}}'.encode())

    assert orjson.loads(f'{{"text":"{mended}"}}') == found


@given(st.lists(st.sampled_from(["a", "f", "%61", "%46", "%66", "=", "&", "+", "é"])))
def test_a_parameter_is_the_first_pair_of_its_name(parts: list[str]) -> None:
    query = "".join(parts)
    pairs = [pair.partition("=") for pair in query.split("&")]
    values = [
        unquote_plus(value) for key, _, value in pairs if unquote_plus(key) == "aff"
    ]

    found = weburl.parse(f"https://example.com/?{query}").parameter("aff")

    assert next(iter(values), "") == found
