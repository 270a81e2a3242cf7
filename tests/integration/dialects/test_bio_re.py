"""bio.re over HTTP: a landing page is never told that its click did not count."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs
from yarl import URL

from ingest.contracts.directory import SWITCHES_KEY, SwitchesRecord
from ingest.contracts.storable import is_name
from tests.support.servers.installation import Installation, an_installation, elsewhere
from workers.publish.publisher import publish_changes

CLICK = "/api/v1/referral/click/"
TRACKED = b'{"success":true,"data":{"tracked":true}}'


async def test_the_vendors_example_works_as_printed(site: Installation) -> None:
    answer = await site.edges[0].post(CLICK + "alice123")

    assert (200, TRACKED) == (answer.status, await answer.read())
    assert "application/json" == answer.headers["Content-Type"]
    assert "*" == answer.headers["Access-Control-Allow-Origin"]
    [envelope] = await site.appended()
    link = await site.database.fetchval("select id from links where code = 'alice123'")
    assert ("bio_re", link) == (envelope.request.dialect, envelope.target.link_id)


LEADING_NOWHERE = [
    "nobody",
    "PAUSED10",  # switched off
    "ALICE123",  # of another case
    "%61lice124",
    "alice123%20",
    "alice123%2F",
    "%2F",
    "%2F..%2F..%2Fetc",
    "a%2Fb%2fc",
    "..",
    "%2E%2E",
    "%00",
    "alice123%00",
    "%ff%fe",
    "%ED%A0%80",  # half an emoji
    "%",
    "%zz",
    "%0A",
    "%0D%0AX:1",
    "%F0%9F%9A%80",
    "caf%C3%A9%20cr%C3%A8me",
    "%7Bcode%7D",
    "{code}",
    "a:b@c;d=e,f+g!$&'()*~",
    "%3Fb%23c",
    "-",
    "x" * 2_048,
    "%F0%9F%9A%80" * 600,
    "x" * 8_000,
]


async def test_a_code_that_leads_nowhere_is_answered_alike_and_kept_as_it_is(
    site: Installation,
) -> None:
    client = site.edges[0]
    for code in LEADING_NOWHERE:
        # As it is: browsers and our client would tidy it up.
        url = URL(f"{client.make_url('/')}{CLICK[1:]}{code}", encoded=True)
        async with client.session.post(url, headers=elsewhere()) as answer:
            assert (200, TRACKED) == (answer.status, await answer.read()), code

    appended = [envelope.target for envelope in await site.appended()]
    paths = [URL(f"http://edge/{code}", encoded=True).path for code in LEADING_NOWHERE]
    received = [path.removeprefix("/") for path in paths]
    # A link that is off counts nothing, and no link can have the others.
    kept = [code for code in received if is_name(code) and code != "PAUSED10"]
    assert kept == [target.code for target in appended]
    assert {(None, ("-",))} == {
        (target.link_id, target.namespaces) for target in appended
    }


async def test_a_code_may_be_written_in_every_way(site: Installation) -> None:
    for code in ("alice%31%32%33", "alice123?utm=a", "%61lice123"):
        assert 200 == (await site.edges[0].post(CLICK + code)).status

    assert 3 == len(await site.appended())


async def test_an_encoded_code_leads_to_its_link(site: Installation) -> None:
    for code in ("ünï 🚀/x", "a b+c%", 'quo"te\\', "{x}", "x" * 255):
        await site.database.execute(
            "update links set code = $1 where public_id = ("
            "select public_id from links where partner_id = (select id from partners"
            " where code = 'jane') and is_active)",
            code,
        )
        await publish_changes(site.database, site.redis)
        escaped = "".join(f"%{byte:02X}" for byte in code.encode())
        assert 200 == (await site.edges[0].post(CLICK + escaped)).status

    assert 5 == len(await site.appended())


@pytest.mark.parametrize("code", ["nobody", "PAUSED10"])
async def test_what_is_not_counted_is_a_warning_in_the_log(
    site: Installation, code: str
) -> None:
    with capture_logs() as logs:
        await site.edges[0].post(CLICK + code)

    events = {"nobody": "edge.link_unknown", "PAUSED10": "edge.link_inactive"}
    [line] = [line for line in logs if line["event"] == events[code]]
    assert ("warning", code) == (line["log_level"], line["code"])


async def test_a_body_is_nobodys_business(site: Installation) -> None:
    for data in (b"", b"{", b'{"code":"x"}', b"\xff\xfe", b"x" * 60_000):
        answer = await site.edges[0].post(CLICK + "alice123", data=data)
        assert (200, TRACKED) == (answer.status, await answer.read())

    assert 5 == len(await site.appended())


async def test_another_method_is_refused_in_the_vendors_words(
    site: Installation,
) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH"):
        answer = await site.edges[0].request(method, CLICK + "alice123")
        assert 405 == answer.status
        assert "POST" in answer.headers["Allow"]
        if method != "HEAD":
            assert "method_not_allowed" == (await answer.json())["error"]["code"]

    assert [] == await site.appended()


async def test_another_path_is_refused_in_the_vendors_words(site: Installation) -> None:
    for path in ("click", "click/", "click/a/b", "", "dashboard"):
        answer = await site.edges[0].post("/api/v1/referral/" + path)
        found = await answer.json()
        assert (404, False, "not_found") == (
            answer.status,
            found["success"],
            found["error"]["i18nKey"],
        )


async def test_the_click_after_the_sixtieth_of_a_minute_is_throttled(
    site: Installation,
) -> None:
    caller = elsewhere()
    # The limit is one for both edges, and asked before anything about the code.
    told = [
        await site.edges[number % 2].post(CLICK + "nobody", headers=caller)
        for number in range(61)
    ]

    assert [200] * 60 + [429] == [answer.status for answer in told]
    assert {
        "success": False,
        "error": {
            "code": "throttle",
            "i18nKey": "throttle",
            "message": "Too many requests",
        },
    } == await told[-1].json()
    assert 1 <= int(told[-1].headers["Retry-After"]) <= 65
    assert "*" == told[-1].headers["Access-Control-Allow-Origin"]
    other = await site.edges[0].post(CLICK + "nobody", headers=elsewhere())
    assert 200 == other.status


async def test_the_switch_is_told_by_its_key(site: Installation) -> None:
    off = SwitchesRecord(off={("dialect", "bio_re")})
    await site.redis.set(SWITCHES_KEY, off.encode())

    answer = await site.edges[0].post(CLICK + "alice123")

    found = await answer.json()
    assert (503, "features.referral_disabled", "features.referral_disabled") == (
        answer.status,
        found["error"]["code"],
        found["error"]["i18nKey"],
    )
    assert [] == await site.appended()


async def test_a_former_code_still_counts_and_so_does_every_repeat(
    site: Installation,
) -> None:
    await site.database.execute(
        "with renamed as (update links set code = 'alice' where code = 'alice123'"
        " and domain = '' returning id)"
        " insert into link_aliases (namespace, code, link_id)"
        " select '-', 'alice123', id from renamed"
    )
    await publish_changes(site.database, site.redis)
    site.start_worker()
    caller = {**elsewhere(), "User-Agent": "Mozilla/5.0 Firefox/140.0"}
    for code in ("alice123", "alice", "alice123"):
        await site.edges[0].post(CLICK + code, headers=caller)
    bot = {**elsewhere(), "User-Agent": "Googlebot/2.1"}
    await site.edges[1].post(CLICK + "alice", headers=bot)

    await site.rests()

    counted = "select unique_clicks, clicks, duplicate_clicks, bot_clicks from links"
    assert [(1, 4, 2, 1)] == await site.rows(
        f"{counted} where code = 'alice' and domain = ''"
    )


async def test_a_click_without_a_durable_place_is_lost_in_silence_and_logged(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    full = {"REFTIDE_INTAKE": "refuse"}
    async with an_installation(redis_url, database_url, tmp_path, **full) as site:
        with capture_logs() as logs:
            told = [
                await site.edges[0].post(CLICK + code, headers=elsewhere())
                for code in ("nobody", "alice123")
            ]

        assert [(200, TRACKED)] * 2 == [
            (answer.status, await answer.read()) for answer in told
        ]
        assert [] == await site.appended()
    assert ["bio_re", "bio_re"] == [
        line["dialect"] for line in logs if line["event"] == "edge.lost"
    ]
