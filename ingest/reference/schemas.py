"""A dialect's models as JSON schemas. Pure; used by `openapi`."""

from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ingest.dialects.spec import Dialect, Route

Node = dict[str, Any]

_REF: Final = "#/components/schemas/"

_Models = list[tuple[type[BaseModel], Literal["validation", "serialization"]]]


class Schemas:
    """The bodies, answers and refusals of a dialect."""

    def __init__(self, dialect: Dialect, *more: Route) -> None:
        """`more` are routes of it that are no endpoints."""
        self._dialect = dialect
        models: _Models = [(dialect.problem, "serialization")]
        for route in (*dialect.endpoints, *more):
            models.append((route.reply, "serialization"))
            if route.body:
                models.append((route.body, "validation"))
        refs, found = models_json_schema(models, ref_template=_REF + "{model}")
        self._refs = {model: self._ours(ref) for (model, _), ref in refs.items()}
        #: By name; no name is another dialect's.
        self.by_name: Node = {
            self._name(name): self._ours(schema)
            for name, schema in found.get("$defs", {}).items()
        }

    def ref(self, model: type[BaseModel]) -> Node:
        """A reference to a model's schema."""
        found: Node = self._refs[model]
        return found

    def of(self, model: type[BaseModel] | None) -> Node:
        """The schema of a model itself; empty where there is none."""
        if model is None:
            return {}
        found: Node = self.by_name[self.ref(model)["$ref"].removeprefix(_REF)]
        return found

    def _ours(self, node: Any) -> Any:
        """The node with this dialect's names and without what only repeats them."""
        if isinstance(node, list):
            return [self._ours(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return {"$ref": _REF + self._name(node["$ref"].removeprefix(_REF))}
        return {
            key: {name: self._ours(field) for name, field in item.items()}
            if key == "properties"
            else self._ours(item)
            for key, item in node.items()
            if key != "title" and (key, item) != ("default", None)
        }

    def _name(self, model: str) -> str:
        return f"{self._dialect.name}.{model.lstrip('_')}"
