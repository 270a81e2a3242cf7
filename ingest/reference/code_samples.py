"""The example request of an operation in three languages.

Viewers of OpenAPI documents show them from `x-code-samples`.
"""

from pprint import pformat
from typing import Final

import orjson

from ingest.contracts.storable import Json
from ingest.dialects.spec.routes import Route

#: Where an edge listens unless it is told otherwise.
_EDGE: Final = "http://127.0.0.1:8080"

_KEYS: Final = {
    "authorization": ("Authorization", "Bearer KEY"),
    "x-api-key": ("X-API-Key", "KEY"),
}


def code_samples(route: Route, path: str, body: Json) -> list[dict[str, str]]:
    """How curl, Python and JavaScript send this body to this path of the route."""
    key = dict([_KEYS[route.credential.header]] if route.credential else [])
    typed = {**key, "Content-Type": "application/json"} if route.body else key
    sent = body if route.body else None
    javascript = _javascript(path, typed, sent)
    return [
        {"lang": "shell", "label": "curl", "source": _curl(path, typed, sent)},
        {"lang": "python", "label": "Python", "source": _python(path, key, sent)},
        {"lang": "javascript", "label": "JavaScript", "source": javascript},
    ]


def _curl(path: str, headers: dict[str, str], body: Json) -> str:
    lines = [f"curl '{_EDGE}{path}'"]
    lines += [f"-H '{name}: {value}'" for name, value in headers.items()]
    if body is not None:
        lines.append("-d '{}'".format(_json(body).replace("'", "'\\''")))
    return " \\\n  ".join(lines)


def _python(path: str, headers: dict[str, str], body: Json) -> str:
    lines = ["import requests", "", f'url = "{_EDGE}{path}"']
    given = ""
    if headers:
        lines.append(f"headers = {pformat(headers, width=70, sort_dicts=False)}")
        given = ", headers=headers"
    if body is not None:
        lines.append(f"body = {pformat(body, width=70, sort_dicts=False)}")
        given += ", json=body"
    verb = "get" if body is None else "post"
    lines += [f"answer = requests.{verb}(url{given})"]
    return "\n".join([*lines, "print(answer.status_code, answer.json())"])


def _javascript(path: str, headers: dict[str, str], body: Json) -> str:
    options: dict[str, Json] = {"headers": {**headers}} if headers else {}
    shown = _json({"method": "GET" if body is None else "POST", **options})
    if body is not None:
        inner = _json(body).replace("\n", "\n  ")
        shown = shown.removesuffix("\n}") + f',\n  "body": JSON.stringify({inner})\n}}'
    return (
        f'const answer = await fetch("{_EDGE}{path}", {shown});\n'
        "console.log(answer.status, await answer.json());"
    )


def _json(value: Json) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
