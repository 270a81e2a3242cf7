"""The OpenAPI document as one page of HTML that loads nothing. Pure; used by `docs`.

It shows only what stands in the document, so that neither can say what the other does not.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any, Final

from ingest.dialects.body import SAYS_SOMETHING
from ingest.reference.markup import as_json, block, prose, table, words
from ingest.reference.style import STYLE

_Node = Mapping[str, Any]


def page(document: _Node) -> str:
    """A whole page, in UTF-8 when it is encoded."""
    info = document["info"]
    tags = [(tag, [*_operations(document, tag["name"])]) for tag in document["tags"]]
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{escape(info['title'])} API</title><style>{STYLE}</style></head>",
            f"<body><h1>{escape(info['title'])} API</h1>",
            f'<p class="dim">{escape(info["version"])} · ',
            '<a href="openapi.json">openapi.json</a></p>',
            f"<p>{words(info['description'])}</p><nav>",
            *(_contents(tag["name"], operations) for tag, operations in tags),
            "</nav>",
            *(_tag(document, tag, operations) for tag, operations in tags),
            "</body></html>",
        ]
    )


class _Operation:
    """An operation with the method and path under which the document has it."""

    def __init__(self, method: str, path: str, node: _Node) -> None:
        self.method = method.upper()
        self.path = path
        self.node = node

    @property
    def anchor(self) -> str:
        return escape(self.node["operationId"])

    @property
    def title(self) -> str:
        return f'<span class="verb">{self.method}</span>{escape(self.path)}'


def _operations(document: _Node, tag: str) -> Iterator[_Operation]:
    for path, item in document["paths"].items():
        for method, node in item.items():
            if tag in node["tags"]:
                yield _Operation(method, path, node)


def _contents(name: str, operations: list[_Operation]) -> str:
    items = "".join(
        f'<li><a href="#{each.anchor}"><code>{each.method} {escape(each.path)}</code></a> '
        f'<span class="dim">{escape(each.node["summary"])}</span></li>'
        for each in operations
    )
    return f"<b>{escape(name)}</b><ul>{items}</ul>"


def _tag(document: _Node, tag: _Node, operations: list[_Operation]) -> str:
    name = escape(tag["name"])
    shown = "".join(_operation(document, each) for each in operations)
    about = prose(tag["description"])
    return f'<section><h2 id="{name}">{name}</h2>{about}{shown}</section>'


def _operation(document: _Node, operation: _Operation) -> str:
    node = operation.node
    return "".join(
        [
            f'<article id="{operation.anchor}"><h3>{operation.title}</h3>',
            f"<p><b>{escape(node['summary'])}.</b> {words(node['description'])}</p>",
            _parameters(node["parameters"]),
            _fields(document, node),
            "<h4>Example</h4>",
            block(_curl(document, operation)),
            _answers(node["responses"]),
            _refusals(node["responses"]),
            "</article>",
        ]
    )


def _parameters(parameters: list[_Node]) -> str:
    rows = [
        (
            f"<code>{escape(each['name'])}</code>",
            escape(each["in"]),
            words(each.get("description", "")),
        )
        for each in parameters
    ]
    return table("Parameters", ("name", "where", ""), rows)


def _fields(document: _Node, operation: _Node) -> str:
    if "requestBody" not in operation:
        return ""
    [media] = operation["requestBody"]["content"].values()
    schema = _resolved(document, media["schema"])
    for each in schema.get("anyOf", ()):
        if "items" in each:  # of events, the first kind is the one to send
            schema = _resolved(document, each["items"]["anyOf"][0])
    fields = schema.get("properties", {})
    needs = {name: _need(schema, name) for name in fields}
    rows = [
        (
            f"<code>{escape(name)}</code>",
            needs[name] or '<span class="dim">optional</span>',
            words(_kind(document, fields[name])),
        )
        for name in sorted(fields, key=lambda name: not needs[name])
    ]
    return table("Body", ("field", "", ""), rows)


def _need(schema: _Node, name: str) -> str:
    """Whether a body has to have a field; empty where it has not."""
    choices = [each.get("required", ()) for each in schema.get("anyOf", ())]
    if name in schema.get("required", ()) or [(name,)] == [*map(tuple, choices)]:
        return "required"
    return "one of these" if any(name in each for each in choices) else ""


def _resolved(document: _Node, schema: _Node) -> _Node:
    if "$ref" not in schema:
        return schema
    name = schema["$ref"].rpartition("/")[2]
    found: _Node = document["components"]["schemas"][name]
    return found


def _kind(document: _Node, schema: _Node) -> str:
    """What a value has to be, in words."""
    schema = _resolved(document, schema)
    if "anyOf" in schema:
        kinds = [_kind(document, each) for each in schema["anyOf"]]
        said = " or ".join(kind for kind in kinds if kind)
    elif "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        said = ", ".join(f"`{as_json(value)}`" for value in values)
    else:
        said = " ".join(_parts(schema))
    notes = [said, schema.get("description", "")]
    if "default" in schema:
        notes.append(f"else `{as_json(schema['default'])}`")
    return "; ".join(note for note in notes if note)


_BOUNDS: Final = {
    "maxLength": "of at most {:,} characters",
    "minimum": "from {:,}",
    "exclusiveMinimum": "above {:,}",
    "maximum": "to {:,}",
    "exclusiveMaximum": "below {:,}",
}


def _parts(schema: _Node) -> Iterator[str]:
    if "type" in schema:
        kinds = schema["type"]
        yield kinds if isinstance(kinds, str) else " or ".join(kinds)
    if "format" in schema:
        yield f"({schema['format']})"
    if schema.get("pattern") == SAYS_SOMETHING or schema.get("minLength") == 1:
        yield "that is not empty"
    elif "pattern" in schema:
        yield f"like `{schema['pattern']}`"
    for key, bound in _BOUNDS.items():
        if key in schema:
            yield bound.format(schema[key])


def _curl(document: _Node, operation: _Operation) -> str:
    node, path = operation.node, operation.path
    for parameter in node["parameters"]:
        if parameter["in"] == "path":
            name, value = parameter["name"], str(parameter["example"])
            path = path.replace("{" + name + "}", value)
    lines = [f"curl -X {operation.method} http://localhost:8080{path}"]
    schemes = document["components"]["securitySchemes"]
    wanted = [schemes[name] for each in node["security"] for name in each]
    lines.extend(f"-H '{_header(scheme)}'" for scheme in wanted)
    if "requestBody" in node:
        [(media, content)] = node["requestBody"]["content"].items()
        lines.append(f"-H 'Content-Type: {media}'")
        body = as_json(content["example"], indent=True).replace("'", "'\\''")
        lines.append(f"-d '{body}'")
    return " \\\n  ".join(lines)


def _header(scheme: _Node) -> str:
    if scheme["type"] == "http":
        return "Authorization: Bearer YOUR_KEY"
    return f"{scheme['name']}: YOUR_KEY"


def _examples(responses: _Node) -> Iterator[tuple[str, str, str, str]]:
    """Status, name, words and body of every answer that the document shows."""
    for status, response in responses.items():
        [media] = response["content"].values()
        for name, example in media["examples"].items():
            yield status, name, example.get("summary", ""), as_json(example["value"])


def _answers(responses: _Node) -> str:
    shown = []
    for status, response in responses.items():
        [media] = response["content"].values()
        example = media["examples"].get("accepted")
        if example:
            heading = f'<h4>Answer <span class="s2">{escape(status)}</span></h4>'
            shown.append(heading + block(as_json(example["value"], indent=True)))
            shown.append(_told(response.get("headers", {})))
    return "".join(shown)


def _told(headers: _Node) -> str:
    names = ", ".join(f"<code>{escape(name)}</code>" for name in headers)
    return f"<p>With the headers {names}.</p>" if names else ""


def _refusals(responses: _Node) -> str:
    refusals = (each for each in _examples(responses) if each[1] != "accepted")
    alike = groupby(refusals, lambda each: (each[0], *each[2:]))
    rows: list[Sequence[str]] = []
    for (status, when, body), same in alike:
        code = f'<b class="s{status[0]}">{escape(status)}</b>'
        names = ", ".join(f"<code>{escape(name)}</code>" for _, name, _, _ in same)
        rows.append((code, f"{words(when)}<br>{names}", block(body)))
    return table("Refusals", ("status", "when", "body"), rows)
