"""A vendor's routes: who may call them how often, and what reads and answers them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter, itemgetter
from typing import Final, Literal, TypeVar

from pydantic import BaseModel

from ingest.dialects.spec.events import (
    ByCode,
    Draft,
    Finding,
    Outcome,
    PlainClick,
    Target,
)
from ingest.dialects.spec.refusal import Refusal, RefusalCode
from ingest.dialects.spec.requests import RawRequest, Reply, Usage

_By = Literal["address", "key", "workspace"]
_SomeRoute = TypeVar("_SomeRoute", bound="Route")

#: What an address may send a minute without a known key, where the vendor does not say.
_OF_AN_ADDRESS: Final = 6000


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """The API key that an endpoint wants.

    In `Authorization` after `Bearer`, in any other header as it is. An optional one is
    checked where it comes.

    `publishable` says which scope of a publishable key is enough, if any:
    `Credential(publishable="publish")` is all that a route of browsers has to declare. Such a
    request comes from an origin of its key and is the browser's own: it falls under the limits
    by address. The key names the workspace and vouches for nothing. So `Outcome.has_key` is
    False: what is stored of a customer is not told. A lead is a keyless one; it and a sale are
    deferred, and count nothing, until a secret key reports them, if it is a sale or its program
    takes leads from servers only. A customer alone, without a click, is unknown.
    """

    header: Literal["authorization", "x-api-key"] = "authorization"
    scope: Literal["read", "write", "track", "forward"] = "track"
    is_optional: bool = False
    publishable: Literal["publish", "publish_sale"] | None = None
    #: The key only says whose codes are meant: one that is not accepted is as none.
    only_names: bool = False
    #: Finds the key in a body, if the header has none.
    in_body: Callable[[bytes], str | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """So many requests in any 60 seconds of one address, key, or workspace.

    Operators know it by its name; endpoints that share a name share what is left of it.
    `per_minute` of None: none unless an operator sets it. A limit by address that the vendor
    does not document is ours: a generous bound for callers that no known key vouches for.
    """

    name: str
    by: _By
    per_minute: int | None
    is_documented: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What endpoints and queries have in common.

    `body` is the model that validates the request, `reply` the model of what a 2xx says,
    `refusals` why else than for reasons that every route has; all three are what the
    OpenAPI document is made of.
    """

    path: str
    summary: str
    reply: type[BaseModel]
    body: type[BaseModel] | None = None
    #: What each variable of the path means.
    variables: Mapping[str, str] = field(default_factory=dict)
    refusals: Sequence[RefusalCode] = ()
    #: None: no key is needed.
    credential: Credential | None = None
    limits: Sequence[Limit] = ()
    #: Browsers call it from other origins: CORS and preflight are answered.
    from_browsers: bool = False
    method: Literal["GET", "POST"] = "POST"

    @property
    def needs_key(self) -> bool:
        return self.credential is not None and not self.credential.is_optional


def limited(dialect: str, route: _SomeRoute) -> _SomeRoute:
    """The route with a limit by address and one by workspace, where its vendor has none."""
    last = [part for part in route.path.split("/") if not part.startswith("{")][-1]
    wanted: dict[_By, int | None] = {"address": _OF_AN_ADDRESS, "workspace": None}
    known = {limit.by for limit in route.limits}
    ours = [
        Limit(
            name=f"{dialect}.{last}.{by}", by=by, per_minute=most, is_documented=False
        )
        for by, most in wanted.items()
        if by not in known
    ]
    return replace(route, limits=(*route.limits, *ours))


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Route):
    """A route that records events.

    `parse` may raise Refusal and gives a draft for every event asked for. `judge` sees a
    draft's outcome before it is recorded: it may raise Refusal, change the draft, or say
    that there is nothing to record. `answer` puts one outcome into words, `repeat` that of
    an event that came before, given the first's answer; `collect` makes one reply of all
    the answers.
    """

    parse: Callable[[RawRequest], Sequence[Draft]]
    answer: Callable[[Outcome], Reply]
    judge: Callable[[Outcome], Draft | None] = attrgetter("draft")
    repeat: Callable[[Outcome, Reply], Reply] = lambda _, first: first
    collect: Callable[[Sequence[Reply]], Reply] = itemgetter(0)
    #: Whether a link that no program or partner stands behind can be answered for.
    needs_partner: bool = False
    #: Whether outcomes are to say who the draft's external id is.
    asks_customer: bool = False
    #: Whether clients are told 16 letters and digits for a click id.
    has_short_clicks: bool = False
    #: Whether a click on a code that no link has is answered like any other. It is appended
    #: under its code, and recorded once a link has it.
    keeps_unknown: bool = False
    #: Whether pages of the edge's own site get the answer's `click_id` in a cookie too, for
    #: its `cookie_window_days`.
    keeps_cookie: bool = False
    #: Reads the body of a click whose answer follows from its link and click id alone; None
    #: for every other, which `parse` reads. Such a route has no credential, no judge, and
    #: its vendor documents no limits.
    plain_click: Callable[[bytes], tuple[ByCode, PlainClick] | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Route):
    """A route that records nothing. `ask` may raise Refusal, `answer` too."""

    ask: Callable[[RawRequest], Target]
    answer: Callable[[Finding], Reply]
    method: Literal["GET", "POST"] = "GET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A vendor: its routes, and how it says no.

    `prefix` is the path under which unknown routes and methods are refused in its words;
    `problem` is the model of its refusals. `about` tells readers of the OpenAPI document
    what its routes are.
    """

    name: str
    prefix: str
    endpoints: Sequence[Endpoint | Query]
    refuse: Callable[[Refusal], Reply]
    problem: type[BaseModel]
    about: str | None = None
    #: Headers of every answer that a limit was asked for; None: the vendor has none.
    usage_headers: Callable[[Usage], Mapping[str, str]] | None = None

    def __post_init__(self) -> None:
        endpoints = tuple(limited(self.name, route) for route in self.endpoints)
        object.__setattr__(self, "endpoints", endpoints)
