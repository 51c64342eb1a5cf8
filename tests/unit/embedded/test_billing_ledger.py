"""The billing endpoint's books: once each, all or nothing, still there after a restart."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from headend.embedded.billing_ledger import Ledger
from headend.embedded.billing_request import Batch, Determinant, Refused


def row(usage_point: str = "U1", revision: int = 0, energy_wh: int = 100, **changes: Any) -> Determinant:
    return Determinant(
        usage_point=usage_point,
        day=changes.get("day", date(2026, 11, 20)),
        direction=changes.get("direction", "import"),
        tariff_band="total",
        revision=revision,
        energy_wh=energy_wh,
        estimated_wh=0,
        reason="late reading" if revision else None,
    )


def batch(number: int, *rows: Determinant, key: str | None = None, body: bytes = b"") -> Batch:
    return Batch(
        number=number, idempotency_key=key or f"key-{number}", body=body or repr(rows).encode(), determinants=rows
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path, lambda: datetime(2026, 11, 23, tzinfo=UTC))


def test_receipt_and_its_repetition(ledger: Ledger, tmp_path: Path) -> None:
    receipt, new = ledger.accept(batch(1, row(), row("U2", energy_wh=50)))
    assert new
    assert {name: receipt[name] for name in ("number", "accepted_count", "accepted_energy_wh", "exceptions")} == {
        "number": 1,
        "accepted_count": 2,
        "accepted_energy_wh": 150,
        "exceptions": [],
    }
    assert ledger.accept(batch(1, row(), row("U2", energy_wh=50))) == (receipt, False)
    ledger.close()
    reopened = Ledger(tmp_path)
    assert reopened.accept(batch(1, row(), row("U2", energy_wh=50))) == (receipt, False)
    assert reopened.batches() == [receipt | {"idempotency_key": "key-1", "accepted_at": "2026-11-23T00:00:00+00:00"}]


@pytest.mark.parametrize(
    ("second", "status", "kind"),
    [
        (batch(1, row("U2")), 409, "idempotency-key"),
        (batch(1, row("U2"), key="other"), 409, "batch-number"),
        (batch(2, row("U2"), row()), 409, "billed-before"),
        (batch(2, row("U2"), row("U3", revision=1)), 422, "nothing-to-adjust"),
        (batch(2, row("U2"), row(revision=2)), 422, "nothing-to-adjust"),
    ],
)
def test_refused_batch_leaves_nothing(ledger: Ledger, second: Batch, status: int, kind: str) -> None:
    ledger.accept(batch(1, row()))
    with pytest.raises(Refused) as refused:
        ledger.accept(second)
    assert (refused.value.status, refused.value.kind) == (status, kind)
    assert [known["number"] for known in ledger.batches()] == [1]
    ledger.accept(batch(3, row("U2")))  # the refused batch booked none of its rows


def test_failure_in_the_middle_of_booking_books_nothing(ledger: Ledger) -> None:
    with pytest.raises(OverflowError):
        ledger.accept(batch(1, row(), row("U2", energy_wh=2**70)))
    assert ledger.batches() == []
    assert ledger.accept(batch(2, row()))[1]


def test_conflicts_are_named(ledger: Ledger) -> None:
    ledger.accept(batch(1, *(row(f"U{n}") for n in range(30))))
    with pytest.raises(Refused, match="30 determinants") as refused:
        ledger.accept(batch(2, *(row(f"U{n}") for n in range(30))))
    assert refused.value.members["conflicts"][0] == {"usage_point": "U0", "day": "2026-11-20", "revision": 0}
    assert len(refused.value.members["conflicts"]) == 20


def test_adjustments_follow_each_other_over_batches_and_within_one(ledger: Ledger) -> None:
    ledger.accept(batch(1, row()))
    ledger.accept(batch(2, row(revision=1, energy_wh=-30)))
    ledger.accept(batch(3, row(revision=3, energy_wh=4), row(revision=2, energy_wh=5)))
    with pytest.raises(Refused) as refused:
        ledger.accept(batch(4, row(revision=1, energy_wh=-30)))
    assert refused.value.kind == "billed-before"


def test_other_day_and_direction_are_other_charges(ledger: Ledger) -> None:
    ledger.accept(batch(1, row()))
    assert ledger.accept(batch(2, row(direction="export"), row(day=date(2026, 11, 21))))[1]


def test_exceptions_on_demand_are_not_booked(ledger: Ledger) -> None:
    receipt, _new = ledger.accept(batch(1, row(), row("U2", energy_wh=50)), exceptions=1)
    assert (receipt["accepted_count"], receipt["accepted_energy_wh"]) == (1, 50)
    assert [(gone["usage_point"], gone["day"]) for gone in receipt["exceptions"]] == [("U1", "2026-11-20")]
    ledger.accept(batch(2, row()))
