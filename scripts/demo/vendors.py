"""The vendors' own example requests, as their pages print them.

A body is a file of `bodies`, byte for byte what stands on the page; the newline at its end is
the file's, not the body's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
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


#: A later dialect adds its example here.
EXAMPLES: Final = (
    Example(
        vendor="Affitor",
        what="Track Click",
        method="POST",
        path="/api/v1/track/click",
        headers={"Content-Type": "application/json"},
        file="affitor-click.json",
    ),
    Example(
        vendor="Refport",
        what="Track Lead",
        method="POST",
        path="/api/track/lead",
        headers={
            "Authorization": "Bearer YOUR_API_KEY",
            "Content-Type": "application/json",
        },
        file="refport-lead.json",
    ),
    Example(
        vendor="bio.re",
        what="Track Referral Click",
        method="POST",
        path="/api/v1/referral/click/alice123",
        headers={},
    ),
    Example(
        vendor="Bricqs",
        what="Generate Referral Code",
        method="POST",
        path="/api/v1/referrals/generate",
        headers={"X-API-Key": "bq_live_your_key", "Content-Type": "application/json"},
        file="bricqs-generate.json",
    ),
    Example(
        vendor="Bricqs",
        what="Validate Referral Code",
        method="GET",
        path="/api/v1/referrals/validate/ALEX2026",
        headers={},
    ),
    Example(
        vendor="Bricqs",
        what="Convert Referral",
        method="POST",
        path="/api/v1/referrals/convert",
        headers={"Content-Type": "application/json"},
        file="bricqs-convert.json",
    ),
    Example(
        vendor="Bricqs",
        what="Get Referral Stats",
        method="GET",
        path="/api/v1/referrals/stats/user_123",
        headers={"X-API-Key": "bq_live_your_key"},
    ),
)
