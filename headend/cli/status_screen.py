"""Draws the picture of `headend status`: 80 columns are enough, and colours say nothing that words do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from headend.domain.alerts import Severity
from headend.domain.processes import Fact, ProcessState, RoleState
from headend.settings import Settings
from headend.upkeep.read_success import percent
from headend.upkeep.status_parts import DayReads, Status

MOST_ALERTS = 8
"""Alerts that are shown; the page /status has all of them."""
_MISSING = "–"
_COLOURS = {
    ProcessState.UP: "green",
    ProcessState.LATE: "yellow",
    ProcessState.GONE: "red",
    ProcessState.STOPPED: "dim",
    RoleState.RUNNING: "green",
    RoleState.STARTING: "yellow",
    RoleState.RESTARTING: "red",
    RoleState.STOPPED: "dim",
}


def draw(found: Status, settings: Settings, console: Console) -> None:
    """Everything, top to bottom; what wants attention stands last, where the eye is."""
    zone = ZoneInfo(settings.settlement.zone)
    local = found.at.astimezone(zone)
    console.print(Text(f"Head-end on {local:%Y-%m-%d %H:%M:%S} {zone.key}", style="bold"))
    console.print(_processes(found))
    console.print(_parts(found))
    for alert in found.alerts[:MOST_ALERTS]:
        style = "red" if alert.severity is Severity.ALERT else "yellow"
        line = Text(f"{alert.severity.value:<8} {alert.kind.value} {alert.subject}", style=style)
        console.print(line.append(f", for {since(alert.raised_at, found.at)}: {alert.detail}", style=""))
    if len(found.alerts) > MOST_ALERTS:
        console.print(f"… and {len(found.alerts) - MOST_ALERTS} more alerts")
    if not found.attention:
        console.print(Text("All is well.", style="bold green"))
        return
    console.print(Text("Wants attention:", style="bold red"))
    for words in found.attention:
        console.print(Padding(Text(f"• {words}"), (0, 0, 0, 1)))


def _processes(found: Status) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", expand=False)
    for name in ("role", "state", "process", "for", "says"):
        table.add_column(name, overflow="fold")
    for process in found.processes:
        for role in process.roles:
            state: ProcessState | RoleState = role.state if process.state is ProcessState.UP else process.state
            began = role.since if process.state is ProcessState.UP else process.beat_at
            says = ", ".join(_facts(role.facts)) if process.alive else ""
            if role.restarts:
                says = f"failed {role.restarts} times, last: {role.error}" + (f"; {says}" if says else "")
            table.add_row(
                role.role,
                Text(state.value, style=_COLOURS[state]),
                process.name,
                since(began, found.at),
                says,
            )
    if not found.processes:
        table.add_row(_MISSING, Text("none", style="red"), "", "", "no process has ever said that it lives")
    return table


def _facts(facts: Mapping[str, Fact]) -> Iterator[str]:
    """What a role says, without what is nothing out of the ordinary."""
    for name, value in facts.items():
        if value is None or value is False or value == 0:
            if name == "connected":
                yield "not connected"
            continue
        label = name.replace("_", " ")
        if value is True:
            yield label
        elif name.endswith("_bytes") and isinstance(value, int | float):
            yield f"{label.removesuffix(' bytes')} {size(value)}"
        elif name.endswith("_s") and isinstance(value, int | float):
            yield f"{label.removesuffix(' s')} {value:g} s"
        elif isinstance(value, int | float):
            yield f"{label} {value:,}"
        else:
            yield f"{label} {value}"


def _parts(found: Status) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in _lines(found):
        table.add_row(name, words)
    return table


def _lines(found: Status) -> Iterator[tuple[str, str]]:
    r, p, s, b, j, c = (
        found.readings, found.polling, found.settling, found.billing, found.jobs, found.concentrators,
    )  # fmt: skip
    yield (
        "readings",
        f"{r.readings_stored:,} stored, last came {ago(r.last_received_at, found.at)}; "
        f"{r.meters_read:,} of {r.meters_installed:,} meters read within a day",
    )
    yield (
        "polling",
        f"{p.buses:,} buses, {p.connected:,} connected, {p.away:,} away; "
        f"of {p.meters:,} meters {p.read:,} read, {p.failed:,} failed, {p.resting:,} resting",
    )
    behind = f", furthest behind by {since(c.furthest_behind_at, found.at)}" if c.furthest_behind_at else ""
    yield (
        "concentrators",
        f"{c.concentrators:,}, {c.silent:,} silent, {c.never_heard:,} never heard, {c.offline:,} offline, "
        f"{c.backlog:,} uploads to come{behind}",
    )
    if c.late:
        yield "", "late: " + ", ".join(f"{one.concentrator} ({ago(one.last_seen_at, found.at)})" for one in c.late)
    yield "read success", _objectives(found)
    for name, day in (("yesterday", found.read_success.yesterday), ("today", found.read_success.today)):
        yield f"  {name}", _day(day)
    waits = f", the oldest for {since(s.oldest_marked_at, found.at)}" if s.oldest_marked_at else ""
    yield "settlement", f"{_many(s.area_days_waiting, 'area-day', 'area-days')} to do{waits}"
    waits = f" for {since(b.oldest_waiting_at, found.at)}" if b.oldest_waiting_at else ""
    yield (
        "billing",
        f"{_many(b.batches_acknowledged, 'batch', 'batches')} acknowledged, {b.batches_waiting:,} waiting{waits}, "
        f"{b.batches_rejected:,} rejected; {_many(b.exceptions_open, 'exception', 'exceptions')} open",
    )
    yield "jobs", f"{j.jobs_waiting:,} waiting, {j.jobs_running:,} running, {j.jobs_failed:,} failed"
    yield "store", _store(found)
    yield (
        "quarantine",
        ", ".join(f"{q.reason} {q.messages:,}" for q in found.quarantine) or "empty",
    )


def _objectives(found: Status) -> str:
    limits = found.read_success
    return f"objective {percent(limits.warn)}, alert below {percent(limits.alert)}"


def _day(day: DayReads | None) -> str:
    if day is None:
        return "not counted yet"
    if day.ratio is None:
        return "no read was due"
    words = f"{percent(day.ratio)}: {day.stored:,} of {day.scheduled:,} reads stored"
    if day.ratio_first is not None:
        words += f", {percent(day.ratio_first)} in time"
    if day.worst:
        words += "; worst " + ", ".join(f"{a.area} {percent(a.ratio)}" for a in day.worst)
    return words


def _store(found: Status) -> str:
    s = found.storage
    kind = f"TimescaleDB {s.timescale}" if s.timescale else "PostgreSQL, native partitions"
    days = f"{s.days:,} days from {s.first_day}" if s.first_day else "no day yet"
    packed = f", {s.packed_days:,} compressed" if s.packing else ""
    ahead = "" if s.days_ahead is None else f", {s.days_ahead} days ahead"
    return f"{kind}: {size(s.bytes)}, about {s.rows:,} readings, {days}{packed}{ahead}"


def _many(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


def ago(instant: datetime | None, now: datetime) -> str:
    """How long since."""
    return "never" if instant is None else f"{since(instant, now)} ago"


def since(instant: datetime, now: datetime) -> str:
    """How long, in the largest unit of which there are two."""
    seconds = max(0.0, (now - instant).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def size(count: float) -> str:
    """Bytes for a person."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
