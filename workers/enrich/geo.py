"""Looks up the country of an IP address, and the city if the operator provides a database.

The country is that of the registries' delegation files (RIR), which iptocc bundles: where the
address was assigned, not always where it is used. Edges truncate addresses beforehand.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, TypeAlias

import iptocc

from ingest.contracts import storable
from workers.model.enrichment import Location

CITY_LIMIT: Final = 128
REGION_LIMIT: Final = 64
#: Longer than the text of any address.
_ADDRESS_LIMIT: Final = 64

Address: TypeAlias = IPv4Address | IPv6Address
#: Returns the record of an address in a geo database, or None. Raises GeoFileError.
Lookup: TypeAlias = Callable[[Address], object]


class GeoFileError(Exception):
    """A geo file cannot be read. The message names the file, and no visitor's address."""


class GeoLibraryMissingError(GeoFileError):
    """The library that reads geo files is not installed."""


NOWHERE: Final = Location()

#: Codes that registries use for a whole region; not countries of ISO 3166-1.
_REGIONS: Final = frozenset({"EU", "AP"})
_COUNTRY = re.compile("[A-Za-z]{2}")  # ISO 3166-1 alpha-2


@lru_cache(maxsize=8192)
def public_address(ip: str) -> Address | None:
    """Parse an address of the public internet; None for any other text.

    An IPv4 address written as IPv6 (`::ffff:81.2.69.0`) is the IPv4 address.
    """
    try:
        address = ip_address(ip)
    except ValueError:
        return None
    address = getattr(address, "ipv4_mapped", None) or address
    return address if address.is_global and not address.is_multicast else None


def country_of(ip: str | None) -> Location:
    """The country that a registry assigned the address to."""
    address = _public(ip)
    country = iptocc.country_code(str(address)) if address else None
    if country is None or country in _REGIONS:
        return NOWHERE
    return Location(country=country)


def open_places(path: Path) -> Callable[[str | None], Location]:
    """Open an MMDB file; returns a lookup of addresses in it.

    A newer file needs a new call. Raises GeoLibraryMissingError without the library,
    GeoFileError for the file; the lookup raises GeoFileError for a broken record.
    """
    try:
        library = import_module("maxminddb")
    except ImportError as exc:
        raise GeoLibraryMissingError(
            f"the geo file {path} needs the maxminddb library: "
            "install reftide[geo], or configure no geo file"
        ) from exc
    try:
        reader = library.open_database(path)
    except (OSError, library.InvalidDatabaseError) as exc:
        raise GeoFileError(f"{path} is no readable geo database") from exc

    def lookup(address: Address) -> object:
        try:
            return reader.get(address)
        except library.InvalidDatabaseError as exc:
            raise GeoFileError(f"{path} holds a broken record") from exc

    return places(lookup)


def places(lookup: Lookup) -> Callable[[str | None], Location]:
    """A lookup of public addresses, as texts, in a geo database."""

    def place_of(ip: str | None) -> Location:
        address = _public(ip)
        return place_in(lookup(address)) if address else NOWHERE

    return place_of


def place_in(record: object) -> Location:
    """The location in a database's record.

    Supports the nested records of GeoIP2 and DB-IP (`country.iso_code`,
    `subdivisions[0].names.en`, `city.names.en`) and the flat ones of ip-location-db
    (`country_code`, `state1`, `city`). Other values are ignored.
    """
    named = _text(record, "country", "iso_code") or _text(record, "country_code")
    country = named.upper() if named and _COUNTRY.fullmatch(named) else None
    region = _text(record, "subdivisions", 0, "names", "en") or _text(record, "state1")
    city = _text(record, "city", "names", "en") or _text(record, "city")
    return Location(
        country=country,
        region=storable.optional_text(region, REGION_LIMIT),
        city=storable.optional_text(city, CITY_LIMIT),
    )


def _public(ip: str | None) -> Address | None:
    return public_address(ip) if ip and len(ip) <= _ADDRESS_LIMIT else None


def _text(record: object, *path: str | int) -> str | None:
    value = record
    for key in path:
        if isinstance(key, int):
            value = value[key] if isinstance(value, list) and len(value) > key else None
        else:
            value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else None
