"""`reftide seed`: the codes, keys and ids that the vendors' own examples use."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import click

from scripts.environment import Environment
from scripts.output import Report, reporting, table
from scripts.services.maintain.seed import plant

_LINKS: Final = (
    "code", "domain", "public_id", "program", "partner", "is_active", "url",
)  # fmt: skip


@click.command(
    epilog="""\b
Afterwards the vendors' examples work as they are printed, for instance:
  curl -X POST http://127.0.0.1:8080/api/v1/referral/click/alice123
Run it as often as you like: what exists stays as it is.
"""
)
@reporting
async def command(environment: Environment) -> Report:
    """Make the demo workspace. These keys are public: never seed a real installation."""
    planted = await plant(environment)
    return Report(planted, partial(_show, planted))


def _show(planted: Mapping[str, Any]) -> None:
    programs = ("number", "name", "id", "url")
    table(
        planted["programs"], programs, f"Programs of workspace {planted['workspace']}"
    )
    table(planted["partners"], ("code", "public_id", "name"), "Partners")
    table(planted["links"], _LINKS, "Links")
    table(planted["keys"], ("secret", "scopes", "id", "revoked_at"), "API keys")
    table(planted["clicks"], ("token", "link", "click_id"), "Imported clicks")
