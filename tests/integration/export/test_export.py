"""`reftide export`: files by day that DuckDB reads, in line with the tables whenever it ran."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest
from typing_extensions import override

from scripts.environment import Environment
from scripts.errors import UsageProblem
from scripts.services.export import exporting
from scripts.services.export.exporting import Wanted, export
from scripts.services.export.formats import COLUMNS, FORMATS
from scripts.services.export.places import Place, place_of
from tests.support.servers.cli import Cli
from tests.support.servers.s3 import S3Server
from workers.archive.object_store.store import ObjectStore

#: Three days, some thirty events each: clicks, and leads with all that a column may hold.
_EVENTS = """
insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch, shard, entry_seq, entry_ms,
                    workspace_id, link_id, program_id, partner_id, dialect, name, amount, currency, page_url,
                    properties, visitor, ip, country, session)
select (substr(uuid7_floor(at)::text, 1, 14) || '7000-8000-' || lpad(to_hex(number), 12, '0'))::uuid,
       at - number * interval '1 hour', number,
       (case when number % 3 = 0 then 'lead' else 'click' end)::event_kind, number % 7 = 0, false, number % 5 = 0, 1,
       1, 0, number, 0, link.workspace_id, link.id, link.program_id, link.partner_id, 'affitor',
       case number % 4 when 0 then '' when 1 then E'a "quoted",\\nand\\tlong \\\\ name' when 2 then 'Zoë 🎈' end,
       case when number % 3 = 0 then number * 1000000000::bigint end, case when number % 3 = 0 then 'EUR' end,
       'https://shop.example/?' || number, jsonb_build_object('n', number, 'note', E'tab\\t"'),
       '\\x00ff', '198.51.100.7', 'DE', null
  from generate_series(1, 90) as number
 cross join lateral (select timestamptz '2026-11-15T00:00Z' + number * interval '47 minutes' as at) as moment
 cross join links as link
"""
_TOTALS = """
select count(*), sum(amount)::bigint, count(name), sum(length(coalesce(name, ''))), sum(case when is_test then 1 else 0 end),
       min(extract(epoch from occurred_at))::bigint, max(extract(epoch from occurred_at))::bigint, sum(length(properties::text)),
       count(distinct ip) from
"""
_RECORDED = "(select *, at as occurred_at from events) as event"


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    directory = tmp_path / "a lake"
    directory.mkdir()
    return directory


@pytest.fixture
def filled(shop: Cli) -> Cli:
    shop.fetch("select make_partition('2026-11-15')")
    shop.fetch(_EVENTS)
    return shop


def _export(cli: Cli, lake: Path, *options: str) -> dict[str, Any]:
    into = lake.as_uri()
    done: dict[str, Any] = cli.document("export", "--into", into, *options)
    return done


def _files(lake: Path) -> dict[str, bytes]:
    return {
        path.relative_to(lake).as_posix(): path.read_bytes()
        for path in (lake / "events").rglob("*.*")
    }


def _manifest(lake: Path) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((lake / "manifest.json").read_bytes())
    return found


def _listed(lake: Path) -> list[str]:
    days = _manifest(lake)["days"].values()
    return [file["name"] for day in days for file in day["files"]]


def _read(lake: Path, form: str, names: list[str] | None = None) -> tuple[Any, ...]:
    """The totals of exported files, by a program that is not ours."""
    files = [str(lake / name) for name in (_listed(lake) if names is None else names)]
    reader = {
        "parquet": "read_parquet($files)",
        "csv": "read_csv($files, columns = $types, header = true, nullstr = '', allow_quoted_nulls = false)",
        "ndjson": "read_json($files, columns = $types, format = 'newline_delimited')",
    }[form]
    types = {} if form == "parquet" else {"types": COLUMNS}
    with duckdb.connect() as database:
        database.execute("set timezone = 'UTC'")
        asked = database.execute(f"{_TOTALS} {reader}", {"files": files, **types})
        found = asked.fetchone()
    assert found is not None
    return found


def _recorded(cli: Cli) -> tuple[Any, ...]:
    [row] = cli.fetch(f"{_TOTALS} {_RECORDED}")
    return tuple(row)


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_exported_is_what_is_recorded(
    filled: Cli, lake: Path, form: str
) -> None:
    done = _export(filled, lake, "--format", form)

    assert (3, 90) == (done["written"], done["rows"])
    assert _recorded(filled) == _read(lake, form)
    assert {"2026-11-15", "2026-11-16", "2026-11-17"} == _manifest(lake)["days"].keys()
    assert sorted(_files(lake)) == sorted(_listed(lake))


async def test_a_large_day_has_several_files(filled: Cli, lake: Path) -> None:
    until = datetime(2026, 11, 17, tzinfo=UTC)
    wanted = Wanted(lake.as_uri(), "parquet", None, until, rows_of_a_file=7)
    environment = Environment(filled.variables, lambda: filled.now)
    counted: list[int] = []

    done = await export(environment, wanted, counted.append, lambda: counted.append(-1))

    assert [2, -1, -1] == counted
    assert (2, 61) == (done["written"], done["rows"])
    assert 5 + 5 == len(_listed(lake))
    assert 61 == _read(lake, "parquet")[0]


def test_only_days_that_changed_are_written_again(filled: Cli, lake: Path) -> None:
    _export(filled, lake)
    first = _files(lake)
    again = _export(filled, lake)
    assert (0, 3) == (again["written"], again["unchanged"])
    assert first == _files(lake)

    # Recorded late, changed, erased: each on a day of its own.
    ids = [row["id"] for row in filled.fetch("select id from events order by id")]
    filled.fetch("update events set is_duplicate = true where id = $1", ids[0])
    filled.fetch("delete from events where id = any($1)", [ids[40], ids[-1]])
    changed = _export(filled, lake)
    assert (3, 0) == (changed["written"], changed["unchanged"])
    assert not first.keys() & _files(lake).keys()
    assert _recorded(filled) == _read(lake, "parquet")

    filled.fetch("update partners set code = 'joan'")
    assert 3 == _export(filled, lake)["written"]


def test_a_day_without_events_has_no_files(filled: Cli, lake: Path) -> None:
    _export(filled, lake)
    filled.fetch("delete from events where id < uuid7_floor('2026-11-16')")

    done = _export(filled, lake)

    assert (1, 0) == (done["written"], done["rows"])
    assert {"2026-11-16", "2026-11-17"} == _manifest(lake)["days"].keys()
    assert sorted(_files(lake)) == sorted(_listed(lake))


def test_what_a_killed_export_left_is_deleted(filled: Cli, lake: Path) -> None:
    _export(filled, lake)
    listed = {lake / name for name in _listed(lake)}
    [one, *_] = listed
    whole = one.with_name(f"part-7-{'0' * 16}.parquet")
    for path in (whole, one.with_name(f".{whole.name}.part"), one.with_name("notes")):
        path.write_bytes(b"x")

    _export(filled, lake)

    kept = {path for path in (lake / "events").rglob("*") if path.is_file()}
    assert listed | {one.with_name("notes")} == kept


def test_a_dry_run_writes_nothing(filled: Cli, lake: Path) -> None:
    done = _export(filled, lake, "--dry-run")

    assert (3, 90) == (done["written"], done["rows"])
    assert [] == [*lake.iterdir()]


def test_the_statement_of_the_docs_counts_leads(filled: Cli, lake: Path) -> None:
    _export(filled, lake)
    docs = (Path(__file__).parents[3] / "docs" / "operating.md").read_text()
    [asked] = [
        part for part in docs.split("```") if part.startswith("sql\nset variable")
    ]

    with duckdb.connect() as database:
        database.execute(asked.removeprefix("sql").replace("/srv/lake", str(lake)))
        assert [("jane", 30)] == database.fetchall()


def test_a_workspace_has_an_export_of_its_own(filled: Cli, lake: Path) -> None:
    filled.document("workspaces", "add", "other")
    done = _export(filled, lake, "--workspace", "other", "--from", "2026-11-15")
    assert (0, 3) == (done["written"], done["unchanged"])

    theirs = lake / "theirs"
    theirs.mkdir()
    assert 90 == _export(filled, theirs, "--workspace", "default")["rows"]
    said = filled.refusal("export", "--into", theirs.as_uri())
    assert "has an export of default as parquet" in said


def test_what_cannot_be_exported_to_is_refused(filled: Cli, tmp_path: Path) -> None:
    for into, what in (
        ("lake", "is no place for files"),
        ("s3://", "is no place for files"),
        ((tmp_path / "missing").as_uri(), "There is no directory"),
    ):
        assert what in filled.run("export", "--into", into).err
    (tmp_path / "manifest.json").write_text("[]")
    assert "is not of an export" in filled.refusal(
        "export", "--into", tmp_path.as_uri()
    )


async def test_detached_months_keep_what_was_exported(filled: Cli, lake: Path) -> None:
    await asyncio.to_thread(_export, filled, lake)
    before = _files(lake)
    await asyncio.to_thread(
        filled.fetch,
        "insert into detached_partitions (name, since, until, is_folded)"
        " values ('events_202611', '2026-11-01', '2026-12-01', true)",
    )
    await asyncio.to_thread(filled.fetch, "delete from events")

    done = await asyncio.to_thread(_export, filled, lake, "--from", "2026-11-15")

    assert (0, 16) == (done["days"], done["detached"])
    assert before == _files(lake)


class _Dies(Exception):
    """Of a process, at a call of the place."""


class _Mortal:
    """A place at which the process dies at the nth change."""

    def __init__(self, place: Place, calls: int) -> None:
        self.name = place.name
        self._place = place
        self._left = calls

    def _count(self) -> None:
        if not self._left:
            raise _Dies
        self._left -= 1

    async def put(self, name: str, data: bytes) -> None:
        self._count()
        await self._place.put(name, data)

    async def get(self, name: str) -> bytes | None:
        return await self._place.get(name)

    async def delete(self, name: str) -> None:
        self._count()
        await self._place.delete(name)

    def names(self) -> AsyncIterator[str]:
        return self._place.names()


async def test_whenever_it_dies_readers_of_the_manifest_see_whole_days(
    filled: Cli, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await asyncio.to_thread(_export, filled, lake)
    await asyncio.to_thread(filled.fetch, "update events set name = 'another'")
    environment = Environment(filled.variables, lambda: filled.now)
    wanted = Wanted(
        lake.as_uri(),
        "parquet",
        None,
        datetime.fromtimestamp(filled.now, UTC),
        rows_of_a_file=20,
    )

    for calls in range(100):
        place = _Mortal(place_of(wanted.into), calls)
        monkeypatch.setattr(exporting, "place_of", lambda _, place=place: place)
        try:
            await export(environment, wanted, lambda _: None, lambda: None)
        except _Dies:
            assert before["rows"] == _read(lake, "parquet")[0]
        else:
            break

    # Each run went on where the former one died.
    assert 3 < calls < 30
    assert sorted(_files(lake)) == sorted(_listed(lake))
    assert (await asyncio.to_thread(_recorded, filled)) == _read(lake, "parquet")


async def test_two_exports_into_one_place_exclude_each_other(
    filled: Cli, lake: Path
) -> None:
    environment = Environment(filled.variables, lambda: filled.now)
    wanted = Wanted(lake.as_uri(), "csv", None, datetime.fromtimestamp(filled.now, UTC))
    begun, refused = asyncio.Event(), list[UsageProblem]()

    async def second() -> None:
        await begun.wait()
        try:
            await export(environment, wanted, lambda _: None, lambda: None)
        except UsageProblem as error:
            refused.append(error)

    async with asyncio.TaskGroup() as tasks:
        other = tasks.create_task(second())

        class _Slow(_Mortal):
            @override
            async def put(self, name: str, data: bytes) -> None:
                begun.set()
                await other
                await super().put(name, data)

        with pytest.MonkeyPatch.context() as patch:
            first = _Slow(place_of(wanted.into), 100)
            patch.setattr(exporting, "place_of", lambda _: first)
            await export(environment, wanted, lambda _: None, lambda: None)

    assert "is running" in refused[0].what


@pytest.mark.s3
async def test_a_bucket_is_a_place_too(filled: Cli, server: S3Server) -> None:
    await server.start()
    into = server.store("lake")

    done = await asyncio.to_thread(filled.document, "export", "--into", into)
    again = await asyncio.to_thread(filled.document, "export", "--into", into)

    assert (3, 0) == (done["written"], again["written"])
    store = ObjectStore(into)
    names = [name async for name in store.names()]
    data = [await store.get(name) for name in names if name.endswith(".parquet")]
    assert 4 == len(names)
    assert done["bytes"] == sum(len(each or b"") for each in data)
