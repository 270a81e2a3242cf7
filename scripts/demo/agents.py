"""User agents and addresses that `reftide demo` sends with its events. Used by `traffic`.

Crawlers come from the instances that crawler-user-agents ships, recorded in the wild. No
wheel in use holds recorded browsers, so those are composed here: the templates are the ones
that browsers and apps publish or are known to send, filled with real systems, versions and
device models. The addresses lie in networks of universities and providers, chosen for their
countries.
"""

from collections.abc import Iterator
from importlib.resources import files
from itertools import product
from typing import Final

import orjson

#: Crawlers taken from the list, the best known first.
_CRAWLERS: Final = 240
#: The one entry of the list that people's apps send too; see workers/enrich/bots.py.
_PEOPLE: Final = "okhttp"

_KHTML: Final = "(KHTML, like Gecko)"
_WEBKIT: Final = f"AppleWebKit/537.36 {_KHTML}"
_IOS_WEBKIT: Final = f"AppleWebKit/605.1.15 {_KHTML}"

_DESKTOPS: Final = (
    "Windows NT 10.0; Win64; x64",
    "Macintosh; Intel Mac OS X 10_15_7",
    "X11; Linux x86_64",
    "X11; CrOS x86_64 14541.0.0",
)
_CHROMIUM: Final = ("118", "122", "126", "130", "134")
_CHROMIUM_BRANDS: Final = ("", " Edg/{v}.0.0.0", " OPR/{v}.0.0.0", " Vivaldi/7.1")
_FIREFOX_SYSTEMS: Final = (
    "Windows NT 10.0; Win64; x64",
    "Macintosh; Intel Mac OS X 10.15",
    "X11; Linux x86_64",
    "X11; Ubuntu; Linux x86_64",
)
_FIREFOX: Final = ("115.0", "128.0", "133.0", "136.0")
_SAFARI: Final = ("15.6.1", "16.6", "17.4.1", "18.3")
_IOS: Final = ("15_8_3", "16_7_10", "17_6_1", "18_3_2")
_PHONES: Final = (
    "Android 10; K",
    "Android 11; Redmi Note 9 Pro",
    "Android 12; moto g(60)",
    "Android 13; SM-A536B",
    "Android 13; CUBOT P80",
    "Android 14; Pixel 8",
    "Android 14; SM-S918B",
    "Android 15; Pixel 9 Pro",
)
_TABLETS: Final = (
    "Android 12; SM-T870",
    "Android 13; SM-X700",
    "Android 14; Pixel Tablet",
    "Android 11; Lenovo TB-X606F",
)
#: What an app's own browser adds to the WebView of its Android.
_ANDROID_APPS: Final = (
    "[FB_IAB/FB4A;FBAV/445.0.0.34.118;]",
    (
        "Instagram 320.0.0.42.101 Android (34/14; 420dpi; 1080x2205; Google/google; Pixel 8;"
        " shiba; shiba; en_US; 574247563)"
    ),
    "[Pinterest/Android]",
    "musical_ly_2023400040 BytedanceWebview/d8a21c6",
    "Snapchat/12.76.0.37 (Pixel 8; Android 14#11237416#34; gzip; )",
    "Line/14.3.0/IAB",
    "[LinkedInApp]/4.1.905",
    "MicroMessenger/8.0.47.2560(0x28002F30) WeChat/arm64 Language/en",
)
#: The same on an iPhone.
_IPHONE_APPS: Final = (
    (
        "[FBAN/FBIOS;FBAV/445.0.0.34.118;FBBV/551091836;FBDV/iPhone14,5;FBMD/iPhone;FBSN/iOS;"
        "FBSV/17.2.1;FBSS/3;FBCR/;FBID/phone;FBLC/en_US;FBOP/80]"
    ),
    (
        "Instagram 321.0.0.22.116 (iPhone14,5; iOS 17_2_1; en_US; en; scale=3.00; 1170x2532;"
        " 567504471)"
    ),
    "[Pinterest/iOS]",
    "musical_ly_33.1.0 JsSdk/2.0 NetType/WIFI Channel/App Store ByteLocale/en",
    "Twitter for iPhone/10.26",
    "[LinkedInApp]/9.29.6",
    "Line/14.2.0",
)
_IPHONE_BROWSERS: Final = (
    "CriOS/134.0.6998.33 Mobile/15E148 Safari/604.1",
    "FxiOS/136.0 Mobile/15E148 Safari/605.1.15",
    "EdgiOS/133.0.3065.54 Version/18.0 Mobile/15E148 Safari/604.1",
    "GSA/301.0.602902188 Mobile/15E148 Safari/604.1",
    "Version/17.0 Mobile/15E148 DuckDuckGo/7 Safari/605.1.15",
)
_OTHERS: Final = (
    (
        "Mozilla/5.0 (SMART-TV; LINUX; Tizen 6.0) AppleWebKit/537.36 (KHTML, like Gecko)"
        " 76.0.3809.146/6.0 TV Safari/537.36"
    ),
    (
        "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko)"
        " Chrome/94.0.4606.128 Safari/537.36 WebAppManager"
    ),
    (
        "Mozilla/5.0 (Linux; Android 9; AFTMM Build/NS6265) AppleWebKit/537.36 (KHTML, like"
        " Gecko) Silk/108.4.6 like Chrome/108.0.5359.160 Safari/537.36"
    ),
    (
        "Mozilla/5.0 (PlayStation; PlayStation 5/8.20) AppleWebKit/605.1.15 (KHTML, like Gecko)"
        " Version/16.4 Safari/605.1.15"
    ),
    "Mozilla/5.0 (Mobile; Nokia 8110 4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5",
    "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko",
    (
        "Opera/9.80 (Android; Opera Mini/36.2.2254/119.132; U; id) Presto/2.12.423"
        " Version/12.16"
    ),
)

_ADDRESSES: Final = (
    # Europe
    *("81.2.69.142", "212.58.244.20", "193.62.157.66", "2a00:23c4::1"),
    *("193.99.144.80", "141.1.1.1", "130.149.7.201", "2003:de::1"),
    *("194.2.0.20", "212.27.40.240", "129.199.1.10", "2a01:cb00::1"),
    *("130.37.20.20", "194.109.6.66", "193.190.198.1", "194.78.0.1"),
    *("130.237.28.40", "129.240.2.40", "130.225.244.10", "128.214.222.24"),
    *("193.166.3.2", "147.175.1.1", "147.32.1.1", "193.6.1.1", "194.204.152.34"),
    *("131.130.1.1", "129.132.1.1", "2001:620::1", "193.204.1.1", "151.1.1.1"),
    *("80.58.61.250", "150.214.1.1", "193.136.2.1", "147.102.222.210"),
    *("134.226.1.1", "77.88.8.8", "193.231.1.1", "161.53.1.1", "194.249.1.1"),
    # The Americas
    *("18.7.22.69", "171.64.1.1", "73.170.1.1", "2601:646::1"),
    *("142.150.1.1", "24.48.0.1", "132.248.10.2", "200.160.2.3", "143.107.1.1"),
    *("200.16.1.1", "146.83.1.1", "200.21.1.1"),
    # Asia and the Pacific
    *("133.11.0.1", "210.130.1.1", "2400:4050::1", "143.248.1.1", "168.126.63.1"),
    *("202.96.209.133", "140.112.1.1", "147.8.1.1", "137.132.1.1", "103.21.124.1"),
    *("14.139.1.1", "202.28.1.1", "203.113.131.1", "152.118.1.1", "161.139.1.1"),
    *("139.130.4.5", "129.94.0.1", "2001:8000::1", "130.216.1.1", "132.66.1.1"),
    # Africa and the Middle East
    *("196.25.1.1", "137.158.1.1", "197.210.1.1", "41.90.1.1", "41.32.1.1"),
    *("144.122.1.1", "213.42.1.1", "212.138.1.1"),
)


def agents() -> list[tuple[str, bool]]:
    """List distinct user agents, each with whether it is a bot's: people first."""
    people = [(text, False) for text in _browsers()]
    return list(dict([*people, *_crawlers()]).items())


def addresses() -> list[str]:
    """List public client addresses, IPv4 and IPv6, of more than 25 countries."""
    return list(_ADDRESSES)


def _crawlers() -> Iterator[tuple[str, bool]]:
    listed = files("crawleruseragents").joinpath("crawler-user-agents.json")
    for entry in orjson.loads(listed.read_bytes())[:_CRAWLERS]:
        for text in entry["instances"][:1]:
            yield text, entry["pattern"] != _PEOPLE


def _browsers() -> Iterator[str]:
    yield from _desktop()
    yield from _android()
    yield from _apple()
    yield from _OTHERS


def _desktop() -> Iterator[str]:
    for system, version, brand in product(_DESKTOPS, _CHROMIUM, _CHROMIUM_BRANDS):
        yield (
            f"Mozilla/5.0 ({system}) {_WEBKIT} Chrome/{version}.0.0.0 Safari/537.36"
            + brand.format(v=version)
        )
    for system, version in product(_FIREFOX_SYSTEMS, _FIREFOX):
        yield f"Mozilla/5.0 ({system}; rv:{version}) Gecko/20100101 Firefox/{version}"


def _android() -> Iterator[str]:
    for device, version in product(_PHONES, _CHROMIUM):
        yield (
            f"Mozilla/5.0 (Linux; {device}) {_WEBKIT}"
            f" Chrome/{version}.0.0.0 Mobile Safari/537.36"
        )
    for device in (*_PHONES, *_TABLETS):
        mobile = "" if device in _TABLETS else "Mobile "
        yield (
            f"Mozilla/5.0 (Linux; {device}) {_WEBKIT}"
            f" SamsungBrowser/27.0 Chrome/125.0.0.0 {mobile}Safari/537.36"
        )
    for device in _TABLETS:
        yield f"Mozilla/5.0 (Linux; {device}) {_WEBKIT} Chrome/134.0.0.0 Safari/537.36"
    for app in _ANDROID_APPS:
        yield (
            "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/UQ1A.240205.004; wv)"
            f" {_WEBKIT} Version/4.0 Chrome/121.0.6167.178 Mobile Safari/537.36 {app}"
        )
    for major, version in product(("11", "13", "14"), _FIREFOX):
        yield (
            f"Mozilla/5.0 (Android {major}; Mobile; rv:{version})"
            f" Gecko/{version} Firefox/{version}"
        )


def _apple() -> Iterator[str]:
    for version in _SAFARI:
        yield (
            f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_IOS_WEBKIT}"
            f" Version/{version} Safari/605.1.15"
        )
    for system, version in zip(_IOS, _SAFARI, strict=True):
        safari = f"{_IOS_WEBKIT} Version/{version} Mobile/15E148 Safari/604.1"
        phone = f"Mozilla/5.0 (iPhone; CPU iPhone OS {system} like Mac OS X)"
        yield f"{phone} {safari}"
        yield f"Mozilla/5.0 (iPad; CPU OS {system} like Mac OS X) {safari}"
        for browser in _IPHONE_BROWSERS:
            yield f"{phone} {_IOS_WEBKIT} {browser}"
        for app in _IPHONE_APPS:
            yield f"{phone} {_IOS_WEBKIT} Mobile/15E148 {app}"
