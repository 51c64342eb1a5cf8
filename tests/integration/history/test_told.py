"""What billing was told; edits, outages and loads without a meter as they were known; the command and its lists."""

from __future__ import annotations

import csv
import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from headend.billing.service import BillingService
from headend.settlement.grid import DayRange
from support.chronicle import Chronicle, vectors_of
from support.command import headend
from support.field import DAY, DAY0, QUARTER, T0
from support.village import Village


@pytest.fixture
def village(chronicle: Chronicle) -> Village:
    return Village(chronicle)


def _bill(field: Chronicle) -> None:
    """All days are final; billing is told of them."""
    field.run("update balance_day set final = true, changed_at = %s", [field.now])
    BillingService(field.store, field.settings, lambda: field.now).make_batches()


def _determinants(field: Chronicle, code: str) -> list[tuple[Any, ...]]:
    found = field.rows(
        "select day, revision, energy_wh, reason from determinant join usage_point using (usage_point_id) "
        "where code = %s and direction = 'import' order by day, revision",
        [code],
    )
    return [(r["day"], r["revision"], r["energy_wh"], r["reason"]) for r in found]


def test_a_ratio_noted_wrongly_for_three_months_becomes_adjustments(village: Village) -> None:
    """A factory's CT ratio was noted as 30 and is 40: what was billed stays, the difference is billed."""
    field = village.field
    field.change(("update installation set multiplier = 30 where usage_point_id = %s", [village.points[0]]))
    field.settle()
    _bill(field)
    told = [(DAY0 + d * DAY, 0, 30 * 19_200, None) for d in range(2)]
    assert _determinants(field, "one") == told
    billed_at = field.now
    field.now += 90 * DAY
    field.change(("update installation set multiplier = 40 where usage_point_id = %s", [village.points[0]]))
    field.settle()
    _bill(field)
    adjusted = _determinants(field, "one")
    assert [row for row in adjusted if row[1] == 0] == told, "never edited"
    assert [row[:3] for row in adjusted if row[1] == 1] == [(DAY0 + d * DAY, 1, 10 * 19_200) for d in range(2)]
    found = [d for d in field.as_known(billed_at, last=DAY0 + DAY).differences if d.usage_point]
    assert [(d.then_wh, d.now_wh, d.told_wh, d.why) for d in found] == [
        (30 * 19_200, 40 * 19_200, 40 * 19_200, ("multiplier 30 → 40",))
    ] * 2


def test_an_edit_and_its_undoing(village: Village) -> None:
    field = village.field
    key = village.points[0], DAY0
    moments = [(field.now, field.settled()[key])]
    field.now += DAY
    edit = uuid4()
    field.run(
        "insert into edit (edit_id, kind, usage_point_id, meter_id, from_ts, to_ts, first_day, last_day, made_at, "
        "made_by, reason) values (%s, 'readings', %s, %s, %s, %s, %s, %s, %s, 'Wang', 'wrong display')",
        [edit, key[0], village.meters[0], T0 + 8 * QUARTER, T0 + 15 * QUARTER, DAY0, DAY0, field.now],
    )
    field.settle()
    moments.append((field.now, field.settled()[key]))
    assert moments[1][1] != moments[0][1]
    field.now += DAY
    field.run("update edit set undone_at = %s, undone_by = 'Li', undo_reason = 'it was right' where edit_id = %s",
              [field.now, edit])  # fmt: skip
    field.settle()
    assert field.settled()[key] == moments[0][1]
    days = DayRange(field.rules.calendar, DAY0, DAY0)
    for at, row in moments:
        assert vectors_of(field.recalled(village.area, at, DAY0), days)[key] == row
    (found,) = [d for d in field.as_known(moments[1][0], last=DAY0).differences if d.usage_point]
    assert found.why == ("8 readings known later",), "they are believed again"


def test_an_outage_told_later(chronicle: Chronicle) -> None:
    """Three hours without readings: first estimated, then known to be without power."""
    field = chronicle
    area = field.area()
    point, meter = field.metered(area, "one")
    field.now = T0 + DAY + timedelta(hours=1)
    field.receive(
        [("one", T0 + k * QUARTER, 200 * min(k, 40) + 200 * max(0, k - 52)) for k in range(97) if not 40 < k < 52]
    )
    field.settle()
    then, before = field.now, field.settled()[point, DAY0]
    field.now += DAY
    for kind, k in (("power_failed", 40), ("power_restored", 52)):
        field.run(
            "insert into device_event (meter_id, kind, occurred_at, received_at, source) "
            "values (%s, %s, %s, %s, 'mqtt')",
            [meter, kind, T0 + k * QUARTER, field.now],
        )
    field.settle()
    assert field.settled()[point, DAY0]["quality"] != before["quality"]
    days = DayRange(field.rules.calendar, DAY0, DAY0)
    assert vectors_of(field.recalled(area, then, DAY0), days)[point, DAY0] == before
    (found,) = [d for d in field.as_known(then, last=DAY0).differences if d.usage_point]
    assert "power failures known later" in found.why


def test_a_load_without_a_meter_entered_later(village: Village) -> None:
    field = village.field
    then = field.now
    field.now += DAY
    field.run(
        "insert into unmetered_load (code, area_id, kind, power_w, schedule, valid_from, noted_by) "
        "values ('lamps', %s, 'street_light', 20, '24/7', %s, 'Wang')",
        [village.area, T0],
    )
    field.settle()
    found = {d.quantity: d for d in field.as_known(then, last=DAY0).differences}
    assert (found["delivered"].then_wh, found["delivered"].now_wh) == (41_280, 41_280 + 480)
    assert found["delivered"].why == ("loads without a meter are known otherwise",)
    assert (found["loss"].then_wh, found["loss"].now_wh) == (960, 480)


def _settle(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return headend("settle", "--from", "2026-03-02", "--to", "2026-03-03", *arguments, dsn=dsn)


def test_the_command_lists_then_and_now(village: Village, dsn: str, tmp_path: Path) -> None:
    field = village.field
    then = field.now.isoformat()
    field.now += 20 * DAY
    field.change(("update installation set multiplier = 80 where usage_point_id = %s", [village.top]))
    before = field.settled()
    path = tmp_path / "differences.csv"
    shown = _settle(dsn, "--as-known-at", then, "--csv", str(path))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "top import" in shown.stdout
    assert "42,240    84,480     +42,240  multiplier 40 → 80" in shown.stdout
    assert "supplied +84,480, loss +84,480. Nothing was written." in shown.stdout
    assert field.settled() == before
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert rows[0] == {
        "area": "A1", "usage_point": "top", "day": "2026-03-02", "quantity": "import", "then_wh": "42240",
        "now_wh": "84480", "difference_wh": "42240", "told_wh": "", "intervals": "96", "why": "multiplier 40 → 80",
    }  # fmt: skip
    told = _settle(dsn, "--as-known-at", then, "--json")
    found = [json.loads(line) for line in told.stdout.splitlines()]
    assert [(one["usage_point"], one["quantity"], one["difference_wh"]) for one in found[:3]] == [
        ("top", "import", 42_240),
        (None, "supplied", 42_240),
        (None, "loss", 42_240),
    ]
    assert "Nothing was written." in told.stderr


def test_settling_anew_lists_what_changed(village: Village, dsn: str) -> None:
    village.field.change(("update installation set multiplier = 80 where usage_point_id = %s", [village.top]))
    done = _settle(dsn, "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["day"], one["quantity"], one["then_wh"], one["now_wh"]) for one in found if one["usage_point"]] == [
        ("2026-03-02", "import", 42_240, 84_480),
        ("2026-03-03", "import", 42_240, 84_480),
    ]
    assert [one["why"] for one in found if one["quantity"] == "loss"] == [["state normal → high"]] * 2
    assert "2 area-days settled" in done.stderr
    assert _settle(dsn, "--json").stdout == "", "settled again, nothing is new"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--as-known-at", "2026-03-03T12:00:00"], "needs a zone"),
        (["--as-known-at", "yesterday"], "an instant looks like"),
        (["--as-known-at", "0001-01-01T00:00:00+08:00"], "lies beyond the calendar"),
        (["--as-known-at", "9999-12-31T23:59:00-08:00"], "lies beyond the calendar"),
        (["--as-known-at", "2999-01-01T00:00:00Z"], "lies in the future"),
        (["--as-known-at", "2026-02-01T00:00:00Z"], "had not begun: nothing of it was known"),
        (["--as-known-at", "2026-03-04T00:00:00Z", "--area", "nowhere"], "no area 'nowhere'"),
        (["--as-known-at", "2026-03-04T00:00:00Z", "--workers", "2"], "compares in this process"),
        (["--as-known-at", "2026-03-04T00:00:00Z", "--csv", "/nowhere/x.csv"], "/nowhere/x.csv: No such file"),
    ],
)
def test_what_cannot_be_told_is_said(village: Village, dsn: str, arguments: list[str], said: str) -> None:
    done = _settle(dsn, *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stdout == ""


def test_an_area_entered_later_was_not_known(chronicle: Chronicle) -> None:
    chronicle.now = T0 + DAY
    chronicle.area()
    chronicle.now = T0 + 2 * DAY
    with pytest.raises(ValueError, match=r"nothing was known at 2026-03-01T20:00:00\+00:00: the first entry is of"):
        chronicle.as_known(T0 + timedelta(hours=4), last=DAY0)
