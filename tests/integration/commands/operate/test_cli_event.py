"""`reftide event`, on hand-made books."""

from uuid_utils.compat import uuid7

from ingest.contracts import ids
from ingest.contracts.clickid import KeyRing
from tests.support.servers.cli import SECRET, Cli
from tests.support.workers.by_hand import LINK, Hands, quarantined


def _state(cli: Cli, event_id: object) -> str:
    result = cli.run("event", str(event_id), "--json")
    assert int(result.document["state"] in {"unknown", "missing"}) == result.code
    return result.document["state"]


def test_an_event_is_followed_to_its_row(hands: Hands) -> None:
    event_id = uuid7()
    assert "unknown" == _state(hands.cli, event_id)
    hands.send(event_id)
    assert "in_flight" == _state(hands.cli, event_id)
    (entry,) = hands.deliver()
    assert "in_flight" == _state(hands.cli, event_id)
    hands.record(event_id, entry)
    assert "recorded" == _state(hands.cli, event_id)


def test_an_entry_that_was_acknowledged_without_a_trace_is_missing(
    hands: Hands,
) -> None:
    event_id = hands.send()
    (entry,) = hands.deliver()
    hands.acknowledge(entry)

    assert "missing" == _state(hands.cli, event_id)
    assert "reftide verify" in hands.cli.run("event", str(event_id)).out


def test_a_click_id_leads_to_its_click(hands: Hands) -> None:
    hands.settle(click_id := uuid7())
    token = KeyRing([SECRET.encode()]).issue(click_id, LINK)

    found = hands.cli.document("event", token)

    assert ("recorded", str(click_id)) == (found["state"], found["id"])
    assert ("SUMMER", "jane", 1) == tuple(
        found["event"][name] for name in ("link", "partner", "program")
    )


def test_a_click_id_of_another_installation_is_refused(shop: Cli) -> None:
    token = KeyRing([b"somebody else's secret"]).issue(uuid7(), LINK)

    result = shop.run("event", token)

    assert (2, "") == (result.code, result.out)
    assert "REFTIDE_SECRET" in result.err


def test_a_test_event_is_found_by_its_number(hands: Hands) -> None:
    event_id = uuid7()
    number = ids.test_event_number(event_id)
    assert "unknown" == _state(hands.cli, number)
    hands.send(event_id)
    assert "in_flight" == _state(hands.cli, number)
    (entry,) = hands.deliver()
    hands.record(event_id, entry, is_test=True)

    found = hands.cli.document("event", str(number))
    assert ("recorded", str(event_id)) == (found["state"], found["id"])


def test_a_repeat_names_the_event_that_it_was(hands: Hands) -> None:
    first, again = uuid7(), uuid7()
    hands.settle(first)
    hands.cli.fetch(
        "insert into event_aliases (id, event_id) values ($1, $2)", again, first
    )

    found = hands.cli.document("event", str(again))

    assert ("repeat", str(first)) == (found["state"], found["repeat_of"])
    assert str(first) in hands.cli.run("event", str(again)).out


def test_a_quarantined_event_says_why(hands: Hands) -> None:
    event_id = uuid7()
    quarantined(hands.cli, event_id=event_id)

    found = hands.cli.document("event", str(event_id))

    assert ("quarantined", "unknown_link") == (
        found["state"],
        found["quarantine"][0]["reason"],
    )


def test_what_nobody_calls_anything_is_unknown(shop: Cli) -> None:
    result = shop.run("event", "yesterday")

    assert 1 == result.code
    assert "UUID" in result.out
