"""What `POST /v1/events` says to whatever it is sent, over HTTP and a real stream."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
import zstandard
from aiohttp import ClientResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.contracts.apikey import hashes
from ingest.contracts.directory import (
    SWITCHES_KEY,
    KeyRecord,
    SwitchesRecord,
    api_key_key,
)
from ingest.contracts.envelope import Envelope, decode
from ingest.contracts.stream import FIELD, events_key
from ingest.dialects import DIALECTS
from ingest.dialects.batch import Answer
from ingest.dialects.spec import (
    Draft,
    Endpoint,
    Outcome,
    RawRequest,
    Refusal,
    Reply,
)
from ingest.reference.openapi import document
from tests.showcase import KEYS, LINK, SECRET, SHOWN, Client, Shown, an_edge, publish
from tests.valkey import running_valkey

RECORDING = [each for each in SHOWN if isinstance(each.route, Endpoint)]
#: A directory that knows a partner's link makes no new one.
GENERATE = "/api/v1/referrals/generate"
CLICK = {
    "path": "/api/v1/track/click",
    "body": {"affiliate_url": "https://example.com/?aff=SARAH"},
}

every_endpoint = pytest.mark.parametrize(
    "shown", [pytest.param(each, id=each.name) for each in RECORDING]
)
pytestmark = pytest.mark.asyncio(loop_scope="module")
shared = pytest_asyncio.fixture(scope="module", loop_scope="module")


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge, and the Redis beneath it."""

    client: Client
    url: str

    async def send(
        self, events: Any, key: str = "own", **headers: str
    ) -> ClientResponse:
        """Send a batch; what is no bytes yet becomes JSON."""
        data = BytesIO(events if isinstance(events, bytes) else orjson.dumps(events))
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        given = {"Authorization": f"Bearer {key}", **named}
        return await self.client.post("/v1/events", data=data, headers=given)

    async def results(self, *events: Any, key: str = "own") -> list[dict[str, Any]]:
        """What became of each event, after a look at whether the answer is one."""
        answer = await self.send([*events], key)
        text = await answer.text()
        assert answer.status in {200, 207, 503}, text
        told = Answer.model_validate_json(text)
        assert len(events) == len(told.results)
        said = [result.result for result in told.results]
        assert said.count("accepted") == told.accepted
        assert said.count("duplicate") == told.duplicates
        assert said.count("refused") == told.refused
        assert (answer.status == 200) == (told.refused == 0)
        found: list[dict[str, Any]] = orjson.loads(text)["results"]
        return found

    async def appended(self) -> list[Envelope]:
        async with Redis.from_url(self.url) as redis:
            streams = [await redis.xrange(events_key(shard)) for shard in range(4)]
        found = [decode(fields[FIELD]) for entries in streams for _, fields in entries]
        return sorted(found, key=lambda envelope: envelope.id)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_valkey() as valkey:
        yield valkey.url


@shared
async def started(
    url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Edge]:
    await published(url)
    async with an_edge(url, tmp_path_factory.mktemp("edge")) as client:
        yield Edge(client, url)


@shared
async def alone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    """An edge without Redis, which has no directory either."""
    path = tmp_path_factory.mktemp("edge")
    url = f"unix://{path}/nobody.sock"
    async with an_edge(url, path) as client:
        yield Edge(client, url)


@pytest_asyncio.fixture(loop_scope="module")
async def edge(started: Edge) -> Edge:
    """An edge whose directory knows all that the examples name, and nothing else yet."""
    async with Redis.from_url(started.url) as redis:
        keys = [key async for key in redis.scan_iter("rt:*") if is_memory(key)]
        await redis.delete(*keys, *(events_key(shard) for shard in range(4)))
    return started


def is_memory(key: bytes) -> bool:
    """Whether a key is what edges remember of requests."""
    return key.startswith((b"rt:claim:", b"rt:seen:", b"rt:new:", b"rt:limit:"))


async def published(url: str, **changes: Any) -> None:
    await publish(url, **changes)
    scopes = {"tracking": ["track"], "writing": ["write"], "reading": []}
    async with Redis.from_url(url) as redis:
        for name, scope in scopes.items():
            [key_hash] = hashes([SECRET.encode()], name)
            record = KeyRecord(
                key_uuid=KEYS["own"].key_uuid,
                workspace_uuid=LINK.workspace_uuid,
                scopes=scope,
            )
            await redis.set(api_key_key(key_hash), record.encode())


def event(shown: Shown, **more: Any) -> dict[str, Any]:
    return {"path": shown.url, "body": shown.body, **more}


def problem(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


# Events that are in order ----------------------------------------------------------------


@every_endpoint
async def test_an_event_is_taken_as_if_it_had_been_sent_by_itself(
    edge: Edge, shown: Shown
) -> None:
    [result] = await edge.results(event(shown))

    assert shown.route.reply.model_validate(result["body"])
    assert 200 == result["status"]
    appended = await edge.appended()
    if shown.url == GENERATE:
        assert ("duplicate", None, []) == (result["result"], result["id"], appended)
    else:
        assert "accepted" == result["result"]
        assert result["id"] in {str(envelope.id) for envelope in appended}
        assert {shown.dialect.name} == {envelope.dialect for envelope in appended}


@every_endpoint
async def test_an_event_and_the_same_sent_by_itself_are_one(
    edge: Edge, shown: Shown
) -> None:
    headers = {**shown.credential("own"), "Idempotency-Key": "k"}
    data = orjson.dumps(shown.body)
    by_itself = await edge.client.post(shown.url, data=data, headers=headers)
    first = {envelope.id for envelope in await edge.appended()}
    [result] = await edge.results(event(shown, idempotency_key="k"))

    assert 200 == by_itself.status
    assert "duplicate" == result["result"]
    assert first == {envelope.id for envelope in await edge.appended()}


async def test_events_of_all_dialects_may_be_mixed(edge: Edge) -> None:
    results = await edge.results(*map(event, RECORDING))

    assert ["accepted", "duplicate"] == sorted({each["result"] for each in results})
    dialects = {envelope.dialect for envelope in await edge.appended()}
    assert {"affitor", "affixo", "refport", "bio_re", "bricqs", "dub"} == dialects


async def test_the_documented_example_is_taken(edge: Edge) -> None:
    operation = document(DIALECTS, "")["paths"]["/v1/events"]["post"]
    [body] = operation["requestBody"]["content"].values()
    results = await edge.results(*body["example"])

    assert ["accepted", "accepted"] == [each["result"] for each in results]


async def test_a_thousand_events_are_taken(edge: Edge) -> None:
    results = await edge.results(*[CLICK] * 1000)

    assert {"accepted"} == {each["result"] for each in results}
    appended = [str(envelope.id) for envelope in await edge.appended()]
    assert 1000 == len(set(appended))
    assert appended == sorted(each["id"] for each in results)


async def test_what_the_visitor_is_said_to_be_is_recorded(edge: Edge) -> None:
    agent = {"user_agent": "Firefox", "referrer": "https://blog.example/"}
    clicks = [each for each in RECORDING if each.url.startswith("/api/v1/referral/")]
    visits = [event(each, ip="203.0.113.77", **agent) for each in clicks]
    leads = [each for each in RECORDING if each.url == "/api/track/lead"]
    visits += [event(each, ip="2001:db8:7::1", **agent) for each in leads]
    await edge.results(*visits)

    click, lead = await edge.appended()
    assert ("203.0.113.0", "Firefox") == (click.ip, click.user_agent)
    assert "https://blog.example/" == click.page_url
    assert click.visitor is not None
    assert ("2001:db8:7::", "Firefox") == (lead.ip, lead.user_agent)


async def test_the_sender_of_a_batch_is_no_visitor(edge: Edge) -> None:
    await edge.send([CLICK], User_Agent="a server's", Referer="https://server.example")

    [click] = await edge.appended()
    assert (None, None, None) == (click.ip, click.user_agent, click.visitor)


async def test_an_event_happened_when_it_says_but_not_later_than_now(
    edge: Edge,
) -> None:
    times = ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.250+02:00", "2999-01-01T00Z"]
    results = await edge.results(*({**CLICK, "occurred_at": each} for each in times))

    assert {"accepted"} == {each["result"] for each in results}
    first, second, third = [envelope.at for envelope in await edge.appended()]
    assert (1_769_860_800_000, 1_769_853_600_250) == (first, second)
    assert third < 4_000_000_000_000


# Repeats ---------------------------------------------------------------------------------


async def test_an_event_twice_in_a_batch_is_one(edge: Edge) -> None:
    keyed = {**CLICK, "idempotency_key": "k"}
    first, other, again = await edge.results(
        keyed, {**CLICK, "idempotency_key": "l"}, keyed
    )

    assert ("accepted", "accepted", "duplicate") == (
        first["result"],
        other["result"],
        again["result"],
    )
    assert first["id"] == again["id"] != other["id"]
    assert first["body"] == again["body"]


async def test_the_first_and_the_last_of_a_thousand_are_one(edge: Edge) -> None:
    keyed = {**CLICK, "idempotency_key": "k"}
    results = await edge.results(keyed, *[CLICK] * 998, keyed)

    assert ("accepted", "duplicate") == (results[0]["result"], results[-1]["result"])
    assert results[0]["id"] == results[-1]["id"]
    assert 999 == len({envelope.id for envelope in await edge.appended()})


async def test_a_batch_sent_again_doubles_nothing(edge: Edge) -> None:
    events = [event(each, idempotency_key=each.url) for each in RECORDING]
    first = await edge.results(*events)
    appended = {envelope.id for envelope in await edge.appended()}
    second = await edge.results(*events)

    assert [each["id"] for each in first] == [each["id"] for each in second]
    assert {"duplicate"} == {each["result"] for each in second}
    assert appended == {envelope.id for envelope in await edge.appended()}


async def test_what_is_said_of_a_customer_is_known_to_the_next_event(
    edge: Edge,
) -> None:
    click = {"path": "/track/click", "body": {"domain": "example.com", "key": "SARAH"}}
    shown = next(each for each in RECORDING if each.url == "/track/click")
    click["body"] = shown.body
    [clicked] = await edge.results(click)
    lead = {
        "clickId": clicked["body"]["clickId"],
        "eventName": "Sign up",
        "customerExternalId": "new",
    }
    sale = {"customerExternalId": "new", "amount": 500, "invoiceId": "i_1"}
    led, sold = await edge.results(
        {"path": "/track/lead", "body": lead}, {"path": "/track/sale", "body": sale}
    )

    assert ("accepted", "accepted") == (led["result"], sold["result"])
    assert "new" == sold["body"]["customer"]["externalId"]


async def test_a_visitor_known_by_a_fingerprint_is_known_to_the_next_event(
    edge: Edge,
) -> None:
    click = {"path": "/v1/track/click", "body": {"ref": "SARAH", "fingerprint": "f"}}
    lead = {"path": "/v1/track/lead", "body": {"fingerprint": "f"}}
    first, again, led = await edge.results(click, click, lead)

    assert "none" == first["body"]["match_method"]
    assert "fingerprint" == again["body"]["match_method"]
    assert led["body"]["attributed"]


# Events that are not ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("odd", "code", "status", "body"),
    [
        (7, "field_invalid", 400, problem("field_invalid", "event is no JSON object")),
        ({}, "field_missing", 400, problem("field_missing", "path is required")),
        (
            {"path": "/x"},
            "not_found",
            404,
            problem("not_found", "There is no such path"),
        ),
        ({"path": "/v1/x"}, "not_found", 404, {"error": "unknown_resource"}),
        (
            {"path": "/api/v1/referrals/validate/SARAH"},
            "method_not_allowed",
            405,
            {"detail": "Method Not Allowed"},
        ),
        (
            {"path": CLICK["path"]},
            "field_missing",
            400,
            {"error": "affiliate_url is required"},
        ),
        (
            {"path": CLICK["path"], "body": "text"},
            "body_malformed",
            400,
            {"error": "Invalid JSON body"},
        ),
        (
            {**CLICK, "ip": "203.0.113"},
            "field_invalid",
            400,
            problem("field_invalid", "ip must be an IP address"),
        ),
        (
            {**CLICK, "idempotency_key": "x" * 256},
            "field_invalid",
            400,
            problem("field_invalid", "idempotency_key must be at most 255 characters"),
        ),
        (
            {**CLICK, "occurred_at": "2026-01-31T12:00:00"},
            "field_invalid",
            400,
            problem(
                "field_invalid",
                "occurred_at must be a time like 2026-01-31T12:00:00Z",
            ),
        ),
        (
            {
                "path": CLICK["path"],
                "body": {"affiliate_url": "https://example.com/?aff=NOBODY"},
            },
            "link_unknown",
            400,
            {"error": "Referral link not found"},
        ),
    ],
)
async def test_an_event_is_refused_by_itself_and_says_why(
    edge: Edge, odd: Any, code: str, status: int, body: Any
) -> None:
    before, refused, after = await edge.results(CLICK, odd, CLICK)

    assert ("accepted", "accepted") == (before["result"], after["result"])
    assert {
        "result": "refused",
        "code": code,
        "retryable": False,
        "status": status,
        "body": body,
    } == refused
    assert 2 == len(await edge.appended())


async def test_a_large_and_a_deep_event_are_refused_by_themselves(edge: Edge) -> None:
    large = {"path": CLICK["path"], "body": {"page_title": "x" * 65_536}}
    deep = b'{"path":"%s","body":%s}' % (b"/track/click", b"[" * 400 + b"]" * 400)
    lines = (orjson.dumps(large), deep, orjson.dumps(CLICK))
    for body in (b"\n".join(lines), b"[" + b",".join(lines) + b"]"):
        results = (await (await edge.send(body)).json())["results"]

        assert ["body_too_large", "body_malformed", None] == [
            each.get("code") for each in results
        ]


async def test_what_a_vendor_answers_in_silence_is_refused_all_the_same(
    edge: Edge,
) -> None:
    [result] = await edge.results({"path": "/api/v1/referral/click/NOBODY"})

    assert ("refused", "link_unknown") == (result["result"], result["code"])
    assert {"success": True, "data": {"tracked": True}} == result["body"]


async def test_half_an_emoji_spoils_nothing(edge: Edge) -> None:
    text = orjson.dumps([CLICK, CLICK]).replace(b'"body":{', b'"body":{"a":"\\ud83d",')
    answer = await edge.send(text)

    assert 2 == (await answer.json())["accepted"]


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


async def said(answer: ClientResponse) -> tuple[int, str]:
    told = await answer.json()
    assert {"error"} == {*told}
    return answer.status, told["error"]["code"]


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


# Keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        (None, 401, "credential_missing"),
        ("Basic b3duOg==", 401, "credential_malformed"),
        ("Bearer ", 401, "credential_malformed"),
        ("Bearer nobody's", 401, "unauthorised"),
        ("Bearer scopeless", 403, "forbidden"),
        ("Bearer writing", 403, "forbidden"),
    ],
)
async def test_a_batch_takes_a_key(
    edge: Edge, header: str | None, status: int, code: str
) -> None:
    headers = {"Authorization": header} if header else {}
    answer = await edge.client.post(
        "/v1/events", data=orjson.dumps([CLICK]), headers=headers
    )

    assert (status, code) == await said(answer)
    assert [] == await edge.appended()


async def test_an_event_takes_the_scope_that_its_path_wants(edge: Edge) -> None:
    generate = next(each for each in RECORDING if each.url == GENERATE)
    click, generated = await edge.results(CLICK, event(generate), key="tracking")

    assert "accepted" == click["result"]
    assert ("refused", "forbidden", 403) == (
        generated["result"],
        generated["code"],
        generated["status"],
    )


@pytest.mark.parametrize(
    "claim", [{"ip": "203.0.113.7"}, {"occurred_at": "2026-01-31T12:00:00Z"}]
)
async def test_only_a_key_that_forwards_says_from_where_and_when(
    edge: Edge, claim: dict[str, str]
) -> None:
    plain = {**CLICK, "user_agent": "Firefox", "referrer": "https://blog.example/"}
    taken, refused = await edge.results(plain, {**CLICK, **claim}, key="tracking")

    assert "accepted" == taken["result"]
    assert ("refused", "forbidden") == (refused["result"], refused["code"])
    assert [None] == [envelope.ip for envelope in await edge.appended()]


@every_endpoint
async def test_a_key_of_another_workspace_reaches_nothing_of_ours(
    edge: Edge, shown: Shown
) -> None:
    results = await edge.results(event(shown, ip="203.0.113.7"), key="foreign")

    assert "SARAH" not in str(results[0].get("id"))
    for envelope in await edge.appended():
        # What is organic is its own; nothing names our link.
        assert KEYS["foreign"].workspace_uuid == envelope.workspace_id
        assert (None, None) == (envelope.link_id, envelope.program_id)


async def test_public_events_are_sealed_without_the_key(edge: Edge) -> None:
    await edge.results(CLICK)

    [click] = await edge.appended()
    assert (None, ()) == (click.api_key_id, click.api_key_hashes)


# Limits and switches ---------------------------------------------------------------------


async def test_limits_count_events(redis_url: str, tmp_path: Path) -> None:
    await published(redis_url, limits={"refport.key": 3, "bio_re.address": 2})
    shown = next(each for each in RECORDING if each.url == "/api/track/lead")
    leads = [
        {**event(shown), "body": {**shown.body, "customerExternalId": f"c{number}"}}
        for number in range(5)
    ]
    click = {"path": "/api/v1/referral/click/SARAH"}
    far = {**click, "ip": "203.0.113.7"}
    async with an_edge(redis_url, tmp_path) as client:
        edge = Edge(client, redis_url)
        results = await edge.results(*leads, *[click] * 3, *[far] * 3, CLICK)

    said = [each["result"] for each in results]
    assert 3 == said[:5].count("accepted")
    assert 2 == said[5:8].count("accepted")
    assert 2 == said[8:11].count("accepted")
    assert "accepted" == said[11]
    refused = [each for each in results if each["result"] == "refused"]
    assert {("rate_limited", 429, True)} == {
        (each["code"], each["status"], each["retryable"]) for each in refused
    }
    assert all(1 <= each["retry_after"] <= 62 for each in refused)


@pytest.mark.parametrize(
    ("off", "status"),
    [
        (("installation", ""), 503),
        (("dialect", "batch"), 503),
        (("dialect", "dub"), 207),
        (("program", "1"), 207),
        (("link", "link_1"), 207),
    ],
)
async def test_what_is_switched_off_says_so(
    redis_url: str, tmp_path: Path, off: tuple[str, str], status: int
) -> None:
    await published(redis_url)
    dub = next(each for each in RECORDING if each.url == "/track/click")
    async with Redis.from_url(redis_url) as redis:
        await redis.set(SWITCHES_KEY, SwitchesRecord(off=[off]).encode())
    async with an_edge(redis_url, tmp_path) as client:
        edge = Edge(client, redis_url)
        answer = await edge.send([CLICK, event(dub)])
        told = await answer.json()

    assert status == answer.status
    if status == 503:
        assert "switched_off" == told["error"]["code"]
        assert int(answer.headers["Retry-After"]) >= 1
    else:
        codes = [each.get("code") for each in told["results"]]
        expected = [None if off == ("dialect", "dub") else "switched_off"]
        assert [*expected, "switched_off"] == codes
        refused = dub.dialect.refuse(Refusal("switched_off"))
        assert refused.body == told["results"][1]["body"]


# Trouble ---------------------------------------------------------------------------------


async def test_without_redis_events_are_taken_and_claims_asked_for_again(
    alone: Edge,
) -> None:
    taken, claiming = await alone.results(CLICK, {**CLICK, "ip": "203.0.113.7"})

    assert "accepted" == taken["result"]
    # Nobody could check whether the key may forward.
    assert ("refused", "overloaded", True) == (
        claiming["result"],
        claiming["code"],
        claiming["retryable"],
    )


async def test_a_bug_costs_nothing_but_its_event(url: str, tmp_path: Path) -> None:
    def burst(_: RawRequest) -> Sequence[Draft]:
        raise ZeroDivisionError

    def burst_late(_: Outcome) -> Reply:
        raise ZeroDivisionError

    dialects = []
    for dialect in DIALECTS:
        routes = [*dialect.endpoints]
        if dialect.name == "dub":
            routes[0] = replace(routes[0], parse=burst)
        if dialect.name == "affixo":
            routes[0] = replace(routes[0], answer=burst_late)
        dialects.append(replace(dialect, endpoints=routes))
    named = {each.url: each for each in RECORDING}
    faulty = [event(named[path]) for path in ("/track/click", "/v1/track/click")]
    with capture_logs() as logs:
        async with an_edge(url, tmp_path, dialects) as client:
            results = await Edge(client, url).results(CLICK, *faulty, CLICK)

    assert [None, "failed", "failed", None] == [each.get("code") for each in results]
    assert [500, 500] == [each["status"] for each in results[1:3]]
    assert 2 == len([line for line in logs if line["event"] == "edge.failed"])


async def test_a_body_that_drips_is_given_up(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.batch.handler._BODY_SECONDS", 0.05)

    async def dripping() -> AsyncIterator[bytes]:
        yield b"["
        await asyncio.sleep(1)
        yield b"]"

    headers = {"Authorization": "Bearer own"}
    answer = await edge.client.post("/v1/events", data=dripping(), headers=headers)

    assert (400, "body_malformed") == await said(answer)
    assert "cut short" in await answer.text()


async def test_where_nothing_has_a_place_all_of_it_may_come_back(
    tmp_path: Path,
) -> None:
    changes = {"REFTIDE_SPOOL_BYTES": "0"}
    url = f"unix://{tmp_path}/nobody.sock"
    async with an_edge(url, tmp_path, changes=changes) as client:
        edge = Edge(client, url)
        answer = await edge.send([CLICK, {"path": "/api/v1/referral/click/SARAH"}])
        results = (await answer.json())["results"]
        mixed = await edge.results(CLICK, 7)

    assert (503, "1") == (answer.status, answer.headers["Retry-After"])
    assert {("refused", "overloaded", True)} == {
        (each["result"], each["code"], each["retryable"]) for each in results
    }
    assert ["overloaded", "field_invalid"] == [each["code"] for each in mixed]


# Whatever it is --------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["203.0.113.7", "::1", "2026-01-31T12:00:00Z", "SARAH"])
)
paths = st.sampled_from([each.url for each in SHOWN]) | st.text()
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
bodies = values | st.sampled_from([each.body for each in RECORDING])
objects = st.fixed_dictionaries(
    {"path": paths},
    optional={
        "body": bodies,
        "ip": scalars,
        "occurred_at": scalars,
        "idempotency_key": scalars,
        "user_agent": scalars,
        "referrer": scalars,
        "more": values,
    },
)


@given(batch=st.lists(objects | values, max_size=12))
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_whatever_is_sent_every_event_has_an_answer(
    started: Edge, batch: Sequence[Any]
) -> None:
    results = await started.results(*batch)

    assert all(each.get("code") != "failed" for each in results)


@given(data=st.binary(max_size=400) | st.text().map(str.encode))
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_whatever_the_bytes_are_nothing_fails(started: Edge, data: bytes) -> None:
    for encoding in ("identity", "gzip", "zstd"):
        answer = await started.send(data, Content_Encoding=encoding)

        assert answer.status in {200, 207, 400}
