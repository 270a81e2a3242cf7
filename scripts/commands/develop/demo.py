"""`reftide demo`: fire real traffic at a running instance and see all of it arrive."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import click

from scripts.commands.operate.verify import show as show_verified
from scripts.demo.play import Plan, play
from scripts.environment import Environment
from scripts.output import Report, counted, facts, is_quiet, reporting, table, tell
from scripts.parameters import Parsed
from scripts.services import parsers

_LINKS: Final = ("code", "unique_clicks", "clicks", "bots", "duplicates", "leads")
_SEEN: Final = {
    "countries": "Countries",
    "browsers": "Browsers",
    "devices": "Devices",
    "referrers": "Pages they came from",
}
_NAMELESS: Final = dict.fromkeys(_SEEN, "unknown") | {"referrers": "none"}
_RECORDED: Final = {"bots": "of them by bots", "tests": "test clicks"}
_MOST: Final = 20
_DIFFERENCES: Final = ("what", "key", "expected", "found", "off_by")


@click.command(
    epilog="""
First come the vendors' own example requests, byte for byte as their pages print
them. Then clicks on 40 links of the demo workspace, over HTTP, with several hundred user
agents and with client addresses in X-Forwarded-For. The edge believes these beside
X-Reftide-Forward, which has a key with the scope `forward`; the demo makes it and revokes
it. Some clicks are sent twice under one Idempotency-Key, and after every twentieth a lead
is reported. The key of the demo workspace is given a limit of its own, so that no lead is
refused as one too many; `reftide limits clear ID` undoes it.

\b
  accepted   requests that were answered with a yes
  recorded   events that workers have written into Postgres since the run began
  lag        how long the oldest event has waited for a worker

At the end the rows of the run are compared with what was accepted, and all rows with all
counters by `reftide verify`. Exit code 0 where they are equal, 1 where not.

\b
  reftide up                        in one terminal
  reftide demo --events 2000        in another
  REFTIDE_DATA=DIR reftide demo     where `up` runs with --data DIR
"""
)
@click.option(
    "--events",
    type=click.IntRange(1, 5_000_000),
    default=20_000,
    help="How many clicks; one lead for every twenty comes on top.",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    help="The same seed makes the same visitors, clicks and leads.",
)
@click.option(
    "--url",
    type=Parsed(parsers.url, "url"),
    help="Where an edge is.  [default: the instance's, or REFTIDE_HOST and REFTIDE_PORT]",
)
@reporting
async def command(
    environment: Environment, events: int, seed: int, url: str | None
) -> Report:
    """Fire clicks and leads at a running instance, and check that all are recorded."""
    plan = Plan(clicks=events, seed=seed, url=url, is_silent=is_quiet())
    report = await play(environment, plan, tell)
    return Report(report, partial(_show, report), int(not report["ok"]))


def _show(report: Mapping[str, Any]) -> None:
    click.echo()
    facts(_summary(report), "What was sent, and what was answered")
    table(report["top_links"], _LINKS, "Top links of this run")
    for what, title in _SEEN.items():
        seen = [
            {what: row["name"] or _NAMELESS[what], "clicks_of_people": row["clicks"]}
            for row in report[what]
        ]
        table(seen, (what, "clicks_of_people"), title)
    _compare(report)
    click.echo("reftide verify: ", nl=False)
    show_verified(report["verify"])


def _compare(report: Mapping[str, Any]) -> None:
    different = report["differences"]
    if different:
        table(different[:_MOST], _DIFFERENCES, "Not what was accepted")
        more = max(0, len(different) - _MOST)
        click.echo(
            f"{len(different)} of {report['checked']} figures differ ({more} not shown)."
        )
    elif report["uncertain"]:
        click.echo(
            f"All {report['accepted_events']:,} accepted events are recorded, each once."
            f" {counted(report['uncertain'], 'request')} had no clear answer: theirs may"
            " be, too."
        )
    else:
        click.echo(
            f"Recorded is what was accepted: {report['accepted_events']:,} events, each"
            f" once ({report['checked']} figures compared)."
        )


def _summary(report: Mapping[str, Any]) -> dict[str, object]:
    seconds = report["seconds"]
    return {
        "sent": ", ".join(f"{count} {what}" for what, count in report["sent"].items()),
        "accepted": f"{report['accepted']} requests, {report['accepted_events']} events",
        **{f"refused, {why}": count for why, count in report["refused"].items()},
        **{f"no answer, {why}": count for why, count in report["unanswered"].items()},
        "leads without a click": report["skipped_leads"] or None,
        "recorded": ", ".join(
            f"{count} {_RECORDED.get(what, what)}"
            for what, count in report["recorded"].items()
        ),
        "sent in": f"{seconds['sent']} s, {seconds['requests_per_second']} requests/s",
        "all recorded after": f"{seconds['recorded']} s",
    }
