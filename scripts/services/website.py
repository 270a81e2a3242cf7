"""The tag that a website puts on its pages."""

from collections.abc import Mapping
from html import escape

from ingest.browser.scripts import script


def tag_attributes(
    edge: str, said: Mapping[str, object], *, is_latest: bool = False
) -> dict[str, str | None]:
    """The attributes of the tag of the tracker at an edge's URL; None is one without a value.

    `said` are the tracker's settings, without `data-`; what is None is left out. The script is
    named by the hash of its bytes unless it is to be the latest.
    """
    found = script("t.js" if said.get("outbound") else "t-core.js")
    return {
        "async": None,
        "src": f"{edge}/t.js" if is_latest else edge + found.path,
        **({} if is_latest else {"integrity": found.integrity}),
        "crossorigin": "anonymous",
        **{
            f"data-{name.replace('_', '-')}": str(value)
            for name, value in said.items()
            if value is not None
        },
    }


def tag(attributes: Mapping[str, str | None]) -> str:
    written = " ".join(
        name if value is None else f'{name}="{escape(value)}"'
        for name, value in attributes.items()
    )
    return f"<script {written}></script>"
