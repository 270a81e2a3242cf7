"""`reftide domains`."""

import pytest

from ingest.redirect.destination import NEVER
from tests.support.servers.cli import Cli


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
    assert "not known" in cli.refusal("domains", "show", "go.example.com")


def test_a_domain_that_a_link_uses_stays(cli: Cli) -> None:
    cli.document("domains", "add", "go.example.com")
    cli.document("links", "add", "SUMMER", "--domain", "go.example.com")

    assert "1 link uses" in cli.refusal("domains", "disable", "go.example.com")
    assert "already" in cli.refusal("domains", "add", "go.example.com")


def test_a_domain_allows_schemes_that_its_links_may_lead_to(shop: Cli) -> None:
    shop.document("domains", "add", "go.example.com")
    on_domain = ("--domain", "go.example.com")
    refused = shop.refusal("links", "add", "app", "--url", "shopapp://x", *on_domain)
    assert "`reftide domains set go.example.com --schemes shopapp`" in refused

    changed = shop.document(
        "domains", "set", "go.example.com", "--schemes", "shopapp, TEL"
    )

    assert ["shopapp", "tel"] == changed["schemes"]
    made = shop.document("links", "add", "app", "--url", "shopapp://x", *on_domain)
    assert "shopapp://x" == made["url"]
    assert "without a domain" in shop.refusal("links", "add", "b", "--url", "tel:1")


@pytest.mark.parametrize("scheme", [*sorted(NEVER), "https", "a b", "x:"])
def test_what_no_link_may_lead_to_is_no_scheme_of_a_domain(
    shop: Cli, scheme: str
) -> None:
    shop.document("domains", "add", "go.example.com")

    refused = shop.refusal("domains", "set", "go.example.com", "--schemes", scheme)

    assert "cannot be allowed" in refused


def test_on_a_domain_a_code_is_found_in_small_letters_unless_case_counts(
    shop: Cli,
) -> None:
    for name, *more in (("go.example.com",), ("of.example.com", "--case-sensitive")):
        shop.document("domains", "add", name)
        if more:
            shop.document("domains", "set", name, *more)
        shop.document("links", "add", "Alice", "--domain", name)

    found = shop.document("links", "show", "alice", "--domain", "go.example.com")

    assert "Alice" == found["code"]
    assert "no link" in shop.refusal(
        "links", "show", "alice", "--domain", "of.example.com"
    )
