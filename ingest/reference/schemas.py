"""A dialect's models as JSON schemas, and the responses that are made of them."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ingest.dialects.spec.requests import Reply
from ingest.dialects.spec.routes import Dialect, Route

Node = dict[str, Any]

JSON: Final = "application/json"
_REF: Final = "#/components/schemas/"

_Models = list[tuple[type[BaseModel], Literal["validation", "serialization"]]]


class Schemas:
    """The bodies, answers and refusals of a dialect."""

    def __init__(self, dialect: Dialect, *more: Route) -> None:
        """`more` are routes of it that are not endpoints."""
        self._dialect = dialect
        models: _Models = [(dialect.problem, "serialization")]
        for route in (*dialect.endpoints, *more):
            models.append((route.reply, "serialization"))
            if route.body:
                models.append((route.body, "validation"))
        refs, found = models_json_schema(models, ref_template=_REF + "{model}")
        self._refs = {model: self._ours(ref) for (model, _), ref in refs.items()}
        #: By name, with the dialect's name in front.
        self.by_name: Node = {
            self._name(name): self._ours(schema)
            for name, schema in found.get("$defs", {}).items()
        }
        for schema in self.by_name.values():
            self._show_fields(schema)

    def ref(self, model: type[BaseModel]) -> Node:
        """A reference to a model's schema."""
        found: Node = self._refs[model]
        return found

    def of(self, model: type[BaseModel] | None) -> Node:
        """The schema of a model itself; empty if there is no model."""
        if model is None:
            return {}
        found: Node = self.by_name[self.ref(model)["$ref"].removeprefix(_REF)]
        return found

    def _ours(self, node: Any) -> Any:
        """The node with names of this dialect, without titles and defaults of null."""
        if isinstance(node, list):
            return [self._ours(item) for item in node]
        if not isinstance(node, dict):
            return node
        return _plain(
            {
                key: self._our_value(key, item)
                for key, item in node.items()
                if key != "title" and (key, item) != ("default", None)
            }
        )

    def _our_value(self, key: str, item: Any) -> Any:
        if key == "$ref":
            return _REF + self._name(item.removeprefix(_REF))
        if key == "properties":
            return {name: self._ours(field) for name, field in item.items()}
        return item if key == "examples" else self._ours(item)

    def _show_fields(self, schema: Node) -> None:
        """Give every field that lacks one an example."""
        [shown] = schema.get("examples", [{}])
        for name, field in schema.get("properties", {}).items():
            if "examples" not in field:
                field["examples"] = [shown[name] if name in shown else self._of(field)]

    def _of(self, field: Node) -> Any:
        """An example of an object or array, made of those of its fields."""
        if field.get("type") == "array":
            return [self._of(field["items"])]
        [found] = [each for each in (field, *field.get("anyOf", ())) if "$ref" in each]
        schema = self.by_name[found["$ref"].removeprefix(_REF)]
        self._show_fields(schema)
        fields = schema["properties"].items()
        return {name: field["examples"][0] for name, field in fields}

    def _name(self, model: str) -> str:
        return f"{self._dialect.name}.{model.lstrip('_').removesuffix('Body')}"


def _plain(node: Node) -> Node:
    """An alternative of a type and null, as a list of the two types."""
    alternatives: list[Node] = node.get("anyOf", [])
    if len(alternatives) != 2 or alternatives[1] != {"type": "null"}:  # noqa: PLR2004
        return node
    kind = alternatives[0]
    if not isinstance(kind.get("type"), str):
        return node
    plain = {**node, **kind, "type": [kind["type"], "null"]}
    del plain["anyOf"]
    if "enum" in kind:
        plain["enum"] = [*kind["enum"], None]
    return plain


class Shown(NamedTuple):
    """An answer that the document shows: its name and, if that is taken, what else."""

    name: str
    detail: str
    when: str
    reply: Reply


def responses(answers: Iterable[Shown], schema_of: Callable[[int], Node]) -> Node:
    """The responses of an operation, by status; `schema_of` gives a status' schema."""
    found: Node = {}
    for name, detail, when, reply in sorted(
        answers, key=lambda each: each.reply.status
    ):
        status = HTTPStatus(reply.status)
        content = {"schema": schema_of(status), "examples": {}}
        node = {"description": status.phrase, "headers": {}, "content": {JSON: content}}
        node = found.setdefault(str(reply.status), node)
        examples = node["content"][JSON]["examples"]
        key = f"{name}.{detail}" if name in examples else name
        examples[key] = {**({"summary": when} if when else {}), "value": reply.body}
        allow = {"Allow"} if status == HTTPStatus.METHOD_NOT_ALLOWED else set()
        for header in sorted({*reply.headers, *allow}):
            node["headers"][header] = {"$ref": f"#/components/headers/{header}"}
    return found
