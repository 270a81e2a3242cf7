"""`reftide domains`."""

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
