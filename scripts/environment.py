"""Where the servers are and which secret is ours."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from ingest.contracts.placement.layout import Layout
from ingest.contracts.placement.streams_url import Placement, StreamServers
from ingest.contracts.variables import Replicas, SettingsError, StoreEmail, Variables
from scripts.errors import Unreachable, UsageProblem

if TYPE_CHECKING:
    from scripts.embedded.instance import Instance

_DEFAULT_DATA: Final = ".reftide"
_LEAST_SECRET: Final = 16
_DEFAULT_HOST: Final = "127.0.0.1"
_DEFAULT_PORT: Final = "8080"


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables that a command was started with, and a clock (Unix seconds).

    Either variable for a server means servers of the operator's own: the embedded
    instance is then not looked at, so that the two never mix.
    """

    variables: Mapping[str, str]
    clock: Callable[[], float]
    #: Whether a database that is behind will do.
    may_lag: bool = False

    @property
    def data(self) -> Path:
        """The data directory of the embedded instance."""
        return Path(self._variable("REFTIDE_DATA") or _DEFAULT_DATA)

    @property
    def is_embedded(self) -> bool:
        """Whether the servers are those of `reftide up`: no variable names others."""
        return not any(map(self._variable, ("REDIS_URL", "DATABASE_URL")))

    def redis_url(self) -> str:
        """Raises Unreachable where nothing says which server."""
        return self._server("REDIS_URL", "Redis") or self._instance().redis_url

    def database_url(self) -> str:
        """Raises Unreachable where nothing says which server."""
        name = self.database_variable
        return self._server(name, "Postgres") or self._instance().database_url

    @property
    def database_variable(self) -> str:
        """The variable that names the database."""
        has_replica = self.may_lag and self._variable("DATABASE_READ_URL")
        return "DATABASE_READ_URL" if has_replica else "DATABASE_URL"

    def lagging(self) -> Self:
        """The same with the database for what reads much and needs not be up to date."""
        return replace(self, may_lag=True)

    def secrets(self) -> tuple[bytes, ...]:
        """The installation's secrets, the current one first. Raises Unreachable."""
        current = self._variable("REFTIDE_SECRET")
        if not current and self.is_embedded:
            current = self._instance().secret()
        if len(current) < _LEAST_SECRET:
            what = (
                f"REFTIDE_SECRET is too short: it has {len(current)} characters"
                if current
                else "The installation's secret is not known"
            )
            raise Unreachable(
                f"{what}. API keys and click ids are made with it.",
                "set REFTIDE_SECRET to the text that the edges run with"
                f" ({_LEAST_SECRET} characters or more).",
            )
        previous = self._variable("REFTIDE_SECRET_PREVIOUS").split(",")
        texts = [current, *(text.strip() for text in previous)]
        return tuple(text.encode() for text in dict.fromkeys(texts) if text)

    def layout(self) -> Layout:
        """The shards that a first start would make; Redis knows better once it ran.

        Raises UsageProblem.
        """
        with _settings_named():
            return Variables(self.variables).layout()

    def placement(self) -> Placement:
        """The shards and the servers of the streams. Raises UsageProblem."""
        return Placement(self.layout(), self.streams())

    def streams(self) -> StreamServers:
        """The servers of the streams. Raises UsageProblem."""
        with _settings_named():
            return Variables(self.variables).stream_servers()

    def replicas(self) -> Replicas:
        """How many replicas have to confirm an append. Raises UsageProblem."""
        with _settings_named():
            return Variables(self.variables).replicas()

    def is_pooled(self) -> bool:
        """Whether PostgreSQL is reached through a pooler of transactions. Raises UsageProblem."""
        with _settings_named():
            return Variables(self.variables).is_pooled()

    def quarantine_rows(self) -> int:
        """How many entries that clients caused quarantine keeps. Raises UsageProblem."""
        with _settings_named():
            return Variables(self.variables).quarantine_rows()

    def store_email(self) -> StoreEmail:
        """How addresses are stored. Raises UsageProblem."""
        with _settings_named():
            return Variables(self.variables).store_email()

    def networks(self, name: str) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks that a variable names, separated by commas. Raises UsageProblem."""
        parts = (each.strip() for each in self._variable(name).split(","))
        try:
            return tuple(ip_network(each, strict=False) for each in parts if each)
        except ValueError as error:
            raise UsageProblem(
                f"{name}: {error}.", "give networks such as 10.0.0.0/8."
            ) from error

    def for_edge(self) -> dict[str, str]:
        """The variables for an edge. It never speaks SQL, so it gets no password for it."""
        found = self.for_processes()
        found.pop("DATABASE_URL", None)
        return found

    def for_processes(self) -> dict[str, str]:
        """The variables for a worker: ours, with the servers filled in."""
        if not self.is_embedded:
            return dict(self.variables)
        instance = self._instance()
        found = {
            "REDIS_URL": instance.redis_url,
            "DATABASE_URL": instance.database_url,
            "REFTIDE_DATA": str(instance.data),
            "REFTIDE_SECRET": self._variable("REFTIDE_SECRET") or instance.secret(),
        }
        return {**self.variables, **found}

    def admin_urls(self) -> Mapping[str, str]:
        """Where edges and workers show figures, by name; what is named wins. Raises UsageProblem.

        `reftide up`, `reftide edge` and `reftide worker` note theirs in the data directory.
        """
        folder = self.data / "admin"
        found = {url: name for name, url in sorted(_noted(folder))}
        with _settings_named():
            found |= {url: url for url in Variables(self.variables).admin_urls()}
        return {name: url for url, name in found.items()}

    def note_admin_url(self, name: str, url: str) -> None:
        """Have `status` find a process that starts; a disk that takes nothing is no reason not to."""
        folder = self.data / "admin"
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / name).write_text(url, "utf-8")

    def forget_admin_urls(self) -> None:
        """Of processes that have ended."""
        with suppress(OSError):
            for file in (self.data / "admin").iterdir():
                file.unlink()

    def archive(self) -> Path | None:
        """The directory of the archive; None where there is none.

        The embedded instance has one unless a variable says otherwise.
        """
        if not self._variable("REFTIDE_ARCHIVE") and self.is_embedded:
            return self.data / "archive"
        return Variables(self.variables).archive()

    def archive_store(self) -> str | None:
        """The URL of the object store that the archive's segments go to.

        None where there is none. Raises Unreachable, UsageProblem.
        """
        with _settings_named():
            url = Variables(self.variables).archive_store()
        if url and find_spec("obstore") is None:
            raise Unreachable(
                "REFTIDE_ARCHIVE_STORE needs a library that is not installed.",
                "install reftide[s3].",
            )
        return url

    def edge_url(self) -> str:
        """Where an edge takes events, as HTTP. Raises Unreachable."""
        if not self.is_embedded:
            host = self._variable("REFTIDE_HOST") or _DEFAULT_HOST
            port = self._variable("REFTIDE_PORT") or _DEFAULT_PORT
            return f"http://{host}:{port}"
        facts = self._instance().facts
        if "port" not in facts:
            raise Unreachable(
                f"Reftide is still starting on the data directory {self.data}.",
                "wait until `reftide up` says that it is ready.",
            )
        host = str(facts["host"])
        return f"http://{f'[{host}]' if ':' in host else host}:{facts['port']}"

    def source(self, name: str) -> str:
        """How to call a server in an error: URLs can hold passwords."""
        if self._variable(name):
            return f"the server of {name}"
        return f"the instance on {self.data}"

    def _variable(self, name: str) -> str:
        return self.variables.get(name, "").strip()

    def _server(self, name: str, server: str) -> str:
        url = self._variable(name)
        if not url and not self.is_embedded:
            raise Unreachable(
                f"{name} is not set, so there is no {server} to ask.",
                f"set {name} too, or unset both to use what `reftide up` runs.",
            )
        return url

    def _instance(self) -> "Instance":
        # Imported here because most installations have servers of their own.
        from scripts.embedded.errors import EmbeddedError  # noqa: PLC0415
        from scripts.embedded.instance import Instance  # noqa: PLC0415

        try:
            return Instance.require(self.data)
        except EmbeddedError as error:
            raise Unreachable(error.what, error.remedy) from error


def _noted(folder: Path) -> Iterator[tuple[str, str]]:
    with suppress(OSError):
        for file in folder.iterdir():
            yield file.name, file.read_text("utf-8", "replace").strip()


@contextmanager
def _settings_named() -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        raise UsageProblem(f"{error}.", "correct that variable.") from error
