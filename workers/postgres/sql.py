"""Statements by name, read from `.sql` files.

Each statement follows a line `-- name: description` and ends at the next such line. One whose
name begins with `_` is a part of others of its file, which name it in braces.
"""

import re
from functools import cache
from importlib.resources import files
from itertools import product

_HEAD = re.compile(r"^-- (\w+): \S.*$", re.MULTILINE)


@cache
def statements(
    file: str, package: str = "workers", fills: tuple[tuple[str, str], ...] = ()
) -> dict[str, str]:
    """The statements of `<package>/<file>.sql`; ValueError on a repeated name.

    `fills` are placeholders, and what is put in their place.
    """
    found = _texts(file, package, fills)
    parts = {name: found.pop(name) for name in list(found) if name.startswith("_")}
    for part, whole in product(parts, found):
        found[whole] = found[whole].replace(f"{{{part}}}", parts[part])
    return found


def part(file: str, name: str) -> str:
    """A part of the workers' statements, for statements elsewhere."""
    return _texts(file, "workers", ())[name]


def _texts(
    file: str, package: str, fills: tuple[tuple[str, str], ...]
) -> dict[str, str]:
    """Statements and parts by name, as they are written."""
    text = files(package).joinpath(f"{file}.sql").read_text("utf-8")
    for placeholder, value in fills:
        text = text.replace(placeholder, value)
    heads = list(_HEAD.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    found = {
        head[1]: text[head.end() : end].strip()
        for head, end in zip(heads, ends, strict=True)
    }
    if len(found) != len(heads):
        raise ValueError(f"{package}/{file}.sql names a statement twice")
    return found
