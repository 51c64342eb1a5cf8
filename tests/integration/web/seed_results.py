"""The seed's findings, billing batches and premises."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import numpy as np
from seed_base import CALENDAR, DAYS, NOW, Seeded, insert

from headend.store.pool import Connection


def findings(c: Connection, made: Seeded, rng: np.random.Generator) -> None:
    for kind, area, meter, correct, confidence, energy, onset, evidence, state in _cases(rng):
        made.findings[kind] = insert(
            c, "finding", "finding_id",
            area_id=made.areas[area], meter_id=made.meters[meter] if meter else None, kind=kind,
            correct_area_id=made.areas[correct] if correct else None, state=state, confidence=confidence,
            energy_wh=energy, energy_low_wh=energy - 30_000, energy_high_wh=energy + 30_000,
            onset_at=CALENDAR.bounds(onset)[0] if onset else None, window_from=DAYS[0], window_to=DAYS[-1],
            evidence=evidence, opened_at=NOW - timedelta(hours=5), seen_at=NOW - timedelta(minutes=20),
        )  # fmt: skip


def _cases(rng: np.random.Generator) -> list[tuple[Any, ...]]:
    """(kind, area, meter, correct area, confidence, Wh, onset day, evidence, state) of each finding."""
    noise = rng.normal(0, 1.5, 28)
    late = np.arange(28) > 11
    before: list[float | None] = [float(v) for v in 1000 * (np.where(late, 22.0, 9.0) + noise)]
    before[6] = None
    after = [None if v is None else 1000 * (9 + float(n)) for v, n in zip(before, noise, strict=True)]
    reading = [float(v) for v in 1000 * (np.where(late, 5.0, 17.0) + rng.normal(0, 1, 28))]
    base = {"starts_at": CALENDAR.bounds(DAYS[0])[0].isoformat(), "interval_s": 900}
    curves = [
        {"name": "loss_before", "unit": "Wh", "values": before},
        {"name": "loss_after", "unit": "Wh", "values": after},
        {"name": "reading", "unit": "Wh", "values": reading},
        {"name": "hidden", "unit": "Wh", "values": [12_000.0 * float(on) for on in late]},
        {"name": "active", "unit": "1", "values": [float(on) for on in late]},
    ]
    numbers = {"log_evidence": 41.3, "margin_over_next_meter": 17.9, "registered_share": 0.31, "energy_wh": 198_400.0}
    under = base | {
        "resolution": "day",
        "series": curves,
        "numbers": numbers,
        "alternatives": {"unmetered": 0.03, "Chint/211003": 0.012, "clean": 0.0001},
    }
    volts = 229 + 2 * np.sin(np.arange(192) / 15) + rng.normal(0, 0.4, 192)
    drawn = [None if 40 < k < 60 else float(v) for k, v in enumerate(rng.gamma(2, 60, 192))]
    mapping = base | {
        "resolution": "interval",
        "series": [
            {"name": "voltage_here", "unit": "V", "values": [float(v) for v in volts]},
            {"name": "reading", "unit": "Wh", "values": drawn},
        ],
        "numbers": {"voltage_fit": 0.93, "median_difference_v": 1.7},
        "alternatives": {"A3": 0.08},
    }
    bare = {"resolution": "day", "series": [], "numbers": {"missing_share": 0.41}, "alternatives": {}}
    odd = under | {"series": [{"name": "odd_curve", "unit": "kvar", "values": [1.0, None, 3.0]}]}
    return [
        ("under_registering", "A1", "Eastron/211001", None, 0.97, 198_400, DAYS[12], under, "open"),
        ("wrong_area", "A1", "Chint/211003", "A3", 0.91, 88_200, None, mapping, "assigned"),
        ("area_meter_ratio", "A3", None, None, 0.88, -512_000, DAYS[3], under | {"series": curves[:2]}, "open"),
        ("missing_data", "A4", None, None, 0.99, 0, None, bare, "open"),
        ("direct_tap", "A1", None, None, 0.71, 40_000, None, odd, "rejected"),
    ]


def billing(c: Connection, made: Seeded, rng: np.random.Generator) -> None:
    points = [code for code in made.usage_points if code.startswith(("A1-0", "A2-0"))]
    errors = {3: "503 from the import endpoint", 4: "422: unknown usage point A1-007"}
    for number, state in {1: "acknowledged", 2: "acknowledged", 3: "created", 4: "rejected"}.items():
        day = DAYS[number]
        start, end = CALENDAR.bounds(day)
        energies = {code: int(rng.integers(2_000, 19_000)) for code in points}
        acknowledged = state == "acknowledged"
        receipt = {"receipt_id": str(uuid.UUID(int=number)), "number": number, "accepted_count": len(points)}
        insert(
            c, "billing_batch",
            number=number, idempotency_key=uuid.UUID(int=1000 + number), created_at=NOW - timedelta(days=5 - number),
            period_from=day, period_to=day, determinants=len(points), energy_wh=sum(energies.values()),
            checksum=f"sha256:{number:064x}", state=state, attempts=1 if acknowledged else 7,
            last_error=errors.get(number), acknowledged_at=NOW - timedelta(days=3) if acknowledged else None,
            receipt=receipt if acknowledged else None,
        )  # fmt: skip
        for code, energy in energies.items():
            insert(
                c, "determinant",
                batch_number=number, usage_point_id=made.usage_points[code], day=day, direction="import",
                category="residential", energy_wh=energy, estimated_wh=0 if number > 1 else 120,
                start_register_wh=10_000, start_ts=start, end_register_wh=10_000 + energy, end_ts=end, multiplier=1,
                meters=["Chint/21x"],
            )  # fmt: skip
    insert(
        c, "billing_exception",
        batch_number=4, usage_point_id=made.usage_points["A1-007"], day=DAYS[4], reason="unknown usage point",
        noted_at=NOW,
    )  # fmt: skip


def rollout(c: Connection, made: Seeded) -> None:
    for k in range(1, 7):
        premises = insert(
            c, "premises", "premises_id",
            code=f"P-{k}", area_id=made.areas["A2"], shared_usage_point_id=made.usage_points["A2-S1"],
            usage_point_id=made.usage_points[f"A2-S1-{k}"], label=f"Mill Courtyard, room {k}", has_production=k == 3,
        )  # fmt: skip
        installed = {"serial": f"31000{k}", "seal": f"S-2088{k}", "start_import_wh": 1200}
        steps: list[tuple[str, dict[str, Any]]] = [
            ("survey", {"people": 2 + k % 3, "category": "residential", "phase": "L1"}),
            ("household_meter_installed", installed | {"installed_at": "2026-11-20T02:05:00+00:00"}),
            ("commissioned", {"noted_import_wh": 1900 + k}),
        ]
        for step, evidence in steps[: max(0, 4 - k)]:
            insert(
                c, "rollout_step",
                premises_id=premises, step=step, client_id=uuid.UUID(int=10_000 + 10 * k + len(step)),
                closed_at=NOW - timedelta(days=2), closed_by="Li Wei 李伟", evidence=evidence,
            )  # fmt: skip
        if k == 2:
            request = uuid.UUID(int=77)
            insert(
                c, "device_request",
                request_id=request, meter_id=made.meters["Acrel/211001"], kind="read", requested_at=NOW,
                expires_at=NOW + timedelta(minutes=2),
            )  # fmt: skip
            insert(
                c, "commissioning",
                premises_id=premises, request_id=request, client_id=uuid.UUID(int=78), requested_by="Li Wei",
                noted_import_wh=1900,
            )  # fmt: skip
