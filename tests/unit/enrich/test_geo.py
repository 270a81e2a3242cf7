import sys
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import SimpleNamespace

import iptocc
import pytest

from workers.enrich import geo
from workers.enrich.geo import NOWHERE
from workers.model.enrichment import Location

LONDON = {
    "country": {"iso_code": "GB", "names": {"en": "United Kingdom"}},
    "subdivisions": [{"iso_code": "ENG", "names": {"en": "England"}}],
    "city": {"names": {"en": "London", "de": "London"}},
}


class BrokenDatabaseError(RuntimeError):
    """What the library raises for a file that is no database."""


def _library(**parts: object) -> SimpleNamespace:
    return SimpleNamespace(InvalidDatabaseError=BrokenDatabaseError, **parts)


@pytest.mark.parametrize(
    ("ip", "country"),
    [
        ("81.2.69.0", "GB"),
        ("193.99.144.0", "DE"),
        ("133.11.0.0", "JP"),
        ("2001:4860::", "US"),
        ("2a01:cb00::", "FR"),
        ("::ffff:81.2.69.0", "GB"),
        ("::ffff:5102:4500", "GB"),
    ],
)
def test_a_truncated_address_has_the_country_of_its_registry(
    ip: str, country: str
) -> None:
    assert Location(country=country) == geo.country_of(ip)


@pytest.mark.parametrize(
    "ip",
    [
        None,
        "",
        "unknown",
        "81.2.69",
        "81.2.69.0:443",
        "10.0.0.0",
        "192.168.1.0",
        "127.0.0.0",
        "169.254.0.0",
        "100.64.0.0",
        "192.0.2.0",
        "224.0.0.0",
        "240.0.0.0",
        "0.0.0.0",  # noqa: S104 -- an address to look up, not one to bind
        "::",
        "::1",
        "fe80::",
        "fd00::",
        "ff02::1",
        "2001:db8::",
        "::ffff:10.0.0.0",
        "fe80::1%eth0",
        "1" * 100,
    ],
)
def test_an_address_that_is_not_public_is_nowhere(ip: str | None) -> None:
    assert NOWHERE == geo.country_of(ip)


def test_an_address_assigned_to_a_whole_region_is_nowhere() -> None:
    ip = "139.191.16.0"

    assert "EU" == iptocc.country_code(ip)
    assert NOWHERE == geo.country_of(ip)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            LONDON,
            Location(country="GB", region="England", city="London"),
        ),
        (
            {"country_code": "fr", "state1": "Île-de-France", "city": "Paris"},
            Location(country="FR", region="Île-de-France", city="Paris"),
        ),
        ({"country": {"iso_code": "DE"}}, Location(country="DE")),
        (
            {"country": {"iso_code": "ZZZ"}, "city": "Null\0ville"},
            Location(city="Null�ville"),
        ),
        ({"country": [], "subdivisions": [], "city": {"names": []}}, NOWHERE),
        ({"subdivisions": {"0": 1}, "city": 7}, NOWHERE),
        (None, NOWHERE),
        ("junk", NOWHERE),
    ],
)
def test_a_place_is_found_in_a_record_of_either_shape(
    record: object, expected: Location
) -> None:
    assert expected == geo.place_in(record)


def test_names_in_a_record_are_cut_to_what_a_column_holds() -> None:
    place = geo.place_in({"state1": "r" * 500, "city": "c" * 500})

    assert (geo.REGION_LIMIT, geo.CITY_LIMIT) == (
        len(place.region or ""),
        len(place.city or ""),
    )


def test_a_database_is_asked_for_public_addresses_only() -> None:
    asked: list[object] = []

    def lookup(address: IPv4Address | IPv6Address) -> object:
        asked.append(address)
        return LONDON

    place_of = geo.places(lookup)

    assert [NOWHERE, "London"] == [place_of("10.0.0.0"), place_of("81.2.69.0").city]
    assert [IPv4Address("81.2.69.0")] == asked


def test_a_geo_file_without_its_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "maxminddb", None)

    with pytest.raises(geo.GeoLibraryMissingError, match=r"install reftide\[geo\]"):
        geo.open_places(Path("city.mmdb"))


@pytest.mark.parametrize("error", [BrokenDatabaseError, FileNotFoundError])
def test_a_file_that_cannot_be_opened_has_one_name(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def refuse(path: Path) -> object:
        raise error(path)

    monkeypatch.setitem(sys.modules, "maxminddb", _library(open_database=refuse))

    with pytest.raises(
        geo.GeoFileError, match=r"city\.mmdb is no readable geo database"
    ):
        geo.open_places(Path("city.mmdb"))


def test_a_broken_record_is_reported_without_the_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def get(address: object) -> object:
        raise BrokenDatabaseError(f"no data for {address}")

    reader = SimpleNamespace(get=get)
    library = _library(open_database=lambda _path: reader)
    monkeypatch.setitem(sys.modules, "maxminddb", library)
    place_of = geo.open_places(Path("city.mmdb"))

    with pytest.raises(geo.GeoFileError) as caught:
        place_of("81.2.69.0")

    assert "city.mmdb holds a broken record" == str(caught.value)


def test_an_opened_file_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = SimpleNamespace(get=lambda _address: LONDON)
    library = _library(open_database=lambda _path: reader)
    monkeypatch.setitem(sys.modules, "maxminddb", library)

    place_of = geo.open_places(Path("city.mmdb"))

    assert "London" == place_of("81.2.69.0").city
