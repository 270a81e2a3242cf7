"""A replica takes the place of its primary, and lacks the end of what that acknowledged.

The primary takes events on after the replica is cut off, no worker reads, and the primary dies.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.directory import miscounted
from tests.support.eventually import eventually
from tests.support.servers.failover import number_epochs, run_of, sessions, verified
from tests.support.servers.installation import Installation, an_installation
from tests.support.servers.outage import SHARDS, accept, cli_of
from tests.support.servers.valkey import Valkey, running_valkey

pytestmark = [pytest.mark.hasty, pytest.mark.usefixtures("quiet")]


@asynccontextmanager
async def failed_over(
    database_url: str, path: Path, **variables: str
) -> AsyncIterator[tuple[Installation, str, list[str], list[str]]]:
    """An installation after it; the run of the former primary; what was accepted before, and after."""
    address = path / "address"
    with running_valkey(port=True) as primary, running_valkey(port=True) as replica:
        address.symlink_to(primary.socket)
        replica.follow(primary)
        url = f"unix://{address}?db=0"
        shards = {"REFTIDE_SHARDS": str(SHARDS)}
        async with an_installation(
            url, database_url, path, **shards, **variables
        ) as site:
            # Edges of one process have one name, under which each says what it appended.
            await site.edges[1].close()
            before = await accept(site, range(2))
            await number_epochs(site)
            before += await accept(site, range(2, 40))
            former = await run_of(site)
            replica.follow(None)
            after = await accept(site, range(100, 125))
            if "REFTIDE_REPLICAS" in variables:
                await eventually(lambda: says_why(site))
            await asyncio.to_thread(primary.kill)
            address.unlink()
            address.symlink_to(replica.socket)
            await asyncio.to_thread(begin_again, primary, replica)
            yield site, former, before, after


async def says_why(site: Installation) -> bool:
    """Whether `status` says why events go to the disk of an edge."""
    status = await asyncio.to_thread(cli_of(site).status)
    found = {(edge["level"], edge["why"]) for edge in status["edges"]}
    return ("spool", "0 of 1 replicas confirmed it") in found


def begin_again(server: Valkey, primary: Valkey) -> None:
    """A server that was killed comes back as an empty replica."""
    server.lose_its_data()
    server.start()
    server.follow(primary)


async def test_what_a_replica_has_to_confirm_no_failover_loses(
    database_url: str, tmp_path: Path
) -> None:
    wanted = {"REFTIDE_REPLICAS": "1"}
    async with failed_over(database_url, tmp_path, **wanted) as (
        site,
        former,
        before,
        after,
    ):
        code, report = await verified(site, former)

        assert (0, True, []) == (code, report["ok"], report["mismatches"])
        assert sorted([*before, *after]) == await sessions(site)
        assert [] == await miscounted(site.database)


async def test_what_no_replica_has_to_confirm_a_failover_loses_and_the_ledger_says(
    database_url: str, tmp_path: Path
) -> None:
    async with failed_over(database_url, tmp_path) as (site, former, before, after):
        code, report = await verified(site, former)

        assert sorted(before) == await sessions(site)
        lost = [each for each in report["mismatches"] if each["what"] == "lost"]
        assert (1, len(after)) == (code, sum(each["found"] for each in lost))
        assert [] == await miscounted(site.database)
