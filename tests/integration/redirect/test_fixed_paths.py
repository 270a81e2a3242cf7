"""The list of paths that lead to no link has every route of an edge."""

from pathlib import Path

from ingest.app import Externals, build
from ingest.redirect.fixed import is_fixed
from tests.support.edge.redirecting import DOMAIN, publish, visiting
from tests.support.edge.showcase import a_setting


def test_every_route_of_an_edge_is_a_fixed_path(redis_url: str, tmp_path: Path) -> None:
    app = build(a_setting(redis_url, tmp_path), Externals())
    paths = {resource.canonical for resource in app.router.resources()}

    found = {path for path in paths if not is_fixed(path)}

    # The root is a domain's where the host is one; the other is what domains have.
    assert {"/", "/{code}"} == found
    assert len(paths) > 20


async def test_the_files_of_apps_are_served_on_every_host(
    redis_url: str, tmp_path: Path
) -> None:
    await publish(redis_url)
    folder = tmp_path / "known"
    folder.mkdir()
    (folder / "assetlinks.json").write_text("[1]")
    path = "/.well-known/assetlinks.json"

    async with visiting(redis_url, tmp_path, REFTIDE_WELL_KNOWN=str(folder)) as visitor:
        found = [await visitor.get(path, host) for host in (DOMAIN, "edge.example")]
        missing = await visitor.get("/.well-known/apple-app-site-association", DOMAIN)

    assert [(200, b"[1]"), (200, b"[1]")] == [(one.status, one.body) for one in found]
    assert "application/json" in found[0].headers["content-type"]
    assert (404, b'{"error":"not_found"}') == (missing.status, missing.body)
