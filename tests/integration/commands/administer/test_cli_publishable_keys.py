"""`reftide keys add --publishable`."""

import pytest

from ingest.contracts import apikey
from tests.support.servers.cli import Cli

ORIGINS = ("--origins", "https://shop.example")


def test_a_publishable_key_has_origins_and_may_publish(cli: Cli) -> None:
    origins = "HTTPS://Shop.example:443, https://*.shop.example,http://localhost:3000"
    given = ("keys", "add", "--publishable", "--origins", origins)

    made = cli.document(*given)

    assert ["publish"] == made["scopes"]
    assert (
        sorted(
            ["http://localhost:3000", "https://*.shop.example", "https://shop.example"]
        )
        == made["origins"]
    )
    assert made["secret"].startswith("rt_pk_")
    assert apikey.is_well_formed(made["secret"])
    assert made["origins"] == cli.document("keys", "show", made["id"])["origins"]
    assert "servers need another" in cli.run(*given).out


def test_a_key_of_dub_is_imported_with_what_it_may_do(cli: Cli) -> None:
    scopes = ("--scopes", "publish_sale,publish")
    key = ("--secret", "dub_pk_4f2a6d91e05c")

    made = cli.document("keys", "add", "--publishable", *scopes, *ORIGINS, *key)

    assert ("dub_pk_4f2a6d91e05c", ["publish", "publish_sale"]) == (
        made["secret"],
        made["scopes"],
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--publishable"], "--origins"),
        (["--publishable", "--scopes", "track", *ORIGINS], "publish_sale"),
        (["--publishable", "--scopes", "publish,track", *ORIGINS], "publishable"),
        (["--scopes", "publish", *ORIGINS], "--publishable"),
        (["--scopes", "track", *ORIGINS], "leave --origins out"),
        (["--publishable", *ORIGINS, "--secret", "sk_4f2a6d91e05c"], "rt_pk_"),
        (["--scopes", "track", "--secret", "dub_pk_4f2a6d91e05c"], "--publishable"),
        (["--publishable", "--origins", "shop.example"], "https://shop.example"),
        (["--publishable", "--origins", "https://shop.example/"], "no origin"),
        (["--publishable", "--origins", "https://a.*.example"], "no origin"),
        (
            [
                "--publishable",
                "--origins",
                ",".join(f"https://s{n}.example" for n in range(101)),
            ],
            "100",
        ),
    ],
)
def test_what_would_be_of_no_use_or_of_too_much_is_refused(
    cli: Cli, given: list[str], words: str
) -> None:
    assert words in cli.refusal("keys", "add", *given)
    assert [] == cli.document("keys", "list")


def test_its_origins_and_scopes_change_and_it_never_becomes_a_secret(cli: Cli) -> None:
    key = cli.document("keys", "add", "--publishable", *ORIGINS)["id"]
    secret = cli.document("keys", "add", "--scopes", "track")["id"]

    changed = cli.document("keys", "set", key, "--origins", "*")

    assert (["publish"], ["*"]) == (changed["scopes"], changed["origins"])
    assert "publish_sale" in cli.refusal("keys", "set", key, "--scopes", "track")
    assert "--publishable" in cli.refusal("keys", "set", secret, "--scopes", "publish")
    assert "secret key" in cli.refusal("keys", "set", secret, *ORIGINS)
