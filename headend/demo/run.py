"""What `headend demo` does from the first line on the terminal to the last: start, watch, report, stop."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from headend.demo.house import House
from headend.demo.layout import Layout
from headend.demo.verdict import Heard, Truth, judge, missing_readings
from headend.domain.clock import system_clock
from headend.embedded.supervisor import Death
from headend.store import progress as store_progress
from headend.store.errors import StoreError
from headend.store.pool import Store

MODBUS, CONCENTRATOR = 1, 3
"""Sources of readings as the store numbers them (drivers.base.Source)."""
LOOK_S = 0.5


class Demo:
    """One run of the demo in one data directory."""

    def __init__(
        self,
        data_dir: Path,
        *,
        web_port: int,
        poll_period_s: int,
        reveal: bool,
        console: Console,
        scenario: Path | None = None,
    ) -> None:
        self._layout = Layout(data_dir.absolute())
        self._reveal = reveal
        self._console = console
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._house = House(
            self._layout,
            web_port=web_port,
            poll_period_s=poll_period_s,
            announce=lambda what: console.print(f"[dim]{self._elapsed():5.1f} s[/]  starting {what}"),
            on_death=self._mourn,
            scenario=scenario,
        )

    def stay(self) -> None:
        """Run until SIGINT or SIGTERM."""
        with self._stopped_by_signals(), self._house as house, Store(house.dsn, pool_max=2) as store:
            self._console.print(f"\n[bold]Open {house.ports.web_url}[/]  (Ctrl-C stops everything)\n")
            self._watch(store, limit_s=None)
            if not self._stop.is_set():
                self._show(self.summary(store))
                self._console.print(f"\n[bold]{house.ports.web_url}[/]  Live data go on; Ctrl-C stops everything.")
            self._stop.wait()
            self._console.print("stopping …")

    def once(self, limit_s: float) -> tuple[dict[str, Any], list[str]]:
        """Run until everything has been through; returns the summary and what is missing (nothing: success)."""
        with self._stopped_by_signals(), self._house as house, Store(house.dsn, pool_max=2) as store:
            self._watch(store, limit_s=limit_s)
            summary = self.summary(store)
            if self._reveal:
                self._show(summary)
            return summary, self._lacking(store, summary)

    def summary(self, store: Store) -> dict[str, Any]:
        """What happened, as `headend demo --once` prints it."""
        truth = Truth.load(self._layout.truth)
        outcome = store_progress.outcome(store)
        stored = store_progress.stored_readings(store, CONCENTRATOR, truth.history_until)
        polled = store_progress.readings_by_source(store, MODBUS)
        counts = store_progress.progress(store)
        wanted = {meter for meter in truth.modbus_meters if meter in polled}
        field = store_progress.field(store)
        events: dict[str, int] = {}
        for (_, kind), times in field.events.items():
            events[kind] = events.get(kind, 0) + times
        return {
            "areas": outcome["areas"],
            "balances": counts.balances,
            "findings": outcome["findings"],
            "batches": outcome["batches"],
            "readings": {
                "stored": counts.readings,
                "history_wanted": sum(truth.history_readings.values()),
                "history_stored": sum(stored.values()),
                "history_missing": missing_readings(truth, stored),
                "modbus_meters": len(wanted),
                "modbus_meters_read": sum(polled[meter] > 0 for meter in wanted),
            },
            "events": events,
            "discovered": len(field.discovered),
            "buses": dict(field.buses),
            "meters_not_read": len(field.not_read),
            "meters_resting": sum(outcome == "resting" for outcome in field.not_read.values()),
            "truth": judge(truth, outcome["findings"], _heard(field), system_clock()),
            "seconds": round(self._elapsed(), 1),
        }

    def _lacking(self, store: Store, summary: dict[str, Any]) -> list[str]:
        readings, truth = summary["readings"], summary["truth"]
        counts = store_progress.progress(store)
        checks = {
            f"{sum(readings['history_missing'].values())} history readings are not stored": readings["history_missing"],
            f"only {readings['modbus_meters_read']} of {readings['modbus_meters']} Modbus meters were read": (
                readings["modbus_meters_read"] < readings["modbus_meters"]
            ),
            f"only {counts.reports} of {counts.areas} areas were analysed": counts.reports < counts.areas,
            f"honest meters were accused: {', '.join(truth['wrongly_accused'])}": truth["wrongly_accused"],
            f"not seen: {', '.join(_unseen(truth))}": _unseen(truth),
            "no billing batch was acknowledged": counts.batches_acknowledged == 0,
            f"{counts.batches - counts.batches_acknowledged} billing batches are not acknowledged": (
                counts.batches_acknowledged < counts.batches
            ),
        }
        return [what for what, wrong in checks.items() if wrong]

    def _watch(self, store: Store, limit_s: float | None) -> None:
        """Show how far the history is until it is through, the limit is over, or we are told to stop."""
        truth = Truth.load(self._layout.truth)
        wanted = sum(truth.history_readings.values())
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, transient=not self._console.is_terminal) as display:
            bars = {
                "readings": display.add_task("readings", total=wanted),
                "area-days": display.add_task("area-days", total=None),
                "areas": display.add_task("analysed", total=None),
                "batches": display.add_task("billed", total=None),
            }
            while not self._stop.is_set() and (limit_s is None or self._elapsed() < limit_s):
                with contextlib.suppress(StoreError):  # the database is being restarted by the supervisor
                    now = store_progress.progress(store)
                    display.update(bars["readings"], completed=min(now.readings, wanted))
                    display.update(bars["area-days"], completed=now.balances, total=now.balances + now.dirty)
                    display.update(bars["areas"], completed=now.reports, total=now.areas)
                    display.update(bars["batches"], completed=now.batches_acknowledged, total=max(now.batches, 1))
                    if self._through(store, truth, wanted, now):
                        return
                self._stop.wait(LOOK_S)

    def _through(self, store: Store, truth: Truth, wanted: int, now: store_progress.Progress) -> bool:
        """Whether history, analysis and billing are done. The exact count is asked only when the cheap ones agree."""
        if (
            now.readings < wanted
            or now.reports < now.areas
            or not now.batches
            or now.batches_acknowledged < now.batches
        ):
            return False
        if _unseen(judge(truth, (), _heard(store_progress.field(store)), system_clock())):
            return False
        polled = store_progress.readings_by_source(store, MODBUS)
        if any(polled[meter] == 0 for meter in truth.modbus_meters if meter in polled):
            return False
        return not missing_readings(truth, store_progress.stored_readings(store, CONCENTRATOR, truth.history_until))

    def _show(self, summary: dict[str, Any]) -> None:
        readings, truth = summary["readings"], summary["truth"]
        self._console.print(
            f"\n{readings['stored']:,} readings, {summary['balances']} area-days, {len(summary['findings'])} findings, "
            f"{len(summary['batches'])} billing batches acknowledged after {summary['seconds']} s"
        )
        if not self._reveal:
            return
        table = Table(
            title=f"Ground truth: {truth['named']} of {truth['of']} planted energy faults named right, "
            f"{truth['seen']} of {truth['to_see']} other troubles seen"
        )
        for column in ("planted", "area", "meter", "found as", "sure", "kWh", "kWh found"):
            table.add_column(column, overflow="fold")  # a narrow terminal breaks a name, and cuts none
        for fault in truth["planted"]:
            name = fault["fault"] + ("" if fault["counted"] else " (data)")
            if fault["correct_area"]:
                name += f" → {fault['correct_area']}"
            table.add_row(
                name,
                fault["area"],
                fault["meter"] or "–",
                _found_as(fault),
                _text(fault["confidence"]),
                _kwh(fault["energy_wh"]),
                _kwh(fault["estimated_wh"]),
            )
        self._console.print(table)
        self._console.print(f"wrongly accused: {', '.join(truth['wrongly_accused']) or 'nobody'}")

    def _mourn(self, death: Death) -> None:
        self._console.print(
            f"[yellow]{death.service} ended (status {death.exit_status}); again in {death.next_start_in_s:g} s[/]"
        )

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    @contextlib.contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the run: while things start by an exception, afterwards by the stop flag."""

        def on_signal(number: int, _frame: object) -> None:
            if self._stop.is_set():
                return
            self._stop.set()
            if not self._house.up:
                raise KeyboardInterrupt(signal.Signals(number).name)

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _heard(field: store_progress.Field) -> Heard:
    return Heard(events=field.events.keys(), discovered=field.discovered, not_read=field.not_read.keys())


def _unseen(judged: Mapping[str, Any]) -> list[str]:
    return [f"{fault['fault']} in {fault['area']}" for fault in judged["planted"] if fault["seen"] is False]


def _found_as(fault: Mapping[str, Any]) -> str:
    """The cause that a finding says, or what else tells of it."""
    if fault["seen"] is not None:
        return ", ".join(fault["seen_as"]) or "not seen"
    return str(fault["as"] or "missed")


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _kwh(energy_wh: float | None) -> str:
    return "–" if energy_wh is None else f"{energy_wh / 1000:,.1f}"


def run_once(data_dir: Path | None, make: Callable[[Path], Demo], limit_s: float) -> int:
    """`headend demo --once`: JSON on stdout, everything else on stderr; 0 when all went through, 1 when not."""
    with contextlib.ExitStack() as stack:
        if data_dir is None:
            data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headend-")))
        summary, lacking = make(data_dir).once(limit_s)
    json.dump(summary | {"missing": lacking}, sys.stdout, indent=1, default=str)
    sys.stdout.write("\n")
    for what in lacking:
        sys.stderr.write(f"missing: {what}\n")
    return 1 if lacking else 0
