"""`reftide quarantine list` and `show`."""

from uuid_utils.compat import uuid7

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Kind
from tests.support.envelopes import an_envelope
from tests.support.servers.cli import Cli
from tests.support.workers.by_hand import quarantined


def test_quarantine_is_listed_by_reason_time_and_workspace(shop: Cli) -> None:
    quarantined(shop, place=(9, 0, 1, 0))
    quarantined(shop, place=(9, 0, 2, 0), reason="expired")
    shop.document("workspaces", "add", "other")

    def reasons(*arguments: str) -> list[str]:
        found = shop.document("quarantine", "list", *arguments)
        assert found["count"] >= len(found["entries"])
        return [one["reason"] for one in found["entries"]]

    assert ["expired", "unknown_link"] == reasons()
    assert ["expired"] == reasons("--reason", "expired")
    assert ["expired"] == reasons("--limit", "1")
    assert [] == reasons("--workspace", "other")
    assert [] == reasons("--since", "2100-01-01")
    assert ["expired", "unknown_link"] == reasons("--since", "2020-01-01T00:00:00Z")
    assert [] == reasons("--status", "discarded")
    assert ["expired", "unknown_link"] == reasons("--status", "all")
    assert "NOBODY" in shop.run("quarantine", "list").out


def test_a_span_counts_back_from_now(shop: Cli) -> None:
    quarantined(shop)
    (row,) = shop.fetch("select extract(epoch from now())::float8 + 7200 as later")
    later = Cli(shop.variables, now=row["later"])

    assert 0 == later.document("quarantine", "list", "--since", "1h")["count"]
    assert 1 == later.document("quarantine", "list", "--since", "3h")["count"]
    assert 1 == later.document("quarantine", "list", "--since", "1d")["count"]


def test_an_envelope_in_quarantine_is_shown_decoded(shop: Cli) -> None:
    envelope = an_envelope(
        id=uuid7(),
        kind=Kind.CLICK,
        dialect="biore",
        at=1,
        code="NOBODY",
        visitor=b"v" * 8,
    )
    number = quarantined(shop, payload=encode(envelope))

    shown = shop.document("quarantine", "show", str(number))

    assert {
        "id": str(envelope.id),
        "kind": "click",
        "dialect": "biore",
        "at": 1,
        "code": "NOBODY",
        "quantity": 1,
        "visitor": (b"v" * 8).hex(),
    } == shown["envelope"]
    assert ("unknown_link", "why", 1) == (
        shown["reason"],
        shown["detail"],
        shown["attempts"],
    )


def test_bytes_that_are_no_envelope_are_shown_harmlessly(shop: Cli) -> None:
    number = quarantined(shop, payload=b"\xff\x1b[2J\x00", reason="undecodable")

    shown = shop.document("quarantine", "show", str(number))
    assert shown["envelope"] is None
    assert "\\xff\\x1b[2J\\x00" in shop.run("quarantine", "show", str(number)).out


def test_every_reason_can_be_asked_for(shop: Cli) -> None:
    (row,) = shop.fetch("select enum_range(null::quarantine_reason)::text[] as reasons")

    for reason in row["reasons"]:
        assert 0 == shop.document("quarantine", "list", "--reason", reason)["count"]


def test_a_number_that_is_not_in_quarantine_is_refused(shop: Cli) -> None:
    result = shop.run("quarantine", "show", "99")

    assert (2, "") == (result.code, result.out)
    assert "quarantine list" in result.err


def test_what_is_no_time_is_refused(shop: Cli) -> None:
    assert "90m" in shop.run("quarantine", "list", "--since", "lately").err
