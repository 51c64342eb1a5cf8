"""Batches: the canonical form and its checksum, worked out by hand here, as a billing system would."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from headend.domain.billing import Batch, Determinant

KEY = UUID("6f0e4d36-4a8f-4bb4-9a6a-0d9c0a4b8c11")

FIRST = Determinant(
    usage_point_id=7,
    usage_point="台区-07",
    category="residential",
    day=date(2026, 11, 22),
    direction="import",
    tariff_band="total",
    revision=0,
    energy_wh=12_340,
    estimated_wh=40,
    start_register_wh=1_000,
    start_ts=datetime(2026, 11, 21, 16, tzinfo=UTC),
    end_register_wh=13_340,
    end_ts=datetime(2026, 11, 22, 16, tzinfo=UTC),
    multiplier=Decimal("40.0000"),
    meters=("Eastron/210001", "Eastron/210002"),
    reason=None,
)
SECOND = dataclasses.replace(
    FIRST,
    revision=1,
    energy_wh=-340,
    start_register_wh=None,
    end_register_wh=None,
    multiplier=None,
    meters=(),
    reason='late "reading"',
)
FIRST_LINE = (
    '{"category":"residential","day":"2026-11-22","direction":"import","end_register_wh":13340,'
    '"end_ts":"2026-11-22T16:00:00+00:00","energy_wh":12340,"estimated_wh":40,'
    '"meters":["Eastron/210001","Eastron/210002"],"multiplier":"40","reason":null,"revision":0,'
    '"start_register_wh":1000,"start_ts":"2026-11-21T16:00:00+00:00","tariff_band":"total","usage_point":"台区-07"}'
)
SECOND_LINE = (
    '{"category":"residential","day":"2026-11-22","direction":"import","end_register_wh":null,'
    '"end_ts":"2026-11-22T16:00:00+00:00","energy_wh":-340,"estimated_wh":40,'
    '"meters":[],"multiplier":null,"reason":"late \\"reading\\"","revision":1,'
    '"start_register_wh":null,"start_ts":"2026-11-21T16:00:00+00:00","tariff_band":"total","usage_point":"台区-07"}'
)


def batch(*determinants: Determinant) -> Batch:
    return Batch(
        number=12,
        idempotency_key=KEY,
        created_at=datetime(2026, 11, 23, 1, 2, 3, tzinfo=UTC),
        period_from=date(2026, 11, 22),
        period_to=date(2026, 11, 22),
        determinants=determinants,
    )


def test_the_checksum_is_the_hash_of_the_lines_written_by_hand() -> None:
    wanted = hashlib.sha256(f"{FIRST_LINE}\n{SECOND_LINE}".encode()).hexdigest()
    assert batch(FIRST, SECOND).checksum == f"sha256:{wanted}"


def test_control_totals_and_members_of_the_body() -> None:
    made = batch(FIRST, SECOND)
    body = json.loads(made.body())
    assert body["control"] == {"count": 2, "energy_wh": 12_000, "checksum": made.checksum}
    assert (body["format"], body["number"]) == ("headend.billing-batch/1", 12)
    assert body["period"] == {"from": "2026-11-22", "to": "2026-11-22"}
    assert body["determinants"] == [json.loads(FIRST_LINE), json.loads(SECOND_LINE)]
    assert "台区".encode() in made.body()


def test_the_body_has_the_same_bytes_whenever_it_is_made() -> None:
    assert batch(FIRST, SECOND).body() == batch(FIRST, SECOND).body()


@pytest.mark.parametrize(
    ("multiplier", "text"), [("1", "1"), ("1.0000", "1"), ("100", "100"), ("0.5000", "0.5"), ("1E+2", "100")]
)
def test_equal_multipliers_are_written_alike(multiplier: str, text: str) -> None:
    assert dataclasses.replace(FIRST, multiplier=Decimal(multiplier)).as_json()["multiplier"] == text


@pytest.mark.parametrize(
    "change",
    [
        {"energy_wh": 12_341},
        {"estimated_wh": 41},
        {"usage_point": "台区-08"},
        {"day": date(2026, 11, 21)},
        {"direction": "export"},
        {"revision": 2},
        {"end_register_wh": 13_341},
        {"multiplier": Decimal(41)},
        {"meters": ("Eastron/210001",)},
        {"reason": "x"},
    ],
)
def test_whatever_billing_is_told_is_in_the_checksum(change: dict[str, object]) -> None:
    assert batch(dataclasses.replace(FIRST, **change)).checksum != batch(FIRST).checksum  # type: ignore[arg-type]


def test_our_own_ids_are_not() -> None:
    assert batch(dataclasses.replace(FIRST, usage_point_id=8)).checksum == batch(FIRST).checksum


def test_the_order_of_determinants_is_part_of_a_batch() -> None:
    assert batch(FIRST, SECOND).checksum != batch(SECOND, FIRST).checksum


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="batch 12 would be empty"):
        batch()
