import shlex
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from ingest.dialects import DIALECTS
from scripts.demo.sending import Answer, click_body, lead_body
from scripts.demo.traffic import Click, Lead, Visitor
from scripts.demo.vendors import EXAMPLES

PAGES = Path(__file__).parents[2] / "pages"

AFFITOR, REFPORT = EXAMPLES
VISITOR = Visitor(
    number=3,
    ip="81.2.69.142",
    agent="Mozilla/5.0",
    is_bot=False,
    language="en-GB",
    timezone="Europe/London",
    screen="1920x1080",
)


def page(name: str) -> str:
    return (PAGES / f"{name}.txt").read_bytes().decode().removesuffix("\n")


def test_affitors_example_is_what_the_curl_of_its_page_sends() -> None:
    words = shlex.split(page("affitor-track-click"))
    options = dict(zip(words[1:-1:2], words[2::2], strict=False))
    url = words[3]

    assert ["curl", "-X", "POST"] == words[:3]
    assert [url, "-H"] == words[3:5]
    assert AFFITOR.method == options["-X"]
    assert AFFITOR.path == urlsplit(url).path
    assert AFFITOR.headers == dict([words[5].split(": ")])
    assert ["-d", AFFITOR.body.decode()] == words[6:]


def test_refports_example_is_what_its_page_prints() -> None:
    head, _, body = page("refport-track-lead").partition("\nBody\n")
    cells = [line.split(" | ") for line in head.splitlines() if line.endswith(" |")]

    assert head.startswith(f"{REFPORT.method} {REFPORT.path}")
    assert REFPORT.headers == {
        name: value.removesuffix(" |") for name, value in cells if "Header" not in name
    }
    assert body.encode() == REFPORT.body


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.vendor)
def test_every_example_goes_to_an_endpoint_that_there_is(example) -> None:
    endpoints = {
        (endpoint.method, endpoint.path)
        for dialect in DIALECTS
        for endpoint in dialect.endpoints
    }

    assert (example.method, example.path) in endpoints
    assert orjson.loads(example.body)


@pytest.mark.parametrize(
    ("status", "body", "is_accepted", "reason"),
    [
        (200, b'{"success":true,"click_id":"clk"}', True, "200"),
        (200, b'{"eventName":"Sign Up"}', True, "200"),
        (
            200,
            b'{"success":false,"message":"Referral link is inactive"}',
            False,
            "200 Referral link is inactive",
        ),
        (
            400,
            b'{"error":"Referral link not found"}',
            False,
            "400 Referral link not found",
        ),
        (401, b'{"error":{"code":"UNAUTHORIZED"}}', False, "401 UNAUTHORIZED"),
        (502, b"<html>", False, "502"),
        (500, b"[]", False, "500"),
    ],
)
def test_a_yes_and_a_no_are_told_apart_in_every_vendors_words(
    status: int, body: bytes, is_accepted: bool, reason: str
) -> None:
    answer = Answer(status, body)

    assert is_accepted == answer.is_accepted
    assert reason == answer.reason


def test_every_event_carries_the_name_of_its_run() -> None:
    click = Click(
        event=1,
        purpose="test",
        code="x",
        is_bot=False,
        page="/",
        referrer="",
        program=7,
    )
    lead = Lead(
        event=2, customer=5, name="A", email="a@example.com", event_name="Sign Up"
    )

    assert {"demo": "run-1", "test_mode": True, "program_id": 7} == click_body(
        VISITOR, click, "run-1", None
    )["additional_data"]
    assert "run-1" == lead_body(lead, "run-1", "clk")["metadata"]["demo"]
    assert "run-1-5" == lead_body(lead, "run-1", "clk")["customerExternalId"]


def test_only_a_visitor_who_comes_back_shows_a_click_id() -> None:
    click = Click(
        event=1, purpose="link", code="x", is_bot=False, page="/", referrer=""
    )

    assert "existing_click_id" not in click_body(VISITOR, click, "run-1", None)
    assert "clk" == click_body(VISITOR, click, "run-1", "clk")["existing_click_id"]
