"""`reftide console users`, and what the console refuses to start with."""

from tests.support.console.desk import PASSWORD
from tests.support.servers.cli import Cli

_TWICE = f"{PASSWORD}\n{PASSWORD}\n"


def test_users_are_added_listed_and_removed(shop: Cli) -> None:
    users = ("console", "users")
    added = shop.run(*users, "add", "ann", "--workspace", "default", sent=_TWICE)
    shop.document(*users, "add", "bob", "--role", "admin", "--no-password")
    again = shop.run(*users, "add", "ann", sent=_TWICE)
    short = shop.run(*users, "add", "eve", sent="short\nshort\n")
    nowhere = shop.run(*users, "add", "eve", "--workspace", "x", sent=_TWICE)
    control = shop.run(*users, "add", "e\tve", sent=_TWICE)
    listed = shop.document(*users, "list")["users"]
    shop.document(*users, "remove", "ann")

    assert "User ann may sign in as viewer." in added.out
    assert PASSWORD not in added.out + added.err
    assert [2] * 4 == [each.code for each in (again, short, nowhere, control)]
    assert [("ann", "viewer", ["default"], True), ("bob", "admin", None, False)] == [
        (each["name"], each["role"], each["workspaces"], each["has_password"])
        for each in listed
    ]
    assert "There is no user 'ann'" in shop.refusal(*users, "remove", "ann")
    (kept,) = shop.fetch("select name, password from console_users")
    assert ("bob", None) == tuple(kept)


def test_what_is_open_listens_on_this_machine_only(shop: Cli) -> None:
    for host in ("0.0.0.0", "10.0.0.1", "console.example"):  # noqa: S104 - refused
        said = shop.refusal("console", "--open", "--host", host)
        assert "--open is for this machine alone" in said


def test_wrong_networks_are_named(shop: Cli) -> None:
    networks = {"REFTIDE_CONSOLE_TRUSTED_PROXIES": "10.0.0.0/8, everywhere"}
    said = Cli({**shop.variables, **networks}).refusal("console")
    assert "REFTIDE_CONSOLE_TRUSTED_PROXIES" in said
