"""Acts on entries of quarantine: redrive, discard, cancel, edit.

A form carries the number of entries that its page showed, and an act takes no more; and a
random text, by which a form that is sent twice is one act.
"""

from collections.abc import Awaitable, Callable, Mapping
from difflib import unified_diff
from functools import partial
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from scripts.console.acting import acting, note
from scripts.console.pages import quarantine as page
from scripts.console.pages.choosing import NUMBER
from scripts.console.serving import Act, Asked, Form, OwnPage, form_of
from scripts.errors import UsageProblem
from scripts.servers import Connection
from scripts.services import operations
from scripts.services.parsers import whole
from scripts.services.recover import quarantine, quarantine_edit, quarantine_redrive
from scripts.services.recover.quarantine import QuarantineFilter

#: A statement that marks some thousands.
_SECONDS: Final = 60.0
_LONGEST: Final = 2000

Result = dict[str, Any]
_Work = Callable[
    [Connection, QuarantineFilter, quarantine_redrive.Act, Form], Awaitable[Result]
]


async def _on_many(asked: Asked, form: Form, *, what: str, work: _Work) -> str:
    press, shown = form.get("press", ""), _shown(form)
    ids = page.numbers(form["ids"].split(",")) if form.get("ids") else ()
    said = {} if ids else page.filters(form) | {"status": "open"}
    async with acting(asked, seconds=_SECONDS) as connection:
        known = await operations.pressed(connection, press, asked.user.name)
        if known is not None:
            return f"quarantine/acts/{known}"
        choice = await page.chosen(asked, connection, said, ids)
        act = quarantine_redrive.Act(asked.user.name, shown)
        number = await note(
            asked,
            connection,
            what=f"quarantine {what}",
            arguments={
                **said, "ids": ",".join(map(str, ids)), "shown": shown, "press": press,
            },
            result=await work(connection, choice, act, form),
        )  # fmt: skip
    return f"quarantine/acts/{number}"


async def _redrive(
    connection: Connection,
    choice: QuarantineFilter,
    act: quarantine_redrive.Act,
    _: Form,
) -> Result:
    request = await quarantine_redrive.ask(connection, choice, act)
    far = await quarantine_redrive.progress(connection, request)
    return {"request": request, "asked": far["asked"]}


async def _discard(
    connection: Connection,
    choice: QuarantineFilter,
    act: quarantine_redrive.Act,
    form: Form,
) -> Result:
    why = form.get("why", "").strip()
    if not why or len(why) > _LONGEST:
        raise UsageProblem("Nobody says why.", "write the reason in a sentence.")
    done = await quarantine_redrive.discard(connection, choice, why, act)
    return {"discarded": done, "why": why}


async def _cancel(asked: Asked, form: Form) -> str:
    number = _whole(form, "number")
    async with acting(asked, seconds=_SECONDS) as connection:
        row = await page.act_of(asked, connection, number)
        done = 0
        if request := row["result"].get("request"):
            done = await quarantine_redrive.cancel(connection, UUID(request))
        said = {"operation": number}
        await note(asked, connection, "quarantine cancel", said, {"cancelled": done})
    return f"quarantine/acts/{number}"


async def _edit(asked: Asked, form: Form) -> str:
    number = _whole(form, "number")
    async with acting(asked) as connection:
        await page.entry(asked, connection, number)
        row = await quarantine.open_entry(connection, number)
        if form.get("seen") != _digest(row["payload"]):
            raise UsageProblem(
                f"The entry {number} was edited meanwhile.", "look at it again."
            )
        payload = quarantine_edit.sealed(form.get("text", ""), row["payload"])
        await quarantine_edit.store(connection, row, payload, asked.user.name)
        was = {"was": row["reason"]}
        await note(asked, connection, "quarantine edit", {"entry": number}, was)
    return f"quarantine/{number}"


async def _read_preview(asked: Asked) -> Mapping[str, Any]:
    """What an edit would change, line by line; nothing is changed."""
    form = await form_of(asked.request)
    number = page.one_number(asked)
    async with asked.console.reads.connection() as connection:
        await page.entry(asked, connection, number)
        row = await quarantine.open_entry(connection, number)
    before: bytes = row["payload"]
    after = quarantine_edit.sealed(form.get("text", ""), before)
    former, latter = (
        quarantine_edit.readable(each).splitlines() for each in (before, after)
    )
    return {
        "number": number,
        "text": quarantine_edit.readable(after),
        "seen": _digest(before),
        "diff": [*unified_diff(former, latter, lineterm="", n=3)][2:],
    }


def _shown(form: Form) -> int:
    """How many entries the page showed. Raises UsageProblem unless a large one was typed."""
    shown = _whole(form, "shown")
    typed = form.get("typed", "").replace(",", "").strip()
    if shown > page.TYPED and typed != str(shown):
        raise UsageProblem(
            f"This is about {shown:,} entries.", f"type {shown} to go on."
        )
    return min(shown, page.MOST)


def _whole(form: Form, name: str) -> int:
    try:
        return whole(1, 2**63 - 1)(form.get(name, ""))
    except ValueError as error:
        raise UsageProblem(f"{name}: {error}.", "send the form again.") from error


def _digest(payload: bytes) -> str:
    return sha256(payload).hexdigest()


PREVIEW_PAGE: Final = OwnPage(
    "quarantine-preview",
    "Edit an entry",
    _read_preview,
    f"quarantine/{NUMBER}/preview",
    role="operator",
)
ACTS: Final = tuple(
    Act(f"quarantine/{name}", "operator", run, is_about_all=False)
    for name, run in (
        ("redrive", partial(_on_many, what="redrive", work=_redrive)),
        ("discard", partial(_on_many, what="discard", work=_discard)),
        ("cancel", _cancel),
        ("edit", _edit),
    )
)
