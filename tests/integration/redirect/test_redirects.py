"""Redirects, from the first byte to the stream; either way through an edge."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from ingest.contracts.clickid import KeyRing
from ingest.contracts.directory import SWITCHES_KEY, DomainRecord, SwitchesRecord
from ingest.contracts.envelope import CLICK
from ingest.directory.unknown_codes import UnknownCodeCounts
from tests.support.edge.redirecting import (
    DOMAIN,
    LINK,
    Visitor,
    a_link,
    on_domain,
    publish,
    visiting,
)
from tests.support.edge.showcase import SECRET
from tests.support.servers.edges import recorded

PAST, FUTURE = 1, 253_370_764_799_999
OVER = "https://shop.example/over"
LINKS = (
    on_domain("alice"),
    on_domain("Mixed"),
    on_domain("summer/sale"),
    on_domain("mail", url="mailto:shop@example.com?subject=hi"),
    on_domain("app", url="shopapp://offer/7"),
    on_domain("bad", url="javascript:alert(1)", fallback_url=OVER),
    a_link("NAMED", click_param="cid"),
    a_link("OFF", is_active=False, fallback_url=OVER),
    a_link("ENDED", ends_at=PAST, fallback_url=OVER),
    a_link("LASTS", ends_at=FUTURE),
    a_link("NOWHERE", ends_at=PAST),
    a_link("SWITCHED", public_id="lnk_off", fallback_url=OVER),
    a_link("NOAPP", url="shopapp://x"),
    a_link("IDN", url="https://münchen.example/straße?q=ä"),
)
SCHEMES = DomainRecord(schemes=["shopapp", "mailto", "javascript"])


@pytest.fixture(params=[True, False], ids=["plain", "aiohttp"])
async def visitor(
    request: pytest.FixtureRequest, redis_url: str, tmp_path: Path
) -> AsyncIterator[Visitor]:
    await publish(redis_url, *LINKS, domain=SCHEMES)
    async with visiting(
        redis_url,
        tmp_path,
        is_plain=request.param,
        REFTIDE_TRUSTED_PROXIES="192.0.2.0/24",
    ) as found:
        # Of a domain in memory, a connection answers by itself.
        await found.get("/r/warm", DOMAIN)
        yield found


async def test_a_visitor_is_led_to_the_links_url_with_the_id_of_a_recorded_click(
    visitor: Visitor, redis_url: str
) -> None:
    landed = await visitor.get("/r/ALICE", Referer="https://blog.example/post")

    [event] = await recorded(redis_url)
    click_id = KeyRing([SECRET.encode()]).issue(event.id, LINK.link_uuid)
    assert (302, b"") == (landed.status, landed.body)
    assert {
        "content-type": "text/plain; charset=utf-8",
        "location": f"https://shop.example/p?utm_source=own&dub_id={click_id}#top",
        "cache-control": "private, no-store",
        "referrer-policy": "no-referrer-when-downgrade",
        "x-robots-tag": "noindex",
        "set-cookie": f"rt_id={click_id}; Max-Age=2592000; Path=/; SameSite=Lax; Secure",
        "content-length": "0",
        "server": "reftide",
    } == {name: landed.headers[name] for name in landed.headers.keys() - {"date"}}
    assert (CLICK, "redirect", LINK.link_uuid, "https://blog.example/post") == (
        event.kind,
        event.request.dialect,
        event.target.link_id,
        event.client.referrer,
    )


async def test_a_pixel_records_a_click_and_shows_43_bytes(
    visitor: Visitor, redis_url: str
) -> None:
    landed = await visitor.get("/p/ALICE.gif")

    [event] = await recorded(redis_url)
    assert (200, 43, b"GIF89a") == (landed.status, len(landed.body), landed.body[:6])
    assert "image/gif" == landed.headers["content-type"]
    assert "private, no-store" == landed.headers["cache-control"]
    assert "pixel" == event.request.dialect
    assert 43 == len((await visitor.get("/p/nobody.gif")).body)
    assert 1 == len(await recorded(redis_url))


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/alice", "alice"),
        ("/alice/", "alice"),
        ("/ALICE", "alice"),
        ("/Mixed", "Mixed"),
        ("/summer/sale", "summer/sale"),
        ("/summer%2Fsale?x=1", "summer/sale"),
        ("/%61lice", "alice"),
    ],
)
async def test_on_a_domain_a_code_is_the_path(
    visitor: Visitor, redis_url: str, target: str, code: str
) -> None:
    landed = await visitor.get(target, "Go.Example.com:80")

    [event] = await recorded(redis_url)
    assert 302 == landed.status
    assert {link.code: link.link_uuid for link in LINKS}[code] == event.target.link_id


async def test_where_case_counts_a_code_in_other_letters_is_unknown(
    redis_url: str, tmp_path: Path
) -> None:
    await publish(redis_url, *LINKS, domain=DomainRecord(is_case_sensitive=True))
    async with visiting(redis_url, tmp_path) as visitor:
        statuses = [
            (await visitor.get(target, DOMAIN)).status
            for target in ("/alice", "/Alice")
        ]

    assert [302, 404] == statuses


async def test_under_another_host_a_path_is_no_code(visitor: Visitor) -> None:
    for host in ("edge.example", f"evil.{DOMAIN}", "", "[::1]:80", "a b"):
        assert b"not_found" in (await visitor.get("/alice", host)).body


async def test_a_fixed_route_comes_before_a_code(visitor: Visitor) -> None:
    assert b'{"live":true}' == (await visitor.get("/livez", DOMAIN)).body
    for path in ("/favicon.ico", "/robots.txt", "/.well-known/x"):
        landed = await visitor.get(path, DOMAIN)
        assert (404, "application/json") == (
            landed.status,
            landed.headers["content-type"].partition(";")[0],
        )


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/r/OFF", OVER),
        ("/r/ENDED", OVER),
        ("/r/SWITCHED", OVER),
        ("/bad", OVER),
        ("/r/NOWHERE", None),
        ("/r/NOAPP", None),
        ("/r/nobody", None),
        ("/nobody", None),
        ("/", None),
    ],
)
async def test_a_link_that_is_off_over_or_unknown_leads_to_the_fallback(
    visitor: Visitor, redis_url: str, target: str, location: str | None
) -> None:
    async with Redis.from_url(redis_url) as redis:
        off = SwitchesRecord(off={("link", "lnk_off")})
        await redis.set(SWITCHES_KEY, off.encode())
        await redis.xadd("rt:dir:changes", {"k": "*"})
    for _ in range(2):
        landed = await visitor.get(target, DOMAIN if target[1:2] != "r" else "x")

    assert location == landed.headers.get("location")
    assert (302 if location else 404) == landed.status
    assert landed.cookie is None
    assert [] == await recorded(redis_url)


async def test_a_link_whose_end_is_to_come_leads_to_its_url(visitor: Visitor) -> None:
    landed = await visitor.get("/r/LASTS")

    assert landed.location.startswith(
        "https://shop.example/p?utm_source=own&dub_id=clk_"
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("utm_medium=b", "utm_source=own&utm_medium=b"),
        ("utm_source=a&via=b", "utm_source=own&via=b"),
        ("utm%5Fsource=a&via=b", "utm_source=own&via=b"),
        ("a=1&a=2&a", "utm_source=own&a=1&a=2&a"),
        ("&&=&x=", "utm_source=own&=&x="),
        ("dub_id=mine&x=1", "utm_source=own&x=1"),
        (
            "next=https://evil.example/%2F..",
            "utm_source=own&next=https://evil.example/%2F..",
        ),
        ('q="<b>\\^`{|}', "utm_source=own&q=%22%3Cb%3E%5C%5E%60%7B%7C%7D"),
        ("q=%0d%0aSet-Cookie:%20a=b%00", "utm_source=own&q=%0d%0aSet-Cookie:%20a=b%00"),
        ("q=" + "x" * 2046, "utm_source=own&q=" + "x" * 2046),
        ("y=1&q=" + "x" * 2046, "utm_source=own&y=1"),
    ],
)
async def test_a_visitors_parameters_are_added_and_the_links_own_kept(
    visitor: Visitor, query: str, expected: str
) -> None:
    location = (await visitor.get(f"/r/ALICE?{query}")).location

    before, click_id = location.removesuffix("#top").split("&dub_id=")
    assert f"https://shop.example/p?{expected}" == before
    assert click_id.startswith("clk_")


async def test_a_link_names_the_parameter_of_its_click_id(visitor: Visitor) -> None:
    location = (await visitor.get("/r/NAMED?cid=mine&dub_id=kept")).location

    assert location.startswith(
        "https://shop.example/p?utm_source=own&dub_id=kept&cid=clk_"
    )


async def test_an_international_url_is_led_to_in_ascii(visitor: Visitor) -> None:
    location = (await visitor.get("/r/IDN")).location

    assert location.startswith(
        "https://xn--mnchen-3ya.example/stra%C3%9Fe?q=%C3%A4&dub_id=clk_"
    )


async def test_a_deep_link_is_led_to_as_it_is_and_recorded(
    visitor: Visitor, redis_url: str
) -> None:
    mail = await visitor.get("/mail?x=1", DOMAIN)
    app = await visitor.get("/app", DOMAIN)

    assert ["mailto:shop@example.com?subject=hi", "shopapp://offer/7"] == [
        mail.location,
        app.location,
    ]
    assert 2 == len(await recorded(redis_url))


async def test_a_head_is_led_on_and_leaves_nothing(
    visitor: Visitor, redis_url: str
) -> None:
    landed = await visitor.get("/r/ALICE?x=1", method="HEAD")

    assert (302, "https://shop.example/p?utm_source=own&x=1#top", None) == (
        landed.status,
        landed.location,
        landed.cookie,
    )
    assert (
        "43"
        == (await visitor.get("/p/ALICE.gif", method="HEAD")).headers["content-length"]
    )
    assert [] == await recorded(redis_url)


async def test_who_loads_a_page_for_nobody_is_led_on_and_flagged(
    visitor: Visitor, redis_url: str
) -> None:
    await visitor.get("/r/ALICE", Sec_Purpose="prefetch;prerender")
    await visitor.get("/r/ALICE?x=1&bot")

    assert {"prerender", "crawler"} == {
        event.click.purpose for event in await recorded(redis_url)
    }


async def test_who_sends_gpc_is_counted_and_given_no_id(
    visitor: Visitor, redis_url: str
) -> None:
    landed = await visitor.get("/r/ALICE", Sec_GPC="1")

    [event] = await recorded(redis_url)
    assert ("https://shop.example/p?utm_source=own#top", None) == (
        landed.location,
        landed.cookie,
    )
    assert event.request.is_anonymous
    assert event.client.visitor is None


async def test_no_cookie_of_a_visitor_changes_an_answer(
    visitor: Visitor, redis_url: str
) -> None:
    """Another host of the same site could have set it for all of them."""
    token = KeyRing([SECRET.encode()]).issue(LINK.link_uuid, LINK.link_uuid)

    landed = await visitor.get("/r/ALICE", Cookie=f"rt_id={token}")

    [event] = await recorded(redis_url)
    assert token not in landed.location
    assert event.click.root_id is None
    assert "Domain" not in (landed.cookie or "")


async def test_the_host_is_a_trusted_proxys_word_or_the_header(
    redis_url: str, tmp_path: Path
) -> None:
    await publish(redis_url, *LINKS)
    told = {"X_Forwarded_Host": f"evil.example, {DOMAIN}"}
    statuses = []
    for trusted in ("127.0.0.0/8", "192.0.2.0/24"):
        for is_plain in (True, False):
            async with visiting(
                redis_url,
                tmp_path / trusted[:3] / str(is_plain),
                is_plain=is_plain,
                REFTIDE_TRUSTED_PROXIES=trusted,
            ) as visitor:
                await visitor.get("/r/warm", DOMAIN)
                landed = [
                    await visitor.get("/alice", "edge.example", **told),
                    await visitor.get(
                        "/alice", DOMAIN, X_Forwarded_Host="evil.example"
                    ),
                ]
                statuses.append([each.status for each in landed])

    assert [[302, 404]] * 2 + [[404, 302]] * 2 == statuses


async def test_unknown_codes_are_counted_but_no_path_of_the_edge_or_the_root(
    visitor: Visitor, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[str | None, str]] = []
    monkeypatch.setattr(
        UnknownCodeCounts,
        "count",
        lambda _, host, code, *__: counted.append((host, code)),
    )

    for target in ("/r/nobody", "/nobody", "/", "/favicon.ico", "/robots.txt", "/docs"):
        await visitor.get(target, DOMAIN)

    assert [(DOMAIN, "nobody")] * 2 == counted
