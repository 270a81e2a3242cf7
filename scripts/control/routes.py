"""The table of routes: ours, and vendors' own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from inspect import getdoc
from typing import Final

from scripts.control import more
from scripts.control.resources import (
    LINKS_READ,
    LINKS_WRITE,
    RESOURCES,
    STATS_READ,
    Resource,
    acts,
    body_fields,
    list_fields,
)
from scripts.control.serving import Act
from scripts.control.vendors import (
    affitor,
    affixo,
    dub,
    dub_analytics,
    dub_bulk,
    dub_partners,
)
from scripts.services.administer.catalogue.bulk_links import FIELDS
from scripts.services.noun import NounField

BASE: Final = "/control/v1"
#: Also by the scopes that the vendors' documents name.
_AFFIXO: Final = LINKS_WRITE | {"write"}
_AFFITOR: Final = STATS_READ | {"read"}
_VERBS: Final = {"POST": "add", "PATCH": "set"}


@dataclass(frozen=True, slots=True)
class Route:
    """An act at a method and a path, and the scopes any of which it needs.

    `query` and `body` are what they give, by the names of the request; with `is_many` the
    body is an array of such objects.
    """

    method: str
    path: str
    scopes: frozenset[str]
    act: Act
    about: str = ""
    query: Mapping[str, NounField] = field(default_factory=dict)
    body: Mapping[str, NounField] = field(default_factory=dict)
    is_many: bool = False

    @property
    def summary(self) -> str:
        return (self.about or getdoc(self.act) or "").split("\n")[0]


def own_routes() -> Iterator[Route]:
    """The routes below `/control/v1`."""
    yield Route(
        "PUT", f"{BASE}/links/bulk", LINKS_WRITE, more.upsert,
        body=_renamed(FIELDS, {"new_code": "code"}), is_many=True,
    )  # fmt: skip
    yield Route("GET", f"{BASE}/switches", LINKS_READ, more.list_switches)
    switch = f"{BASE}/switches/{{scope}}/{{subject}}"
    reason = more.REASON_FIELDS
    yield Route("PUT", switch, LINKS_WRITE, more.switch_off, body=reason)
    yield Route("DELETE", switch, LINKS_WRITE, more.switch_on)
    sums = more.STATS_FIELDS
    yield Route("GET", f"{BASE}/stats", STATS_READ, more.sums, query=sums)
    for resource in RESOURCES:
        yield from _of(resource)


def _of(resource: Resource) -> Iterator[Route]:
    for (method, path), (scopes, act) in acts(resource).items():
        is_list = method == "GET" and "{" not in path
        verb = _VERBS.get(method) or ("list" if is_list else "show")
        if method == "DELETE":
            verb = resource.removal
        body = body_fields(resource, verb) if method in _VERBS else {}
        yield Route(
            method, BASE + path, scopes, act, resource.action(verb).help,
            query=list_fields(resource) if is_list else {},
            body=_renamed(body, resource.renames),
        )  # fmt: skip


def _renamed(
    fields: Mapping[str, NounField], names: Mapping[str, str]
) -> dict[str, NounField]:
    return {names.get(name, name): each for name, each in fields.items()}


def vendors_routes() -> Iterator[Route]:
    """The vendors' routes, at their own paths."""
    yield Route("POST", "/links", LINKS_WRITE, dub.create)
    yield Route("GET", "/links", LINKS_READ, dub.get_many)
    yield Route("GET", "/links/count", LINKS_READ, dub.count)
    yield Route("GET", "/links/info", LINKS_READ, dub.info)
    yield Route("POST", "/links/bulk", LINKS_WRITE, dub_bulk.create_many)
    yield Route("PATCH", "/links/bulk", LINKS_WRITE, dub_bulk.update_many)
    yield Route("DELETE", "/links/bulk", LINKS_WRITE, dub_bulk.delete_many)
    yield Route("PUT", "/links/upsert", LINKS_WRITE, dub.upsert)
    yield Route("PATCH", "/links/{id}", LINKS_WRITE, dub.update)
    yield Route("DELETE", "/links/{id}", LINKS_WRITE, dub.delete)
    yield Route("POST", "/partners", LINKS_WRITE, dub_partners.create_partner)
    yield Route("GET", "/partners", LINKS_READ, dub_partners.list_partners)
    yield Route("GET", "/analytics", STATS_READ, dub_analytics.analytics)
    yield Route("POST", "/v1/links", _AFFIXO, affixo.create_link)
    yield Route("POST", "/v1/affiliates", _AFFIXO, affixo.create_affiliate)
    events = "/api/tracking/events/{program}"
    yield Route("GET", events, _AFFITOR, affitor.list_events, query=affitor.FIELDS)
