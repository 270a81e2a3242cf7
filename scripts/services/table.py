"""Every declared noun, by name. A noun is imported when it is asked for."""

from importlib import import_module
from typing import Final

from scripts.services.noun import Noun

#: The module of each, which has it under its name in capitals.
NOUNS: Final = {
    "workspaces": "administer.access.workspaces",
    "programs": "administer.catalogue.programs",
    "partners": "administer.catalogue.partners",
    "links": "administer.catalogue.links",
    "milestones": "administer.catalogue.milestones",
    "domains": "administer.access.domains",
    "keys": "administer.access.keys",
    "switches": "administer.access.switches",
    "limits": "administer.access.limits",
    "customers": "find.customers",
    "replays": "recover.replays",
    "erasures": "recover.erasures",
}


def noun(name: str) -> Noun:
    module = import_module(f"scripts.services.{NOUNS[name]}")
    found: Noun = getattr(module, name.upper())
    return found
