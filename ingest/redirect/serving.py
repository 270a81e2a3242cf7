"""Takes the requests of visitors from aiohttp: those that are not plain."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from aiohttp import web
from typing_extensions import override

from ingest.contracts.directory import DomainRecord
from ingest.core.accept import Acceptor
from ingest.core.values import Missing
from ingest.dialects.spec.requests import RawRequest
from ingest.http.fast_path import FIND
from ingest.http.handlers import Callers, Handler
from ingest.redirect.dialects import REDIRECT, REDIRECTS
from ingest.redirect.plain import PlainVisits
from ingest.redirect.redirects import Redirects
from ingest.redirect.visits import LinkVisit, domains_of, wanted

if TYPE_CHECKING:
    from ingest.http.traces import EdgeTraces

_METHODS: Final = ("GET", "HEAD")
_MOST_HOSTS: Final = 1


@dataclass(frozen=True, slots=True)
class Serving:
    """What takes requests needs."""

    redirects: Redirects
    callers: Callers

    def using(self, acceptor: Acceptor) -> "Serving":
        """The same with another acceptor."""
        return replace(self, redirects=replace(self.redirects, acceptor=acceptor))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer what aiohttp took."""
        asked = wanted(request.raw_path)
        if asked is None:
            raise web.HTTPNotFound
        visit = LinkVisit(
            wanted=asked,
            domains=self.domains(request),
            raw=RawRequest(
                headers=request.headers, ip=await self.callers.address(request)
            ),
            is_head=request.method == "HEAD",
        )
        answer = await self.redirects.answer(visit)
        return web.Response(
            status=answer.status, headers=answer.headers, body=answer.body
        )

    def domains(self, request: web.Request) -> tuple[str, ...]:
        """The domains that a request may mean; with two hosts it means none."""
        hosts = request.headers.getall("Host", ())
        if len(hosts) != _MOST_HOSTS:
            return ()
        forwarded = ",".join(request.headers.getall("X-Forwarded-Host", ()))
        return domains_of(
            self.callers.proxies.host(request.remote, hosts[0], forwarded)
        )


class _DomainPaths(web.DynamicResource):
    """The paths of domains that no route of the edge has."""

    def __init__(self, serving: Serving) -> None:
        super().__init__("/{code:(?s:.*)}")
        self._serving = serving

    @override
    async def resolve(
        self, request: web.Request
    ) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        """Match where the host is a domain, or nobody can say now whether it is."""
        asked = wanted(request.raw_path)
        if asked is not None and asked.kind == "domain":
            domains = self._serving.domains(request)
            _, found = await self._serving.redirects.domain(domains)
            # The root is the edge's own unless the host is surely a domain.
            is_maybe = bool(asked.code) and found is Missing.UNAVAILABLE
            if is_maybe or isinstance(found, DomainRecord):
                return await super().resolve(request)
        return None, set()


def add_redirects(
    app: web.Application, serving: Serving, traces: "EdgeTraces | None"
) -> None:
    """Serve them; a domain's own paths come before `/` of the edge, if added before it."""
    on_domains = _DomainPaths(serving)
    app.router.register_resource(on_domains)
    for dialect in REDIRECTS:
        [route] = dialect.endpoints
        handle: Handler = serving.handle
        if traces is not None:
            handle = traces.handler(
                route,
                serving.redirects.acceptor,
                lambda given: serving.using(given).handle,
            )
        path = route.path.replace("}", ":(?s:.+)}")
        for method in _METHODS:
            app.router.add_route(method, path, handle)
            if dialect is REDIRECT:
                on_domains.add_route(method, handle)
    if traces is None:
        proxies = serving.callers.proxies
        app[FIND] = PlainVisits(serving.redirects, proxies).find
