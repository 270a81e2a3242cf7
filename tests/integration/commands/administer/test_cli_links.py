"""`reftide links`."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from uuid_utils.compat import uuid7

from ingest.contracts import ids
from ingest.contracts.directory import workspace_namespace
from tests.support.servers.cli import Cli
from tests.support.workers.by_hand import Hands


def test_a_link_takes_its_programs_workspace_and_url(shop: Cli) -> None:
    shop.document("workspaces", "add", "other")

    made = shop.document("links", "add", "W", "--program", "1", "--partner", "jane")

    assert ("default", "https://shop.example", True) == (
        made["workspace"],
        made["url"],
        made["is_active"],
    )
    assert made["public_id"].startswith("lnk_")


def test_a_link_without_partner_or_program_may_exist(cli: Cli) -> None:
    made = cli.document("links", "add", "ORPHAN", "--url", "https://shop.example")

    assert (None, None) == (made["program"], made["partner"])


def test_a_link_has_a_discount_as_long_as_it_is_not_taken_away(shop: Cli) -> None:
    asked = '{"amount": 20, "type": "percentage", "maxDuration": 12}'
    made = shop.document("links", "add", "D", "--discount", asked, "--program", "1")
    changed = shop.document("links", "set", "D", "--url", "https://shop.example/d")
    without = shop.document("links", "set", "D", "--discount", "")

    whole = {"id": "disc_1", "amount": 20, "type": "percentage", "maxDuration": 12}
    assert whole.items() <= orjson.loads(made["discount"]).items()
    assert made["discount"] == changed["discount"]
    assert without["discount"] is None
    for wrong in ("20", '{"amount": -1, "type": "flat"}', '{"amount": 1}', "{"):
        assert "discount" in shop.refusal("links", "set", "D", "--discount", wrong)


def test_a_link_that_lacks_a_side_is_made_with_what_to_do(shop: Cli) -> None:
    shop.document("domains", "add", "go.example.com")

    bare = shop.run("links", "add", "A$B").out
    half = shop.run("links", "add", "HALF", "--program", "1").out
    whole = shop.run("links", "add", "W", "--program", "1", "--partner", "jane").out
    there = shop.run("links", "add", "SUMMER", "--domain", "go.example.com").out

    assert "refused until `reftide links set 'A$B' --program N --partner CODE`" in bare
    assert "refused until `reftide links set HALF --partner CODE`" in half
    assert "refused" not in whole
    # Its code alone would mean another link.
    assert "`reftide links set lnk_" in there


@pytest.mark.parametrize(
    "code", ["A B", "A\u00a0B", "A\u2028B", "A\tB", "A\x9bB", "A\u202eB", "A\ufeffB"]
)
def test_a_code_has_no_white_space_and_nothing_that_cannot_be_seen(
    shop: Cli, code: str
) -> None:
    assert "holds" in shop.refusal("links", "add", code)
    assert "holds" in shop.refusal("links", "set", "SUMMER", "--code", code)


@pytest.mark.parametrize(
    "code", ["夏", "été", "قهوة", "лето", "Ünïcode-1_%", "\U0001f3d6"]
)
def test_a_code_has_letters_of_any_script(shop: Cli, code: str) -> None:
    assert code == shop.document("links", "add", code)["code"]


def test_a_renamed_link_keeps_its_old_code(shop: Cli) -> None:
    renamed = shop.document("links", "set", "SUMMER", "--code", "SUMMER26")

    assert ("SUMMER26", ["SUMMER"]) == (renamed["code"], renamed["former_codes"])
    assert renamed["id"] == shop.document("links", "show", "SUMMER")["id"]
    assert "already" in shop.refusal("links", "add", "SUMMER")


def test_a_link_may_take_its_old_code_back(shop: Cli) -> None:
    shop.document("links", "set", "SUMMER", "--code", "SUMMER26")

    back = shop.document("links", "set", "SUMMER26", "--code", "SUMMER")

    assert ("SUMMER", ["SUMMER26"]) == (back["code"], back["former_codes"])


def test_no_link_takes_a_code_that_another_has_or_had(shop: Cli) -> None:
    shop.document("links", "add", "WINTER", "--program", "1")
    shop.document("links", "set", "SUMMER", "--code", "SUMMER26")

    for code in ("SUMMER", "SUMMER26"):
        refusal = shop.refusal("links", "set", "WINTER", "--code", code)
        assert "already" in refusal
    assert [] == shop.document("links", "show", "WINTER")["former_codes"]


def test_a_link_that_changes_sides_enrols_its_new_partner(shop: Cli) -> None:
    shop.document("programs", "add", "Other")
    shop.document("partners", "add", "bob")

    shop.document("links", "set", "SUMMER", "--program", "2", "--partner", "bob")

    enrolled = shop.document("programs", "show", "2")["partners"]
    assert ["bob"] == [one["partner"] for one in enrolled]


def test_links_are_switched_off_and_on(shop: Cli) -> None:
    assert not shop.document("links", "disable", "SUMMER")["is_active"]
    assert not shop.document("links", "show", "SUMMER")["is_active"]
    assert shop.document("links", "enable", "SUMMER")["is_active"]
    assert "Link SUMMER is off." in shop.run("links", "disable", "SUMMER").out


def test_links_are_listed_by_program_and_partner(shop: Cli) -> None:
    shop.document("links", "add", "BARE", "--program", "1")

    def codes(*arguments: str) -> list[str]:
        return [one["code"] for one in shop.document("links", "list", *arguments)]

    assert ["BARE", "SUMMER"] == codes()
    assert ["BARE", "SUMMER"] == codes("--program", "1")
    assert ["SUMMER"] == codes("--partner", "jane")
    assert ["BARE"] == codes("--limit", "1")


def test_a_code_of_a_workspace_is_another_link(shop: Cli) -> None:
    own = ("--namespace", "workspace")
    made = shop.document("links", "add", "SUMMER", "--program", "1", *own)

    (kept,) = shop.fetch("select * from links where public_id = $1", made["public_id"])
    assert workspace_namespace(kept["workspace_id"]) == kept["namespace"]
    assert made["public_id"] != shop.document("links", "show", "SUMMER")["public_id"]
    assert "already" in shop.refusal("links", "add", "SUMMER", "--program", "1", *own)
    plain = shop.document("links", "add", "W", "--namespace", "installation")
    assert "-" == plain["namespace"]


def test_workspaces_may_have_links_of_one_code(shop: Cli) -> None:
    shop.document("workspaces", "add", "other")
    own = ("--namespace", "workspace")
    first = shop.document("links", "add", "jane", "--program", "1", *own)

    assert first["id"] == shop.document("links", "show", "jane")["id"]
    shop.document("links", "add", "jane", "--workspace", "other", *own)

    assert "public id" in shop.refusal("links", "show", "jane")
    renamed = shop.document("links", "set", first["public_id"], "--code", "janet")
    assert (first["id"], ["jane"]) == (renamed["id"], renamed["former_codes"])
    assert not shop.document("links", "disable", "janet")["is_active"]


def test_a_code_is_unique_in_one_place(shop: Cli) -> None:
    refusal = shop.refusal(
        "links", "add", "X", "--domain", "go.example", "--namespace", "workspace"
    )

    assert "--namespace" in refusal


@pytest.mark.parametrize(
    ("arguments", "way_out"),
    [
        (("add", "X", "--program", "9"), "reftide programs add"),
        (
            ("add", "X", "--program", "1", "--partner", "zed"),
            "reftide partners add zed",
        ),
        (("add", "X", "--domain", "go.example"), "reftide domains add go.example"),
        (("add", "X", "--url", "javascript:alert(1)"), "https://"),
        (("show", "X"), "reftide links add X"),
        (("disable", "X", "--domain", "go.example"), "reftide links list"),
        (("set", "SUMMER", "--partner", "zed"), "reftide partners add zed"),
    ],
)
def test_what_a_link_lacks_is_named_with_a_way_out(
    shop: Cli, arguments: tuple[str, ...], way_out: str
) -> None:
    assert way_out in shop.refusal("links", *arguments)


def test_a_link_and_its_program_share_a_workspace(shop: Cli) -> None:
    shop.document("workspaces", "add", "other")

    refusal = shop.refusal(
        "links", "add", "X", "--program", "1", "--workspace", "other"
    )

    assert "belongs to workspace default" in refusal


def test_a_change_reaches_the_edges_directory(shop: Cli) -> None:
    shop.fetch("delete from directory_changes returning 1")

    shop.document("links", "set", "SUMMER", "--code", "SUMMER26")

    changed = shop.fetch(
        "select distinct ref from directory_changes where topic = 'code'"
    )
    assert {"- SUMMER", "- SUMMER26"} == {row["ref"] for row in changed}


def test_events_that_a_change_of_the_partner_leaves_behind_are_told(
    hands: Hands,
) -> None:
    hands.cli.document("partners", "add", "john")
    hands.settle(event_id := uuid7())
    hands.settle(uuid7())

    same = hands.cli.run("links", "set", "SUMMER", "--partner", "jane").out
    moved = hands.cli.run("links", "set", "SUMMER", "--partner", "john").out

    assert "Link SUMMER changed.\n" == same
    assert "2 of its events stay with jane" in moved
    day = datetime.fromtimestamp(ids.millis(event_id) / 1000, UTC) - timedelta(days=1)
    assert (
        f"reftide replay --from {day:%Y-%m-%d} --link SUMMER --mode reprocess" in moved
    )


def test_links_are_listed_as_csv(shop: Cli) -> None:
    head, first = shop.run("links", "list", "--csv").out.splitlines()

    assert ("code", "SUMMER") == (head.split(",")[0], first.split(",")[0])
    assert "exclude each other" in shop.refusal("links", "list", "--csv", "--json")


def test_a_link_says_what_its_redirect_does(shop: Cli) -> None:
    said = {
        "expires_at": "2027-01-31T00:00:00+00:00",
        "fallback_url": "https://shop.example/over",
        "click_param": "cid",
    }
    options = [
        word for name, value in said.items() for word in (f"--{_dashed(name)}", value)
    ]

    made = shop.document("links", "add", "ENDS", *options)
    shown = shop.document("links", "show", "ENDS")

    assert said == {name: made[name] for name in said}
    assert "/r/ENDS" == shown["redirect"]
    for name, nothing in zip(said, ("never", "", ""), strict=True):
        cleared = shop.document("links", "set", "ENDS", f"--{_dashed(name)}", nothing)
        assert cleared[name] is None


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def test_a_link_of_a_domain_is_shown_with_its_address(shop: Cli) -> None:
    shop.document("domains", "add", "go.example.com")
    shop.document("links", "add", "a/é", "--domain", "go.example.com")

    shown = shop.document("links", "show", "a/é", "--domain", "go.example.com")

    assert "https://go.example.com/a/%C3%A9" == shown["redirect"]


@pytest.mark.parametrize(
    "code", ["livez", "Docs", "r/x", "track/click", "robots.txt", ".well-known/x"]
)
def test_a_path_of_the_edge_is_no_code(shop: Cli, code: str) -> None:
    for command in (
        ("add", code),
        ("set", "SUMMER", "--code", code),
        ("alias", "add", code, "--link", "SUMMER"),
    ):
        assert "a path of the edge" in shop.refusal("links", *command)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--expires-at", "soon", "2027-01-31"),
        ("--fallback-url", "tel:1", "https://"),
        ("--click-param", "a b", "letters, digits"),
        ("--url", "data:text/html,x", "no link leads to data"),
    ],
)
def test_what_a_redirect_cannot_do_is_refused(
    shop: Cli, option: str, value: str, said: str
) -> None:
    assert said in shop.refusal("links", "set", "SUMMER", option, value)
