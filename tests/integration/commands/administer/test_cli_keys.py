"""`reftide keys`."""

import pytest

from ingest.contracts import apikey
from tests.support.servers.cli import SECRET, Cli


def test_a_key_is_shown_once_and_kept_as_its_hash(cli: Cli) -> None:
    made = cli.document("keys", "add", "--scopes", "track,read", "--name", "shop")

    (kept,) = cli.fetch("select * from api_keys")
    assert made["id"] == str(kept["id"])
    assert apikey.hashes([SECRET.encode()], made["secret"])[0] == kept["key_hash"]
    assert made["secret"][-4:] == kept["last_four"]
    assert made["secret"].startswith("rt_live_")
    assert apikey.is_well_formed(made["secret"])
    for shown in (cli.run("keys", "list"), cli.run("keys", "show", made["id"])):
        assert made["secret"] not in shown.out
        assert kept["last_four"] in shown.out


def test_a_key_may_forward(cli: Cli) -> None:
    made = cli.document("keys", "add", "--scopes", "track,forward")

    assert ["forward", "track"] == made["scopes"]
    assert "forward" in cli.refusal("keys", "add", "--scopes", "send")
    assert "--scopes" in cli.refusal("keys", "add")


def test_a_key_of_another_system_is_imported_as_it_is(cli: Cli) -> None:
    made = cli.document("keys", "add", "--scopes", "track", "--secret", "old-key-1")

    assert "old-key-1" == made["secret"]
    again = cli.refusal("keys", "add", "--scopes", "read", "--secret", "old-key-1")
    assert made["id"] in again


def test_a_key_is_imported_from_standard_input(cli: Cli) -> None:
    given = ("keys", "add", "--scopes", "track", "--secret")
    result = cli.run(*given, "-", sent="old-key-1\n")

    assert 0 == result.code, result.err
    assert "old-key-1" in result.out
    assert "Keep the secret now" not in result.out
    assert "known already" in cli.refusal(*given, "old-key-1")
    assert "Keep the secret now" in cli.run("keys", "add", "--scopes", "track").out


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "x",
        "a b c",
        "password",
        "Password123",
        "qwertyuiop",
        "12345678901234567890",
        "aaaaaaaaaaaaaaaaaaaa",
        "abababababababab",
        "4f2a6d91e05c" * 50,
    ],
)
def test_what_is_no_key_is_not_imported(cli: Cli, secret: str) -> None:
    refusal = cli.refusal("keys", "add", "--scopes", "track", "--secret", secret)

    assert "--secret" in refusal
    assert [] == cli.document("keys", "list")


def test_a_key_may_be_as_long_as_edges_take_it(cli: Cli) -> None:
    longest = "4f2a6d91" * 64

    made = cli.document("keys", "add", "--scopes", "track", "--secret", longest)

    assert (512, longest) == (len(longest), made["secret"])


def test_a_key_under_a_former_secret_is_known(cli: Cli) -> None:
    cli.document("keys", "add", "--scopes", "track", "--secret", "old-key-1")
    rotated = Cli(
        {
            **cli.variables,
            "REFTIDE_SECRET": "the next secret of ours",
            "REFTIDE_SECRET_PREVIOUS": SECRET,
        }
    )

    assert "known already" in rotated.refusal(
        "keys", "add", "--scopes", "track", "--secret", "old-key-1"
    )


@pytest.mark.parametrize("verb", ["revoke", "disable"])
def test_a_revoked_key_stays_as_a_trail(cli: Cli, verb: str) -> None:
    made = cli.document("keys", "add", "--scopes", "track")

    revoked = cli.document("keys", verb, made["id"])

    assert revoked["revoked_at"] is not None
    assert [] == cli.document("keys", "list")
    assert [revoked] == cli.document("keys", "list", "--all")
    assert revoked == cli.document("keys", "revoke", made["id"])


def test_a_key_changes_its_scopes(cli: Cli) -> None:
    made = cli.document("keys", "add", "--scopes", "track", "--name", "shop")

    changed = cli.document("keys", "set", made["id"], "--scopes", "write,read")

    assert ("shop", ["read", "write"]) == (changed["name"], changed["scopes"])


def test_a_change_of_nothing_is_refused(shop: Cli) -> None:
    key = shop.document("keys", "add", "--scopes", "track")["id"]

    for noun, name in {
        "links": "SUMMER",
        "programs": "1",
        "partners": "jane",
        "keys": key,
    }.items():
        assert "nothing to change" in shop.refusal(noun, "set", name)


def test_keys_are_revoked_by_one_name_in_the_help(cli: Cli) -> None:
    shown = cli.run("keys", "--help").out

    assert "revoke" in shown
    assert "disable" not in shown


def test_what_is_no_scope_is_refused(cli: Cli) -> None:
    assert "track, read, write" in cli.refusal("keys", "add", "--scopes", "admin")


def test_an_unknown_key_is_refused(cli: Cli) -> None:
    unknown = "01890a5d-ac96-774b-bcce-b302099a8057"

    assert "reftide keys list" in cli.refusal("keys", "revoke", unknown)


def test_without_the_secret_no_key_is_made(cli: Cli) -> None:
    bare = Cli({**cli.variables, "REFTIDE_SECRET": ""})

    result = bare.run("keys", "add", "--scopes", "track")

    assert 3 == result.code
    assert "REFTIDE_SECRET" in result.err
    assert [] == cli.document("keys", "list")
