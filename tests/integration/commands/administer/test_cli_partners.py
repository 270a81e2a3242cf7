"""`reftide partners`."""

from tests.support.servers.cli import Cli


def test_a_partner_has_a_public_id_of_its_own(cli: Cli) -> None:
    made = cli.document("partners", "add", "jane", "--email", "jane@example.com")

    assert made["public_id"].startswith("prt_")
    shown = cli.document("partners", "show", made["public_id"])
    assert {**made, "programs": []} == shown
    assert "jane@example.com" in cli.run("partners", "show", "jane").out


def test_partners_are_listed_and_changed(shop: Cli) -> None:
    changed = shop.document("partners", "set", "jane", "--code", "janet", "--name", "J")

    assert ("janet", "J") == (changed["code"], changed["name"])
    assert [("janet", 1)] == [
        (one["code"], one["links"]) for one in shop.document("partners", "list")
    ]
    assert 1 == shop.document("partners", "show", "janet")["programs"][0]["program"]


def test_a_partner_has_a_picture_as_long_as_it_is_not_taken_away(shop: Cli) -> None:
    picture = "https://cdn.example/jane.png"
    made = shop.document("partners", "add", "bob", "--image", picture)
    changed = shop.document("partners", "set", "bob", "--name", "Bob")
    without = shop.document("partners", "set", "bob", "--image", "")

    assert [picture, picture, None] == [
        each["image"] for each in (made, changed, without)
    ]
    assert "http" in shop.refusal("partners", "set", "bob", "--image", "app:jane")


def test_a_partner_code_is_taken_once_in_a_workspace(shop: Cli) -> None:
    shop.document("partners", "add", "bob")

    assert "already" in shop.refusal("partners", "add", "jane")
    assert "called" in shop.refusal("partners", "set", "bob", "--code", "jane")


def test_a_partner_of_two_workspaces_must_be_told_apart(shop: Cli) -> None:
    shop.document("workspaces", "add", "other")
    shop.document("partners", "add", "jane", "--workspace", "other")

    assert "--workspace" in shop.refusal("partners", "show", "jane")
    found = shop.document("partners", "show", "jane", "--workspace", "other")
    assert "other" == found["workspace"]


def test_an_unknown_partner_is_refused_with_a_way_to_make_it(cli: Cli) -> None:
    assert "reftide partners add jane" in cli.refusal("partners", "show", "jane")
