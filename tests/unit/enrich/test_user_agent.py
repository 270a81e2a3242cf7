import pytest

from workers.enrich import user_agent
from workers.enrich.user_agent import Agent

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
IOS_WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
IPHONE = f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_2_1 like Mac OS X) {IOS_WEBKIT}"
WEBVIEW = (
    f"Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/UQ1A.240205.004; wv) {WEBKIT}"
    " Version/4.0 Chrome/121.0.6167.178 Mobile Safari/537.36"
)

#: A user agent, its device class, system and browser; versions are the major ones.
TABLE = [
    (
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/131.0.0.0"
            " Safari/537.36"
        ),
        ("desktop", "Windows", "10", "Chrome", "131"),
    ),
    (
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/131.0.0.0"
            " Safari/537.36 Edg/131.0.0.0"
        ),
        ("desktop", "Windows", "10", "Edge", "131"),
    ),
    (
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/130.0.0.0"
            " Safari/537.36 OPR/116.0.0.0"
        ),
        ("desktop", "Windows", "10", "Opera", "116"),
    ),
    (
        (
            "Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; SLCC2; Tablet PC 2.0;"
            " rv:11.0) like Gecko"
        ),
        ("desktop", "Windows", "7", "IE", "11"),
    ),
    (
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101"
            " Firefox/133.0"
        ),
        ("desktop", "Windows", "10", "Firefox", "133"),
    ),
    (
        (
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:128.0) Gecko/20100101"
            " Firefox/128.0"
        ),
        ("desktop", "Ubuntu", None, "Firefox", "128"),
    ),
    (
        f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/131.0.0.0 Safari/537.36",
        ("desktop", "Linux", None, "Chrome", "131"),
    ),
    (
        (
            f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/129.0.0.0"
            " Safari/537.36"
        ),
        ("desktop", "Chrome OS", "14541", "Chrome", "129"),
    ),
    (
        (
            f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {IOS_WEBKIT} Version/17.4.1"
            " Safari/605.1.15"
        ),
        ("desktop", "Mac OS X", "10", "Safari", "17"),
    ),
    (
        f"{IPHONE} Version/17.2 Mobile/15E148 Safari/604.1",
        ("mobile", "iOS", "17", "Mobile Safari", "17"),
    ),
    (
        f"{IPHONE} CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1",
        ("mobile", "iOS", "17", "Chrome Mobile iOS", "131"),
    ),
    (
        f"{IPHONE} FxiOS/133.0 Mobile/15E148 Safari/605.1.15",
        ("mobile", "iOS", "17", "Firefox iOS", "133"),
    ),
    (
        f"{IPHONE} Mobile/21C66 [FBAN/FBIOS;FBAV/445.0.0.34.118;FBDV/iPhone14,5]",
        ("mobile", "iOS", "17", "Facebook", "445"),
    ),
    (
        f"{IPHONE} GSA/301.0.602902188 Mobile/15E148 Safari/604.1",
        ("mobile", "iOS", "17", "Google", "301"),
    ),
    (
        (
            f"Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) {IOS_WEBKIT} Version/16.6"
            " Mobile/15E148 Safari/604.1"
        ),
        ("tablet", "iOS", "16", "Mobile Safari", "16"),
    ),
    (
        (
            f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/131.0.0.0 Mobile"
            " Safari/537.36"
        ),
        ("mobile", "Android", "10", "Chrome Mobile", "131"),
    ),
    (
        (
            f"Mozilla/5.0 (Linux; Android 13; SM-X700) {WEBKIT} Chrome/131.0.0.0"
            " Safari/537.36"
        ),
        ("tablet", "Android", "13", "Chrome", "131"),
    ),
    (
        (
            f"Mozilla/5.0 (Linux; Android 13; SM-S918B) {WEBKIT} SamsungBrowser/27.0"
            " Chrome/125.0.0.0 Mobile Safari/537.36"
        ),
        ("mobile", "Android", "13", "Samsung Internet", "27"),
    ),
    (
        "Mozilla/5.0 (Android 14; Mobile; rv:133.0) Gecko/133.0 Firefox/133.0",
        ("mobile", "Android", "14", "Firefox Mobile", "133"),
    ),
    (
        "Mozilla/5.0 (Android 14; Tablet; rv:133.0) Gecko/133.0 Firefox/133.0",
        ("tablet", "Android", "14", "Firefox Mobile", "133"),
    ),
    (WEBVIEW, ("mobile", "Android", "14", "Chrome Mobile WebView", "121")),
    (
        (
            f"{WEBVIEW} Instagram 320.0.0.42.101 Android (34/14; 420dpi; 1080x2205;"
            " Google/google; Pixel 8; shiba; shiba; en_US; 574247563)"
        ),
        ("mobile", "Android", "14", "Instagram", "320"),
    ),
    (
        "Dalvik/2.1.0 (Linux; U; Android 13; SM-G991B Build/TP1A.220624.014)",
        ("mobile", "Android", "13", "Android", "13"),
    ),
    (
        (
            "Opera/9.80 (Android; Opera Mini/36.2.2254/119.132; U; id)"
            " Presto/2.12.423 Version/12.16"
        ),
        ("mobile", "Android", None, "Opera Mini", "36"),
    ),
    (
        (
            "Mozilla/5.0 (Mobile; Nokia 8110 4G; rv:48.0) Gecko/48.0 Firefox/48.0"
            " KAIOS/2.5"
        ),
        ("mobile", "KaiOS", "2", "Firefox Mobile", "48"),
    ),
    (
        (
            "Mozilla/5.0 (SMART-TV; LINUX; Tizen 6.0) AppleWebKit/537.36 (KHTML, like"
            " Gecko) 76.0.3809.146/6.0 TV Safari/537.36"
        ),
        ("tv", "Tizen", "6", "Safari", None),
    ),
    (
        (
            "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko)"
            " Chrome/94.0.4606.128 Safari/537.36 WebAppManager"
        ),
        ("tv", "Web0S", None, "Chrome", "94"),
    ),
    (
        (
            f"Mozilla/5.0 (Linux; Android 9; AFTMM Build/NS6265) {WEBKIT} Silk/108.4.6"
            " like Chrome/108.0.5359.160 Safari/537.36"
        ),
        ("tv", "Android", "9", "Amazon Silk", "108"),
    ),
    (
        (
            f"Mozilla/5.0 (PlayStation; PlayStation 5/8.20) {IOS_WEBKIT} Version/16.4"
            " Safari/605.1.15"
        ),
        ("console", None, None, "Safari", "16"),
    ),
    ("curl/8.5.0", ("other", None, None, "curl", "8")),
]


@pytest.mark.parametrize(("text", "expected"), TABLE)
def test_device_system_and_browser_are_named(
    text: str, expected: tuple[str | None, ...]
) -> None:
    seen = user_agent.describe(text)

    assert expected == (
        seen.device,
        seen.os,
        seen.os_version,
        seen.browser,
        seen.browser_version,
    )


@pytest.mark.parametrize("nothing", [None, "", "   "])
def test_a_missing_user_agent_says_nothing(nothing: str | None) -> None:
    assert Agent() == user_agent.describe(nothing)


def test_only_the_first_kilobyte_is_looked_at() -> None:
    padded = "x" * user_agent.USER_AGENT_LIMIT + " (iPhone; CPU iPhone OS 17_2_1)"

    assert Agent(device="other") == user_agent.describe(padded)


def test_names_that_a_client_makes_up_are_cut_to_what_a_column_holds() -> None:
    seen = user_agent.describe("A" * 900 + "/1.0 CFNetwork/1410.0.3 Darwin/22.6.0")

    assert user_agent.NAME_LIMIT == len(seen.browser or "")


def test_a_known_user_agent_is_parsed_once() -> None:
    first = user_agent.describe(TABLE[0][0])

    assert first is user_agent.describe(TABLE[0][0])


def test_a_nul_and_a_lone_surrogate_do_not_reach_the_parser() -> None:
    assert "desktop" == user_agent.describe("Windows NT 10.0\0\ud800").device
