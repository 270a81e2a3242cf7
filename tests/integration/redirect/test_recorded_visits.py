"""Visits as workers record them: people, previews, pixels, and the leads that follow."""

from tests.support.servers.installation import Installation, elsewhere

PERSON = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0"
PREVIEWS = (
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Twitterbot/1.0",
    "WhatsApp/2.23.20.0",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://linkedin.com)",
)


async def visit(site: Installation, path: str, agent: str) -> str:
    """Where a visitor is led, or nowhere."""
    headers = {"User-Agent": agent, **elsewhere()}
    answer = await site.edges[0].get(path, headers=headers, allow_redirects=False)
    return answer.headers.get("Location", "")


async def test_previews_and_crawlers_are_led_on_and_count_as_bots(
    site: Installation,
) -> None:
    visits = [("/r/jane", agent) for agent in (PERSON, *PREVIEWS)]
    visits += [("/r/jane?bot=1", PERSON), ("/p/jane.gif", PERSON)]
    for path, agent in visits:
        await visit(site, path, agent)

    site.start_worker()
    await site.rests()

    rows = await site.rows(
        "select dialect, is_bot, purpose, count(*) from events"
        " where dialect in ('redirect', 'pixel') group by 1, 2, 3"
    )
    assert {
        ("redirect", False, None, 1),
        ("redirect", True, None, len(PREVIEWS)),
        ("redirect", True, "crawler", 1),
        ("pixel", False, None, 1),
    } == set(rows)
    counted = await site.rows(
        "select clicks, bot_clicks, unique_clicks from links where code = 'jane'"
    )
    assert [(9, 7, 2)] == counted


async def test_a_lead_names_the_click_id_that_a_redirect_gave(
    site: Installation,
) -> None:
    location = await visit(site, "/r/jane", PERSON)
    click_id = location.partition("dub_id=")[2]

    lead = await site.edges[1].post(
        "/api/v1/track/lead", json={"click_id": click_id, "customer_key": "user_1"}
    )
    assert 200 == lead.status
    site.start_worker()
    await site.rests()

    [row] = await site.rows(
        "select click.dialect, lead.attributed_id = click.id from events lead"
        " join events click on click.id = lead.click_id where lead.kind = 'lead'"
    )
    assert ("redirect", True) == row
