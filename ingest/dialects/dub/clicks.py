"""Dub's clicks: on links, on domains, and of apps that deep links open."""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import orjson

from ingest.contracts.directory import LinkRecord
from ingest.contracts.envelope import Kind
from ingest.contracts.storable import NAME_CHARS, Json
from ingest.dialects import weburl
from ingest.dialects.body import read
from ingest.dialects.discount import Discount
from ingest.dialects.dub import answers, wire
from ingest.dialects.spec.events import ByCode, Draft, FirstOf, Outcome
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Endpoint

#: The key of a domain's own link.
_ROOT: Final = "_root"
#: An app that was opened by no link that it knows.
_UNKNOWN: Final = FirstOf(())


def _on(domain: str, key: str) -> ByCode:
    named = domain.strip().lower().removeprefix("www.")
    return ByCode(key, named, among="domain")


def _parse_click(request: RawRequest) -> Sequence[Draft]:
    click = read(wire.ClickBody, request.body)
    return [
        Draft(
            kind=Kind.CLICK,
            target=_on(click.domain, click.key),
            referrer=click.referrer,
            page_url=click.url,
        )
    ]


def _answer_click(outcome: Outcome) -> Reply:
    link = outcome.link
    said: dict[str, Any] = {"click_id": outcome.click_token or ""}
    if link and link.partner_code:
        number, name = link.partner_public_id, link.partner_name
        code = link.partner_code
        partner = answers.Partner(
            id=number or code, name=name or code, image=link.partner_image
        )
        said |= {"partner": partner, "discount": _discount(link)}
    return Reply(
        200, answers.Clicked(**said).model_dump(by_alias=True, exclude_unset=True)
    )


def _discount(link: LinkRecord) -> Discount | None:
    given = orjson.loads(link.discount) if link.discount else None
    return None if given is None else Discount.model_validate(given)


def _parse_visit(request: RawRequest) -> Sequence[Draft]:
    visit = read(wire.VisitBody, request.body)
    return [
        Draft(
            kind=Kind.CLICK,
            target=_on(visit.domain, _ROOT),
            referrer=visit.referrer,
            page_url=visit.url,
        )
    ]


def _answer_visit(outcome: Outcome) -> Reply:
    return Reply.ok(clickId=outcome.click_token or "")


def _parse_open(request: RawRequest) -> Sequence[Draft]:
    opened = read(wire.OpenBody, request.body)
    if opened.deep_link is None:
        if opened.dub_domain is None:
            raise Refusal("field_missing", field="deepLink")
        return [Draft(kind=Kind.CLICK, target=_UNKNOWN)]
    try:
        url = weburl.parse(opened.deep_link)
    except ValueError as error:
        raise _no_link() from error
    key = unquote(urlsplit(opened.deep_link).path).strip("/") or _ROOT
    if not url.host or len(key) > NAME_CHARS:
        raise _no_link()
    return [
        Draft(
            kind=Kind.CLICK,
            target=_on(url.host, key),
            page_url=opened.deep_link,
            properties={"trigger": "deeplink"},
        )
    ]


def _no_link() -> Refusal:
    return Refusal("field_invalid", field="deepLink", problem="must be a URL of a link")


def _judge_open(outcome: Outcome) -> Draft | None:
    is_unknown = isinstance(outcome.draft.target, FirstOf)
    return None if is_unknown else outcome.draft


def _answer_open(outcome: Outcome) -> Reply:
    if isinstance(outcome.draft.target, FirstOf):
        return Reply.ok(clickId=None, link=None)
    link = outcome.link
    opened: Json = None
    if link is not None:
        opened = {
            "id": link.public_id,
            "domain": link.domain,
            "key": link.code,
            "url": link.url,
        }
    return Reply.ok(clickId=outcome.click_token, link=opened)


CLICK: Final = Endpoint(
    path="/track/click",
    summary="Record that a visitor came by a link",
    body=wire.ClickBody,
    reply=answers.Clicked,
    refusals=("link_unknown", "link_inactive"),
    parse=_parse_click,
    answer=_answer_click,
    from_browsers=True,
    has_short_clicks=True,
)
VISIT: Final = Endpoint(
    path="/track/visit",
    summary="Record that a visitor came to a domain without a link",
    body=wire.VisitBody,
    reply=answers.Visited,
    refusals=("link_unknown", "link_inactive"),
    parse=_parse_visit,
    answer=_answer_visit,
    from_browsers=True,
    has_short_clicks=True,
)
OPEN: Final = Endpoint(
    path="/track/open",
    summary="Record that an app was opened by a deep link",
    body=wire.OpenBody,
    reply=answers.Opened,
    refusals=("link_unknown", "link_inactive"),
    parse=_parse_open,
    judge=_judge_open,
    answer=_answer_open,
    from_browsers=True,
    has_short_clicks=True,
)
