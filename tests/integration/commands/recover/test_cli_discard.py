"""`reftide quarantine discard`, and the trail that it leaves."""

from tests.support.workers.quarantine_desk import Desk
from tests.support.workers.redriving import lost_click


def test_an_entry_that_is_not_open_is_refused(desk: Desk) -> None:
    desk.refuse(lost_click(1))
    desk.done("discard", "1", "--reason", "rubbish")

    for arguments in (
        ["redrive", "1"],
        ["redrive", "9"],
        ["edit", "1", "--set", "code=A"],
    ):
        result = desk.run(*arguments)
        assert (2, "") == (result.code, result.out)
        assert "What to do:" in result.err


def test_what_is_discarded_stays_with_the_reason_and_in_the_books(desk: Desk) -> None:
    desk.refuse(lost_click(1), lost_click(2))

    assert 1 == desk.done("discard", "1", "--reason", "a scanner")["discarded"]

    shown = desk.shown(1)
    assert "discarded" == shown["status"]
    assert ("discarded", "a scanner") == (
        shown["history"][0]["action"],
        shown["history"][0]["note"],
    )
    desk.add_link()
    desk.work(lambda clinic: clinic.heal())
    assert (1, 0, 1) == desk.ledger()
    assert [] == desk.mistakes()


def test_discarding_asks_why(desk: Desk) -> None:
    assert 2 == desk.run("discard", "--all").code
