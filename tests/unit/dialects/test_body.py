"""What counts as a JSON object, and how its fields are read."""

import orjson
import pytest
from pydantic import Field

from ingest.contracts.storable import Json
from ingest.dialects.body import (
    MAX_CONTAINERS,
    MAX_DEPTH,
    SAYS_SOMETHING,
    Body,
    LenientObject,
    LenientText,
    Metadata,
    json_object,
    lenient_integer,
    read,
)
from ingest.dialects.spec.refusal import Refusal


class Form(Body):
    """One field of every kind."""

    must: str = Field(pattern=SAYS_SOMETHING, max_length=3)
    can: str | None = Field(None, max_length=3)
    may: LenientText = None
    more: LenientObject = None
    metadata: Metadata = None


def nested(depth: int) -> bytes:
    """An object of `depth` containers inside one another, arrays from the second on."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize("raw", [b"", b" ", b"\r\n\t"])
def test_a_body_without_content_is_an_empty_object(raw: bytes) -> None:
    assert {} == json_object(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"{}}",
        b"{'a':1}",
        b'{"a":1,}',
        b"a=1&b=2",
        b"null",
        b"true",
        b"17",
        b'"text"',
        b"[]",
        b'[{"a":1}]',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":01}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',  # a surrogate in UTF-8's clothes
        b'{"a":"\x00"}',  # unescaped
        b'{"a":"\\ud83d"',  # mended, and still no JSON
        b"\x1f\x8b\x08\x00",
        b"[" * 100_000,
    ],
)
def test_what_is_no_json_object_is_malformed(raw: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        json_object(raw)

    assert "body_malformed" == caught.value.code


def test_the_deepest_document_is_taken_and_one_deeper_is_not() -> None:
    assert orjson.loads(nested(MAX_DEPTH)) == json_object(nested(MAX_DEPTH))
    with pytest.raises(Refusal):
        json_object(nested(MAX_DEPTH + 1))


def test_a_body_has_a_bounded_number_of_objects_and_arrays() -> None:
    def wide(number: int) -> bytes:
        return orjson.dumps({"a": [[]] * (number - 2), "b": "{[" * MAX_CONTAINERS})

    assert orjson.loads(wide(MAX_CONTAINERS)) == json_object(wide(MAX_CONTAINERS))
    with pytest.raises(Refusal) as caught:
        json_object(wide(MAX_CONTAINERS + 1))
    assert "body_malformed" == caught.value.code


def test_many_shallow_containers_are_not_deep() -> None:
    raw = orjson.dumps({"a": [[] for _ in range(1_000)], "b": "[[[{{{" * 100})

    assert orjson.loads(raw) == json_object(raw)


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (rb"\ud83d", "\ufffd"),
        (rb"a\uDE00b", "a\ufffdb"),
        (rb"\ud83d\ud83d\ude00", "\ufffd😀"),
        (rb"\ude00\ud83d", "\ufffd\ufffd"),
        (rb"\\ud83d \ud83d", "\\ud83d \ufffd"),
        (rb"\"\ud83d\"", '"\ufffd"'),
    ],
)
def test_lone_surrogates_become_replacement_characters(
    escaped: bytes, text: str
) -> None:
    assert {"a": text} == json_object(b'{"a":"' + escaped + b'"}')


def test_numbers_and_controls_beyond_the_ordinary_arrive() -> None:
    raw = b'{"big":%d,"small":-9223372036854775808,"nul":"\\u0000"}' % 2**70

    assert {"big": 2.0**70, "small": -(2**63), "nul": "\0"} == json_object(raw)


def test_the_last_of_equal_names_wins() -> None:
    assert {"a": 2} == json_object(b'{"a":1,"a":2}')


@pytest.mark.parametrize("value", [None, "", 7, True, ["x"], {"x": 1}])
def test_a_lenient_text_is_nothing_where_it_is_no_text(value: Json) -> None:
    assert read(Form, orjson.dumps({"must": "x", "may": value})).may is None
    assert read(Form, b'{"must":"x"}').may is None
    assert " x " == read(Form, b'{"must":"x","may":" x "}').may


@pytest.mark.parametrize("value", [None, "", 7, True, ["x"], "{}"])
def test_a_lenient_object_is_nothing_where_it_is_no_object(value: Json) -> None:
    assert read(Form, orjson.dumps({"must": "x", "more": value})).more is None
    assert {"k": 1} == read(Form, b'{"must":"x","more":{"k":1}}').more


@pytest.mark.parametrize("number", [1, 7, 2**31 - 1])
def test_a_lenient_integer_may_come_as_digits(number: int) -> None:
    assert number == lenient_integer({"a": number}, "a")
    assert number == lenient_integer({"a": f"{number:03d}"}, "a")


@pytest.mark.parametrize("value", [2**31, 0, -1, True, 1.0, None, [1]])
def test_a_lenient_integer_is_positive_and_of_32_bits(value: Json) -> None:
    assert lenient_integer({"a": value}, "a") is None


@pytest.mark.parametrize(
    "value", ["2147483648", "0", "", "+1", " 1", "1_0", "0x1", "\u0661", "9" * 10_000]
)
def test_other_texts_are_no_lenient_integer(value: str) -> None:
    assert lenient_integer({"a": value}, "a") is None


@pytest.mark.parametrize("given", [{}, {"can": None}])
def test_an_optional_text_may_be_nothing(given: dict[str, Json]) -> None:
    assert read(Form, orjson.dumps({"must": "x", **given})).can is None


def test_texts_are_taken_up_to_their_limit_and_unknown_fields_are_ignored() -> None:
    form = read(Form, orjson.dumps({"can": "€€€", "must": "€€€", "other": [1]}))

    assert ("€€€", "€€€") == (form.can, form.must)


@pytest.mark.parametrize(
    "given", [{}, {"must": None}, {"must": ""}, {"must": " \u3000"}]
)
def test_a_required_text_must_be_there(given: dict[str, Json]) -> None:
    assert ("field_missing", "must", "") == refused(given)


@pytest.mark.parametrize(
    ("given", "name", "problem"),
    [
        ({"must": 0}, "must", "must be a string"),
        ({"must": {}}, "must", "must be a string"),
        ({"must": "abcd"}, "must", "must be at most 3 characters"),
        ({"must": "x", "can": 7}, "can", "must be a string or null"),
        ({"must": "x", "can": False}, "can", "must be a string or null"),
        ({"must": "x", "can": "€€€€"}, "can", "must be at most 3 characters"),
        ({"must": "x", "metadata": []}, "metadata", "must be an object or null"),
        ({"must": "x", "metadata": "{}"}, "metadata", "must be an object or null"),
    ],
)
def test_a_value_of_another_kind_is_refused(
    given: dict[str, Json], name: str, problem: str
) -> None:
    assert ("field_invalid", name, problem) == refused(given)


def test_metadata_is_measured_in_characters_of_json() -> None:
    fits, too_long = {"k": "€" * 9_992}, {"k": "€" * 9_993}

    assert fits == read(Form, orjson.dumps({"must": "x", "metadata": fits})).metadata
    code, name, problem = refused({"must": "x", "metadata": too_long})
    assert ("field_invalid", "metadata") == (code, name)
    assert "must be at most 10000 characters of JSON" == problem


def refused(given: dict[str, Json]) -> tuple[object, ...]:
    with pytest.raises(Refusal) as caught:
        read(Form, orjson.dumps(given))
    return caught.value.args
