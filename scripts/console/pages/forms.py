"""From the texts of a form to what a declared action takes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from scripts.console.pages.choosing import theirs
from scripts.console.serving import Asked, Form
from scripts.errors import UsageProblem
from scripts.servers import Connection
from scripts.services.administer.catalogue.programs import the_program
from scripts.services.noun import Noun

_LONGEST: Final = 4000
#: How an action is told to leave nothing; others keep what they have.
_NOTHING: Final = {
    "expires_at": "never", "fallback_url": "", "click_param": "", "image": "", "name": "",
    "email": "", "reason": "",
}  # fmt: skip


def values(noun: Noun, verb: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """Every field of an action, by name: parsed, or its default. Raises UsageProblem."""
    [action] = [each for each in noun.actions if each.verb == verb]
    return {
        name: _parsed(name, field, texts[name]) if name in texts else field.default
        for name, field in action.fields.items()
    }


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
        row = await the_program(connection, number)
        theirs(asked, row["workspace_id"])


def _parsed(name: str, field: Any, text: str) -> Any:
    if len(text) > _LONGEST:
        raise UsageProblem(f"{name} is too long.", f"write {_LONGEST} characters.")
    if field.is_switch:
        return text == "on"
    if field.choices and text not in field.choices:
        raise UsageProblem(
            f"{name} is {text!r}.", f"choose one of {', '.join(field.choices)}."
        )
    try:
        return field.parse(text)
    except ValueError as error:
        said = name.replace("_", " ").capitalize()
        raise UsageProblem(f"{said}: {error}.", "correct it in the form.") from error
