"""What else was told of an event: stored as it was told, or not at all."""

import msgspec
import pytest

from ingest.contracts.encoding.envelopes import encode
from tests.support.directory import a_click
from tests.support.workers.recording import (
    link_row,
    reasons_of,
    record,
    rows_of,
    value_of,
)
from workers.postgres.database import Pool


def a_payload(properties: bytes) -> bytes:
    return encode(a_click(1))[:-1] + b',"d":{"p":' + properties + b"}}"


@pytest.mark.parametrize(
    "written",
    [
        b'{"a": "\\u00e9\\ud83d\\ude00\xc3\xa9", "b": {"c": [1, -0.5, 1e3, null, true]}}',
        b'{"a": 36893488147419103232}',
        b'{"a": 1, "a": 2}',
        b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}",
    ],
)
async def test_properties_are_stored_as_they_were_told(
    pool: Pool, written: bytes
) -> None:
    await record(pool, a_payload(written))

    stored = await value_of(pool, "select properties::text from events")
    assert msgspec.json.decode(written) == msgspec.json.decode(str(stored))


@pytest.mark.parametrize("written", [b"{}", None])
async def test_where_there_are_no_properties_none_are_stored(
    pool: Pool, written: bytes | None
) -> None:
    await record(pool, a_click(1) if written is None else a_payload(written))

    assert [(None,)] == await rows_of(pool, "select properties from events")


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (b'{"a": "\\u0000"}', "unstorable"),
        (b'{"\\u0000": 1}', "unstorable"),
        (b'{"a": 1e999999}', "unstorable"),
        (b'{"a": "\xff"}', "undecodable"),
        (b"3", "undecodable"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "undecodable"),
    ],
)
async def test_properties_that_cannot_be_stored_go_to_quarantine(
    pool: Pool, written: bytes, reason: str
) -> None:
    await record(pool, a_click(2), a_payload(written))

    assert [reason] == await reasons_of(pool)
    assert 1 == (await link_row(pool))["clicks"]
