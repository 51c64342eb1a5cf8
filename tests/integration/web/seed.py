"""A neighbourhood in every table, as the stages would have written it: five areas, in every state.

Numbers come from one seed; `NOW` is the instant that the pages are looked at.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import seed_commands
import seed_field
import seed_results
from psycopg.types.json import Jsonb
from seed_base import CALENDAR, DAYS, NOW, SEED, SINCE, TODAY, Floats, Seeded, insert

from headend.domain.quality import ValidationFlag
from headend.store.pool import Connection, Store


def seed(store: Store) -> Seeded:
    """Fill a migrated, empty database."""
    made = Seeded()
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    with store.transaction() as c:
        _topology(c, made)
        _readings(c, made, rng)
        for code, theft, gap in (
            ("A1", 0.055, None),
            ("A2", 0.0, None),
            ("A3", -0.06, None),
            ("A4", 0.0, "coverage_too_low"),
        ):
            _settled(c, made, rng, code, theft, gap)
        seed_results.findings(c, made, rng)
        seed_results.billing(c, made, rng)
        seed_results.rollout(c, made)
        seed_field.field(c, made)
        seed_commands.commanded(c, made)
    return made


AREAS = (
    ("A1", "S1", "Willow Lane 柳巷一变", 400),
    ("A2", "S1", "Mill Courtyard 磨坊院", 315),
    ("A3", "S2", "Lotus Estate 荷花小区二变", 630),
    ("A4", "S2", "Brickworks Row 砖厂路", 200),
    ("A5", "S2", "New Harbour 新港 (being built)", 800),
)
READ_METERS = ("Eastron/211001", "Eastron/901001")
"""The meters whose single readings are there, not only the latest."""
HOUSEHOLDS = {"A1": 24, "A2": 18, "A3": 30, "A4": 12, "A5": 0}


def _topology(c: Connection, made: Seeded) -> None:
    stations = {
        code: insert(c, "station", "station_id", code=code, name=name)
        for code, name in (("S1", "East station 东供电所"), ("S2", "Lakeside station 湖滨供电所"))
    }
    for code, station, name, kva in AREAS:
        area = made.areas[code] = insert(
            c, "area", "area_id", code=code, station_id=stations[station], name=name, transformer_kva=kva
        )
        heard = NOW - timedelta(minutes=4)
        insert(
            c, "concentrator",
            code=f"C-{code}", area_id=area, confirmed_seq=300, backlog=0, online=True, last_seen_at=heard,
        )  # fmt: skip
        _usage_point(c, made, code, f"{code}-T", "area", "none", "transformer", 3, f"Eastron/90{code[1]}001", 40)
        for k in range(1, HOUSEHOLDS[code] + 1):
            maker = ("Chint", "Eastron", "Acrel")[k % 3]
            category = "production" if k == 6 else "commercial" if k % 9 == 0 else "residential"
            door = f"No. {k}, {'North' if k % 2 else 'South'} side"
            meter = f"{maker}/21{code[1]}{k:03d}"
            _usage_point(c, made, code, f"{code}-{k:03d}", "customer", category, door, 3 if k % 6 == 0 else 1, meter, 1)
    _usage_point(c, made, "A2", "A2-S1", "shared", "residential", "Courtyard shared meter", 3, "Chint/215900", 1)
    for k in range(1, 7):
        code = f"A2-S1-{k}"
        made.usage_points[code] = insert(
            c, "usage_point", "usage_point_id",
            code=code, kind="customer", category="residential", name=f"Courtyard room {k}",
        )  # fmt: skip
        insert(
            c, "area_membership",
            usage_point_id=made.usage_points[code], area_id=made.areas["A2"],
            behind_usage_point_id=made.usage_points["A2-S1"], valid_from=SINCE,
        )  # fmt: skip
    # The same serial of another manufacturer, in stock.
    made.meters["Acrel/211001"] = _meter(c, "Acrel/211001", 1)


def _meter(c: Connection, name: str, phases: int) -> int:
    maker, serial = name.split("/")
    model = {"Eastron": "eastron-sdm630", "Chint": "chint-ddsu666", "Acrel": "acrel-dtsd1352"}[maker]
    return insert(
        c, "meter", "meter_id",
        manufacturer=maker, serial=serial, model=model, phases=phases, digits=8, resolution_wh=10,
    )  # fmt: skip


def _usage_point(
    c: Connection,
    made: Seeded,
    area: str,
    code: str,
    kind: str,
    category: str,
    name: str,
    phases: int,
    meter: str,
    multiplier: int,
) -> None:
    phase = "L123" if phases == 3 else f"L{len(made.usage_points) % 3 + 1}"
    up = made.usage_points[code] = insert(
        c, "usage_point", "usage_point_id",
        code=code, kind=kind, category=category, name=name, phase=phase, rated_current_a=60,
    )  # fmt: skip
    insert(c, "area_membership", usage_point_id=up, area_id=made.areas[area], valid_from=SINCE)
    made.meters[meter] = _meter(c, meter, phases)
    insert(
        c, "installation",
        usage_point_id=up, meter_id=made.meters[meter], valid_from=SINCE, multiplier=multiplier,
        start_import_wh=0, seal=f"S-{up:05d}",
    )  # fmt: skip


def _readings(c: Connection, made: Seeded, rng: np.random.Generator) -> None:
    relkind = c.execute("select relkind from pg_class where relname = 'register_reading'").fetchone()
    for day in range(20, 24) if relkind == ("p",) else ():
        for table in ("register_reading", "phase_reading"):
            c.execute(
                f"create table if not exists {table}_202611{day} partition of {table} "
                f"for values from ('2026-11-{day} 00:00+00') to ('2026-11-{day + 1} 00:00+00')".encode()
            )
    for name, meter in made.meters.items():
        if name == "Acrel/211001" or name.startswith("Chint/214"):
            continue  # in stock; and A4's Chint meters have never been heard of
        late_h = 0 if rng.random() > 0.06 or name in READ_METERS else int(rng.integers(2, 30))
        ts = NOW - timedelta(minutes=10, hours=late_h)
        register = int(rng.integers(10_000, 90_000)) * 10
        source = 1 if name.startswith("Eastron") else 3
        voltage = None if source == 3 and rng.random() < 0.1 else int(rng.normal(2290, 25))
        power = int(rng.gamma(2, 150)) if source == 1 else None
        insert(
            c, "latest_reading",
            meter_id=meter, ts=ts, import_wh=register, voltage_dv=voltage, power_w=power, source=source, received_at=ts,
            **{"readings_modbus" if source == 1 else "readings_concentrator": 2688 + int(rng.integers(0, 50))},
        )  # fmt: skip
        for k in range(96) if name in READ_METERS else ():
            insert(
                c, "register_reading",
                meter_id=meter, ts=ts - timedelta(minutes=15 * k), import_wh=register - 120 * k,
                voltage_dv=None if k == 5 else 2290 + k % 7, flags=0, source=source, uncertainty_ms=100,
            )  # fmt: skip
        if name.startswith("Eastron/90"):
            insert(
                c, "phase_reading",
                meter_id=meter, ts=ts, voltage_l1_dv=2301, voltage_l2_dv=2288, voltage_l3_dv=2312, power_w=power,
            )  # fmt: skip


def _profile(rng: np.random.Generator, count: int) -> Floats:
    hours = np.arange(96) / 4

    def peak(at: float, width: float) -> Floats:
        return np.exp(-(((hours - at) / width) ** 2))

    shape = 0.25 + 0.5 * peak(7.5, 1.4) + peak(19.5, 2.2) + 0.3 * peak(12.5, 1.2)
    return shape * count * 95 * rng.normal(1, 0.06, 96)


def _settled(
    c: Connection, made: Seeded, rng: np.random.Generator, area: str, theft: float, reason: str | None
) -> None:
    """28 days of balances; with a reason the later of them are not computable."""
    households = HOUSEHOLDS[area] + (6 if area == "A2" else 0)
    counted = [
        code
        for code in made.usage_points
        if code.startswith(f"{area}-") and not code.startswith("A2-S1-") and not code.endswith("-T")
    ]
    meters = _meters_at(c)
    for position, day in enumerate(DAYS):
        if area == "A3" and position in (9, 10):
            continue  # two days that were never settled
        delivered = np.round(_profile(rng, len(counted)) * (1.15 if day.weekday() >= 5 else 1.0))
        technical = np.round(25 + 4.0e-6 * delivered**2 + 0.012 * delivered)
        stolen = theft * delivered * (1.0 if position > 11 or theft < 0 else 0.1)
        supplied = delivered + technical + stolen + rng.normal(0, 12, 96)
        known = np.ones(96, dtype=bool)
        computable = reason is None or position <= 15
        if not computable:
            known[: int(rng.integers(30, 60))] = False
        elif position in (6, 20):
            known[40:47] = False
        vectors = [
            [int(v) if k else None for v, k in zip(values, known, strict=True)]
            for values in (supplied, delivered, technical)
        ]
        s, d, t = (sum(v for v in vector if v is not None) for vector in vectors)
        loss = s - d
        state = "high" if loss / s > 0.07 else "negative" if loss / s < -0.01 else "normal"
        sums: dict[str, Any] = {
            "supplied_wh": s, "delivered_wh": d, "loss_wh": loss, "technical_wh": t, "unexplained_wh": loss - t,
            "gross_wh": s, "loss_rate": loss / s, "uncertainty_wh": int(0.006 * s),
        }  # fmt: skip
        _balance(
            c, made.areas[area], day, state if computable else "not_computable", vectors,
            reason=None if computable else reason, households=households, measured=HOUSEHOLDS[area],
            coverage=float(known.mean()) * (1.0 if reason is None else 0.93), final=position < 27,
            **(sums if computable else {}),
        )  # fmt: skip
        if position >= 20:
            _interval_days(c, made, rng, counted, meters, delivered, day)
    if area == "A1":
        so_far: list[int | None] = [int(v) for v in _profile(rng, 24)[:50]]
        so_far += [None] * 46
        _balance(
            c, made.areas[area], TODAY, "not_computable", [so_far, so_far, [None] * 96],
            reason="coverage_too_low", households=24, measured=24, coverage=0.52, final=False,
        )  # fmt: skip
    cause = "meter" if theft > 0 else "area_meter" if theft < 0 else "not_computable" if reason else "clean"
    insert(
        c, "area_report",
        area_id=made.areas[area], window_from=DAYS[0], window_to=DAYS[-1], anomaly_score=12.5, alarm=theft != 0,
        cause=cause, technical_loss_wh=152_340.0, reported_at=NOW, marker="1", limits=Jsonb(_UNTOLD[cause]),
        cause_probability=Jsonb({} if reason else {cause: 0.82, "unmetered": 0.177, "mapping": 0.003}),
    )  # fmt: skip


_UNTOLD: dict[str, list[dict[str, Any]]] = {
    "not_computable": [{"code": "area_meter_hardly_read", "numbers": {"intervals_read": 31.0, "intervals": 2688.0}}],
    "meter": [
        {"code": "missing_readings", "numbers": {"missing_share": 0.06, "meters_hardly_read": 1.0}},
        {"code": "no_neighbours", "numbers": {}},
    ],
    "area_meter": [],
    "clean": [{"code": "seen_by_later_engines", "numbers": {"readings": 3.0}}],
}


def _balance(
    c: Connection,
    area: int,
    day: date,
    state: str,
    vectors: list[list[int | None]],
    *,
    reason: str | None,
    households: int,
    measured: int,
    coverage: float,
    final: bool,
    **sums: Any,
) -> None:
    supplied, delivered, technical = vectors
    insert(
        c, "balance_day",
        area_id=area, day=day, state=state, reason=reason, starts_at=CALENDAR.bounds(day)[0], interval_s=900,
        intervals=96, intervals_complete=sum(v is not None for v in supplied), households=households,
        households_measured=measured, coverage_households=measured / households, coverage_intervals=coverage,
        estimated_share=0.12 if state == "not_computable" else 0.0, supplied_interval_wh=supplied,
        delivered_interval_wh=delivered, technical_interval_wh=technical, final=final, settled_at=NOW, changed_at=NOW,
        **sums,
    )  # fmt: skip


def _interval_days(
    c: Connection,
    made: Seeded,
    rng: np.random.Generator,
    points: list[str],
    meters: dict[str, tuple[str, int]],
    total: Floats,
    day: date,
) -> None:
    shares = rng.dirichlet(np.full(len(points), 3.0))
    for code, part in zip(points, shares, strict=True):
        name, meter = meters[code]
        if name.startswith("Chint/214"):
            continue
        values: list[int | None] = [int(v) for v in total * part]
        missing = 20 if rng.random() < 0.08 else 0
        values[:missing] = [None] * missing
        insert(
            c, "interval_day",
            usage_point_id=made.usage_points[code], day=day, starts_at=CALENDAR.bounds(day)[0], interval_s=900,
            import_wh=values, export_wh=[None] * 96, quality=[0 if v is None else 1 for v in values],
            flags=[int(ValidationFlag.MISSING) if v is None else 0 for v in values],
            start_import_wh=1000, end_import_wh=2000, meters=[meter], multiplier=1, measured=96 - missing, estimated=0,
            settled_at=NOW, rules=1, start_mark=0, end_mark=0,
        )  # fmt: skip


def _meters_at(c: Connection) -> dict[str, tuple[str, int]]:
    found = c.execute(
        "select u.code, m.manufacturer || '/' || m.serial, m.meter_id "
        "from installation join usage_point u using (usage_point_id) join meter m using (meter_id)"
    ).fetchall()
    return {code: (name, meter) for code, name, meter in found}
