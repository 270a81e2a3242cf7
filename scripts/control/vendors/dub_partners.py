"""Dub's routes of partners."""

from http import HTTPStatus
from typing import Any, Final

from scripts.control.problems import invalid
from scripts.control.resources import add, resource
from scripts.control.serving import Answer, Call
from scripts.control.vendors import found
from scripts.control.vendors.dub import page, program_id
from scripts.services.noun import Row

_PARTNERS: Final = resource("partners")
_NULL: Final = (
    "username", "country", "companyName", "defaultPayoutMethod", "paypalEmail",
    "stripeConnectId", "payoutsEnabledAt", "identityVerifiedAt",
)  # fmt: skip


async def create_partner(call: Call) -> Answer:
    """Create a partner, known as its tenant id, its user name or its e-mail address."""
    body = call.body
    if not isinstance(body, dict) or not isinstance(body.get("email"), str):
        raise invalid("email is missing.", "email")
    known = await found.partners(call, email=body["email"])
    if not known:
        wanted = {
            "code": body.get("tenantId") or body.get("username") or body["email"],
            "name": body.get("name") or "",
            "email": body["email"],
            "image": body.get("image") or "",
        }
        made = await add(call, _PARTNERS, wanted)
        known = await found.partners(call, public_id=made["public_id"])
    return Answer(_partner(known[0]), HTTPStatus.CREATED)


async def list_partners(call: Call) -> Answer:
    """List partners, newest first, a page at a time."""
    query = call.request.query
    named = {name: query.get(name) for name in ("email", "search")}
    listed = await found.partners(call, **named, **page(query))
    return Answer([_partner(row) for row in listed])


def _partner(row: Row) -> dict[str, Any]:
    return {
        **dict.fromkeys(_NULL),
        "id": row["public_id"],
        "partnerId": row["public_id"],
        "name": row["name"] or row["code"],
        "email": row["email"],
        "image": row["image"],
        "networkStatus": "draft",
        "programId": "" if row["program"] is None else program_id(row["program"]),
        "tenantId": row["code"],
        "createdAt": row["created_at"],
        "status": "approved",
        "links": [],
        "totalClicks": row["unique_clicks"],
        "totalLeads": row["leads"],
        "totalSales": row["sales"],
    }
