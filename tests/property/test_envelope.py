from typing import Any
from uuid import UUID

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import fields, replace

from ingest.contracts.clickid import ClickToken, KeyRing, clicked
from ingest.contracts.encoding.envelopes import (
    VERSION,
    NewerVersion,
    Undecodable,
    decode,
    encode,
    is_newer,
    outline,
)
from ingest.contracts.encoding.version_1 import FIELDS, flattened
from ingest.contracts.envelope import (
    NO_PROPERTIES,
    PARTS,
    PURPOSES,
    Dedupe,
    Envelope,
    Kind,
)
from ingest.contracts.ids import first_id_at, millis
from ingest.contracts.storable import document, text
from ingest.contracts.traces.context import context_of, with_context
from tests.support.directory import a_click
from tests.support.envelopes import changed, flat
from tests.support.former import FORMER

UUIDS = st.uuids()
TEXTS = st.text(max_size=50).map(lambda value: text(value, 50))
INTS = st.integers(-(2**63), 2**63 - 1)
BYTES = st.binary(max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | INTS | TEXTS | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner),
    max_leaves=10,
)
PROPERTIES = st.dictionaries(TEXTS, JSON, max_size=4).map(
    lambda value: document(value, depth=8, limit=50)
)
RAW_PROPERTIES = PROPERTIES.map(
    lambda told: Raw(orjson.dumps(told)) if told else NO_PROPERTIES
)
BY_TYPE: dict[object, st.SearchStrategy[Any]] = {
    UUID: UUIDS,
    Kind: st.sampled_from(Kind),
    str: TEXTS,
    int: INTS,
    bool: st.booleans(),
    UUID | None: st.none() | UUIDS,
    str | None: st.none() | TEXTS,
    int | None: st.none() | INTS,
    bytes | None: st.none() | BYTES,
    tuple[str, ...]: st.lists(TEXTS, max_size=3).map(tuple),
    tuple[bytes, ...]: st.lists(BYTES, max_size=3).map(tuple),
    Dedupe | None: st.none() | st.builds(Dedupe, TEXTS, BYTES),
}
BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "properties": RAW_PROPERTIES,
    "at": st.integers(0, 253_370_764_799_999),
    "quantity": st.integers(0, 2**31 - 1),
    "program_number": st.none() | INTS,
    "amount": st.none() | INTS,
    "dated": st.none() | st.integers(0, 253_370_764_799_999),
    "purpose": st.none() | st.sampled_from(PURPOSES),
}


def _fields(part: type[msgspec.Struct]) -> dict[str, st.SearchStrategy[Any]]:
    return {
        item.name: BY_NAME[item.name] if item.name in BY_NAME else BY_TYPE[item.type]
        for item in fields(part)
    }


ENVELOPES = st.builds(
    Envelope,
    id=UUIDS,
    kind=st.sampled_from(Kind),
    **{name: st.builds(part, **_fields(part)) for name, part in PARTS.items()},
)


def decodes(raw: bytes) -> bool:
    try:
        decode(raw)
    except (Undecodable, NewerVersion):
        return False
    return True


@given(ENVELOPES)
def test_an_envelope_is_decoded_as_it_was_encoded(envelope: Envelope) -> None:
    assert envelope == decode(encode(envelope))


CONTEXTS = st.builds(
    "00-{:032x}-{:016x}-01".format,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
)


def _beginning(envelope: Envelope, others: bytes) -> bytes:
    """How it is encoded: a former release knows no refunds, and leaves them to a later one."""
    return b'{"v":4,' if envelope.kind is Kind.REFUND else others


@given(ENVELOPES, CONTEXTS)
def test_a_trace_context_is_added_and_changes_nothing_else(
    envelope: Envelope, context: str
) -> None:
    raw = with_context(encode(envelope), context)

    assert context == context_of(raw) == decode(raw).traceparent
    assert envelope == replace(decode(raw), traceparent=None)
    # A former release leaves it to a later one.
    assert raw == encode(decode(raw))
    assert raw.startswith(_beginning(envelope, b'{"v":3,'))


@given(ENVELOPES)
def test_an_envelope_without_a_trace_context_is_of_version_2(
    envelope: Envelope,
) -> None:
    raw = encode(envelope)

    assert raw.startswith(_beginning(envelope, b'{"v":2,'))
    assert context_of(raw) is None


def assert_outlined(raw: bytes) -> None:
    """The outline of what can be decoded says what the envelope says, if there is one."""
    whole, said = decode(raw), outline(raw)
    assert said is not None
    assert (whole.id, whole.kind.value) == (said.id, said.kind)
    for part in ("request", "target"):
        for field in fields(type(getattr(said, part))):
            value = getattr(getattr(whole, part), field.name)
            told = getattr(getattr(said, part), field.name)
            assert value == told or len(value) == len(told), field.name


@given(ENVELOPES, CONTEXTS)
def test_an_outline_says_what_the_envelope_says(
    envelope: Envelope, context: str
) -> None:
    assert_outlined(encode(envelope))
    assert_outlined(with_context(encode(envelope), context))


@given(ENVELOPES)
def test_version_1_says_the_same(envelope: Envelope) -> None:
    former = {FIELDS[name].short: value for name, value in flat(envelope).items()}
    # It left out what was as by default.
    said = {key: value for key, value in former.items() if value is not None}
    raw = msgspec.json.Encoder(uuid_format="hex").encode({"v": 1, **said})

    assert envelope == decode(raw)
    assert_outlined(raw)


@pytest.mark.parametrize("raw", FORMER)
def test_what_the_former_release_wrote_is_read(raw: bytes) -> None:
    envelope = decode(raw)

    assert envelope == decode(encode(envelope))
    assert_outlined(raw)
    written = {
        name: value
        for name, field in FIELDS.items()
        if (value := orjson.loads(raw).get(field.short)) is not None
    }
    assert written == {
        name: value
        for name, value in flattened(orjson.loads(encode(envelope))).items()
        if name != "v"
    }


def test_a_field_that_version_1_lacks_is_refused() -> None:
    with pytest.raises(Undecodable, match="unknown field `z`"):
        decode(FORMER[0][:-1] + b',"z":1}')


def with_properties(raw: bytes) -> bytes:
    return encode(a_click(1))[:-1] + b',"d":{"p":' + raw + b"}}"


@given(PROPERTIES, st.sampled_from([None, orjson.OPT_INDENT_2]))
def test_properties_stay_as_they_were_written(told: Any, option: int | None) -> None:
    written = orjson.dumps(told, option=option)
    envelope = decode(with_properties(written))

    assert written == bytes(envelope.details.properties)
    assert orjson.loads(written) == envelope.details.parsed_properties


def test_no_properties_take_no_room() -> None:
    assert b'"d":{' not in encode(a_click(1))
    assert encode(a_click(1)) == encode(decode(encode(a_click(1))))


@pytest.mark.parametrize(
    "written",
    [
        b"3", b"null", b'"{}"', b"[{}]", b"true", b"", b" ",
        b'{"a":"\xff"}', b'{"\xc3":1}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\\ud800"}',
        b'{"a":"\\q"}', b'{"a":"\0"}', b'{"a":"\n"}', b'{"a":NaN}', b'{"a":01}', b'{"a":1.}',
        b'{"a":1,}', b"{a:1}", b"{1:1}", b'{"a"}', b'{"a":1', b"{}}", b"{},",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)  # fmt: skip
def test_properties_that_are_no_json_object_are_refused(written: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(with_properties(written))


@given(PROPERTIES, st.data())
def test_damaged_properties_are_refused_where_they_cannot_be_read(
    told: Any, data: st.DataObject
) -> None:
    raw = bytearray(orjson.dumps(told))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    whole = with_properties(bytes(raw))
    try:
        expected = msgspec.json.decode(whole)["d"]["p"]
    except (msgspec.DecodeError, ValueError):
        expected = None

    # What is read is read as it was; what is not is no envelope, or has a vast number.
    if decodes(whole) and expected is not None:
        assert isinstance(expected, dict)
        assert expected == decode(whole).details.parsed_properties
    else:
        assert not isinstance(expected, dict)


@given(st.binary())
def test_bytes_are_an_envelope_or_are_not(raw: bytes) -> None:
    decodes(raw)


@given(ENVELOPES, st.data())
def test_a_damaged_envelope_is_an_envelope_or_is_not(
    envelope: Envelope, data: st.DataObject
) -> None:
    raw = bytearray(encode(envelope))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255))

    for damaged in (bytes(raw), bytes(raw[:place])):
        if decodes(damaged):
            assert_outlined(damaged)


NAMES = st.sampled_from(sorted({field.encode_name for field in fields(Envelope)}))


@given(st.dictionaries(NAMES, JSON), st.integers(-2, 3) | JSON)
def test_any_document_is_an_envelope_or_is_not(
    document: dict[str, Any], version: object
) -> None:
    decodes(orjson.dumps({**document, "v": version}))


def test_a_later_release_is_told_from_what_is_no_envelope() -> None:
    raw = orjson.dumps({"v": VERSION + 1, "of": "another shape"})

    assert outline(raw) is None
    assert is_newer(raw)
    with pytest.raises(NewerVersion):
        decode(raw)


@given(ENVELOPES, st.sampled_from(["\0", "a\0b"]))
def test_a_text_with_a_nul_is_refused(envelope: Envelope, text: str) -> None:
    with pytest.raises(Undecodable):
        decode(encode(changed(envelope, code=text)))
    with pytest.raises(Undecodable):
        decode(encode(changed(envelope, namespaces=("-", text))))


def test_a_text_that_only_speaks_of_a_nul_is_taken() -> None:
    envelope = a_click(1, name="\\u0000")

    assert envelope == decode(encode(envelope))


SECRETS = st.binary(min_size=16, max_size=32)
DATES = st.none() | st.integers(0, 2**48 - 1)


@given(SECRETS, UUIDS, UUIDS, DATES)
def test_a_click_id_says_what_it_was_issued_for(
    secret: bytes, click: UUID, link: UUID, dated: int | None
) -> None:
    keys = KeyRing([secret])

    said = keys.verify(keys.issue(click, link, dated))

    assert said is not None
    assert ClickToken(click, link, dated) == said
    assert said.at == (millis(click) if dated is None else dated)


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1), UUIDS)
def test_a_click_id_has_a_date_of_its_own_where_its_ids_time_is_another(
    minted: int, at: int, link: UUID
) -> None:
    keys = KeyRing([b"a secret of the tests"])
    click = clicked(first_id_at(minted), link, at)

    said = keys.verify(keys.issue(click.click_id, link, click.dated))

    assert said is not None
    assert click == said
    assert abs(said.at - at) <= 60_000
    # What clients hold has the length that it had, unless its click was dated back.
    length = 64 if abs(minted - at) <= 60_000 else 72
    assert length == len(keys.issue(click.click_id, link, click.dated))


def test_a_click_id_of_the_former_release_is_valid() -> None:
    token = "clk_3AAAAAAAAAAAAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAChOpK3OVq5LgcpXES"

    assert ClickToken(UUID(int=1), UUID(int=2)) == (
        KeyRing([b"a secret of the tests"]).verify(token)
    )


@given(SECRETS, UUIDS, UUIDS, DATES, st.data())
def test_a_click_id_with_one_other_character_is_forged(
    secret: bytes, click: UUID, link: UUID, dated: int | None, data: st.DataObject
) -> None:
    keys = KeyRing([secret])
    token = keys.issue(click, link, dated)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda letter: letter != token[place]))

    assert keys.verify(token[:place] + other + token[place + 1 :]) is None


@given(SECRETS, UUIDS, UUIDS, DATES)
def test_a_click_id_has_one_spelling(
    secret: bytes, click: UUID, link: UUID, dated: int | None
) -> None:
    keys = KeyRing([secret])
    token = keys.issue(click, link, dated)

    for ours, other in (("-", "+"), ("_", "/")):
        spelt = "clk_" + token[4:].replace(ours, other)
        assert spelt == token or keys.verify(spelt) is None


@given(st.text() | st.text().map("clk_".__add__))
def test_no_text_makes_verifying_fail(token: str) -> None:
    assert KeyRing([b"a secret of the tests"]).verify(token) is None
