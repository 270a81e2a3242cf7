"""Lists to import: what would become of each line is shown first."""

from collections.abc import Mapping
from io import StringIO
from typing import Any, Final

from scripts.console.serving import Act, Asked, Form, Page, form_of
from scripts.errors import Failure, UsageProblem
from scripts.servers import postgres
from scripts.services import operations
from scripts.services.administer.access.workspaces import visible
from scripts.services.imports.importing import Imported, import_lines
from scripts.services.imports.kinds import KINDS
from scripts.services.imports.lines import parse

_STATUSES: Final = ("created", "changed", "unchanged", "refused")


async def _read(asked: Asked) -> Mapping[str, Any]:
    async with asked.console.reads.connection() as connection:
        known = await visible(connection, None)
    return {"kinds": KINDS, "workspaces": [*known]}


async def _preview(asked: Asked) -> Mapping[str, Any]:
    form = await form_of(asked.request)
    found = await _imported(asked, form, is_dry=True)
    return {"form": form, "counts": _counts(found), "refused": found.refused}


async def _import(asked: Asked, form: Form) -> int:
    """Whole thousands of lines are committed at a time, so it is noted before it begins."""
    said = {name: form.get(name, "") for name in ("kind", "workspace")}
    async with postgres(asked.console.environment) as connection:
        number = await operations.begin(
            connection, who=asked.user.name, what="import", arguments=said
        )
        try:
            found = await _imported(asked, form, is_dry=False)
        except Failure as error:
            result = {"problem": error.what, "remedy": error.remedy}
            await operations.end(connection, number, result=result, has_failed=True)
        else:
            await operations.end(connection, number, result=_counts(found))
    return number


async def _imported(asked: Asked, form: Form, *, is_dry: bool) -> Imported:
    kind = KINDS.get(form.get("kind", ""))
    if kind is None:
        raise UsageProblem(
            "Nobody says what the list has.", f"choose {', '.join(KINDS)}."
        )
    # A browser sends line ends of its own.
    text = StringIO(form.get("text", "").strip(), newline=None)
    return await import_lines(
        asked.console.environment,
        kind,
        parse("The list", text, kind.fields, {}),
        workspace=form.get("workspace") or None,
        is_dry=is_dry,
        advance=lambda _: None,
    )


def _counts(found: Imported) -> dict[str, int]:
    return {name: found.statuses[name] for name in _STATUSES}


PAGE: Final = Page("links-import", "Import", _read, "import", role="operator")
PREVIEW_PAGE: Final = Page(
    "links-import-preview", "Import", _preview, "import/preview", role="operator"
)
ACT: Final = Act("import", "operator", _import)
