"""Which entries `reftide quarantine` means, and what it tells of those it could not keep."""

from uuid import UUID

from tests.support.directory import LINKS, NOON_MS, WORKSPACE, a_lead, an_id
from tests.support.workers.quarantine_desk import Desk
from tests.support.workers.redriving import Clinic, lost_click
from workers.quarantine.budget import QuarantineBudget


def test_filters_are_the_same_everywhere(desk: Desk) -> None:
    desk.refuse(lost_click(1), lost_click(2, "OTHER"), b"{}")

    for command in (["list"], ["redrive", "--dry-run"]):
        for which, count in (
            (["--link", "NEW"], 1),
            (["--reason", "undecodable"], 1),
            (["--for", "unknown_link"], 2),
            (["--since", "2020-01-01"], 3),
            (["--until", "2020-01-01"], 0),
            (["--workspace", "here"], 2),
            (["--dialect", lost_click(1).request.dialect], 2),
            (["--text", "new"], 1),
            (["--text", str(lost_click(2).id)], 1),
            (["--text", "%"], 0),
        ):
            told = desk.done(*command, *which)
            assert count == told["count" if command == ["list"] else "asked"], which


def test_a_link_is_also_found_by_what_names_its_id(desk: Desk) -> None:
    late = 400 * 24 * 3600 * 1000
    desk.refuse(
        a_lead(
            1,
            workspace_id=None,
            click_id=an_id(2, NOON_MS - late),
            link_id=LINKS[1],
        ),
        lost_click(3),
    )

    (found,) = desk.done("list", "--link", "L1")["entries"]

    assert "expired" == found["reason"]


def test_a_workspace_is_also_found_by_its_key(desk: Desk) -> None:
    desk.work(lambda clinic: _add_key(clinic, b"n" * 32))
    desk.refuse(
        a_lead(1, workspace_id=None, api_key_hashes=(b"n" * 32,), foreign_click="x"),
        lost_click(2, workspace_id=None),
    )

    (found,) = desk.done("list", "--workspace", "here")["entries"]

    assert ("unknown_click", "here") == (found["reason"], found["workspace"])


async def _add_key(clinic: Clinic, key_hash: bytes) -> None:
    await clinic.execute(
        "insert into api_keys (id, workspace_id, key_hash, last_four, scopes)"
        " values ($1, $2, $3, 'nnnn', '{track}')",
        UUID(int=0x51),
        WORKSPACE,
        key_hash,
    )


def test_what_was_not_kept_is_told_by_list_and_status(desk: Desk) -> None:
    async def flood(clinic: Clinic) -> None:
        clinic.pipeline.budget = QuarantineBudget(8)
        await clinic.take_in(*(lost_click(number) for number in range(12)))

    desk.work(flood)

    told = desk.done("list")
    assert (2, [("unknown_link", 10)]) == (
        told["count"],
        [(row["reason"], row["entries"]) for row in told["dropped"]],
    )
    assert "quarantine was full" in desk.run("list").out
    status = desk.cli.status()
    assert 10 == status["dropped"][0]["entries"]
    shares = {each["level"]: (each["kept"], each["named"]) for each in status["shares"]}
    assert (2, None) == shares["all"]
    assert 2 == shares["link"][0]
    assert "reftide replay" in desk.cli.run("status", "--window", "0").out


def test_a_further_page_begins_below_the_last_id(desk: Desk) -> None:
    desk.refuse(*(lost_click(number) for number in range(1, 6)))

    first = [row["id"] for row in desk.done("list", "--limit", "3")["entries"]]
    rest = desk.done("list", "--limit", "3", "--before", str(first[-1]))

    assert [5, 4, 3, 2, 1] == [*first, *(row["id"] for row in rest["entries"])]


def test_a_summary_counts_by_reason_workspace_and_dialect(desk: Desk) -> None:
    desk.refuse(lost_click(1), lost_click(2, "OTHER"), b"{}")

    told = desk.done("summary")

    dialect = lost_click(1).request.dialect
    assert [
        ("unknown_link", "here", dialect, 2, 2),
        ("undecodable", None, None, 1, 1),
    ] == [
        tuple(
            row[name]
            for name in ("reason", "workspace", "dialect", "entries", "last_hour")
        )
        for row in told
    ]
    assert "unknown_link" in desk.run("summary").out
