"""The parts of batches that need no edge around them."""

import asyncio
import gzip
import struct
import tracemalloc
from random import Random
from uuid import UUID

import pytest
import zstandard

from ingest.bulk.admission import BatchSlots
from ingest.bulk.items import InvalidItem, item
from ingest.bulk.reader import decoding, events_in
from ingest.bulk.routing import RouteTable
from ingest.dialects import DIALECTS
from ingest.dialects.batch import BATCH, BYTES, answer, refused, taken
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import Reply
from ingest.dialects.spec.routes import Endpoint
from tests.support.eventually import eventually

OURS = "our workspace"
OK = taken(UUID(int=1), Reply(200, {}), is_repeat=False)


def overloaded(status: int) -> dict[str, object]:
    refusal = Refusal("overloaded", retry_after=1)
    return {**refused(refusal, Reply(status, None))}


# Reading ---------------------------------------------------------------------------------


def decoded(body: bytes, encoding: str) -> bytes:
    parts = decoding(body, encoding)
    while True:
        try:
            assert next(parts) <= BYTES
        except StopIteration as ended:
            found: bytes = ended.value
            return found


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, BYTES - 1, BYTES])
@pytest.mark.parametrize("kind", ["noise", "blank"])
def test_a_body_is_decoded_whole_or_not_at_all(size: int, kind: str) -> None:
    noise = Random(size).randbytes(size)  # noqa: S311 -- any bytes will do
    body = noise if kind == "noise" else bytes(size)
    packed = {"gzip": gzip.compress(body), "zstd": zstandard.compress(body)}

    for encoding, whole in packed.items():
        assert body == decoded(whole, encoding)
        for broken in (whole[:-1], whole[: len(whole) // 2], whole + b"x", b""):
            with pytest.raises(Refusal, match="body_malformed"):
                decoded(broken, encoding)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_one_byte_too_many_is_too_many(encoding: str) -> None:
    body = bytes(BYTES + 1)
    packed = gzip.compress(body) if encoding == "gzip" else zstandard.compress(body)

    with pytest.raises(Refusal, match="body_too_large"):
        decoded(packed, encoding)


def lying_frame(says: int, holds: int) -> bytes:
    """A frame of zstd whose header tells another size than it has."""
    parameters = zstandard.ZstdCompressionParameters(window_log=17)
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    stream = compressor.compressobj(size=holds)
    frame = stream.compress(b" " * holds) + stream.flush()
    return frame.replace(struct.pack("<I", holds), struct.pack("<I", says), 1)


@pytest.mark.parametrize(
    ("encoding", "bomb"),
    [
        ("gzip", gzip.compress(b" " * 200_000_000)),
        ("zstd", zstandard.compress(b" " * 200_000_000)),
        ("zstd", lying_frame(says=100_000, holds=200_000_000)),
    ],
)
def test_a_bomb_takes_no_memory(encoding: str, bomb: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Refusal):
            decoded(bomb, encoding)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 16 * 1024 * 1024


@pytest.mark.parametrize("raw", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_an_array_without_end_is_refused(raw: bytes) -> None:
    with pytest.raises(Refusal, match="body_malformed"):
        events_in(raw)


def test_an_object_without_end_spoils_its_line_only() -> None:
    click = b'{"path": "/api/v1/track/click"}'
    spoilt, whole = events_in(b'{"a":' * 10_000 + b"\n" + click)

    with pytest.raises(InvalidItem, match="field_invalid"):
        item(spoilt, RouteTable(DIALECTS))
    assert "/api/v1/track/click" == item(whole, RouteTable(DIALECTS)).endpoint.path


@pytest.mark.parametrize("separator", [b",", b" , ", b"\n,\n"])
def test_an_array_is_taken_apart_byte_for_byte(separator: bytes) -> None:
    elements = [b'"\\ud83d"', b"7", b'{"a": "\\\\ud83d,"}', b"[ 1, 2 ]", b'"\\ud83d"']

    assert elements == [*events_in(b" [" + separator.join(elements) + b" ] ")]


def test_half_an_emoji_spoils_no_event() -> None:
    body = b'{"page_title": "\\ud83d"}'
    [event] = events_in(b'[{"path": "/api/v1/track/click", "body": %b}]' % body)

    mended = item(event, RouteTable(DIALECTS)).raw.body

    assert rb'{"page_title": "\ufffd"}' == mended


def test_an_event_is_no_larger_than_a_body_and_its_headers() -> None:
    event = b'{"path": "/api/v1/track/click", "of_nobody": "%b"}' % (b"x" * 131_072)

    with pytest.raises(InvalidItem, match="body_too_large"):
        item(event, RouteTable(DIALECTS))


# Paths -----------------------------------------------------------------------------------


def test_every_endpoint_is_found_by_its_path() -> None:
    routes = RouteTable(DIALECTS)
    for dialect in DIALECTS:
        for endpoint in dialect.endpoints:
            if isinstance(endpoint, Endpoint):
                named = routes.find(endpoint.path.replace("{code}", "A%2FB%C3%A9"))

                assert (dialect, endpoint) == (named.dialect, named.endpoint)
                expected = {"code": "A/Bé"} if "{code}" in endpoint.path else {}
                assert expected == named.parameters


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/nowhere", "batch"),
        ("/v1", "affixo"),
        ("/v1/events", "batch"),
        ("/v1/track", "affixo"),
        ("/track/nothing", "dub"),
        ("/tracking", "batch"),
        ("/api/v1/track/click/", "affitor"),
        ("/api/v1/referral/click/", "bio_re"),
        ("/api/v1/referral/click/A/B", "bio_re"),
        ("track/click", "batch"),
        ("", "batch"),
    ],
)
def test_where_a_path_leads_nowhere_the_nearest_dialect_says_so(
    path: str, dialect: str
) -> None:
    named = RouteTable([*DIALECTS, BATCH]).find(path)

    assert (None, "not_found") == (named.endpoint, named.why_not)
    assert dialect == named.dialect.name


# Answers ---------------------------------------------------------------------------------


def test_the_status_says_whether_all_is_durable() -> None:
    refusal = refused(Refusal("link_unknown"), Reply(404, None))

    assert 200 == answer([]).status
    assert 200 == answer([OK]).status
    assert 207 == answer([OK, refusal]).status
    assert 207 == answer([refusal]).status
    assert 207 == answer([OK, overloaded(503)]).status
    assert 207 == answer([refusal, overloaded(503)]).status
    assert 503 == answer([overloaded(503), overloaded(200)]).status


# Turns -----------------------------------------------------------------------------------


async def test_batches_take_turns() -> None:
    turns, order = BatchSlots(10, share=4), list[int]()

    async def batch(number: int, events: int) -> None:
        async with turns.of(OURS, events):
            order.append(number)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group, turns.of(OURS, 6):
        for number, events in enumerate((4, 6, 1, 30)):
            group.create_task(batch(number, events))
        await asyncio.sleep(0)
        # The third has room, and waits for the second all the same.
        assert [0] == order

    assert [0, 1, 2, 3] == order


async def test_parts_that_are_given_up_while_room_is_made_leave_it_to_others() -> None:
    turns = BatchSlots(10, share=4)

    async def hold(workspace: str) -> None:
        async with turns.of(workspace, 5):
            pass

    async with turns.of("a", 10):
        waiting = [asyncio.create_task(hold(each)) for each in ("b", "b", "c")]
        await asyncio.sleep(0)
        for each in waiting:
            each.cancel()

    ended, _ = await asyncio.wait(waiting)
    assert [True] * 3 == [each.cancelled() for each in ended]
    async with asyncio.timeout(10), turns.of("b", 10):
        pass


async def test_who_gives_up_waiting_makes_way() -> None:
    turns = BatchSlots(10, share=4)
    async with turns.of(OURS, 6):
        first = asyncio.create_task(_through(turns, 8))
        await asyncio.sleep(0)
        second = asyncio.create_task(_through(turns, 4))
        await asyncio.sleep(0)
        first.cancel()

        async def is_through() -> bool:
            return second.done()

        await eventually(is_through)
    assert first.cancelled()


async def test_who_is_let_in_and_gives_up_at_once_leaves_no_trace() -> None:
    turns = BatchSlots(10, share=4)
    async with turns.of(OURS, 10):
        waiting = asyncio.create_task(_through(turns, 10))
        await asyncio.sleep(0)
    waiting.cancel()  # it was let in by now, and does not know
    await asyncio.wait([waiting])

    async with asyncio.timeout(10), turns.of(OURS, 10):
        pass


async def test_nobody_waits_long_for_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.bulk.admission._TURN_SECONDS", 0.01)
    turns = BatchSlots(10, share=4)
    async with turns.of(OURS, 10):
        with pytest.raises(Refusal) as caught:
            await _through(turns, 1)

    assert ("overloaded", 1) == (caught.value.code, caught.value.retry_after)


async def _through(turns: BatchSlots, events: int) -> None:
    async with turns.of(OURS, events):
        pass


async def test_a_workspace_that_is_not_alone_has_a_share() -> None:
    turns, order = BatchSlots(12, share=4, clock=lambda: 0.0), list[str]()

    async def batches(workspace: str, parts: int) -> None:
        for _ in range(parts):
            async with turns.of(workspace, 4):
                order.append(workspace)
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(batches("greedy", 20))
        for _ in range(3):
            await asyncio.sleep(0)
        before = len(order)
        group.create_task(batches("modest", 10))

    shared = order[before:][:20]
    assert 9 <= shared.count("modest") <= 11


async def test_a_workspace_that_is_alone_has_all_the_room() -> None:
    now = 0.0
    turns = BatchSlots(12, share=4, clock=lambda: now)
    async with turns.of("another", 4):
        pass
    now = 2.0

    async with asyncio.timeout(10), turns.of("greedy", 4), turns.of("greedy", 8):
        pass


def test_lines_of_which_none_is_json_are_no_batch() -> None:
    with pytest.raises(Refusal) as refused:
        events_in(b'{"path": \n{')

    assert "body_malformed" == refused.value.code
