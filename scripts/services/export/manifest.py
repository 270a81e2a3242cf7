"""The list of exported files: what readers trust, and what the next export compares with."""

from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import orjson

from scripts.errors import UsageProblem
from scripts.services.export.places import Place

NAME: Final = "manifest.json"


@dataclass(slots=True)
class Manifest:
    """By day: how many `rows`, their `sum`, and the `files` that have them.

    `format` and `workspace` are the same of every day.
    """

    format: str
    workspace: str | None
    days: dict[str, dict[str, Any]] = field(default_factory=dict)

    def is_same(self, day: date, found: dict[str, Any]) -> bool:
        """Whether what was exported of a day has this fingerprint."""
        known = self.days.get(str(day), {"rows": 0, "sum": "0"})
        return all(known[name] == value for name, value in found.items())

    def files_of(self, day: date) -> set[str]:
        return {each["name"] for each in self.days.get(str(day), {}).get("files", ())}

    @property
    def files(self) -> set[str]:
        return {each["name"] for day in self.days.values() for each in day["files"]}


async def load(place: Place, wanted: Manifest) -> Manifest:
    """What was exported before, or `wanted`. Raises UsageProblem if that was something else."""
    data = await place.get(NAME)
    if data is None:
        return wanted
    try:
        said = orjson.loads(data)
        known = Manifest(said["format"], said["workspace"], said["days"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageProblem(
            f"{NAME} in {place.name} is not of an export.", "choose another place."
        ) from error
    if (known.format, known.workspace) != (wanted.format, wanted.workspace):
        whose = known.workspace or "every workspace"
        raise UsageProblem(
            f"{place.name} has an export of {whose} as {known.format}.",
            "choose another place, or the same format and workspace.",
        )
    return known


async def save(place: Place, manifest: Manifest) -> None:
    said = {
        "format": manifest.format,
        "workspace": manifest.workspace,
        "files": sorted(manifest.files),
        "days": dict(sorted(manifest.days.items())),
    }
    await place.put(NAME, orjson.dumps(said, option=orjson.OPT_INDENT_2))
