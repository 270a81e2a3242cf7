"""Affixo's routes of links and affiliates."""

from http import HTTPStatus
from typing import Any, Final

from scripts.control.problems import invalid
from scripts.control.resources import add, resource
from scripts.control.serving import Answer, Call
from scripts.control.vendors import found
from scripts.services import parsers
from scripts.services.noun import Row

_LINKS: Final = resource("links")
_PARTNERS: Final = resource("partners")
_REF_CHARS: Final = 8


async def create_link(call: Call) -> Answer:
    """Create an affiliate's link, whose code is `ref_param`, in the workspace's own codes."""
    body = _object(call.body)
    if not body.get("affiliate_id"):
        raise invalid("affiliate_id is missing.", "affiliate_id")
    wanted = {
        "code": body.get("ref_param") or _code(),
        "partner": body["affiliate_id"],
        "url": body.get("destination_url"),
        "program": body.get("campaign_id"),
    }
    said = {name: value for name, value in wanted.items() if value is not None}
    made = await add(call, _LINKS, said, namespace="workspace")
    row = await found.link(call, public_id=made["public_id"])
    return _made("link", _link(row))


async def create_affiliate(call: Call) -> Answer:
    """Create an affiliate, by e-mail or name; its `ref_code` is made up."""
    body = _object(call.body)
    if not body.get("email") and not body.get("name"):
        raise invalid("email or name is missing.", "email")
    wanted = {"code": body.get("ref_code") or _code()}
    wanted |= {name: body[name] for name in ("email", "name") if body.get(name)}
    row = await add(call, _PARTNERS, wanted)
    named = {name: row[name] for name in ("email", "name", "created_at")}
    about = {"id": row["public_id"], "ref_code": row["code"], "status": "pending"}
    return _made("affiliate", {**about, **named})


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise invalid("The body is no JSON object.")
    return body


def _code() -> str:
    return parsers.public_id("")[:_REF_CHARS]


def _link(row: Row) -> dict[str, Any]:
    program = row["program"]
    return {
        "id": row["public_id"],
        "affiliate_id": row["partner"],
        "ref_param": row["code"],
        "destination_url": row["url"],
        "campaign_id": None if program is None else str(program),
        "domain_id": row["domain"] or None,
        "created_at": row["created_at"],
    }


def _made(kind: str, data: dict[str, Any]) -> Answer:
    return Answer({"object": kind, "data": data}, HTTPStatus.CREATED)
