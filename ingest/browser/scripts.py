"""The built scripts, and the names under which pages load them."""

from base64 import b64encode
from dataclasses import dataclass
from functools import cache, cached_property
from gzip import compress
from hashlib import sha256, sha384
from importlib.resources import files
from typing import Final, Literal

#: `t.js` also marks links to other sites, and has what the loaders of Dub and Affitor need.
#: The last two are for the pages of one vendor, with all of its global.
Name = Literal["t.js", "t-core.js", "t-dub.js", "t-affitor.js"]
NAMES: Final[tuple[Name, ...]] = ("t.js", "t-core.js", "t-dub.js", "t-affitor.js")
#: Those with Reftide's own global.
OWN: Final[tuple[Name, ...]] = ("t.js", "t-core.js")


@dataclass(frozen=True)
class BuiltScript:
    """A built script."""

    body: bytes

    @cached_property
    def zipped(self) -> bytes:
        return compress(self.body, 9, mtime=0)

    @cached_property
    def path(self) -> str:
        """The path that has only ever these bytes."""
        return f"/t-{sha256(self.body).hexdigest()[:16]}.js"

    @cached_property
    def integrity(self) -> str:
        """What the tag says of the bytes, so that browsers run no others."""
        return f"sha384-{b64encode(sha384(self.body).digest()).decode()}"


@cache
def script(name: Name) -> BuiltScript:
    return BuiltScript((files("ingest.browser") / "built" / name).read_bytes())


@cache
def released() -> tuple[BuiltScript, ...]:
    """What pages may load by hash: the scripts of this release and of those before it."""
    folder = files("ingest.browser") / "released"
    kept = (each for each in folder.iterdir() if each.name.endswith(".js"))
    return tuple(BuiltScript(each.read_bytes()) for each in kept)
