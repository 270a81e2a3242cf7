"""Texts and values as HTML, everything escaped. Used by `page`."""

from collections.abc import Sequence
from html import escape

import orjson


def table(title: str, heads: tuple[str, ...], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are HTML already; nothing where there are no rows."""
    if not rows:
        return ""
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    lines = (f"<td>{'</td><td>'.join(row)}</td>" for row in rows)
    body = "</tr><tr>".join(lines)
    return (
        f'<h4>{escape(title)}</h4><div class="scroll"><table class="stack"><thead><tr>{head}'
        f"</tr></thead><tbody><tr>{body}</tr></tbody></table></div>"
    )


def as_json(value: object, *, indent: bool = False) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None).decode()


def block(text: str) -> str:
    return f"<pre><code>{escape(text)}</code></pre>"


def prose(text: str) -> str:
    """Paragraphs and lists, of the few marks that docstrings use."""
    shown = []
    for block in text.split("\n\n"):
        if block.startswith("- "):
            items = "</li><li>".join(words(item) for item in block[2:].split("\n- "))
            shown.append(f"<ul><li>{items}</li></ul>")
        else:
            shown.append(f"<p>{words(block)}</p>")
    return "".join(shown)


def words(text: str) -> str:
    """One line of text; what stands between backticks is code."""
    parts = escape(" ".join(text.split())).split("`")
    return "".join(
        f"<code>{part}</code>" if place % 2 else part
        for place, part in enumerate(parts)
    )
