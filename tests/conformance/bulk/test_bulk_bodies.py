"""The body of a batch: lines, what is none at all, and what is compressed."""

import gzip
from collections.abc import AsyncIterator

import orjson
import pytest
import zstandard

from tests.support.edge.batching import CLICK, Edge, said

pytestmark = pytest.mark.asyncio(loop_scope="module")


# Lines -----------------------------------------------------------------------------------


async def test_lines_are_events(edge: Edge) -> None:
    lines = b"\n\r\n  \n".join([orjson.dumps(CLICK)] * 3) + b"\r\n"
    answer = await edge.send(lines, Content_Type="application/x-ndjson")

    assert (200, 3) == (answer.status, (await answer.json())["accepted"])


async def test_a_torn_last_line_costs_nothing_but_itself(edge: Edge) -> None:
    line = orjson.dumps(CLICK)
    answer = await edge.send(line + b"\n" + line + b"\n" + line[:-9])

    told = await answer.json()
    assert (207, 2, 1) == (answer.status, told["accepted"], told["refused"])
    assert "event is no JSON object" in str(told["results"][2])
    assert 2 == len(await edge.appended())


# Batches that are none -------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"", b" ", b"7", b"[{", b'"x"', b"<xml/>", b"\x1f\x8b"]
)
async def test_what_is_neither_an_array_nor_lines_is_refused(
    edge: Edge, body: bytes
) -> None:
    assert (400, "body_malformed") == await said(await edge.send(body))


@pytest.mark.parametrize("is_array", [True, False])
async def test_of_a_thousand_and_one_none_is_taken(
    edge: Edge, *, is_array: bool
) -> None:
    lines = [orjson.dumps(CLICK)] * 1001
    body = b"[" + b",".join(lines) + b"]" if is_array else b"\n".join(lines)

    answer = await edge.send(body)

    assert (413, "body_too_large") == await said(answer)
    assert "1,001 events" in await answer.text()
    assert [] == await edge.appended()


async def test_an_empty_batch_is_one(edge: Edge) -> None:
    answer = await edge.send(b"[]")

    assert 200 == answer.status
    assert {"accepted": 0, "duplicates": 0, "refused": 0, "results": []} == (
        await answer.json()
    )


async def test_a_batch_that_is_too_large_is_refused(edge: Edge) -> None:
    async def in_parts() -> AsyncIterator[bytes]:
        for _ in range(34):
            yield b" " * 65_536

    assert (413, "body_too_large") == await said(await edge.send(b" " * 2_200_000))
    headers = {"Authorization": "Bearer own"}
    answer = await edge.client.post("/v1/events", data=in_parts(), headers=headers)
    assert (413, "body_too_large") == await said(answer)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_events_are_posted(edge: Edge, method: str) -> None:
    answer = await edge.client.request(method, "/v1/events")

    assert (405, "method_not_allowed") == await said(answer)
    assert "POST" == answer.headers["Allow"]


# Compressed ones -------------------------------------------------------------------------


def compressed(data: bytes, encoding: str) -> bytes:
    if encoding == "zstd-stream":  # which does not say how much it will be
        stream = zstandard.ZstdCompressor().compressobj()
        return stream.compress(data) + stream.flush()
    return zstandard.compress(data) if encoding == "zstd" else gzip.compress(data)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "zstd", "zstd-stream"])
async def test_a_batch_may_be_compressed(edge: Edge, encoding: str) -> None:
    data = compressed(orjson.dumps([CLICK] * 200), encoding)
    named = encoding.removesuffix("-stream")
    answer = await edge.send(data, Content_Encoding=named)

    assert (200, 200) == (answer.status, (await answer.json())["accepted"])


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "zstd-stream"])
@pytest.mark.parametrize("size", [2 * 1024 * 1024 + 1, 100_000_000])
async def test_a_bomb_does_not_go_off(edge: Edge, encoding: str, size: int) -> None:
    bomb = compressed(b" " * size, encoding)
    assert len(bomb) < 2 * 1024 * 1024
    answer = await edge.send(bomb, Content_Encoding=encoding.removesuffix("-stream"))

    assert (413, "body_too_large") == await said(answer)


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "zstd-stream"])
async def test_what_is_compressed_must_be_whole(edge: Edge, encoding: str) -> None:
    whole = compressed(orjson.dumps([CLICK] * 20), encoding)
    named = encoding.removesuffix("-stream")
    for spoilt in (b"", b"x", whole[:-1], whole[:20], whole + b"x", whole + whole):
        answer = await edge.send(spoilt, Content_Encoding=named)

        assert (400, "body_malformed") == await said(answer), spoilt


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "nonsense"])
async def test_another_encoding_is_refused(edge: Edge, encoding: str) -> None:
    answer = await edge.send(b"[]", Content_Encoding=encoding)

    assert (415, "encoding_unsupported") == await said(answer)


async def test_memory_for_zstd_is_not_the_senders_to_choose(edge: Edge) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = stream.compress(b"[]") + stream.flush()
    answer = await edge.send(data, Content_Encoding="zstd")

    assert (400, "body_malformed") == await said(answer)
