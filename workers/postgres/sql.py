"""Statements by name, read from `.sql` files.

Each statement follows a line `-- name: description` and ends at the next such line.
"""

import re
from functools import cache
from importlib.resources import files

_HEAD = re.compile(r"^-- (\w+): \S.*$", re.MULTILINE)


@cache
def statements(file: str, package: str = "workers") -> dict[str, str]:
    """The statements of `<package>/<file>.sql`; ValueError on a repeated name."""
    text = files(package).joinpath(f"{file}.sql").read_text("utf-8")
    heads = list(_HEAD.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    found = {
        head[1]: text[head.end() : end].strip()
        for head, end in zip(heads, ends, strict=True)
    }
    if len(found) != len(heads):
        raise ValueError(f"{package}/{file}.sql names a statement twice")
    return found
