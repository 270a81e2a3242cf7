"""Events that are refused by themselves, while the rest of their batch is taken."""

from typing import Any

import orjson
import pytest

from tests.support.edge.batching import CLICK, Edge

pytestmark = pytest.mark.asyncio(loop_scope="module")


def problem(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


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
    # No link can have so long a code.
    codes = ("NOBODY", "x" * 256)
    paths = [{"path": f"/api/v1/referral/click/{code}"} for code in codes]
    kept, refused = await edge.results(*paths)

    assert ("refused", "link_unknown") == (refused["result"], refused["code"])
    assert "accepted" == kept["result"]
    tracked = {"success": True, "data": {"tracked": True}}
    assert [tracked, tracked] == [kept["body"], refused["body"]]
