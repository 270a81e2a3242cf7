"""Whether bytes that are no envelope name a person, however they are written."""

from urllib.parse import quote

import msgspec
import orjson
import pytest

from ingest.contracts.encoding.envelopes import Undecodable, decode, encode
from tests.support.directory import a_click
from workers.archive.segment import accepted_ms
from workers.erasure.pseudonyms import Pseudonymizer, blank, hashes_of, is_named
from workers.model.batch import Delivery, Entry

PSEUDONYMS = Pseudonymizer(b"k" * 32)
NAME, MAIL = "jürgen/4711", "jane.doe@doe.example"
CLICK = "0195811fbd0074a1b0b1c2d3e4f50617"
HASHES = hashes_of([NAME, MAIL, None, "short"], PSEUDONYMS)


def found(payload: bytes) -> bool:
    return is_named(payload, PSEUDONYMS, HASHES, {CLICK.encode()})


_ESCAPED = NAME.replace("ü", "\\u00FC").replace("/", "\\/")


@pytest.mark.parametrize(
    "payload",
    [
        NAME.encode(),
        MAIL.upper().encode(),
        f"<{MAIL}>".encode(),
        f'{{"v":1,"x":"{NAME}"'.encode(),
        f'{{"x":"{_ESCAPED}"'.encode(),
        b'{"x":"\\u006aane.doe\\u0040doe.example',
        f"to={quote(MAIL)}&n={quote(NAME, safe='')}".encode(),
        msgspec.msgpack.encode({"customer": {"mail": MAIL}}),
        msgspec.msgpack.encode([1, NAME]),
        b"\x00\xff" + MAIL.encode() + b"\xff",
        CLICK.encode(),
        b"of 0195811F-bd00-74a1-b0b1-c2d3e4f50617!",
    ],
)
def test_a_person_is_found_in_whatever_form(payload: bytes) -> None:
    assert found(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"short",
        b"jane.doe@doe.exampl",
        b"jane.d",
        "jürgen/471".encode(),
        orjson.dumps({"x": "jane.doe@else.example"}),
        CLICK[:-1].encode(),
        b"\\u12",
        b"%4",
        b"\\",
    ],
)
def test_another_is_not(payload: bytes) -> None:
    assert not found(payload)


@pytest.mark.parametrize("version", [b"1", b"3"])
def test_a_blank_says_when_it_was_accepted_and_nothing_else(version: bytes) -> None:
    begun = b'{"v":' + version + encode(a_click(1)).removeprefix(b'{"v":2')
    entry = Entry.of(7, 0, 1, 0)

    left = blank(begun)

    assert left == blank(left)
    assert accepted_ms(Delivery(entry, begun)) == accepted_ms(Delivery(entry, left))
    with pytest.raises(Undecodable):
        decode(left)
    assert b'{"erased":true}' == blank(b"rubbish") == blank(blank(b""))
