"""`reftide switches` and `reftide limits`."""

import pytest

from ingest.core.authorize import WRONG_KEYS
from ingest.dialects import DIALECTS
from ingest.dialects.batch import ROUTE
from ingest.redirect.dialects import REDIRECTS
from scripts.services.administer.access.limits import known_limits
from tests.support.edge.showcase import SHOWN, Shown
from tests.support.servers.cli import Cli

UNKNOWN_KEY = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture
def shop(cli: Cli) -> Cli:
    """A workspace with program 1 and a link with the public id lnk_1."""
    cli.document("programs", "add", "Shop")
    cli.document("links", "add", "SUMMER", "--program", "1", "--public-id", "lnk_1")
    return cli


@pytest.fixture
def limit() -> str:
    """The name of a limit that some dialect has."""
    return next(iter(known_limits()))


def _stored(cli: Cli, table: str) -> list[tuple[object, ...]]:
    columns = {
        "switches": "scope::text, subject, reason",
        "limits": "subject, per_minute",
    }
    found = cli.fetch(f"select {columns[table]} from {table} order by 1, 2")  # noqa: S608 -- our own names
    return [tuple(row) for row in found]


# Switches ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (("installation",), "Everything is off"),
        (("dialect", "affitor"), "Dialect affitor is off"),
        (("program", "1"), "Program 1 is off"),
        (("link", "lnk_1"), "Link lnk_1 is off"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_is_off_stays_off_until_it_is_switched_on(
    shop: Cli, name: tuple[str, ...], said: str
) -> None:
    off = shop.run("switches", "off", *name, "--reason", "fraud")

    assert 0 == off.code
    assert said in off.out
    expected = (*name, "", "fraud") if len(name) == 1 else (*name, "fraud")
    assert [expected] == _stored(shop, "switches")
    (listed,) = shop.document("switches", "list")
    assert expected == (listed["scope"], listed["subject"], listed["reason"])
    assert "fraud" in shop.run("switches", "list").out

    on = shop.document("switches", "on", *name)

    assert (False, True) == (on["is_off"], on["was_off"])
    assert [] == shop.document("switches", "list")
    assert "Everything is on." in shop.run("switches", "list").out


def test_batches_may_be_switched_off(shop: Cli) -> None:
    shop.document("switches", "off", "dialect", "batch")

    assert ["batch"] == [row["subject"] for row in shop.document("switches", "list")]


def test_switching_off_again_changes_the_reason_only(shop: Cli) -> None:
    first = shop.document("switches", "off", "program", "1")

    again = shop.document("switches", "off", "program", "01", "--reason", "fraud")

    assert (True, first["created_at"]) == (again["is_off"], again["created_at"])
    assert [("program", "1", "fraud")] == _stored(shop, "switches")


def test_what_is_on_may_be_switched_on(shop: Cli) -> None:
    result = shop.run("switches", "on", "dialect", "affitor")

    assert (0, "Dialect affitor is on already.\n") == (result.code, result.out)


def test_a_switch_reaches_the_edges_directory(shop: Cli) -> None:
    shop.fetch("delete from directory_changes returning 1")

    shop.document("switches", "off", "installation")

    changed = shop.fetch("select topic from directory_changes")
    assert {"switch"} == {row["topic"] for row in changed}


@pytest.mark.parametrize("verb", ["off", "on"])
@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        (("installation", "all"), "name nothing after"),
        (("dialect", "nobody"), "choose from affitor"),
        (("dialect",), "choose from affitor"),
        (("program", "7"), "reftide programs list"),
        (("program", "Shop"), "reftide programs list"),
        (("program", "1" * 30), "reftide programs list"),
        (("link", "SUMMER"), "reftide links show"),
        (("planet", "earth"), "'installation'"),
    ],
)
def test_what_cannot_be_switched_is_named_with_a_way_out(
    shop: Cli, verb: str, name: tuple[str, ...], way_out: str
) -> None:
    assert way_out in shop.refusal("switches", verb, *name)
    assert [] == _stored(shop, "switches")


# Limits ------------------------------------------------------------------------------


def test_every_limit_is_listed_with_its_default(cli: Cli) -> None:
    listed = {one["subject"]: one for one in cli.document("limits", "list")}

    named = {
        limit.name: limit
        for dialect in (*DIALECTS, *REDIRECTS)
        for endpoint in (*dialect.endpoints, ROUTE)
        for limit in endpoint.limits
    } | {WRONG_KEYS.name: WRONG_KEYS}
    assert named.keys() == listed.keys()
    assert {(one.by, one.per_minute, None) for one in named.values()} == {
        (one["of"], one["default"], one["per_minute"]) for one in listed.values()
    }
    shown = cli.run("limits", "list").out
    assert all(name in shown for name in named)


def test_of_every_figure_it_is_told_whose_it_is(cli: Cli) -> None:
    cli.document("limits", "set", "affitor.click.workspace", "60000")

    listed = {one["subject"]: one for one in cli.document("limits", "list")}

    assert {
        "bio_re.address": ("vendor", 60),
        "affitor.click.address": ("default", 6000),
        "dub.click.workspace": (None, None),
        "affitor.click.workspace": ("operator", None),
        "batch.events.address": ("default", 6000),
    }.items() <= {
        name: (one["source"], one["default"]) for name, one in listed.items()
    }.items()
    assert 60_000 == listed["affitor.click.workspace"]["per_minute"]


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: shown.name)
@pytest.mark.parametrize("by", ["address", "workspace"])
def test_every_route_can_be_limited_by_address_and_by_workspace(
    shown: Shown, by: str
) -> None:
    assert {by} <= {limit.by for limit in shown.route.limits}


def test_a_limit_is_what_was_set_until_it_is_cleared(cli: Cli, limit: str) -> None:
    default = known_limits()[limit]["default"]

    said = cli.run("limits", "set", limit, "1200")
    assert (0, f"{limit} is 1200 a minute, within a second.\n") == (said.code, said.out)
    assert [(limit, 1200)] == _stored(cli, "limits")
    assert 7 == cli.document("limits", "set", limit, "7")["per_minute"]
    assert cli.document("limits", "show", limit) in cli.document("limits", "list")

    cleared = cli.document("limits", "clear", limit)

    assert (None, default) == (cleared["per_minute"], cleared["default"])
    assert [] == _stored(cli, "limits")
    assert "no figure of its own" in cli.run("limits", "clear", limit).out


def test_a_key_has_a_limit_of_its_own(cli: Cli) -> None:
    key = cli.document("keys", "add", "--scopes", "track", "--name", "shop")

    made = cli.document("limits", "set", key["id"].upper(), "60")

    assert (key["id"], "key", 60, None) == (
        made["subject"],
        made["of"],
        made["per_minute"],
        made["default"],
    )
    assert f"shop …{key['secret'][-4:]}" == made["key"]
    assert made in cli.document("limits", "list")
    cli.document("keys", "revoke", key["id"])
    assert None is cli.document("limits", "clear", key["id"])["per_minute"]


def test_a_limit_reaches_the_edges_directory(cli: Cli, limit: str) -> None:
    cli.document("limits", "set", limit, "5")

    changed = cli.fetch("select topic from directory_changes")
    assert {"limit"} == {row["topic"] for row in changed}


@pytest.mark.parametrize(
    "arguments",
    [("set", "nobody", "5"), ("set", UNKNOWN_KEY, "5"), ("clear", "nobody"),
     ("show", UNKNOWN_KEY)],
)  # fmt: skip
def test_a_limit_of_nothing_is_refused(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert "reftide limits list" in cli.refusal("limits", *arguments)


def test_a_revoked_key_gets_no_limit(cli: Cli) -> None:
    key = cli.document("keys", "add", "--scopes", "track")
    cli.document("keys", "revoke", key["id"])

    assert "that works" in cli.refusal("limits", "set", key["id"], "5")


@pytest.mark.parametrize("per_minute", ["0", "-1", "many", "99999999999"])
def test_a_limit_lets_somebody_in(cli: Cli, limit: str, per_minute: str) -> None:
    result = cli.run("limits", "set", limit, per_minute)

    assert (2, "") == (result.code, result.out)
    assert [] == _stored(cli, "limits")
