# ruff: noqa: E501 a case a line: what is wanted and what is said stand side by side
"""What changes make of records, pure: random timelines stay whole, and every change can be taken back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.domain import changes as wanted
from headend.domain.calendar import LocalCalendar
from headend.domain.change_known import Known
from headend.domain.change_reach import Days, reach
from headend.domain.change_rules import make
from headend.domain.timeline import (
    CategoryRow,
    Contradiction,
    InstallationRow,
    MembershipRow,
    MeterRow,
    Records,
    RowChange,
    as_json,
    of_json,
)

T0 = datetime(2026, 3, 1, 16, tzinfo=UTC)
DAY = timedelta(days=1)
CALENDAR = LocalCalendar(ZoneInfo("Asia/Shanghai"))
TODAY = (T0 + 20 * DAY).date()


def meter(number: int, serial: str) -> MeterRow:
    return MeterRow(row_id=number, manufacturer="Acme", serial=serial, phases=1, digits=8, resolution_wh=1)


def installed(serial: str, usage_point: str = "U1", **more: Any) -> InstallationRow:
    given = dict.fromkeys(("start_import_wh", "start_export_wh", "end_import_wh", "end_export_wh", "seal"))
    values = {"row_id": 1, "valid_from": T0, "valid_to": None, "multiplier": Decimal(1), "sign": 1} | given | more
    return InstallationRow(usage_point=usage_point, manufacturer="Acme", serial=serial, **values)


def whole() -> Known:
    """U1 behind nobody, H1 behind S1, all on A1 since T0, meters M1 (U1), MS (S1), MH (H1), and M2, M3 in stock."""
    memberships = (
        MembershipRow(row_id=1, usage_point="U1", area="A1", behind=None, valid_from=T0, valid_to=None),
        MembershipRow(row_id=2, usage_point="S1", area="A1", behind=None, valid_from=T0, valid_to=None),
        MembershipRow(row_id=3, usage_point="H1", area="A1", behind="S1", valid_from=T0, valid_to=None),
    )
    categories = tuple(
        CategoryRow(row_id=n, usage_point=code, category="residential", valid_from=None, valid_to=None)
        for n, code in enumerate(("U1", "S1", "H1"), 1)
    )
    installations = (
        installed("M1"), installed("MS", "S1", row_id=2), installed("MH", "H1", row_id=3, valid_from=T0 + DAY),
    )  # fmt: skip
    meters = tuple(meter(number, serial) for number, serial in enumerate(("M1", "M2", "M3", "MS", "MH"), 1))
    return Known(
        Records(installations, memberships, categories, meters), {"U1": "customer", "S1": "shared", "H1": "customer"}
    )


def applied(known: Known, found: list[RowChange]) -> tuple[Known, list[RowChange]]:
    """As the store does it: new rows get numbers."""
    numbered = []
    rows = {
        name: list(getattr(known.records, name)) for name in ("installations", "memberships", "categories", "meters")
    }
    number = 1 + max(row.row_id or 0 for table in rows.values() for row in table)
    for change in found:
        after = change.after
        if after is not None and after.row_id is None:
            after, number = replace(after, row_id=number), number + 1
        if change.before is not None:
            rows[change.table].remove(change.before)
        if after is not None:
            rows[change.table].append(after)
        numbered.append(RowChange(change.table, change.before, after))
    records = Records(**{name: tuple(table) for name, table in rows.items()})
    return replace(known, records=records), numbered


def overlapping(records: Records) -> list[tuple[object, object]]:
    """Rows that hold at once and cannot."""
    found = []
    for rows in (records.installations, records.memberships, records.categories):
        for k, one in enumerate(rows):
            assert one.begins < one.ends
            for other in rows[k + 1 :]:
                same = one.usage_point == other.usage_point or (
                    isinstance(one, InstallationRow) and isinstance(other, InstallationRow) and one.meter == other.meter
                )
                if same and one.begins < other.ends and other.begins < one.ends:
                    found.append((one, other))
    return found


instants = st.integers(-2, 14).map(lambda k: T0 + k * DAY / 2)
points = st.sampled_from(["U1", "S1", "H1"])
places = st.sampled_from(["A1", "A2"])
registers = st.one_of(st.none(), st.integers(0, 10**7))
multipliers = st.sampled_from([Decimal(1), Decimal(2), Decimal("40.5")])
category = st.sampled_from(["residential", "commercial", "irrigation"])
spans = st.fixed_dictionaries({}, optional={"valid_from": instants, "valid_to": st.one_of(st.none(), instants)})
anything = st.one_of(
    st.builds(
        wanted.SwapMeter, usage_point=points, at=instants, manufacturer=st.just("Acme"),
        serial=st.sampled_from(["M1", "M2", "M3"]), end_import_wh=registers,
    ),
    st.builds(wanted.Move, usage_point=points, at=instants, area=places, behind=st.sampled_from([None, "S1"])),
    st.builds(wanted.ChangeMultiplier, usage_point=points, at=instants, multiplier=multipliers, import_wh=registers),
    st.builds(wanted.ChangeSign, usage_point=points, at=instants, sign=st.sampled_from([1, -1])),
    st.builds(wanted.ChangeCategory, usage_point=points, at=instants, category=category),
    st.builds(wanted.RemoveSharedMeter, usage_point=st.just("S1"), at=instants),
    st.tuples(points, instants, spans, multipliers).map(
        lambda t: wanted.CorrectInstallation(usage_point=t[0], since=t[1], given={"multiplier": t[3], **t[2]})
    ),
    st.tuples(points, instants, spans, places).map(
        lambda t: wanted.CorrectMembership(usage_point=t[0], since=t[1], given={"area": t[3], **t[2]})
    ),
    st.tuples(points, st.one_of(st.none(), instants), category).map(
        lambda t: wanted.CorrectCategory(usage_point=t[0], since=t[1], given={"category": t[2]})
    ),
    st.builds(wanted.WithdrawInstallation, usage_point=points, since=instants),
    st.builds(wanted.WithdrawMembership, usage_point=points, since=instants),
    st.builds(wanted.WithdrawCategory, usage_point=points, since=st.one_of(st.none(), instants)),
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(anything, min_size=1, max_size=12))
def test_whatever_is_done_the_records_stay_whole_and_can_be_taken_back(what: list[wanted.Change]) -> None:
    known = whole()
    done: list[tuple[Records, list[RowChange]]] = []
    for one in what:
        try:
            found = make(one, known)
        except Contradiction:
            continue
        before = known.records
        known, numbered = applied(known, found)
        assert not overlapping(known.records)
        for point in ("U1", "S1", "H1"):
            rows = sorted((c for c in known.records.categories if c.usage_point == point), key=lambda c: c.begins)
            assert rows[0].valid_from is None
            assert rows[-1].valid_to is None
            assert all(a.valid_to == b.valid_from for a, b in pairwise(rows))
        for row in known.records.memberships:
            if row.behind is not None:
                assert any(
                    shared.usage_point == row.behind and shared.area == row.area and shared.overlaps(row)
                    for shared in known.records.memberships
                )
        done.append((before, numbered))
    for before, numbered in reversed(done):
        back = make(wanted.Undo(undoes=uuid4()), replace(known, undone=tuple(numbered)))
        known, _ = applied(known, back)
        for table in ("installations", "memberships", "categories", "meters"):
            assert set(getattr(known.records, table)) == set(getattr(before, table))


@settings(deadline=None, derandomize=True)
@given(anything)
def test_a_row_is_the_same_after_it_was_kept(what: wanted.Change) -> None:
    try:
        found = make(what, whole())
    except Contradiction:
        return
    for change in found:
        for row in (change.before, change.after):
            if row is not None:
                assert of_json(change.table, as_json(row)) == row


def reached(what: wanted.Change, known: Known | None = None) -> dict[str, list[tuple[int, int]]]:
    """Days of March by area."""
    known = known or whole()
    found = make(what, known)
    places_of: dict[str, list[MembershipRow]] = {}
    for row in [*known.records.memberships, *(c.after for c in found if isinstance(c.after, MembershipRow))]:
        places_of.setdefault(row.usage_point, []).append(row)
    made = reach(found, places_of, known.records.installations, CALENDAR, TODAY)
    return {area: [(d.first.day, d.last.day) for d in days] for area, days in made.areas.items()}


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (wanted.ChangeMultiplier(usage_point="U1", at=T0 + 4.5 * DAY, multiplier=Decimal(2)), {"A1": [(6, 21)]}),
        (wanted.ChangeMultiplier(usage_point="U1", at=T0 + 4 * DAY, multiplier=Decimal(2)), {"A1": [(5, 21)]}),
        (wanted.Move(usage_point="U1", at=T0 + 4 * DAY, area="A2"), {"A1": [(6, 21)], "A2": [(6, 21)]}),
        (wanted.Move(usage_point="U1", at=T0 + 4.5 * DAY, area="A2"), {"A1": [(6, 21)], "A2": [(6, 21)]}),
        (wanted.ChangeCategory(usage_point="U1", at=T0 + 4 * DAY, category="commercial"), {"A1": [(6, 21)]}),
        (wanted.CorrectInstallation(usage_point="U1", since=T0, given={"seal": "X"}), {}),
        (wanted.CorrectInstallation(usage_point="U1", since=T0, given={"start_import_wh": 7}), {"A1": [(2, 2)]}),
        (wanted.CorrectInstallation(usage_point="U1", since=T0, given={"valid_from": T0 + 1.5 * DAY}), {"A1": [(2, 3)]}),
        (wanted.ChangeMultiplier(usage_point="U1", at=T0 + 40 * DAY, multiplier=Decimal(2)), {}),
        (wanted.CorrectMeter(manufacturer="Acme", serial="MH", digits=9), {"A1": [(2, 21)]}),
        (wanted.RemoveSharedMeter(usage_point="S1", at=T0 + 4.5 * DAY), {"A1": [(6, 21)]}),
    ],
)  # fmt: skip
def test_just_the_days_that_may_come_out_otherwise(what: wanted.Change, says: dict[str, list[tuple[int, int]]]) -> None:
    assert reached(what) == says


def test_two_corrections_of_distant_instants_leave_the_days_between_alone() -> None:
    what = wanted.CorrectInstallation(
        usage_point="U1", since=T0, given={"valid_from": T0 + DAY, "valid_to": T0 + 9 * DAY}
    )
    assert reached(what) == {"A1": [(2, 3), (10, 21)]}


def test_what_touches_a_corrected_instant_moves_along() -> None:
    known, _ = applied(
        whole(), make(wanted.ChangeMultiplier(usage_point="U1", at=T0 + 6 * DAY, multiplier=Decimal(2)), whole())
    )
    for since, put in ((T0 + 6 * DAY, {"valid_from": T0 + 4 * DAY}), (T0, {"valid_to": T0 + 8 * DAY})):
        found = make(wanted.CorrectInstallation(usage_point="U1", since=since, given=put), known)
        (instant,) = put.values()
        after, _ = applied(known, found)
        rows = sorted((r for r in after.records.installations if r.usage_point == "U1"), key=lambda r: r.begins)
        assert [(r.valid_from, r.valid_to, r.multiplier) for r in rows] == [(T0, instant, 1), (instant, None, 2)]
    with pytest.raises(Contradiction, match="not after it begins"):
        make(wanted.CorrectInstallation(usage_point="U1", since=T0 + 6 * DAY, given={"valid_from": T0 - DAY}), known)


def test_a_meter_serves_one_usage_point_at_a_time() -> None:
    with pytest.raises(Contradiction, match="stands in the way"):
        make(wanted.SwapMeter(usage_point="U1", at=T0 + 2 * DAY, manufacturer="Acme", serial="MH"), whole())


def test_days_are_counted_and_cut() -> None:
    assert len(Days(TODAY, TODAY)) == 1
    assert Days(TODAY, TODAY).within(Days(TODAY + DAY, TODAY + DAY)) is None


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: wanted.ChangeMultiplier(usage_point="U", at=T0, multiplier=Decimal(0)), "multiplier: 0 is not above 0"),
        (lambda: wanted.ChangeMultiplier(usage_point="U", at=T0, multiplier=Decimal("NaN")), "multiplier: NaN is not"),
        (lambda: wanted.ChangeMultiplier(usage_point="U", at=T0.replace(tzinfo=None), multiplier=Decimal(1)), "at: 2026"),
        (lambda: wanted.ChangeSign(usage_point="U", at=T0, sign=2), "sign: 2 is none of 1, -1"),
        (lambda: wanted.ChangeCategory(usage_point="U", at=T0, category="none"), "category: 'none' is none of"),
        (lambda: wanted.Move(usage_point=" ", at=T0, area="A"), "usage_point: wanted 1 to 100"),
        (lambda: wanted.CorrectMembership(usage_point="U", since=T0, given={}), "set: says nothing"),
        (lambda: wanted.CorrectMembership(usage_point="U", since=T0, given={"sign": 1}), "set: sign cannot be set"),
        (lambda: wanted.CorrectMembership(usage_point="U", since=T0, given={"area": None}), "area: is required"),
        (lambda: wanted.CorrectMeter(manufacturer="A", serial="1", digits=3), "digits: 3 is not within 4 to 12"),
        (
            lambda: wanted.ChangeOrder(change_id=uuid4(), by=" ", reason="x", what=wanted.Undo(undoes=uuid4())),
            "by: is required",
        ),
        (
            lambda: wanted.ChangeOrder(change_id=uuid4(), by="x", reason="a\nb", what=wanted.Undo(undoes=uuid4())),
            "reason: wanted at most 500",
        ),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(build: Any, says: str) -> None:
    with pytest.raises(ValueError, match="^" + says.split(" ", maxsplit=1)[0]) as caught:
        build()
    assert says in str(caught.value)
