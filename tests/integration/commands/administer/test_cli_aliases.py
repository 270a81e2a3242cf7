"""`reftide links alias` and `reftide links unknown`."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis

from ingest.contracts.directory import workspace_namespace
from ingest.directory.unknown_codes import UnknownCodeCounts
from tests.support.servers.cli import Cli


def _aliases(cli: Cli, *arguments: str) -> list[tuple[Any, ...]]:
    listed = cli.document("links", "alias", "list", *arguments)
    return [(row["alias"], row["domain"], row["code"]) for row in listed]


def _used(cli: Cli, *codes: tuple[str | None, str]) -> None:
    """An edge without a link for these codes."""

    async def count() -> None:
        async with Redis.from_url(cli.variables["REDIS_URL"]) as redis:
            seconds, _ = await redis.time()
            edge = UnknownCodeCounts(redis, lambda: seconds * 1000)
            for host, code in codes:
                edge.count(host, code, None, None)
            await edge.write()

    asyncio.run(count())


def _unknown(cli: Cli, *arguments: str) -> list[tuple[Any, ...]]:
    listed = cli.document("links", "unknown", *arguments)["unknown_codes"]
    return [(row["host"], row["code"], row["suggestion"]) for row in listed]


def test_an_alias_is_one_more_code_of_its_link(shop: Cli) -> None:
    made = shop.document("links", "alias", "add", "SUMER", "--link", "SUMMER")

    assert ("SUMER", "SUMMER", "-") == (made["alias"], made["code"], made["namespace"])
    assert made["id"] == shop.document("links", "show", "SUMER")["id"]
    assert [("SUMER", None, "SUMMER")] == _aliases(shop)


def test_what_was_made_is_said_with_what_comes_next(shop: Cli) -> None:
    said = shop.run("links", "alias", "add", "SUMER", "--link", "SUMMER").out

    assert "Code SUMER leads to link SUMMER (lnk_" in said
    assert "`reftide replay`" in said


def test_an_alias_is_removed_by_its_code(shop: Cli) -> None:
    shop.document("links", "alias", "add", "SUMER", "--link", "SUMMER")

    assert "leads nowhere" in shop.run("links", "alias", "remove", "SUMER").out

    assert [] == _aliases(shop)
    assert "no link" in shop.refusal("links", "show", "SUMER")
    assert "There is no alias" in shop.refusal("links", "alias", "remove", "SUMER")
    # A link's present code is none.
    assert "There is no alias" in shop.refusal("links", "alias", "remove", "SUMMER")


def test_an_alias_may_be_on_a_domain_of_its_links_workspace(shop: Cli) -> None:
    shop.document("domains", "add", "go.example.com")
    shop.document("links", "add", "WINTER", "--program", "1")
    for link, domain in (("SUMMER", "go.example.com"), ("WINTER", None)):
        there = ("--domain", domain) if domain else ()
        shop.document("links", "alias", "add", "X", "--link", link, *there)

    assert [("X", None, "WINTER"), ("X", "go.example.com", "SUMMER")] == _aliases(shop)
    assert [("X", None, "WINTER")] == _aliases(shop, "--link", "WINTER")
    assert "--link" in shop.refusal("links", "alias", "remove", "X")
    shop.document("links", "alias", "remove", "X", "--domain", "go.example.com")
    shop.document("links", "alias", "remove", "X", "--link", "WINTER")
    assert [] == _aliases(shop)


def test_another_workspaces_domain_takes_no_alias(shop: Cli) -> None:
    shop.document("workspaces", "add", "other")
    shop.document("domains", "add", "go.other.com", "--workspace", "other")

    refused = shop.refusal(
        *("links", "alias", "add", "X", "--link", "SUMMER", "--domain", "go.other.com")
    )

    assert "belongs to workspace other" in refused


def test_a_links_own_namespace_is_its_aliases_too(shop: Cli) -> None:
    made = shop.document(
        *("links", "add", "jane", "--program", "1", "--namespace", "workspace")
    )
    own = workspace_namespace(UUID(made["workspace_id"]))

    for code, chosen, namespace in (
        ("jnae", (), own),
        ("jaen", ("--namespace", "installation"), "-"),
    ):
        alias = ("links", "alias", "add", code, "--link", "jane", *chosen)
        assert namespace == shop.document(*alias)["namespace"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("SUMMER", "--link", "SUMMER"), "leads to link"),
        (("SUMER", "--link", "NOBODY"), "There is no link 'NOBODY'"),
        (("S R", "--link", "SUMMER"), "white space"),
        (("SUMER",), "--link"),
        (
            ("X", "--link", "SUMMER", "--domain", "a.b", "--namespace", "workspace"),
            "leave out --namespace",
        ),
    ],
)
def test_what_cannot_be_an_alias_is_refused(
    shop: Cli, arguments: tuple[str, ...], said: str
) -> None:
    assert said in shop.refusal("links", "alias", "add", *arguments)


def test_unknown_codes_are_listed_with_the_code_that_was_meant(shop: Cli) -> None:
    shop.document("domains", "add", "go.example.com")
    there = ("--program", "1", "--domain", "go.example.com")
    shop.document("links", "add", "WINTER", *there)
    typed = [("go.example.com", "SUMER"), ("go.example.com", "WINTR"), (None, "sumer")]
    _used(shop, *(3 * typed[:1]), *(2 * typed[1:2]), typed[2], ("shop.example", "Q"))

    assert [
        # On a domain with codes of its own, another one's are not meant.
        ("go.example.com", "SUMER", None),
        ("go.example.com", "WINTR", "WINTER"),
        ("shop.example", "Q", None),
        (None, "sumer", "SUMMER"),
    ] == _unknown(shop)
    assert 1 == len(_unknown(shop, "--limit", "1"))
    assert "sumer" in shop.run("links", "unknown").out


def test_a_code_that_leads_to_a_link_by_now_is_not_unknown(shop: Cli) -> None:
    shop.document("domains", "add", "go.example.com")
    _used(shop, (None, "SUMER"), ("shop.example", "SUMER"), ("go.example.com", "SUMER"))

    shop.document("links", "alias", "add", "SUMER", "--link", "SUMMER")

    assert [("go.example.com", "SUMER", "SUMMER")] == _unknown(shop)


def test_without_unknown_codes_that_is_said(shop: Cli) -> None:
    assert "No unknown codes." in shop.run("links", "unknown").out
    assert "No aliases." in shop.run("links", "alias", "list").out
