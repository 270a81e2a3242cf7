"""The cookie that an edge of a site's own sets for the site's pages."""

import pytest

from ingest.core.browsers.first_party import own_page, told_to
from ingest.dialects.spec.requests import Reply

REPLY = Reply(200, {"click_id": "clk_x", "cookie_window_days": 30}, {"X-Own": "1"})


def asked(**headers: str) -> dict[str, str]:
    given = {
        "sec-fetch-site": "same-site",
        "origin": "https://www.shop.example",
        "host": "t.shop.example",
    }
    return given | {name.replace("_", "-"): text for name, text in headers.items()}


def cookie(**headers: str) -> str | None:
    page = own_page(asked(**headers))
    assert page
    return told_to(page, REPLY, keeps_cookie=True).headers.get("Set-Cookie")


def test_a_page_of_the_site_gets_the_click_id_for_its_window() -> None:
    page = own_page(asked())

    assert page
    assert {
        "X-Own": "1",
        "Access-Control-Allow-Origin": "https://www.shop.example",
        "Access-Control-Allow-Credentials": "true",
        "Vary": "Origin",
        "Set-Cookie": "rt_id=clk_x; Max-Age=2592000; Path=/; Domain=shop.example;"
        " SameSite=Lax; Secure",
    } == told_to(page, REPLY, keeps_cookie=True).headers


@pytest.mark.parametrize(
    ("origin", "host", "domain"),
    [
        ("https://www.shop.example", "t.shop.example", "shop.example"),
        ("https://shop.example", "t.shop.example", "shop.example"),
        ("https://www.shop.example", "www.shop.example:8443", "shop.example"),
        ("https://app.shop.example", "app.shop.example", "app.shop.example"),
        ("https://a.shop.co.uk", "b.shop.co.uk", "shop.co.uk"),
        ("http://localhost:3000", "localhost:8080", None),
        ("http://10.0.0.1", "10.0.0.1:8080", None),
        # No browser says so of two sites; it would keep no cookie either.
        ("https://shop.example", "other.example", None),
    ],
)
def test_it_is_for_the_domain_that_page_and_edge_share(
    origin: str, host: str, domain: str | None
) -> None:
    found = cookie(origin=origin, host=host)

    assert found
    assert (f"; Domain={domain};" if domain else "; Path=/; SameSite") in found
    assert ("Domain" in found) == (domain is not None)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "none"},
        {"origin": "null"},
        {"origin": "https://shop.example\r\nSet-Cookie: a=b"},
        {"origin": "https://shop.example/path"},
        {"origin": ""},
        {"host": "t.shop.example; Domain=example"},
        {"host": ""},
    ],
)
def test_no_other_page_is_of_the_site(headers: dict[str, str]) -> None:
    assert own_page(asked(**headers)) is None


def test_a_page_without_the_headers_is_none_of_the_site() -> None:
    assert own_page({}) is None


@pytest.mark.parametrize("body", [{"error": "x"}, {"click_id": None}, []])
def test_a_refusal_is_readable_and_sets_nothing(body: object) -> None:
    page = own_page(asked())

    assert page
    told = told_to(page, Reply(429, body), keeps_cookie=True)  # type: ignore[arg-type]  # JSON
    assert "Set-Cookie" not in told.headers
    assert "https://www.shop.example" == told.headers["Access-Control-Allow-Origin"]
