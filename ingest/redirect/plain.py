"""Answers the plain requests of visitors on their connection, without the HTTP framework.

As in `ingest.http.fast_path`; what they are answered is what they are through aiohttp, byte
for byte.
"""

from collections.abc import Mapping
from functools import cache, partial
from http.client import responses
from time import perf_counter
from typing import Final
from uuid import UUID

from msgspec import structs

from ingest.contracts.directory import DomainRecord
from ingest.core.client_ip import Proxies
from ingest.dialects.spec.requests import RawRequest, Value
from ingest.http.driver import run
from ingest.http.fast_path import Respond, header_lines, written_whole
from ingest.http.handlers import SERVER
from ingest.http.head import Head
from ingest.http.request_metrics import UNDER_WAY, Meters
from ingest.redirect.answers import Answer, Headers
from ingest.redirect.redirects import Redirects, led
from ingest.redirect.shortcut import SealedVisit, Shortcut
from ingest.redirect.visits import PATHS, LinkVisit, WantedLink, domains_of, wanted

_METHODS: Final = {b"GET /": "GET", b"HEAD ": "HEAD"}  # by how lines begin
_VERSION: Final = b" HTTP/1.1"


class PlainVisits:
    """Finds what answers a plain request, and answers it."""

    def __init__(self, redirects: Redirects, proxies: Proxies) -> None:
        self._redirects = redirects
        self._shortcut = Shortcut(redirects)
        self._sink = redirects.acceptor.sink
        self._proxies = proxies

    def find(
        self, line: bytes, headers: Mapping[bytes, bytes], peer: str | None
    ) -> "_Request | None":
        """What answers a request with this first line; None if that is for aiohttp."""
        method = _METHODS.get(line[:5])
        if method is None or not line.endswith(_VERSION) or not line.isascii():
            return None
        asked = wanted(line[len(method) + 1 : -len(_VERSION)].decode())
        if asked is None:
            return None
        if asked.kind == "domain" and not self._is_ours(headers, peer):
            return None
        return _Request(self, asked, method, _meters(f"{method} {PATHS[asked.kind]}"))

    def _is_ours(self, headers: Mapping[bytes, bytes], peer: str | None) -> bool:
        """Whether the host is a domain that is in memory."""
        said = {
            name.lower().decode("latin-1"): value.decode("latin-1")
            for name, value in headers.items()
        }
        known = self._redirects.directory.domain_in_memory
        domains = self._domains(said, peer)
        return any(isinstance(known(name), DomainRecord) for name in domains)

    def _domains(self, headers: Mapping[str, str], peer: str | None) -> tuple[str, ...]:
        host, told = headers.get("host", ""), headers.get("x-forwarded-host", "")
        return domains_of(self._proxies.host(peer, host, told))

    def visit(
        self, asked: WantedLink, head: Head, peer: str | None, method: str
    ) -> LinkVisit:
        headers = head.decoded()
        ip = self._proxies.told(peer, headers.get("x-forwarded-for", ""))
        return LinkVisit(
            wanted=asked,
            domains=self._domains(headers, peer),
            raw=RawRequest(headers=headers, ip=ip),
            is_head=method == "HEAD",
        )

    def take(self, call: "_Call") -> None:
        """Answer now, or once the click is durable."""
        taken = self._shortcut.take(call.visit)
        if taken is not None:
            click, settled = taken.click, partial(self._settled, call, taken)
            if self._sink.offer(click.event_id, click.payload, settled):
                return
            visit = structs.replace(call.visit, is_counted=True)
            call = structs.replace(call, visit=visit)
        run(self._redirects.answer(call.visit), call.write, call.meters.took)

    def _settled(self, call: "_Call", taken: SealedVisit, problem: str | None) -> None:
        if problem is None:
            taken.accepted.count += 1
            call.write(led(call.visit, taken.link, taken.click_id))
        else:
            run(self._keep(call, taken, problem), call.write, call.meters.took)

    async def _keep(self, call: "_Call", taken: SealedVisit, problem: str) -> Answer:
        """The answer to a visit whose click the stream did not take."""
        event_id = UUID(bytes=taken.click.event_id)
        is_kept = await self._redirects.keep(
            call.visit, event_id, taken.click.payload, problem
        )
        taken.accepted.count += is_kept
        return led(call.visit, taken.link, taken.click_id if is_kept else None)


class _Request(Value, frozen=True):
    """Answers one request; see `Answering`."""

    visits: PlainVisits
    wanted: WantedLink
    method: str
    meters: Meters

    def answer(
        self, head: Head, body: bytes, peer: str | None, respond: Respond
    ) -> None:
        """Call `respond` with the whole answer; what came as a body is passed over."""
        del body
        began = perf_counter()
        UNDER_WAY.count += 1
        visit = self.visits.visit(self.wanted, head, peer, self.method)
        self.visits.take(_Call(visit, self.meters, began, respond))


class _Call(Value, frozen=True):
    """A request under way, since when, and where its answer goes."""

    visit: LinkVisit
    meters: Meters
    began: float
    respond: Respond

    def write(self, answer: Answer) -> None:
        UNDER_WAY.count -= 1
        self.meters.count(answer.status // 100, perf_counter() - self.began)
        self.respond(written(answer, is_head=self.visit.is_head))


def written(answer: Answer, *, is_head: bool) -> bytes:
    """An answer as it goes over the wire in HTTP/1.1, without the framework."""
    own = header_lines(answer.own).encode("latin-1")
    whole = written_whole(_head(answer.status, answer.usual) + own, answer.body)
    return whole[: len(whole) - len(answer.body)] if is_head else whole


@cache
def _head(status: int, usual: Headers) -> bytes:
    first = f"HTTP/1.1 {status} {responses[status]}\r\nServer: {SERVER}\r\n"
    return (first + header_lines(dict(usual))).encode("latin-1")


_meters: Final = cache(Meters)
