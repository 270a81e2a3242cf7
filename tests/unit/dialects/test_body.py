"""What counts as a JSON object, and how its fields are read."""

import orjson
import pytest

from ingest.contracts.storable import Json
from ingest.dialects.body import (
    MAX_DEPTH,
    json_object,
    lenient_integer,
    lenient_text,
    optional_object,
    optional_text,
    required_text,
)
from ingest.dialects.spec import Refusal


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
    assert lenient_text({"a": value}, "a") is None
    assert lenient_text({}, "a") is None
    assert lenient_text({"a": " x "}, "a") == " x "


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


@pytest.mark.parametrize("body", [{}, {"a": None}, {"a": ""}])
def test_an_optional_text_may_be_nothing(body: dict[str, Json]) -> None:
    assert optional_text(body, "a", 3) is None


def test_texts_are_taken_up_to_their_limit() -> None:
    assert "€€€" == optional_text({"a": "€€€"}, "a", 3)
    assert "€€€" == required_text({"a": "€€€"}, "a", 3)
    assert "x" * 100_000 == optional_text({"a": "x" * 100_000}, "a")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (7, "must be a string or null"),
        (False, "must be a string or null"),
        ([], "must be a string or null"),
        ("€€€€", "must be at most 3 characters"),
    ],
)
def test_an_optional_text_of_another_kind_is_refused(value: Json, problem: str) -> None:
    with pytest.raises(Refusal) as caught:
        optional_text({"a": value}, "a", 3)

    assert ("field_invalid", "a", problem) == caught.value.args


@pytest.mark.parametrize("body", [{}, {"a": None}, {"a": ""}, {"a": " \u3000"}])
def test_a_required_text_must_be_there(body: dict[str, Json]) -> None:
    with pytest.raises(Refusal) as caught:
        required_text(body, "a", 3)

    assert ("field_missing", "a", "") == caught.value.args


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (0, "must be a string"),
        ({}, "must be a string"),
        ("abcd", "must be at most 3 characters"),
    ],
)
def test_a_required_text_of_another_kind_is_refused(value: Json, problem: str) -> None:
    with pytest.raises(Refusal) as caught:
        required_text({"a": value}, "a", 3)

    assert ("field_invalid", "a", problem) == caught.value.args


def test_an_optional_object_is_measured_as_json() -> None:
    assert {} == optional_object({}, "a", 9)
    assert {} == optional_object({"a": None}, "a", 9)
    assert {"k": "€"} == optional_object({"a": {"k": "€"}}, "a", 9)
    with pytest.raises(Refusal) as caught:
        optional_object({"a": {"k": "€€"}}, "a", 9)
    assert "must be at most 9 characters of JSON" == caught.value.problem


@pytest.mark.parametrize("value", [[], "{}", 1, False])
def test_an_optional_object_of_another_kind_is_refused(value: Json) -> None:
    with pytest.raises(Refusal) as caught:
        optional_object({"a": value}, "a", 9)

    assert ("field_invalid", "a", "must be an object or null") == caught.value.args
