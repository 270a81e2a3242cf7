"""`reftide tracker`: the tag that a website puts on its pages."""

from typing import Any

import click

from ingest.contracts.apikey import looks_publishable
from scripts.environment import Environment
from scripts.output import Report, reporting
from scripts.parameters import Parsed
from scripts.services import parsers
from scripts.services.website import tag, tag_attributes


@click.group()
def command() -> None:
    """The script that reports clicks and leads from web pages."""


def _publishable(text: str) -> str:
    if not looks_publishable(text):
        raise ValueError(
            "this is no publishable key, and everybody can read what is on a page: make"
            " one with `reftide keys add --publishable --origins https://YOUR-SITE`"
        )
    return text


@command.command(
    "snippet",
    epilog="""
Put the tag into the <head> of every page. A page whose URL has a code, as in
https://shop.example/?via=SUMMER, reports a click; the pages after it report a lead
with reftide("lead", {customer_id: "42"}).

The tag names the script by the hash of its bytes, and browsers run no others. Edges
have the scripts of earlier releases too: print the tag again to get a new one. With
--latest the edge says what pages run.

\b
  reftide tracker snippet --program 1 --key rt_pk_… --host https://events.shop.example
""",
)
@click.option("--program", type=click.IntRange(1), help="The program's number.")
@click.option(
    "--key",
    type=Parsed(_publishable, "key"),
    help="A publishable key; leads need one unless the click is answered already.",
)
@click.option(
    "--host",
    type=Parsed(parsers.url, "url"),
    help="Where browsers find the edge.  [default: the running instance]",
)
@click.option("--domain", help="The domain of short links that the codes are of.")
@click.option(
    "--query-param", help="A parameter that has the code, beside via and ref."
)
@click.option(
    "--outbound", help="Sites whose links get the click id, with commas between."
)
@click.option("--latest", is_flag=True, help="Load /t.js, without a hash.")
@reporting
def snippet(
    environment: Environment, host: str | None, *, latest: bool, **said: Any
) -> Report:
    """Print the <script> tag of the tracker."""
    edge = (host or environment.edge_url()).rstrip("/")
    attributes = tag_attributes(edge, _named(said), is_latest=latest)
    written = tag(attributes)
    return Report({"tag": written, "attributes": attributes}, written)


def _named(said: dict[str, Any]) -> dict[str, Any]:
    key = said.pop("key")
    return {**said, "publishable_key": key}
