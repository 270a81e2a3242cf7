"""Which texts of a form an action is given, and whether it may be."""

from collections.abc import Sequence
from typing import Final

from scripts.console.pages.choosing import hiding, theirs
from scripts.console.serving import Asked, Form
from scripts.errors import UsageProblem
from scripts.servers import Connection
from scripts.services.administer.catalogue.programs import the_program

#: How an action is told to leave nothing; others keep what they have.
_NOTHING: Final = {
    "expires_at": "never", "fallback_url": "", "click_param": "", "image": "", "name": "",
    "email": "", "reason": "",
}  # fmt: skip


def given(form: Form, names: Sequence[str]) -> dict[str, str]:
    """The fields that somebody filled in."""
    return {name: text for name in names if (text := form.get(name, "").strip())}


def changed(form: Form, names: Sequence[str]) -> dict[str, str]:
    """The fields that differ from what the page showed. Raises UsageProblem."""
    found = {}
    for name in names:
        text = form.get(name, "").strip()
        if name not in form or text == form.get(f"was_{name}", "").strip():
            continue
        if not text and name not in _NOTHING:
            raise UsageProblem(
                f"{name.replace('_', ' ').capitalize()} cannot be emptied.",
                "leave it as it was, or write another one.",
            )
        found[name] = text or _NOTHING[name]
    return found


async def require_program(
    asked: Asked, connection: Connection, number: int | None
) -> None:
    """Raises Refused for a program of others: that it exists is not to be told."""
    if number is not None and asked.user.workspaces is not None:
        with hiding():
            theirs(asked, (await the_program(connection, number))["workspace_id"])
