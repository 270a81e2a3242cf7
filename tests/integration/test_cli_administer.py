"""`reftide workspaces`, `programs`, `partners`, `links`, `domains`, `keys`, `schema`."""

from collections.abc import Callable

import pytest

from ingest.contracts import apikey
from ingest.contracts.directory import workspace_namespace
from tests.conftest import Servers
from tests.reftide import SECRET, Cli, servers_of


@pytest.fixture
def cli(redis_url: str, database_url: str) -> Cli:
    return servers_of(redis_url, database_url)


@pytest.fixture
def shop(cli: Cli) -> Cli:
    """A workspace with program 1, the partner jane and the link SUMMER."""
    cli.document("programs", "add", "Shop", "--url", "https://shop.example")
    cli.document("partners", "add", "jane")
    cli.document("links", "add", "SUMMER", "--program", "1", "--partner", "jane")
    return cli


def _refusal(cli: Cli, *arguments: str) -> str:
    result = cli.run(*arguments)
    assert (2, "") == (result.code, result.out)
    return result.err


# Workspaces --------------------------------------------------------------------------


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

    assert "--workspace" in _refusal(cli, "programs", "add", "Shop")
    named = cli.document("programs", "add", "Shop", "--workspace", "other")
    assert "other" == named["workspace"]


def test_an_unknown_workspace_is_refused_with_a_way_to_make_it(cli: Cli) -> None:
    refusal = _refusal(cli, "programs", "list", "--workspace", "acme")

    assert "reftide workspaces add acme" in refusal


def test_a_workspace_is_made_once(cli: Cli) -> None:
    cli.document("workspaces", "add", "acme")

    assert "already" in _refusal(cli, "workspaces", "add", "acme")


# Programs ----------------------------------------------------------------------------


def test_a_program_has_the_terms_it_was_given(cli: Cli) -> None:
    made = cli.document(
        "programs", "add", "Shop", "--number", "7", "--model", "first_click",
        "--cookie-window", "30", "--attribution-window", "90",
    )  # fmt: skip

    assert (7, "first_click", 30, 90) == (
        made["number"],
        made["model"],
        made["cookie_window_days"],
        made["attribution_window_days"],
    )


def test_numbers_go_on_after_one_that_was_chosen(cli: Cli) -> None:
    cli.document("programs", "add", "Chosen", "--number", "2")
    numbers = [cli.document("programs", "add", name)["number"] for name in "ab"]

    assert [3, 4] == numbers


def test_a_low_number_chosen_late_does_not_bring_numbers_back(cli: Cli) -> None:
    cli.document("programs", "add", "Chosen", "--number", "9")
    cli.document("programs", "add", "Low", "--number", "3")

    assert 10 == cli.document("programs", "add", "Next")["number"]


def test_a_program_changes_only_where_it_is_told_to(shop: Cli) -> None:
    changed = shop.document("programs", "set", "1", "--attribution-window", "14")

    assert 14 == changed["attribution_window_days"]
    assert ("Shop", "https://shop.example", 60) == (
        changed["name"],
        changed["url"],
        changed["cookie_window_days"],
    )


def test_a_program_shows_its_partners(shop: Cli) -> None:
    shown = shop.document("programs", "show", "1")

    assert [("jane", 0)] == [
        (one["partner"], one["leads"]) for one in shown["partners"]
    ]
    assert "jane" in shop.run("programs", "show", "1").out
    assert "Shop" in shop.run("programs", "list").out


def test_names_and_numbers_of_programs_are_taken_once(shop: Cli) -> None:
    shop.document("programs", "add", "Other")

    assert "already" in _refusal(shop, "programs", "add", "Shop")
    assert "already" in _refusal(shop, "programs", "add", "New", "--number", "1")
    assert "called" in _refusal(shop, "programs", "set", "2", "--name", "Shop")


def test_an_unknown_program_is_refused_with_a_way_to_make_it(cli: Cli) -> None:
    assert "reftide programs add" in _refusal(cli, "programs", "show", "5")
    assert "reftide programs list" in _refusal(cli, "programs", "show", "abc")


@pytest.mark.parametrize("days", ["0", "366", "many"])
def test_a_window_has_between_a_day_and_a_year(cli: Cli, days: str) -> None:
    assert "cookie-window" in _refusal(
        cli, "programs", "add", "Shop", "--cookie-window", days
    )


def test_a_program_is_told_where_leads_come_from_and_whether_it_has_stats(
    cli: Cli,
) -> None:
    def flags(*arguments: str) -> tuple[bool, bool]:
        row = cli.document("programs", *arguments)
        return row["needs_server_lead"], row["has_stats"]

    assert (False, False) == flags("add", "Shop")
    assert (True, True) == flags("add", "Other", "--server-leads", "--stats")
    assert (True, False) == flags("set", "1", "--server-leads")
    assert (True, True) == flags("set", "1", "--stats")
    assert (False, True) == flags("set", "1", "--no-server-leads")
    assert (False, False) == flags("set", "1", "--no-stats")


# Partners ----------------------------------------------------------------------------


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


def test_a_partner_code_is_taken_once_in_a_workspace(shop: Cli) -> None:
    shop.document("partners", "add", "bob")

    assert "already" in _refusal(shop, "partners", "add", "jane")
    assert "called" in _refusal(shop, "partners", "set", "bob", "--code", "jane")


def test_a_partner_of_two_workspaces_must_be_told_apart(shop: Cli) -> None:
    shop.document("workspaces", "add", "other")
    shop.document("partners", "add", "jane", "--workspace", "other")

    assert "--workspace" in _refusal(shop, "partners", "show", "jane")
    found = shop.document("partners", "show", "jane", "--workspace", "other")
    assert "other" == found["workspace"]


def test_an_unknown_partner_is_refused_with_a_way_to_make_it(cli: Cli) -> None:
    assert "reftide partners add jane" in _refusal(cli, "partners", "show", "jane")


# Links -------------------------------------------------------------------------------


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


def test_a_link_that_lacks_a_side_is_made_with_what_to_do(shop: Cli) -> None:
    shop.document("domains", "add", "go.example.com")

    bare = shop.run("links", "add", "A B").out
    half = shop.run("links", "add", "HALF", "--program", "1").out
    whole = shop.run("links", "add", "W", "--program", "1", "--partner", "jane").out
    there = shop.run("links", "add", "SUMMER", "--domain", "go.example.com").out

    assert "refused until `reftide links set 'A B' --program N --partner CODE`" in bare
    assert "refused until `reftide links set HALF --partner CODE`" in half
    assert "refused" not in whole
    # Its code alone would mean another link.
    assert "`reftide links set lnk_" in there


def test_a_renamed_link_keeps_its_old_code(shop: Cli) -> None:
    renamed = shop.document("links", "set", "SUMMER", "--code", "SUMMER26")

    assert ("SUMMER26", ["SUMMER"]) == (renamed["code"], renamed["former_codes"])
    assert renamed["id"] == shop.document("links", "show", "SUMMER")["id"]
    assert "already" in _refusal(shop, "links", "add", "SUMMER")


def test_a_link_may_take_its_old_code_back(shop: Cli) -> None:
    shop.document("links", "set", "SUMMER", "--code", "SUMMER26")

    back = shop.document("links", "set", "SUMMER26", "--code", "SUMMER")

    assert ("SUMMER", ["SUMMER26"]) == (back["code"], back["former_codes"])


def test_no_link_takes_a_code_that_another_has_or_had(shop: Cli) -> None:
    shop.document("links", "add", "WINTER", "--program", "1")
    shop.document("links", "set", "SUMMER", "--code", "SUMMER26")

    for code in ("SUMMER", "SUMMER26"):
        refusal = _refusal(shop, "links", "set", "WINTER", "--code", code)
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
    assert "already" in _refusal(shop, "links", "add", "SUMMER", "--program", "1", *own)
    plain = shop.document("links", "add", "W", "--namespace", "installation")
    assert "-" == plain["namespace"]


def test_workspaces_may_have_links_of_one_code(shop: Cli) -> None:
    shop.document("workspaces", "add", "other")
    own = ("--namespace", "workspace")
    first = shop.document("links", "add", "jane", "--program", "1", *own)

    assert first["id"] == shop.document("links", "show", "jane")["id"]
    shop.document("links", "add", "jane", "--workspace", "other", *own)

    assert "public id" in _refusal(shop, "links", "show", "jane")
    renamed = shop.document("links", "set", first["public_id"], "--code", "janet")
    assert (first["id"], ["jane"]) == (renamed["id"], renamed["former_codes"])
    assert not shop.document("links", "disable", "janet")["is_active"]


def test_a_code_is_unique_in_one_place(shop: Cli) -> None:
    refusal = _refusal(
        shop, "links", "add", "X", "--domain", "go.example", "--namespace", "workspace"
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
    assert way_out in _refusal(shop, "links", *arguments)


def test_a_link_and_its_program_share_a_workspace(shop: Cli) -> None:
    shop.document("workspaces", "add", "other")

    refusal = _refusal(
        shop, "links", "add", "X", "--program", "1", "--workspace", "other"
    )

    assert "belongs to workspace default" in refusal


def test_a_change_reaches_the_edges_directory(shop: Cli) -> None:
    shop.fetch("delete from directory_changes returning 1")

    shop.document("links", "set", "SUMMER", "--code", "SUMMER26")

    changed = shop.fetch(
        "select distinct ref from directory_changes where topic = 'code'"
    )
    assert {"- SUMMER", "- SUMMER26"} == {row["ref"] for row in changed}


# Domains -----------------------------------------------------------------------------


def test_a_code_of_a_domain_is_another_link(shop: Cli) -> None:
    shop.document("domains", "add", "Go.Example.com")
    shop.document("links", "add", "SUMMER", "--domain", "go.example.com")

    of_domain = shop.document("links", "show", "SUMMER", "--domain", "go.example.com")

    assert "d:go.example.com" == of_domain["namespace"]
    assert of_domain["id"] != shop.document("links", "show", "SUMMER")["id"]


def test_a_domain_is_forgotten_once_no_link_uses_it(cli: Cli) -> None:
    cli.document("domains", "add", "go.example.com")
    assert 0 == cli.document("domains", "show", "go.example.com")["links"]

    cli.document("domains", "disable", "go.example.com")

    assert [] == cli.document("domains", "list")
    assert "not known" in _refusal(cli, "domains", "show", "go.example.com")


def test_a_domain_that_a_link_uses_stays(cli: Cli) -> None:
    cli.document("domains", "add", "go.example.com")
    cli.document("links", "add", "SUMMER", "--domain", "go.example.com")

    assert "1 link uses" in _refusal(cli, "domains", "disable", "go.example.com")
    assert "already" in _refusal(cli, "domains", "add", "go.example.com")


# Keys --------------------------------------------------------------------------------


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
    assert "forward" in _refusal(cli, "keys", "add", "--scopes", "send")


def test_a_key_of_another_system_is_imported_as_it_is(cli: Cli) -> None:
    made = cli.document("keys", "add", "--scopes", "track", "--secret", "old-key-1")

    assert "old-key-1" == made["secret"]
    again = _refusal(cli, "keys", "add", "--scopes", "read", "--secret", "old-key-1")
    assert made["id"] in again


def test_a_key_is_imported_from_standard_input(cli: Cli) -> None:
    given = ("keys", "add", "--scopes", "track", "--secret")
    result = cli.run(*given, "-", sent="old-key-1\n")

    assert 0 == result.code, result.err
    assert "old-key-1" in result.out
    assert "Keep the secret now" not in result.out
    assert "known already" in _refusal(cli, *given, "old-key-1")
    assert "Keep the secret now" in cli.run("keys", "add", "--scopes", "track").out


@pytest.mark.parametrize("secret", ["", "x", "a b c"])
def test_what_is_no_key_is_not_imported(cli: Cli, secret: str) -> None:
    refusal = _refusal(cli, "keys", "add", "--scopes", "track", "--secret", secret)

    assert "--secret" in refusal
    assert [] == cli.document("keys", "list")


def test_a_key_under_a_former_secret_is_known(cli: Cli) -> None:
    cli.document("keys", "add", "--scopes", "track", "--secret", "old-key-1")
    rotated = Cli(
        {
            **cli.variables,
            "REFTIDE_SECRET": "the next secret of ours",
            "REFTIDE_SECRET_PREVIOUS": SECRET,
        }
    )

    assert "known already" in _refusal(
        rotated, "keys", "add", "--scopes", "track", "--secret", "old-key-1"
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
        assert "nothing to change" in _refusal(shop, noun, "set", name)


def test_keys_are_revoked_by_one_name_in_the_help(cli: Cli) -> None:
    shown = cli.run("keys", "--help").out

    assert "revoke" in shown
    assert "disable" not in shown


def test_what_is_no_scope_is_refused(cli: Cli) -> None:
    assert "track, read, write" in _refusal(cli, "keys", "add", "--scopes", "admin")


def test_an_unknown_key_is_refused(cli: Cli) -> None:
    unknown = "01890a5d-ac96-774b-bcce-b302099a8057"

    assert "reftide keys list" in _refusal(cli, "keys", "revoke", unknown)


def test_without_the_secret_no_key_is_made(cli: Cli) -> None:
    bare = Cli({**cli.variables, "REFTIDE_SECRET": ""})

    result = bare.run("keys", "add", "--scopes", "track")

    assert 3 == result.code
    assert "REFTIDE_SECRET" in result.err
    assert [] == cli.document("keys", "list")


# Schema and servers ------------------------------------------------------------------


@pytest.fixture
def empty_database(servers: Servers, new_database: Callable[[], str]) -> str:
    url = new_database()
    name = url.split("?")[0].rpartition("/")[2]
    servers.execute("drop schema public cascade", name)
    servers.execute("create schema public", name)
    return url


def test_schema_makes_the_tables_and_then_nothing(
    redis_url: str, empty_database: str
) -> None:
    cli = servers_of(redis_url, empty_database)

    first = cli.document("schema")

    assert {"events", "links", "ledger"} <= set(first["tables"])
    assert {"tables": [], "columns": []} == cli.document("schema")
    assert "nothing was missing" in cli.run("schema").out


def test_schema_names_what_it_had_to_make(cli: Cli) -> None:
    cli.fetch("drop table limits")

    assert "1 table made" in cli.run("schema").out
    cli.fetch("drop table limits")
    assert {"tables": ["limits"], "columns": []} == cli.document("schema")


@pytest.mark.parametrize("command", [("programs", "list"), ("status",), ("verify",)])
def test_a_database_without_tables_is_told_by_name(
    redis_url: str, empty_database: str, command: tuple[str, ...]
) -> None:
    result = servers_of(redis_url, empty_database).run(*command, "--json")

    assert (3, "") == (result.code, result.out)
    assert "reftide schema" in result.err


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgresql://reftide@127.0.0.1:1/reftide"),
        ("DATABASE_URL", "postgresql://[half"),
        ("REDIS_URL", "redis://127.0.0.1:1/0"),
        ("REDIS_URL", "http://127.0.0.1/"),
    ],
)
def test_a_server_that_does_not_answer_is_exit_code_three(
    cli: Cli, name: str, url: str
) -> None:
    result = Cli({**cli.variables, name: url}).run("status", "--json")

    assert (3, "") == (result.code, result.out)
    assert name in result.err


def test_a_password_is_never_printed(cli: Cli) -> None:
    url = "postgresql://reftide:hunter2@127.0.0.1:1/reftide"

    result = Cli({**cli.variables, "DATABASE_URL": url}).run("programs", "list")

    assert 3 == result.code
    assert "hunter2" not in result.err
