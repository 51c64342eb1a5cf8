"""`headend rules`: the validation rules in force, and what they found on an area's day."""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, Literal
from zoneinfo import ZoneInfo

import typer

from headend.cli.common import Config, fail, settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console
    from rich.table import Table

    from headend.settlement.judgement import AreaJudged, InForce, RuleInForce

_WIDE: Final = 120
"""Columns from which on there is room for what each rule says."""


def rules(
    area: Annotated[str | None, typer.Argument(help="Code of an area: what the rules found there.")] = None,
    day: Annotated[datetime | None, typer.Argument(help="Local day; default: yesterday.", formats=["%Y-%m-%d"])] = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """Show the validation rules in force with version and thresholds; with AREA, what they found on a day of it."""
    settings = settings_of(config)
    from rich.console import Console

    from headend.domain.calendar import LocalCalendar
    from headend.domain.clock import system_clock
    from headend.settlement import judgement
    from headend.store import views
    from headend.store.errors import StoreError
    from headend.store.pool import Store

    calendar = LocalCalendar(ZoneInfo(settings.settlement.zone), settings.settlement.interval_s)
    on = day.date() if day is not None else calendar.day_of(system_clock()) - timedelta(days=1)
    found: InForce | AreaJudged
    try:
        with (
            Store(settings.database.dsn, pool_max=1, prepare=settings.database.prepare) as store,
            views.reading(store) as connection,
        ):
            if area is None:
                found = judgement.in_force(connection, settings)
            else:
                found = judgement.judged(connection, area, on, calendar)
    except StoreError as error:
        fail(f"database: {error}")
    except LookupError as error:
        fail(str(error.args[0]))
    except OverflowError:
        fail(f"{on} is at the end of the calendar")
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=1, default=str, ensure_ascii=False))
        return
    console = Console(highlight=False)
    if isinstance(found, judgement.InForce):
        _show_rules(found, console)
    else:
        _show_found(found, console)


def _table(*columns: tuple[str, Literal["left", "right"]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    for name, justify in columns:
        table.add_column(name, justify=justify, no_wrap=name in {"rule", "flag"})
    return table


def _show_rules(found: InForce, console: Console) -> None:
    number = "not used yet" if found.rule_set is None else f"rule set {found.rule_set}"
    console.print(f"Validation rules in force ({number})", markup=False)
    wide = console.width >= _WIDE
    table = _table(("rule", "left"), ("version", "right"), ("thresholds", "left"))
    if wide:
        table.add_column("says")
    for rule in found.rules:
        name = rule.code if rule.enabled else f"{rule.code} (off)"
        table.add_row(name, str(rule.version), "\n".join(_told(rule)), *([rule.says] * wide))
    for method in found.estimation:
        table.add_row(method.code, str(method.version), "way of estimating", *([method.says] * wide))
    console.print(table)
    told = (f"{key} = {_plain(value)}" for key, value in found.registers.items())
    console.print(f"registers: {', '.join(told)}", markup=False)


def _told(rule: RuleInForce) -> list[str]:
    """Each threshold with the categories where it differs, and where the rule does not run."""
    lines = []
    for threshold in rule.thresholds:
        differs = ", ".join(f"{category} {value:g}" for category, value in threshold.of_category.items())
        unit = f" {threshold.unit}" if threshold.unit else ""
        lines.append(f"{threshold.name} = {threshold.value:g}{unit}{f'; {differs}' if differs else ''}")
    if rule.of_category:
        lines.append(", ".join(f"{category} {'on' if runs else 'off'}" for category, runs in rule.of_category.items()))
    return lines


def _plain(value: float | list[str]) -> str:
    return (" ".join(value) or "none") if isinstance(value, list) else f"{value:.12g}"


def _show_found(found: AreaJudged, console: Console) -> None:
    if not found.usage_points:
        console.print(f"{found.area} on {found.day}: not settled", markup=False)
        return
    sets = ", ".join(map(str, found.rule_sets))
    console.print(
        f"{found.area} on {found.day}: {found.flagged} of {found.intervals} intervals of {found.usage_points} metering "
        f"points have something wrong (rule set {sets})",
        markup=False,
    )
    if found.found:
        table = _table(("flag", "left"), ("intervals", "right"), ("points", "right"), ("most at", "left"))
        for one in found.found:
            table.add_row(one.code, str(one.intervals), str(one.usage_points), _worst(one.worst, 5))
        console.print(table)
    if found.worst:
        console.print(f"worst: {_worst(found.worst, 10)}", markup=False)


def _worst(counts: Mapping[str, int], most: int) -> str:
    return ", ".join(f"{point} {intervals}" for point, intervals in list(counts.items())[:most])
