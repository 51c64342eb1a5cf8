"""Twelve households whose settled window is explained, and an engine of a test's own that accuses whom it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from headend.settlement.engine import Engine
from headend.settlement.service import SettlementService
from reconciliation import (
    AreaReport,
    AreaWindow,
    Cause,
    Evidence,
    EvidenceSeries,
    Finding,
    FindingKind,
    Limit,
    LimitCode,
    Priors,
    Screening,
    TechnicalLossModel,
)
from support.field import T0, Field

DAYS = 14
INTERVALS = DAYS * 96
SEED = 20260302
HOUSES = 12


class Accuser:
    """Stands in for the engine where a test is about what becomes of its answer: accuses one meter of all the loss."""

    def __init__(self, accused: str | None) -> None:
        self.accused = accused
        self.windows: list[AreaWindow] = []
        self.priors = Priors()
        self.wrong_area_rate = 0.0

    def screen(self, window: AreaWindow) -> Screening:
        return Screening(window=window, nothing=None)

    def explain(
        self, screenings: Sequence[Screening], areas: Sequence[str] | None = None, *, priors: Priors,
        wrong_area_rate: float,
    ) -> Mapping[str, AreaReport]:  # fmt: skip
        self.windows, self.priors, self.wrong_area_rate = [s.window for s in screenings], priors, wrong_area_rate
        return {w.area: self.report(w) for w in self.windows}

    def report(self, w: AreaWindow) -> AreaReport:
        supplied = w.area_import_wh - w.area_export_wh
        model = TechnicalLossModel(constant_wh=6.0, quadratic_per_wh=2.5e-6)
        technical = model.predict(supplied)
        series = (EvidenceSeries(name="loss_before", unit="Wh", values=np.array([1.0, np.nan] * (DAYS // 2))),)
        finding = Finding(
            kind=FindingKind.UNDER_REGISTERING,
            meter=self.accused,
            confidence=0.9,
            energy_wh=1000.0,
            energy_low_wh=900.0,
            energy_high_wh=1100.0,
            onset_interval=96,
            evidence=Evidence(series=series, numbers={"share": float("nan")}),
        )
        return AreaReport(
            anomaly_score=3.0,
            alarm=self.accused is not None,
            cause=Cause.METER if self.accused else Cause.CLEAN,
            suspicion={},
            accused=(),
            misplaced=(),
            technical_loss_wh=float(np.nansum(technical)),
            findings=(finding,) if self.accused else (),
            technical_interval_wh=technical,
            technical_model=model,
            limits=(
                Limit(code=LimitCode.FEW_DAYS, numbers={"days": float(DAYS), "days_wanted": float("nan")}),
                Limit(code=LimitCode.NO_NEIGHBOURS),
            ),
            cause_probability={Cause.CLEAN: 0.25, Cause.METER: 0.75},
        )


class World:
    """Twelve households behind one transformer with resistive lines; `bad` registers only a part of what it draws."""

    def __init__(self, field: Field, *, bad: int | None = 3, share: float = 0.4) -> None:
        print("seed", SEED)
        rng = np.random.default_rng(SEED)
        self.field = field
        self.area = field.area()
        hour = np.arange(INTERVALS) % 96 / 4
        habit = 60 + 250 * np.exp(-((hour[None, :] - rng.uniform(17, 21, (HOUSES, 1))) ** 2) / 4)
        true = habit * rng.gamma(2.0, 0.5, (HOUSES, INTERVALS))
        total = true.sum(axis=0)
        self.technical = 6 + 2.5e-6 * total**2
        drop = 230 * (self.technical - 6) / np.maximum(total, 1)
        read = true.copy()
        if bad is not None:
            read[bad, INTERVALS // 3 :] *= share
        self.area_point = field.point(self.area, "sum", "area", rated=None)
        self.area_meter = field.meter("sum", phases=3)
        field.install(self.area_point, self.area_meter, multiplier="40", start=0)
        stamps = [T0 + timedelta(minutes=15 * k) for k in range(INTERVALS + 1)]
        self.meters: list[int] = []
        rows: list[tuple[Any, ...]] = []
        for h in range(HOUSES):
            meter = field.meter(f"h{h}")
            field.install(field.point(self.area, f"h{h}"), meter, start=0)
            self.meters.append(meter)
            register = np.concatenate([[0], np.cumsum(read[h])]).astype(int)
            volts = np.concatenate([[230], 230 - drop])
            rows += [(meter, t, int(r), int(v * 10)) for t, r, v in zip(stamps, register, volts, strict=True)]
        into = np.concatenate([[0], np.cumsum(total + self.technical)]) / 40
        rows += [(self.area_meter, t, int(r), 2300) for t, r in zip(stamps, into, strict=True)]
        with field.store.transaction() as c, c.cursor() as cursor:
            with cursor.copy(
                "copy register_reading (meter_id, ts, import_wh, voltage_dv, export_wh, flags, source, "
                "uncertainty_ms) from stdin"
            ) as copy:
                for row in rows:
                    copy.write_row((*row, 0, 0, 3, 0))
            phase = [
                (self.area_meter, t, *[int(r / 3)] * 3, *[0] * 3, *[2300] * 3)
                for t, r in zip(stamps, into, strict=True)
            ]
            with cursor.copy(
                "copy phase_reading (meter_id, ts, import_l1_wh, import_l2_wh, import_l3_wh, export_l1_wh, "
                "export_l2_wh, export_l3_wh, "
                "voltage_l1_dv, voltage_l2_dv, voltage_l3_dv) from stdin"
            ) as copy:
                for row in phase:
                    copy.write_row(row)
        field.mark_reading(self.area, stamps)

    @property
    def now(self) -> Any:
        return T0 + timedelta(days=DAYS, minutes=5)

    engine: Engine = Accuser("Acme/h3")

    def service(self, later: timedelta = timedelta()) -> SettlementService:
        return SettlementService(self.field.store, self.field.settings, lambda: self.now + later, engine=self.engine)

    def work(self, later: timedelta = timedelta()) -> int:
        service = self.service(later)
        steps = 0
        while service.step():
            steps += 1
            assert steps < 50
        return steps
