from importlib.resources import files

import orjson
import pytest

from workers.enrich import bots

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2_1 like Mac OS X)"

BOTS = [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Twitterbot/1.0",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://linkedin.com)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "WhatsApp/2.23.20.0",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "http.rb/5.1.1 (Mastodon/4.2.1; +https://mastodon.example/)",
    f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/120.0.0.0 Safari/537.36",
    f"Mozilla/5.0 {WEBKIT}; compatible; GPTBot/1.2; +https://openai.com/gptbot",
    "curl/8.5.0",
    "Wget/1.21.4",
    "python-requests/2.31.0",
    "Go-http-client/1.1",
    "axios/1.6.2",
    "node",
    "undici",
    "Java/17.0.1",
    "GuzzleHttp/7",
    "Ruby",
    "PostmanRuntime/7.36.0",
    "reqwest/0.11",
    "Mozilla/5.0 (compatible; NobodyHasListedMeBot/0.3)",
    "Mozilla/5.0 (compatible; somebody; +https://example.com/about)",
]
PEOPLE = [
    # The brand of a telephone inside the words of an app.
    (
        f"Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) {WEBKIT} Version/4.0 Chrome/121.0"
        " Mobile Safari/537.36 Instagram 320.0.0.42.101 Android (34/14; 420dpi; 1080x2205;"
        " Google/google; Pixel 8; shiba; shiba; en_US; 574247563)"
    ),
    # Clients that report for a visitor.
    "Mozilla/5.0 Umami/0.1.0",
    "speakeasy-sdk/python 0.39.0 2.911.0 1.0.0 dub",
    "speakeasy-sdk/typescript 0.73.5 2.933.0 0.0.1 dub",
    "okhttp/4.9.2",
    "MyShop/1.0 CFNetwork/1410.0.3 Darwin/22.6.0",
    # A make of telephones, in both of its spellings.
    (
        f"Mozilla/5.0 (Linux; Android 10; CUBOT NOTE 20) {WEBKIT} Chrome/120.0.0.0 Mobile"
        " Safari/537.36"
    ),
    "Mozilla/5.0 (Linux; Android 9; Cubot/1.0) Chrome/120.0.0.0 Mobile",
    # Apps of networks that have crawlers as well.
    f"{IPHONE} AppleWebKit/605.1.15 Mobile/15E148 [Pinterest/iOS]",
    f"{IPHONE} AppleWebKit/605.1.15 Mobile/15E148 [LinkedInApp]/9.29.6",
    f"{IPHONE} AppleWebKit/605.1.15 Mobile/15E148 Twitter for iPhone/10.26",
    f"{IPHONE} AppleWebKit/605.1.15 GSA/301.0 Mobile/15E148 Safari/604.1",
]


@pytest.mark.parametrize("user_agent", BOTS)
def test_a_machine_is_a_bot(user_agent: str) -> None:
    assert bots.is_bot(user_agent)


@pytest.mark.parametrize("user_agent", PEOPLE)
def test_a_person_is_no_bot(user_agent: str) -> None:
    assert not bots.is_bot(user_agent)


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_a_missing_user_agent_is_no_bot(nothing: str | None) -> None:
    assert not bots.is_bot(nothing)


def test_every_recorded_crawler_but_the_app_library_is_a_bot() -> None:
    listed = files("crawleruseragents").joinpath("crawler-user-agents.json")
    missed = [
        entry["pattern"]
        for entry in orjson.loads(listed.read_bytes())
        for user_agent in entry["instances"]
        if not bots.is_bot(user_agent)
    ]

    assert {"okhttp"} == set(missed)
