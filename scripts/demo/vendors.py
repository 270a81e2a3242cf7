"""The vendors' own example requests, as their pages print them.

A body is a file of `bodies`, byte for byte what stands on the page; the newline at its end is
the file's, not the body's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final


@dataclass(frozen=True, slots=True)
class VendorRequest:
    """One request, sent to our own edge instead of the vendor's host."""

    vendor: str
    what: str
    method: str
    path: str
    headers: Mapping[str, str]
    #: None where the page shows no body.
    file: str | None = None

    @property
    def body(self) -> bytes:
        if self.file is None:
            return b""
        found = files("scripts.demo").joinpath("bodies", self.file)
        return found.read_bytes().removesuffix(b"\n")


def _bricqs(
    what: str, method: str, path: str, headers: Mapping[str, str], file: str = ""
) -> VendorRequest:
    at = f"/api/v1/referrals/{path}"
    return VendorRequest("Bricqs", what, method, at, headers, file or None)


_JSON: Final = {"Content-Type": "application/json"}
_BEARER: Final = {"Authorization": "Bearer YOUR_API_KEY"}
_KEY: Final = {"X-API-Key": "bq_live_your_key"}
_CLICK: Final = "/api/v1/track/click"
_LEAD: Final = "/api/track/lead"
_ALICE: Final = "/api/v1/referral/click/alice123"

#: A later dialect adds its example here.
EXAMPLES: Final = (
    VendorRequest(
        "Affitor", "Track Click", "POST", _CLICK, _JSON, "affitor-click.json"
    ),
    VendorRequest(
        "Refport", "Track Lead", "POST", _LEAD, _BEARER | _JSON, "refport-lead.json"
    ),
    VendorRequest("bio.re", "Track Referral Click", "POST", _ALICE, {}),
    _bricqs(
        "Generate Referral Code",
        "POST",
        "generate",
        _KEY | _JSON,
        "bricqs-generate.json",
    ),
    _bricqs("Validate Referral Code", "GET", "validate/ALEX2026", {}),
    _bricqs("Convert Referral", "POST", "convert", _JSON, "bricqs-convert.json"),
    _bricqs("Get Referral Stats", "GET", "stats/user_123", _KEY),
)
