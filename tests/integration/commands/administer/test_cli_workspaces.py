"""`reftide workspaces`, and which workspace a command means."""

from tests.support.servers.cli import Cli


def test_the_first_add_makes_a_default_workspace(cli: Cli) -> None:
    made = cli.document("programs", "add", "Shop")

    assert "default" == made["workspace"]
    assert ["default"] == [one["name"] for one in cli.document("workspaces", "list")]


def test_the_only_workspace_need_not_be_named(cli: Cli) -> None:
    cli.document("workspaces", "add", "acme")

    assert "acme" == cli.document("partners", "add", "jane")["workspace"]


def test_of_several_workspaces_one_must_be_named(cli: Cli) -> None:
    cli.document("workspaces", "add", "acme")
    cli.document("workspaces", "add", "other")

    assert "--workspace" in cli.refusal("programs", "add", "Shop")
    named = cli.document("programs", "add", "Shop", "--workspace", "other")
    assert "other" == named["workspace"]


def test_an_unknown_workspace_is_refused_with_a_way_to_make_it(cli: Cli) -> None:
    refusal = cli.refusal("programs", "list", "--workspace", "acme")

    assert "reftide workspaces add acme" in refusal


def test_a_workspace_is_made_once(cli: Cli) -> None:
    cli.document("workspaces", "add", "acme")

    assert "already" in cli.refusal("workspaces", "add", "acme")
