"""Requests to every route of every dialect, and whether an answer is word for word."""

from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse

from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import Reply
from tests.support.differences import differences
from tests.support.edge.showcase import SHOWN, Client, Shown


def every(shown: list[Shown]) -> pytest.MarkDecorator:
    params = [pytest.param(each, id=each.name) for each in shown]
    return pytest.mark.parametrize("shown", params)


every_route = every(SHOWN)
every_body = every([each for each in SHOWN if each.route.body])


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


async def is_word_for_word(answer: ClientResponse, reply: Reply) -> bool:
    """Whether an answer is a reply, with the headers that the reply has."""
    headers = {**reply.headers, "Content-Type": "application/json"}
    expected = {"status": reply.status, "headers": headers, "body": reply.body}
    found = {
        "status": answer.status,
        "headers": {name: answer.headers.get(name) for name in headers},
        "body": orjson.loads(await answer.read()),
    }
    assert {} == differences(expected, found)
    return True


async def is_taken(shown: Shown, answer: ClientResponse) -> bool:
    """Whether a request was in order, although the same may have come before."""
    if answer.status != 200:
        # Some refuse a lead or sale that they have already, and a refund of no known sale.
        noes = (
            Refusal("customer_advanced", problem="lead"),
            Refusal("sale_known"),
            Refusal("sale_unknown"),
        )
        [no] = [each for each in noes if each.code in shown.route.refusals]
        return await is_word_for_word(answer, words(shown, no))
    return True
