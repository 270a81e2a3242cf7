"""`reftide tracker`: the tag that a website puts on its pages."""

from html import escape
from typing import Any

import click

from ingest.browser.scripts import script
from ingest.contracts.apikey import looks_publishable
from scripts.environment import Environment
from scripts.output import Report, reporting
from scripts.parameters import Parsed
from scripts.services import parsers


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
    found = script("t.js" if said["outbound"] else "t-core.js")
    attributes: dict[str, str | None] = {
        "async": None,
        "src": f"{edge}/t.js" if latest else edge + found.path,
        **({} if latest else {"integrity": found.integrity}),
        "crossorigin": "anonymous",
        **{
            f"data-{name.replace('_', '-')}": str(value)
            for name, value in _named(said).items()
            if value is not None
        },
    }
    tag = f"<script {_written(attributes)}></script>"
    return Report({"tag": tag, "attributes": attributes}, tag)


def _named(said: dict[str, Any]) -> dict[str, Any]:
    key = said.pop("key")
    return {**said, "publishable_key": key}


def _written(attributes: dict[str, str | None]) -> str:
    return " ".join(
        name if value is None else f'{name}="{escape(value)}"'
        for name, value in attributes.items()
    )
