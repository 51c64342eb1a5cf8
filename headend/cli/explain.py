"""`headend explain AREA`: how the engine reasons about one area, in the terminal; nothing is written."""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final
from zoneinfo import ZoneInfo

import typer

from headend.cli.common import Config, fail, settings_of

if TYPE_CHECKING:
    from rich.console import Console

    from headend.settlement.explained import Explained
    from reconciliation import Finding

_RANKED: Final = 8
"""So many of the most suspicious meters are listed."""


def explain(
    area: Annotated[str, typer.Argument(help="Code of the area; the others of its station are its neighbours.")],
    config: Config = None,
    first: Annotated[
        datetime | None,
        typer.Option("--from", help="First local day; default: the window of the settings.", formats=["%Y-%m-%d"]),
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", help="Last local day; default: yesterday.", formats=["%Y-%m-%d"])
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The same as `headend reconcile --json` writes it, with every curve.")
    ] = False,
) -> None:
    """Explain an area's losses from its settled days: the verdict, what speaks for it, and what could not be told."""
    settings = settings_of(config)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported
    from headend.domain.calendar import LocalCalendar
    from headend.domain.clock import system_clock
    from headend.settlement.explained import explain as explained
    from headend.store import views
    from headend.store.errors import StoreError
    from headend.store.pool import Store

    now = system_clock()
    calendar = LocalCalendar(ZoneInfo(settings.settlement.zone), settings.settlement.interval_s)
    end = last.date() if last is not None else calendar.day_of(now) - timedelta(days=1)
    try:
        begin = first.date() if first is not None else end - timedelta(days=settings.settlement.window_days - 1)
        if begin > end:
            fail(f"the first day {begin} is after the last one {end}")
        with (
            Store(settings.database.dsn, pool_max=1, prepare=settings.database.prepare) as store,
            views.reading(store) as connection,
        ):
            found = explained(connection, settings, area, begin, end)
    except StoreError as error:
        fail(f"database: {error}")
    except LookupError as error:
        fail(str(error.args[0]))
    except OverflowError:
        fail(f"{first.date() if first else ''} to {end} is beyond the calendar")
    document = _document(found, now, calendar.zone)
    if as_json:
        typer.echo(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))
        return
    from rich.console import Console

    _show(found, document["areas"][0], Console(highlight=False, soft_wrap=True))


def _document(found: Explained, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """The area as the workbench writes it, and beside whom it was looked at."""
    from importlib.metadata import version

    from headend.workbench.document import Frame, document

    frame = Frame(made_at=now, program=version("headend"), zone=zone)
    made = document([found.area.window], {found.area.area: found.report}, frame)
    return made | {"neighbours": list(found.neighbours)}


def _show(found: Explained, area: Mapping[str, Any], console: Console) -> None:
    report, window, days = found.report, found.area.window, found.area.days
    beside = f", beside {', '.join(found.neighbours)}" if found.neighbours else ", without neighbours"
    _say(
        console,
        f"{area['area']}  {days.first} to {days.last}: {len(days.days)} days of {window.interval_s // 60} min, "
        f"{window.n_meters} meters{beside}",
        style="bold",
    )
    _say(console, area["verdict"]["en"])
    _say(
        console,
        f"{'alarm' if report.alarm else 'no alarm'}; evidence against a clean area {report.anomaly_score:.1f} nat"
        f"{_causes(area['report']['cause_probability'])}",
    )
    _say(console, _balance(area["totals"]))
    for finding in report.findings:
        _show_finding(found, finding, console)
    if not report.findings:
        _say(console, "no finding")
    _show_ranking(found, console)
    _show_limits(area["report"]["limits"], console)


def _say(console: Console, words: str, *, style: str | None = None) -> None:
    """As it stands: names and numbers are no markup."""
    console.print(words, markup=False, style=style)


def _causes(probability: Mapping[str, float]) -> str:
    """Every cause that is not next to impossible."""
    from headend.web import cause_texts, text

    likely = sorted(((p, cause) for cause, p in probability.items() if p >= 0.005), reverse=True)
    told = ", ".join(f"{cause_texts.of(cause).title.lower()} {text.percent(p, 0)}" for p, cause in likely)
    return f"; {told}" if told else ""


def _balance(totals: Mapping[str, Any]) -> str:
    """The window's sums over the intervals in which everything was measured."""
    from headend.web import text

    if totals["supplied_wh"] is None:
        return "balance: no interval in which the area meter and all households were measured"
    return (
        f"balance over {text.share(totals['complete_share'])} of the intervals: supplied "
        f"{text.kwh(totals['supplied_wh'])} kWh, delivered {text.kwh(totals['delivered_wh'])}, loss "
        f"{text.kwh(totals['loss_wh'])} ({text.percent(totals['loss_rate'])}), of it technical "
        f"{text.kwh(totals['technical_wh'])}, unexplained {text.kwh(totals['unexplained_wh'])}"
    )


def _show_finding(found: Explained, finding: Finding, console: Console) -> None:
    """A finding as its page has it, without pictures."""
    from headend.web import finding_money, finding_numbers, finding_says, finding_texts, finding_words, text
    from headend.workbench.document import plain

    words = finding_texts.of(str(finding.kind))
    onset = _onset(found, finding)
    evidence: dict[str, Any] = plain(finding.evidence)
    seen = finding_words.Seen(
        kind=str(finding.kind), evidence=evidence, energy_wh=finding.energy_wh,
        since=None if onset is None else onset.date(), meter=finding.meter, area=found.area.area,
        correct_area=finding.correct_area,
    )  # fmt: skip
    where = finding.meter or ("a meter, not known which" if words.of_a_meter else "the area as a whole")
    belongs = ""
    if str(finding.kind) == "wrong_area":
        belongs = f", belongs to {finding.correct_area}" if finding.correct_area else ", not from here"
    stake = "how much is at stake is not known"
    if finding_money.is_known(str(finding.kind), finding.energy_wh):
        interval = f"{text.kwh(finding.energy_low_wh)} to {text.kwh(finding.energy_high_wh)}"
        stake = f"{text.kwh(finding.energy_wh)} kWh ({interval})"
    since = "" if onset is None else f", since {onset:%Y-%m-%d %H:%M}"
    console.print()
    _say(console, f"{words.title} {words.chinese}", style="bold")
    _say(console, f"  {where}{belongs}; confidence {finding.confidence:.0%}, {stake}{since}")
    _say(console, f"  {words.claim}")
    for one in finding_says.because(seen):
        _say(console, f"  · {one.english} {one.chinese}")
    told = "; ".join(f"{name.english} {value}" for name, value in finding_numbers.rows(seen.numbers))
    if told:
        _say(console, f"  numbers: {told}")
    others = ", ".join(
        f"{name.english.lower() if name.chinese else name.english} {text.likelihood(share)}"
        for name, share in finding_words.explanations(seen)
    )
    if others:
        _say(console, f"  explanations: {others}")
    for check in (*finding_says.checks(seen), *words.checks):
        _say(console, f"  □ {check.english}")
    for open_ in finding_words.untold(seen):
        _say(console, f"  not told: {open_.english} {open_.chinese}")


def _onset(found: Explained, finding: Finding) -> datetime | None:
    """When it began, on local clocks; None: not told."""
    from headend.domain.calendar import from_us

    if finding.onset_interval is None:
        return None
    return from_us(int(found.area.days.grid_us[finding.onset_interval])).astimezone(found.area.days.calendar.zone)


def _show_ranking(found: Explained, console: Console) -> None:
    ranked = sorted(found.report.suspicion.items(), key=lambda one: (-one[1], one[0]))[:_RANKED]
    if not ranked or not found.report.alarm:
        return
    _say(console, "\nevidence against each meter's reading [nat], the most suspicious first:")
    for name, nats in ranked:
        mark = " accused" if name in found.report.accused else ""
        _say(console, f"  {nats:10.1f}  {name}{mark}")


def _show_limits(limits: list[Mapping[str, Any]], console: Console) -> None:
    from headend.web import limit_words

    if not limits:
        _say(console, "\nno input was lacking")
        return
    _say(console, "\nwhat could not be told, the gravest first:")
    for limit in limits:
        said = limit_words.of(limit)
        _say(console, f"  · {said.english} {said.chinese}")
