"""What reads much asks another database, which is behind and takes no writes."""

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from tests.support.console.desk import opened
from tests.support.servers.cli import Cli

_FIGURES = """
insert into link_days (link_id, day, clicks, unique_clicks)
select id, (to_timestamp($1) at time zone 'UTC')::date, $2, $2 from links
"""


@pytest.fixture
def behind(shop: Cli, new_database: Callable[[], str]) -> Cli:
    """The shop with 900 clicks, and with 400 in a database that is behind."""
    replica = new_database()
    older = Cli({**shop.variables, "DATABASE_URL": replica})
    older.document("links", "add", "SUMMER", *_the_program_of(older))
    for cli, clicks in ((shop, 900), (older, 400)):
        cli.fetch(_FIGURES, cli.now, clicks)
    name = urlsplit(replica).path.removeprefix("/")
    shop.fetch(f'alter database "{name}" set default_transaction_read_only = on')
    return Cli({**shop.variables, "DATABASE_READ_URL": replica}, now=shop.now)


def _the_program_of(cli: Cli) -> list[str]:
    cli.document("programs", "add", "Shop", "--url", "https://shop.example")
    cli.document("partners", "add", "jane")
    return ["--program", "1", "--partner", "jane"]


def test_figures_and_lists_are_read_there(behind: Cli) -> None:
    today = ("stats", "--by", "day", "--since", "1d")
    assert [400] == [row["clicks"] for row in behind.document(*today)["rows"]]
    assert 0 == behind.run("events", "list").code


def test_what_must_be_up_to_date_is_not(behind: Cli) -> None:
    behind.document("links", "add", "WINTER", "--program", "1", "--partner", "jane")

    assert 2 == len(behind.document("links", "list"))


async def test_the_console_shows_its_traffic(behind: Cli) -> None:
    async with opened(behind, is_open=True) as console:
        page = (await console.get("traffic")).text
        links = (await console.get("links")).text

    assert ("400" in page, "900" in page) == (True, False)
    assert "SUMMER" in links


@pytest.mark.parametrize("url", ["postgresql://127.0.0.1:1/reftide", "localhost"])
def test_it_is_named_when_it_cannot_be_used(behind: Cli, url: str) -> None:
    done = Cli({**behind.variables, "DATABASE_READ_URL": url}).run("stats")

    assert 3 == done.code
    assert "DATABASE_READ_URL" in done.err
