import sys
from dataclasses import replace as replaced
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace
from structlog.testing import capture_logs

from ingest.contracts.envelope import Client
from workers.enrich import (
    ENRICHERS,
    Enricher,
    Enrichers,
    build_enrichers,
    chain,
)
from workers.model.enrichment import Agent, Enrichment, Location

PHONE = Client(
    user_agent="Mozilla/5.0 (iPhone; CPU iPhone OS 17_2_1 like Mac OS X)"
    " AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.2 Mobile/15E148 Safari/604.1",
    ip="81.2.69.0",
    referrer="https://www.example.com/post/1",
)
NOBODY = Client()
SEEN = Enrichment(
    agent=Agent(
        device="mobile",
        os="iOS",
        os_version="17",
        browser="Mobile Safari",
        browser_version="17",
    ),
    location=Location(country="GB"),
    referrer_host="example.com",
)
GOOGLEBOT = (
    "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36"
    " (KHTML, like Gecko) Chrome/41.0.2272.96 Mobile Safari/537.36 (compatible;"
    " Googlebot/2.1; +http://www.google.com/bot.html)"
)
LIMITS = {"city": 128, "referrer_host": 255}


class BrokenDatabaseError(RuntimeError):
    """What the library raises for a file that is no database."""


def _fails(ip: str | None, _: Location) -> Location:
    raise KeyError(ip)  # as a bug would, quoting what is not for the log


def _geo_library(monkeypatch: pytest.MonkeyPatch, records: dict[str, object]) -> None:
    def get(address: IPv4Address | IPv6Address) -> object:
        return records.get(str(address))

    def open_database(path: Path) -> object:
        if not path.exists():
            raise FileNotFoundError(path)
        return SimpleNamespace(get=get)

    library = SimpleNamespace(
        InvalidDatabaseError=BrokenDatabaseError, open_database=open_database
    )
    monkeypatch.setitem(sys.modules, "maxminddb", library)


def test_a_caller_is_known_by_what_the_edge_saw() -> None:
    assert SEEN == build_enrichers(None)(PHONE)


def test_of_a_caller_without_anything_nothing_is_known() -> None:
    assert Enrichment() == build_enrichers(None)(NOBODY)


def test_bots_are_told_after_their_agents_are_described() -> None:
    assert ["agent", "bots"] == [each.name for each in ENRICHERS.agent]


def test_a_crawler_that_poses_as_a_telephone_is_a_bot() -> None:
    seen = build_enrichers(None)(replace(PHONE, user_agent=GOOGLEBOT))

    assert (True, "bot") == (seen.agent.is_bot, seen.agent.device)


def test_the_same_caller_gets_the_same_answer_from_any_chain() -> None:
    once, again = build_enrichers(None), build_enrichers(None)

    assert once(PHONE) == once(PHONE) == again(PHONE)


def test_a_failing_enricher_marks_the_event_and_the_others_go_on() -> None:
    enrich = chain(replaced(ENRICHERS, location=[Enricher("geo", _fails)]))

    expected = replace(SEEN, location=Location(), failed=("geo",))

    assert expected == enrich(PHONE)


def test_a_failing_enricher_is_logged_once_and_not_for_each_event() -> None:
    with capture_logs() as logs:
        enrich = chain(Enrichers(location=[Enricher("geo", _fails)]))
        for _ in range(3):
            enrich(PHONE)

    assert [
        {
            "event": "enricher.failed",
            "log_level": "warning",
            "enricher": "geo",
            "error": "KeyError in test_chain.py:_fails",
        }
    ] == logs


def test_a_later_answer_builds_on_an_earlier_one() -> None:
    enrich = chain(
        Enrichers(
            location=[
                Enricher("first", lambda _, known: replace(known, region="Lazio")),
                Enricher("second", lambda _, known: replace(known, city="Ostia")),
            ]
        )
    )

    assert Location(city="Ostia", region="Lazio") == enrich(NOBODY).location


def test_a_geo_file_adds_the_city_and_its_country_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _geo_library(
        monkeypatch,
        {"81.2.69.0": {"country_code": "IM", "state1": "Man", "city": "Douglas"}},
    )
    file = tmp_path / "city.mmdb"
    file.touch()

    place = Location(country="IM", region="Man", city="Douglas")

    assert replace(SEEN, location=place) == build_enrichers(file)(PHONE)


def test_where_the_geo_file_knows_nothing_the_registry_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _geo_library(monkeypatch, {})
    file = tmp_path / "city.mmdb"
    file.touch()

    assert SEEN == build_enrichers(file)(PHONE)


def test_a_missing_geo_file_marks_events_and_keeps_the_country(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _geo_library(monkeypatch, {})
    with capture_logs() as logs:
        enrich = build_enrichers(tmp_path / "city.mmdb")

        expected = replace(SEEN, failed=("city",))
        assert expected == enrich(PHONE)

    error = f"{tmp_path / 'city.mmdb'} is no readable geo database"
    assert [("enricher.failed", error)] == [
        (line["event"], line["error"]) for line in logs
    ]


def test_a_geo_file_without_its_library_marks_events_and_keeps_the_country(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "maxminddb", None)

    with capture_logs() as logs:
        found = build_enrichers(tmp_path / "city.mmdb")(Client(ip="81.2.69.0"))

    assert ("GB", None, ("city",)) == (
        found.location.country,
        found.location.city,
        found.failed,
    )
    assert "install reftide[geo]" in logs[0]["error"]


_TEXT = st.none() | st.text(st.characters(), max_size=2000)
_REFERRERS = _TEXT | st.builds("http://{}/{}".format, st.text(), st.text())


@given(st.builds(Client, user_agent=_TEXT, ip=_TEXT, referrer=_REFERRERS))
def test_whatever_a_caller_sends_the_answer_can_be_stored(client: Client) -> None:
    seen = chain(ENRICHERS)(client)

    found = asdict(seen.agent) | asdict(seen.location)
    found["referrer_host"] = seen.referrer_host
    texts = {name: value for name, value in found.items() if value is not None}
    assert seen.failed is None
    assert all(len(text) <= LIMITS.get(name, 64) for name, text in texts.items())
    assert all("\0" not in text for text in texts.values())
    orjson.dumps(texts)  # refuses lone surrogates, as Postgres does
