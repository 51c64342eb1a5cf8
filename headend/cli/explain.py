"""`headend explain AREA`: how the engine reasons about one area, in the terminal; nothing is written."""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
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
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON, with every curve.")] = False,
) -> None:
    """Explain an area's losses from its settled days: the verdict, what speaks for it, and what could not be told."""
    settings = settings_of(config)
    from headend.domain.calendar import LocalCalendar
    from headend.domain.clock import system_clock
    from headend.settlement.explained import explain as explained
    from headend.store import views
    from headend.store.errors import StoreError
    from headend.store.pool import Store

    calendar = LocalCalendar(ZoneInfo(settings.settlement.zone), settings.settlement.interval_s)
    end = last.date() if last is not None else calendar.day_of(system_clock()) - timedelta(days=1)
    begin = first.date() if first is not None else end - timedelta(days=settings.settlement.window_days - 1)
    if begin > end:
        fail(f"the first day {begin} is after the last one {end}")
    try:
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
        fail(f"{begin} to {end} is beyond the calendar")
    if as_json:
        typer.echo(json.dumps(_as_json(found), indent=1, ensure_ascii=False))
        return
    from rich.console import Console

    _show(found, Console(highlight=False))


def _show(found: Explained, console: Console) -> None:
    report, window, days = found.report, found.area.window, found.area.days
    beside = f", beside {', '.join(found.neighbours)}" if found.neighbours else ", without neighbours"
    console.print(
        f"[bold]{found.area.area}[/bold]  {days.first} to {days.last}: {len(days.days)} days of "
        f"{window.interval_s // 60} min, {window.n_meters} meters{beside}"
    )
    verdict = str(report.cause).replace("_", " ")
    console.print(
        f"verdict: [bold]{verdict}[/bold]{' (alarm)' if report.alarm else ''}, evidence against a clean area "
        f"{report.anomaly_score:.1f} nat"
    )
    if report.reason:
        console.print(f"not told: {report.reason}", markup=False)
    console.print(_balance(found), markup=False)
    for finding in report.findings:
        _show_finding(found, finding, console)
    if not report.findings:
        console.print("no finding", markup=False)
    _show_ranking(found, console)


def _balance(found: Explained) -> str:
    """The window's sums over the intervals in which everything was measured."""
    import numpy as np

    window = found.area.window
    supplied = window.area_import_wh - np.nan_to_num(window.area_export_wh)
    delivered = (window.household_import_wh - np.nan_to_num(window.household_export_wh)).sum(axis=0)
    whole = np.isfinite(supplied) & np.isfinite(delivered)
    if not whole.any():
        return "balance: no interval in which the area meter and all households were measured"
    into, out = float(supplied[whole].sum()), float(delivered[whole].sum())
    technical = float(found.report.technical_interval_wh[whole].sum())
    loss = into - out
    share = f" ({loss / into:.2%})" if into > 0 else ""
    return (
        f"balance over {whole.mean():.0%} of the intervals: supplied {into / 1000:,.1f} kWh, delivered "
        f"{out / 1000:,.1f}, loss {loss / 1000:,.1f}{share}, of it technical {technical / 1000:,.1f}, unexplained "
        f"{(loss - technical) / 1000:,.1f}"
    )


def _show_finding(found: Explained, finding: Finding, console: Console) -> None:
    from headend.domain.calendar import from_us
    from headend.web import finding_texts

    words = finding_texts.of(str(finding.kind))
    where = finding.meter or "the area as a whole"
    since = ""
    if finding.onset_interval is not None:
        onset = from_us(int(found.area.days.grid_us[finding.onset_interval]))
        since = f", since {onset.astimezone(found.area.days.calendar.zone):%Y-%m-%d %H:%M}"
    belongs = f", belongs to {finding.correct_area}" if finding.correct_area else ""
    console.print(
        f"\n[bold]{words.title}[/bold] {words.chinese}: {where}{belongs}; confidence {finding.confidence:.0%}, "
        f"{finding.energy_wh / 1000:,.1f} kWh ({finding.energy_low_wh / 1000:,.1f} to "
        f"{finding.energy_high_wh / 1000:,.1f}){since}"
    )
    console.print(f"  {words.claim} {words.evidence}", markup=False)
    told = ", ".join(f"{name} {value:.4g}" for name, value in finding.evidence.numbers.items())
    if told:
        console.print(f"  numbers: {told}", markup=False)
    others = ", ".join(f"{name} {share:.0%}" for name, share in finding.evidence.alternatives.items())
    if others:
        console.print(f"  other explanations: {others}", markup=False)
    for check in words.checks:
        console.print(f"  · {check}", markup=False)


def _show_ranking(found: Explained, console: Console) -> None:
    ranked = sorted(found.report.suspicion.items(), key=lambda one: (-one[1], one[0]))[:_RANKED]
    if not ranked or not found.report.alarm:
        return
    console.print("\nevidence against each meter's reading [nat], the most suspicious first:", markup=False)
    for name, nats in ranked:
        mark = " accused" if name in found.report.accused else ""
        console.print(f"  {nats:10.1f}  {name}{mark}", markup=False)


def _as_json(found: Explained) -> dict[str, Any]:
    from headend.settlement.reports import finite

    report = found.report
    return {
        "area": found.area.area,
        "from": str(found.area.days.first),
        "to": str(found.area.days.last),
        "neighbours": list(found.neighbours),
        "cause": str(report.cause),
        "alarm": bool(report.alarm),
        "anomaly_score": finite(report.anomaly_score),
        "reason": report.reason,
        "technical_loss_wh": finite(report.technical_loss_wh),
        "accused": list(report.accused),
        "misplaced": [{"meter": meter, "correct_area": area} for meter, area in report.misplaced],
        "suspicion": {name: finite(nats) for name, nats in report.suspicion.items()},
        "findings": [_finding_json(finding) for finding in report.findings],
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    from headend.settlement.reports import finite

    def numbers(values: Mapping[str, float]) -> dict[str, float | None]:
        return {name: finite(value) for name, value in values.items()}

    return {
        "kind": str(finding.kind),
        "meter": finding.meter,
        "correct_area": finding.correct_area,
        "confidence": finite(finding.confidence),
        "energy_wh": finite(finding.energy_wh),
        "energy_low_wh": finite(finding.energy_low_wh),
        "energy_high_wh": finite(finding.energy_high_wh),
        "onset_interval": finding.onset_interval,
        "numbers": numbers(finding.evidence.numbers),
        "alternatives": numbers(finding.evidence.alternatives),
        "resolution": finding.evidence.resolution,
        "series": [
            {"name": s.name, "unit": s.unit, "values": [finite(float(v)) for v in s.values]}
            for s in finding.evidence.series
        ],
    }
