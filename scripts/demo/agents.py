"""User agents and addresses that are sent with events, as browsers and crawlers have them.

`browsers.txt` holds what browsers and apps publish or are known to send, filled with real
systems, versions and devices; crawlers come from the instances that crawler-user-agents
ships. The addresses lie in networks of universities and providers in many countries.
"""

from importlib.resources import files
from typing import Final

import orjson

#: Crawlers taken from the list, the best known first.
_CRAWLERS: Final = 240
#: The one entry of the list that people's apps send too; see workers/enrich/bots.py.
_PEOPLE: Final = "okhttp"


def agents() -> list[tuple[str, bool]]:
    """List distinct user agents, each with whether it is a bot's: people first."""
    people = [(text, False) for text in _lines("browsers.txt")]
    return list(dict([*people, *_crawlers()]).items())


def addresses() -> list[str]:
    """List public client addresses, IPv4 and IPv6, of more than 25 countries."""
    return _lines("addresses.txt")


def _crawlers() -> list[tuple[str, bool]]:
    listed = files("crawleruseragents").joinpath("crawler-user-agents.json")
    return [
        (text, entry["pattern"] != _PEOPLE)
        for entry in orjson.loads(listed.read_bytes())[:_CRAWLERS]
        for text in entry["instances"][:1]
    ]


def _lines(name: str) -> list[str]:
    return files("scripts.demo").joinpath(name).read_text("utf-8").splitlines()
