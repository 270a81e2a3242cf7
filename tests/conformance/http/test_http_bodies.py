"""What every endpoint of every dialect says over HTTP to whatever its body is."""

import gzip
from collections.abc import AsyncIterator

import orjson
import pytest

from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Query
from tests.support.edge.calling import (
    call,
    every_body,
    every_route,
    is_taken,
    is_word_for_word,
    words,
)
from tests.support.edge.showcase import Client, Shown, publish

MALFORMED = [
    b"{",
    b"null",
    b"7",
    b"[]",
    b'"text"',
    b"<xml/>",
    b"a=1&b=2",
    b'{"a":NaN}',
    b'{"a":"\xff"}',
    b"\x1f\x8b",
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
]

pytestmark = pytest.mark.asyncio(loop_scope="module")


def objection(shown: Shown, data: bytes) -> Reply | None:
    """What the dialect has against a body, if anything."""
    if isinstance(shown.route, Query):
        return None
    try:
        shown.route.parse(RawRequest(path=shown.path, body=data))
    except Refusal as refusal:
        return words(shown, refusal)
    return None


# Requests that are in order --------------------------------------------------------------


@every_route
async def test_the_example_is_accepted(client: Client, url: str, shown: Shown) -> None:
    await publish(url)  # nobody remembers a request any more
    answer = await call(client, shown)

    if "sale_unknown" in shown.route.refusals:  # nobody sold anything yet
        assert await is_word_for_word(answer, words(shown, Refusal("sale_unknown")))
        return
    assert 200 == answer.status, await answer.text()
    assert shown.route.reply.model_validate_json(await answer.read())


@every_route
@pytest.mark.parametrize(
    "kind", ["text/plain;charset=UTF-8", "application/xml", "image/png", "nonsense", ""]
)
async def test_nobody_asks_for_the_content_type(
    client: Client, shown: Shown, kind: str
) -> None:
    answer = await call(client, shown, headers={"Content-Type": kind})

    assert await is_taken(shown, answer)


@every_body
async def test_unknown_fields_are_ignored(client: Client, shown: Shown) -> None:
    more = {"zz_unknown": {"deep": [1, None]}, **shown.body, "": 7}
    answer = await call(client, shown, data=orjson.dumps(more))

    assert await is_taken(shown, answer)


@every_body
async def test_an_explicit_null_is_taken_or_refused_word_for_word(
    client: Client, shown: Shown
) -> None:
    assert shown.route.body
    for name, field in shown.route.body.model_fields.items():
        body = {**shown.body, field.alias or name: None}
        data = orjson.dumps(body)
        answer = await call(client, shown, data=data)
        refused = objection(shown, data)

        if refused:
            assert await is_word_for_word(answer, refused)
        else:
            assert await is_taken(shown, answer), name


@every_body
async def test_whatever_a_field_holds_is_taken_or_refused_word_for_word(
    client: Client, shown: Shown
) -> None:
    assert shown.route.body
    texts = ['""', '" "', '"\\u0000"', '"\\ud83d"', "-1", "1e99", "true", "[[]]", "{}"]
    big = ['"' + "x" * 60_000 + '"', str(2**70)]
    for name, field in shown.route.body.model_fields.items():
        rest = {key: shown.body[key] for key in {*shown.body} - {field.alias or name}}
        start = orjson.dumps(rest)[:-1] + (b"," if rest else b"")
        for text in [*texts, *big]:
            data = start + f'"{field.alias or name}":{text}}}'.encode()
            answer = await call(client, shown, data=data)
            refused = objection(shown, data)

            if refused:
                assert await is_word_for_word(answer, refused)
            else:
                assert answer.status in {200, 400, 404, 409}, (name, text)


# Bodies that are not ---------------------------------------------------------------------


@every_body
async def test_what_is_no_json_object_is_refused(client: Client, shown: Shown) -> None:
    for body in MALFORMED:
        answer = await call(client, shown, data=body)

        assert await is_word_for_word(answer, words(shown, Refusal("body_malformed")))


@every_body
async def test_no_body_is_an_empty_object(client: Client, shown: Shown) -> None:
    refused = objection(shown, b"{}")
    assert refused is not None

    assert await is_word_for_word(await call(client, shown, data=b""), refused)
    assert await is_word_for_word(await call(client, shown, data=b"{}"), refused)


@every_route
@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_body_that_is_too_large_is_refused(
    client: Client, shown: Shown, *, is_announced: bool
) -> None:
    async def in_parts() -> AsyncIterator[bytes]:
        for _ in range(66):
            yield b" " * 1000

    data = b" " * 65_537 if is_announced else in_parts()
    answer = await call(client, shown, data=data)

    assert await is_word_for_word(answer, words(shown, Refusal("body_too_large")))


@every_route
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "nonsense"])
async def test_a_compressed_body_is_refused(
    client: Client, shown: Shown, encoding: str
) -> None:
    bomb = gzip.compress(b"\0" * 1_000_000)
    answer = await call(
        client, shown, data=bomb, headers={"Content-Encoding": encoding}
    )

    assert await is_word_for_word(answer, words(shown, Refusal("encoding_unsupported")))
