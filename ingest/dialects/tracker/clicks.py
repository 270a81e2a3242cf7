"""Clicks of our own script."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import orjson
from pydantic import BaseModel

from ingest.contracts.envelope import Kind, own_click
from ingest.contracts.storable import Json
from ingest.dialects import weburl
from ingest.dialects.body import LenientText, Name, doc, example, maybe, read
from ingest.dialects.discount import Discount
from ingest.dialects.spec.events import ByCode, Draft, Outcome
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Endpoint
from ingest.dialects.tracker import wire

_COOKIE_WINDOW: Final = 60  # days, where the link is not known yet


class _ClickBody(wire.Event):
    """A click, as the script reports it."""

    model_config = example(
        id="rt_2871660403117829", code="SUMMER", url="https://shop.example/?via=SUMMER"
    )

    id: wire.OwnId = doc("The client's own id of the click, which nobody can guess.")
    code: Name = doc("The link's code, as the page's URL has it.")
    url: LenientText = maybe("The page that the visitor came to.")
    referrer: LenientText = maybe(
        "The page that the visitor came from.", "https://blog.example/post"
    )
    domain: LenientText = maybe(
        "The domain that the code is of; the page's by default.", "go.shop.example"
    )
    existing_click_id: LenientText = maybe(
        "The click id that the visitor already has. If it is valid, the answer repeats it.",
        "clk_AQGZ0mX7cAB-example",
    )


class _Partner(BaseModel):
    id: str = doc("The partner's id, as the vendor's scripts know it.", "pn_2M7K9C")
    code: str = doc("The partner's code.", "PARTNER123")
    name: str = doc("What people call the partner; else the code.", "Jane")
    image: str | None = maybe(
        "The URL of the partner's picture.", "https://example.com/jane.png"
    )


class _Clicked(BaseModel):
    """The answer to a click."""

    click_id: str | None = doc(
        "The id that the visitor keeps, say in a cookie, and a lead names later.",
        "clk_AQGZ0mX7cAB-example",
    )
    partner: _Partner | None = doc("The partner whose link it is, if it is known.")
    discount: Discount | None = maybe(
        "What the customer saves, if the partner's link says so."
    )
    cookie_window_days: int = doc(
        "For how many days the visitor keeps the click id.", 60
    )


def _parse_click(request: RawRequest) -> Sequence[Draft]:
    click = read(_ClickBody, request.body)
    among: Final = "workspace" if click.key else "anywhere"
    return [
        Draft(
            kind=Kind.CLICK,
            target=ByCode(click.code, _domain(click), among),
            existing_click=click.existing_click_id,
            dedupe=own_click(click.id),
            referrer=click.referrer,
            page_url=click.url,
            age=click.milliseconds_old,
            properties=click.said,
        )
    ]


def _domain(click: _ClickBody) -> str | None:
    if click.domain:
        return click.domain.lower()
    try:
        return weburl.parse(click.url or "").host
    except ValueError:
        return None


def _answer_click(outcome: Outcome) -> Reply:
    link = outcome.link
    partner: Json = None
    discount: Json = None
    if link and link.partner_code:
        partner = {
            "id": link.partner_public_id or link.partner_code,
            "code": link.partner_code,
            "name": link.partner_name or link.partner_code,
            "image": link.partner_image,
        }
        discount = orjson.loads(link.discount) if link.discount else None
    return Reply.ok(
        click_id=outcome.click_token,
        partner=partner,
        discount=discount,
        cookie_window_days=link.cookie_window_days if link else _COOKIE_WINDOW,
    )


CLICK: Final = Endpoint(
    path="/t/click",
    summary="Record that a visitor came by a link",
    credential=replace(wire.CREDENTIAL, only_names=True),
    body=_ClickBody,
    reply=_Clicked,
    refusals=("link_unknown", "link_inactive"),
    parse=_parse_click,
    judge=wire.judge,
    answer=_answer_click,
    from_browsers=True,
    keeps_cookie=True,
)
