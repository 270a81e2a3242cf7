"""The tag that `reftide tracker snippet` prints."""

from html.parser import HTMLParser
from typing import Any

from typing_extensions import override

from ingest.browser.scripts import script
from tests.support.servers.cli import Cli

HOST = "https://events.shop.example"


class Tags(HTMLParser):
    """The attributes of the tags of a text, as a browser reads them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def snippet(*arguments: str) -> dict[str, Any]:
    asked = ("tracker", "snippet", "--host", HOST, *arguments)
    document: dict[str, Any] = Cli().document(*asked)
    [(tag, attributes)] = Tags(document["tag"]).found
    assert ("script", attributes) == (tag, document["attributes"])
    assert f"{document['tag']}\n" == Cli().run(*asked).out
    return document["attributes"]


def test_the_tag_names_the_script_by_its_bytes() -> None:
    core = script("t-core.js")

    assert {
        "async": None,
        "src": HOST + core.path,
        "integrity": core.integrity,
        "crossorigin": "anonymous",
        "data-program": "1",
        "data-publishable-key": "rt_pk_x",
    } == snippet("--program", "1", "--key", "rt_pk_x")


def test_the_tag_that_follows_the_edge_has_no_integrity() -> None:
    tag = snippet("--latest")

    assert (f"{HOST}/t.js", None) == (tag["src"], tag.get("integrity"))


def test_links_to_other_sites_need_the_larger_script() -> None:
    tag = snippet("--outbound", "app.example,docs.example")

    assert HOST + script("t.js").path == tag["src"]
    assert "app.example,docs.example" == tag["data-outbound"]


def test_what_the_tag_says_cannot_leave_its_attribute() -> None:
    assert '"><script>' == snippet("--query-param", '"><script>')["data-query-param"]


def test_a_secret_key_is_not_put_on_a_page() -> None:
    said = Cli().refusal("tracker", "snippet", "--host", HOST, "--key", "rt_secret")

    assert "this is no publishable key" in said
    assert "reftide keys add --publishable" in said
