import re
import shlex
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from ingest.dialects import DIALECTS
from scripts.demo.sender import Answer
from scripts.demo.vendors import EXAMPLES, VendorRequest

PAGES = Path(__file__).parents[3] / "pages"

AFFITOR, REFPORT, BIO_RE, *BRICQS = EXAMPLES


def page(name: str) -> str:
    return (PAGES / f"{name}.txt").read_bytes().decode().removesuffix("\n")


def test_affitors_example_is_what_the_curl_of_its_page_sends() -> None:
    words = shlex.split(page("affitor-track-click").replace("\\\n", ""))
    curl, x, method, url, h, header, d, body = words

    assert ["curl", "-X", "-H", "-d"] == [curl, x, h, d]
    assert (method, urlsplit(url).path) == (AFFITOR.method, AFFITOR.path)
    assert AFFITOR.headers == dict([header.split(": ")])
    assert body.encode() == AFFITOR.body


@pytest.mark.parametrize(
    ("name", "examples"),
    [("bio-re-track-click", [BIO_RE]), ("bricqs-referrals", BRICQS)],
)
def test_the_examples_of_a_page_are_what_its_curls_send(
    name: str, examples: list[VendorRequest]
) -> None:
    curls = page(name).replace("\\\n", "").split("\n\n")

    for curl, example in zip(curls, examples, strict=True):
        words = shlex.split(curl)
        options = list(pairwise(words))
        [url] = [word for word in words if word.startswith("https://")]
        assert ("-X", example.method) in options
        assert urlsplit(url).path == example.path
        headers = [value for option, value in options if option == "-H"]
        assert example.headers == dict(header.split(": ") for header in headers)
        bodies = [value.encode() for option, value in options if option == "-d"]
        assert [example.body][: len(example.body)] == bodies


def test_refports_example_is_what_its_page_prints() -> None:
    head, _, body = page("refport-track-lead").partition("\nBody\n")
    cells = [line.split(" | ") for line in head.splitlines() if line.endswith(" |")]

    assert head.startswith(f"{REFPORT.method} {REFPORT.path}")
    assert REFPORT.headers == {
        name: value.removesuffix(" |") for name, value in cells if "Header" not in name
    }
    assert body.encode() == REFPORT.body


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.what)
def test_every_example_goes_to_a_route_that_there_is(example: VendorRequest) -> None:
    routes = [
        (route.method, re.compile(re.sub(r"\{\w+\}", "[^/]+", route.path)))
        for dialect in DIALECTS
        for route in dialect.endpoints
    ]

    assert any(
        method == example.method and path.fullmatch(example.path)
        for method, path in routes
    )
    assert not example.body or orjson.loads(example.body)


@pytest.mark.parametrize(
    ("status", "body", "accepted", "reason"),
    [
        (200, b'{"success":true,"click_id":"clk"}', "yes", "200"),
        (200, b'{"eventName":"Sign Up"}', "yes", "200"),
        (
            200,
            b'{"success":false,"message":"Referral link is inactive"}',
            "no",
            "200 Referral link is inactive",
        ),
        (
            400,
            b'{"error":"Referral link not found"}',
            "no",
            "400 Referral link not found",
        ),
        (401, b'{"error":{"code":"UNAUTHORIZED"}}', "no", "401 UNAUTHORIZED"),
        (502, b"<html>", "no", "502"),
        (500, b"[]", "no", "500"),
    ],
)
def test_a_yes_and_a_no_are_told_apart_in_every_vendors_words(
    status: int, body: bytes, accepted: str, reason: str
) -> None:
    answer = Answer(status, body)

    assert (accepted == "yes") == answer.is_accepted
    assert reason == answer.reason
