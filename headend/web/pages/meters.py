"""One meter: where it is, how it is reached, what it showed, its clock, events and commands; and the buttons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final
from urllib.parse import quote
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from headend.api.commands import CLOCK_READINGS, CommandRequest, not_taken, order_of, submit_read
from headend.api.deps import Parts, PartsDep, ReadDep, invalid, unknown
from headend.api.errors import Problem
from headend.api.meters import SOURCES
from headend.domain.commands import CommandKind, Order
from headend.domain.rates import rates_of
from headend.ingest.clock_policy import drift_of
from headend.ingest.commands import desk
from headend.store import clocks, commands, meters, requests, revisions, views
from headend.store.commands import CommandIdTaken
from headend.store.pool import Connection, Row
from headend.store.topology import StoredMeter, find_meter
from headend.web import meter_words, plots, revision_words, text
from headend.web.pages.field import OUTCOMES
from headend.web.render import page
from headend.web.sent_forms import OPERATOR, FormDep, done, name_of

router = APIRouter(include_in_schema=False, prefix="/meters/{manufacturer}/{serial}")

COMMANDS: Final = 10
EVENTS: Final = 20
REVISIONS: Final = 10
_REFRESH_BUSY_S, _REFRESH_S = 2, 20
_LAST_DIGITS = 4
"""Of the serial, entered by whoever switches a relay: one more look at which door it is."""
_FIELDS: Final = {"requested_by": "by"}
"""Keys of the request whose field in the form has another name."""
TTLS: Final = ((60, "1 minute"), (300, "5 minutes"), (900, "15 minutes"), (3600, "1 hour"))


@router.get("")
def meter(
    *,
    manufacturer: str,
    serial: str,
    request: Request,
    parts: PartsDep,
    connection: ReadDep,
    read: UUID | None = None,
) -> Response:
    """The meter; `read` is a live read whose answer is waited for."""
    row = _row(connection, parts, manufacturer, serial)
    stored = _stored(connection, manufacturer, serial)
    known = clocks.recent(connection, stored.meter_id, limit=CLOCK_READINGS)
    done = commands.of_meter(connection, stored.meter_id, limit=COMMANDS)
    live = None if read is None else requests.find(connection, read)
    if live is not None and live.meter_id != stored.meter_id:
        live = None
    busy = any(not command.state.done for command in done) or (live is not None and not live.done)
    return page(
        request,
        "meter.html",
        meter=row,
        voltages=_voltages(row),
        source=SOURCES.get(row["source"]),
        endpoints=meters.endpoints(connection, stored.meter_id),
        outcomes=OUTCOMES,
        readings=known,
        rates=rates_of(row) or [],
        drift=drift_of(known),
        plot_clock=plots.clock_offsets(known, parts.settings.clock.threshold_s, parts.calendar.zone),
        clock_settings=parts.settings.clock,
        events=meters.events(connection, stored.meter_id, limit=EVENTS),
        revisions=[
            revision_words.shown(one) for one in revisions.of_meter(connection, stored.meter_id, limit=REVISIONS)
        ],
        commands=done,
        lives=commands.lives(connection, [command.command_id for command in done]),
        offers=desk.offers(connection, parts.settings, stored),
        live=live,
        words=meter_words,
        register=lambda wh: text.MISSING if wh is None else text.register(wh),
        to_ms=lambda at: at.astimezone(parts.calendar.zone).strftime("%d %b %H:%M:%S.%f")[:-3],
        refresh_s=_REFRESH_BUSY_S if busy else _REFRESH_S,
    )


@router.post("/reads")
def live_read(manufacturer: str, serial: str, parts: PartsDep, form: FormDep) -> Response:
    """Have the meter, or its clock, read now; the page then waits for the answer."""
    what = form.get("what", "registers")
    if what not in ("registers", "clock"):
        raise invalid("what", f"{what!r} is neither registers nor clock")
    with parts.store.transaction() as connection:
        stored = _stored(connection, manufacturer, serial)
        found = submit_read(connection, parts, stored, "clock" if what == "clock" else "registers")
    return RedirectResponse(f"{_path(manufacturer, serial)}?read={found.request_id}#now", status_code=303)


@router.get("/command")
def ask(
    *,
    manufacturer: str,
    serial: str,
    request: Request,
    parts: PartsDep,
    connection: ReadDep,
    kind: CommandKind,
    wanted: Annotated[str, Query(max_length=10)],
) -> Response:
    """The question before a command: what will happen, to whom, and why it is wanted."""
    row = _row(connection, parts, manufacturer, serial)
    entered = {"by": name_of(request, OPERATOR), "ttl_s": str(parts.settings.commands.ttl_s)}
    return _question(request, connection, row, kind, wanted, entered=entered)


@router.post("/command")
def command(manufacturer: str, serial: str, request: Request, parts: PartsDep, form: FormDep) -> Response:
    """Ask for a command from its form; what is wrong is shown beside what was entered."""
    try:
        kind = CommandKind(form.get("kind", ""))
    except ValueError as wrong:
        raise invalid("kind", f"{form.get('kind')!r} is none of {', '.join(CommandKind)}") from wrong
    wanted = form.get("wanted", "")
    order, faults = _order(parts, serial, kind, wanted, form)
    refusal: Problem | None = None
    if order is not None:
        try:
            desk.submit(parts.store, parts.settings, parts.clock, (manufacturer, serial), order)
        except desk.UnknownMeter as error:
            raise unknown("meter", f"{manufacturer}/{serial}") from error
        except desk.CommandNotTaken as error:
            refusal = not_taken(error)
        except CommandIdTaken as error:
            refusal = Problem(status=409, code="command-id-taken", detail=str(error))
        else:
            return done(f"{_path(manufacturer, serial)}#commands", OPERATOR, order.requested_by)
    with views.reading(parts.store) as connection:
        row = _row(connection, parts, manufacturer, serial)
        return _question(
            request,
            connection,
            row,
            kind,
            wanted,
            entered=form,
            faults=faults,
            refusal=refusal,
            status=422 if refusal is None else refusal.status,
        )


def _order(
    parts: Parts, serial: str, kind: CommandKind, wanted: str, form: Mapping[str, str]
) -> tuple[Order | None, dict[str, str]]:
    """The order that a form is, or what is wrong with it by field."""
    faults: dict[str, str] = {}
    if kind is CommandKind.RELAY and form.get("last_digits", "").strip() != serial[-_LAST_DIGITS:]:
        faults["last_digits"] = f"these are not the last {_LAST_DIGITS} characters of the serial on this page"
    questions = (("by", "who answers for it?"), ("reason", "why is it done?"))
    faults |= {name: asked for name, asked in questions if not form.get(name, "").strip()}
    if faults:
        return None, faults
    try:
        request = CommandRequest.model_validate(
            {
                "command_id": form.get("command_id"),
                "kind": kind,
                "wanted": wanted,
                "requested_by": form["by"].strip(),
                "reason": form["reason"].strip(),
                "note": form.get("note", "").strip(),
                "ttl_s": form.get("ttl_s") or None,
                "across_intervals": form.get("across_intervals") == "yes",
            }
        )
        return order_of(parts, request), faults
    except ValidationError as wrong:
        return None, {_FIELDS.get(name, name): e["msg"] for e in wrong.errors() for name in [str(e["loc"][0])]}
    except Problem as wrong:
        named = ((e["pointer"].removeprefix("#/"), e["detail"]) for e in wrong.errors)
        return None, {_FIELDS.get(name, name): detail for name, detail in named}


def _question(
    request: Request,
    connection: Connection,
    row: Row,
    kind: CommandKind,
    wanted: str,
    *,
    entered: Mapping[str, str],
    faults: Mapping[str, str] | None = None,
    refusal: Problem | None = None,
    status: int = 200,
) -> Response:
    parts: Parts = request.app.state.parts
    stored = _stored(connection, row["manufacturer"], row["serial"])
    offer = desk.offers(connection, parts.settings, stored)[kind]
    if refusal is None and offer.why_not is not None:
        refusal = not_taken(offer.why_not)
    elif refusal is None and wanted not in offer.states:
        refusal = Problem(
            status=409,
            code="command-model-cannot",
            detail=f"{wanted!r} is none of the states that can be wanted: {', '.join(offer.states)}",
        )
    taken = refusal is not None and refusal.code == "command-id-taken"
    return page(
        request,
        "meter_command.html",
        status=status if refusal is None else refusal.status,
        meter=row,
        kind=kind,
        wanted=wanted,
        deed=meter_words.deed(kind, wanted),
        latest_clock=clocks.latest(connection, stored.meter_id, now=parts.clock()),
        longest_step_s=parts.calendar.interval_s - 2 * parts.settings.clock.guard_s,
        entered=entered,
        faults=faults or {},
        refusal=refusal,
        ttls=TTLS if any(entered.get("ttl_s") == str(s) for s, _ in TTLS) else ((_ttl(entered), "as set"), *TTLS),
        command_id=str(uuid4()) if taken else entered.get("command_id") or str(uuid4()),
        last_digits=_LAST_DIGITS,
    )


def _ttl(entered: Mapping[str, str]) -> int:
    text = entered.get("ttl_s", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else TTLS[0][0]


def _row(connection: Connection, parts: Parts, manufacturer: str, serial: str) -> Row:
    row = meters.one(connection, manufacturer, serial, now=parts.clock())
    if row is None:
        raise unknown("meter", f"{manufacturer}/{serial}")
    return row


def _stored(connection: Connection, manufacturer: str, serial: str) -> StoredMeter:
    stored = find_meter(connection, manufacturer, serial)
    if stored is None:
        raise unknown("meter", f"{manufacturer}/{serial}")
    return stored


def _voltages(row: Row) -> list[float | None]:
    """Per phase where the meter has them, else the one that it has; empty: none."""
    phases = [None if row[f"voltage_l{k}_dv"] is None else row[f"voltage_l{k}_dv"] / 10 for k in (1, 2, 3)]
    if any(v is not None for v in phases):
        return phases
    return [] if row["voltage_dv"] is None else [row["voltage_dv"] / 10]


def _path(manufacturer: str, serial: str) -> str:
    return f"/meters/{quote(manufacturer, safe='')}/{quote(serial, safe='')}"
