"""What every endpoint of every dialect says over HTTP, to whatever it is sent."""

import gzip
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from aiohttp import ClientResponse
from redis.asyncio import Redis

from ingest.contracts.directory import SWITCHES_KEY, SwitchesRecord
from ingest.dialects import DIALECTS
from ingest.dialects.spec import (
    Dialect,
    Endpoint,
    Query,
    RawRequest,
    Refusal,
    Reply,
    Usage,
)
from tests.showcase import SHOWN, Client, Shown, an_edge, publish
from tests.valkey import running_valkey


def every(shown: list[Shown]) -> pytest.MarkDecorator:
    params = [pytest.param(each, id=each.name) for each in shown]
    return pytest.mark.parametrize("shown", params)


every_route = every(SHOWN)
every_body = every([each for each in SHOWN if each.route.body])
every_key = every([each for each in SHOWN if each.route.credential])
every_limit = every([each for each in SHOWN if each.route.limits])
every_dialect = pytest.mark.parametrize(
    "dialect", [pytest.param(each, id=each.name) for each in DIALECTS]
)

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


#: One server and few edges for all tests: none of them depends on what came before.
pytestmark = pytest.mark.asyncio(loop_scope="module")
shared = pytest_asyncio.fixture(scope="module", loop_scope="module")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_valkey() as valkey:
        yield valkey.url


@shared
async def client(
    url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    """An edge whose directory knows all that the examples name, and has no limits."""
    await publish(url)
    async with an_edge(url, tmp_path_factory.mktemp("edge")) as made:
        yield made


@shared
async def emptied(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """An edge whose directory knows API keys only."""
    with running_valkey() as valkey:
        await publish(valkey.url, is_empty=True)
        async with an_edge(valkey.url, tmp_path_factory.mktemp("edge")) as made:
            yield made


@shared
async def alone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """An edge without Redis."""
    path = tmp_path_factory.mktemp("edge")
    async with an_edge(f"unix://{path}/nobody.sock", path) as made:
        yield made


@shared
async def faulty(
    url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    """An edge whose routes all have a bug."""
    dialects = [
        replace(each, endpoints=[*map(_burst, each.endpoints)]) for each in DIALECTS
    ]
    async with an_edge(url, tmp_path_factory.mktemp("edge"), dialects) as made:
        yield made


def _burst(route: Endpoint | Query) -> Endpoint | Query:
    def burst(_: RawRequest) -> Any:
        raise ZeroDivisionError

    if isinstance(route, Query):
        return replace(route, ask=burst)
    return replace(route, parse=burst)


async def call(client: Client, shown: Shown, **changes: Any) -> ClientResponse:
    """Send the example with some changes; `headers` are added to the example's."""
    headers = {"Content-Type": "application/json", **shown.credential("own")}
    headers |= changes.pop("headers", {})
    data = orjson.dumps(shown.body) if shown.route.body else b""
    request = {"data": data, "headers": headers, **changes}
    method, path = shown.route.method, request.pop("path", shown.url)
    return await client.request(request.pop("method", method), path, **request)


def words(shown: Shown, refusal: Refusal) -> Reply:
    return shown.dialect.refuse(refusal)


def objection(shown: Shown, data: bytes) -> Reply | None:
    """What the dialect has against a body, if anything."""
    if isinstance(shown.route, Query):
        return None
    try:
        shown.route.parse(RawRequest(path=shown.path, body=data))
    except Refusal as refusal:
        return words(shown, refusal)
    return None


async def is_word_for_word(answer: ClientResponse, reply: Reply) -> bool:
    """Whether an answer is a reply, with the headers that the reply has."""
    assert (reply.status, reply.body) == (
        answer.status,
        orjson.loads(await answer.read()),
    )
    told = {name: answer.headers.get(name) for name in reply.headers}
    assert {**reply.headers} == told
    assert "application/json" == answer.headers["Content-Type"]
    return True


async def is_taken(shown: Shown, answer: ClientResponse) -> bool:
    """Whether a request was in order, although the same may have come before."""
    if answer.status != 200:
        # One vendor refuses a lead that it has already.
        assert "customer_advanced" in shown.route.refusals
        repeated = Refusal("customer_advanced", problem="lead")
        return await is_word_for_word(answer, words(shown, repeated))
    return True


# Requests that are in order --------------------------------------------------------------


@every_route
async def test_the_example_is_accepted(client: Client, url: str, shown: Shown) -> None:
    await publish(url)  # nobody remembers a request any more
    answer = await call(client, shown)

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
                assert answer.status in {200, 400, 404}, (name, text)


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


# Credentials -----------------------------------------------------------------------------


def refused_headers(shown: Shown) -> Iterator[tuple[dict[str, str], Refusal]]:
    assert shown.route.credential
    header = next(iter(shown.credential("")))
    malformed = Refusal("credential_malformed")
    yield {header: ""}, malformed
    yield {header: "  "}, malformed
    if header == "Authorization":
        yield {header: "own"}, malformed
        yield {header: "Bearer"}, malformed
        yield {header: "Basic b3duOg=="}, malformed
    yield shown.credential("x" * 513), malformed
    yield shown.credential("nobody's"), Refusal("unauthorised")
    yield shown.credential("rt_mistyped"), Refusal("unauthorised")
    yield shown.credential("kéy"), Refusal("unauthorised")
    scope = shown.route.credential.scope
    yield shown.credential("scopeless"), Refusal("forbidden", field=scope)


@every_key
async def test_a_wrong_credential_is_refused(client: Client, shown: Shown) -> None:
    for headers, refusal in refused_headers(shown):
        answer = await call(client, shown, headers=headers)

        assert await is_word_for_word(answer, words(shown, refusal)), headers


@every_key
async def test_a_missing_credential_is_refused_unless_it_is_optional(
    client: Client, shown: Shown
) -> None:
    assert shown.route.credential
    headers = {"Content-Type": "application/json"}
    data = orjson.dumps(shown.body)
    answer = await client.request(
        shown.route.method, shown.url, data=data, headers=headers
    )

    if shown.route.credential.is_optional:
        assert await is_taken(shown, answer)
    else:
        missing = words(shown, Refusal("credential_missing"))
        assert await is_word_for_word(answer, missing)


@every_key
async def test_another_workspace_is_told_what_it_would_be_told_of_nothing(
    client: Client, emptied: Client, shown: Shown
) -> None:
    foreign = shown.credential("foreign")
    of_ours = await call(client, shown, headers=foreign)
    of_nothing = await call(emptied, shown, headers=foreign)

    assert of_nothing.status == of_ours.status
    assert await of_nothing.json() == await of_ours.json()


# Methods and paths -----------------------------------------------------------------------


@every_route
async def test_a_method_that_the_path_does_not_take_is_refused(
    client: Client, shown: Shown
) -> None:
    taken = {each.route.method for each in SHOWN if each.url == shown.url}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - taken:
        answer = await call(client, shown, method=method)

        refused = words(shown, Refusal("method_not_allowed"))
        assert await is_word_for_word(answer, refused)
        assert taken <= {*answer.headers["Allow"].split(",")}


@every_route
async def test_head_is_refused_without_a_body(client: Client, shown: Shown) -> None:
    answer = await call(client, shown, method="HEAD", data=b"")

    expected = words(shown, Refusal("method_not_allowed")).status
    assert (expected, b"") == (answer.status, await answer.read())


@every_route
async def test_options_are_for_browsers(client: Client, shown: Shown) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    answer = await client.options(shown.url, headers=asked)

    if shown.route.from_browsers:
        assert (204, b"") == (answer.status, await answer.read())
        assert "*" == answer.headers["Access-Control-Allow-Origin"]
        assert shown.route.method in answer.headers["Access-Control-Allow-Methods"]
    else:
        refused = words(shown, Refusal("method_not_allowed"))
        assert await is_word_for_word(answer, refused)


@every_route
async def test_browsers_read_what_is_for_them_and_nothing_else(
    client: Client, shown: Shown
) -> None:
    expected = "*" if shown.route.from_browsers else None
    for changes in (
        {},
        {"data": b"{"},
        {"data": b"x" * 65_537},
        {"headers": {"Content-Encoding": "gzip"}},
        {"headers": shown.credential("nobody's")},
    ):
        answer = await call(client, shown, **changes)

        assert expected == answer.headers.get("Access-Control-Allow-Origin"), changes


@every_dialect
async def test_an_unknown_path_is_refused_in_the_dialects_words(
    client: Client, dialect: Dialect
) -> None:
    for path in (
        "",
        "/",
        "/nothing",
        "/nothing/at/all",
        "/%00",
        "//",
        "/%ff",
        "/..;/x",
    ):
        answer = await client.post(dialect.prefix + path, data=b"{}")

        assert await is_word_for_word(answer, dialect.refuse(Refusal("not_found")))


async def test_no_two_endpoints_share_a_route() -> None:
    for one in SHOWN:
        # A template is a path too: who takes it takes all that it stands for.
        taking = [
            each.name
            for each in SHOWN
            if each.route.method == one.route.method
            and len(each.route.path.split("/")) == len(one.route.path.split("/"))
            and all(
                mine == theirs or "{" in mine or "{" in theirs
                for mine, theirs in zip(
                    one.route.path.split("/"), each.route.path.split("/"), strict=True
                )
            )
        ]
        assert [one.name] == taking


# Limits, switches, trouble ---------------------------------------------------------------


@every_limit
async def test_one_request_too_many_is_refused(
    redis_url: str, tmp_path: Path, shown: Shown
) -> None:
    limits = {limit.name: 1 for limit in shown.route.limits}
    await publish(redis_url, limits=limits)
    async with an_edge(redis_url, tmp_path) as client:
        first = await call(client, shown)
        answer = await call(client, shown)

        assert 200 == first.status
        wait = int(answer.headers["Retry-After"])
        assert 1 <= wait <= 62
        refused = words(shown, Refusal("rate_limited", retry_after=wait))
        assert await is_word_for_word(answer, refused)
        usage = Usage(1, 0, 0, is_admitted=False, retry_after=wait)
        shows = shown.dialect.usage_headers
        assert {*(shows(usage) if shows else ())} <= {*answer.headers}


@pytest.mark.parametrize("scope", ["installation", "dialect"])
async def test_what_is_switched_off_says_so(
    redis_url: str, tmp_path: Path, scope: str
) -> None:
    await publish(redis_url)
    subjects = [""] if scope == "installation" else [each.name for each in DIALECTS]
    switches = SwitchesRecord(off=[(scope, subject) for subject in subjects])
    async with Redis.from_url(redis_url) as redis:
        await redis.set(SWITCHES_KEY, switches.encode())
    async with an_edge(redis_url, tmp_path) as client:
        for shown in SHOWN:
            answer = await call(client, shown)

            assert await is_word_for_word(answer, words(shown, Refusal("switched_off")))


@every_route
async def test_without_redis_a_route_answers_or_asks_to_come_back(
    alone: Client, shown: Shown
) -> None:
    answer = await call(alone, shown)

    if answer.status != 200:
        wait = int(answer.headers["Retry-After"])
        refused = words(shown, Refusal("overloaded", retry_after=wait))
        assert await is_word_for_word(answer, refused)


@every_route
async def test_a_bug_is_refused_in_the_dialects_words(
    faulty: Client, shown: Shown
) -> None:
    answer = await call(faulty, shown)

    refused = words(shown, Refusal("failed", field=shown.url))
    assert await is_word_for_word(answer, refused)
    expected = "*" if shown.route.from_browsers else None
    assert expected == answer.headers.get("Access-Control-Allow-Origin")
