"""The shared meter goes only when everybody behind it counts for himself, and no energy is lost or counted twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from headend.rollout.checklist import Refusal, Step
from headend.store.pool import Connection

HOUSEHOLDS = {"A02-001", "A02-002", "A02-003", "A02-900"}
JUST_BEFORE = timedelta(microseconds=1)


def read_of_shared_meter(yard: Any, ago: timedelta, import_wh: int) -> None:
    """A stored register of the shared meter."""
    at = yard.clock() - ago

    def partition(connection: Connection) -> None:
        day = f"{at:%Y-%m-%d}"
        connection.execute(
            f"create table if not exists register_reading_test_{at:%Y%m%d} partition of register_reading "
            f"for values from ('{day} 00:00+00') to ('{day} 24:00+00')".encode()
        )

    with yard.store.transaction() as connection:
        native = connection.execute(
            b"select relkind = 'p' from pg_class where oid = 'register_reading'::regclass"
        ).fetchone()
        if native is not None and native[0]:
            partition(connection)
        connection.execute(
            b"insert into register_reading (meter_id, ts, import_wh, flags, source, uncertainty_ms) "
            b"select meter_id, %s, %s, 0, 1, 0 from meter where serial = '2'",
            (at, import_wh),
        )


def test_everybody_who_is_not_ready_is_named(yard: Any) -> None:
    yard.install("P1")
    yard.commission("P1")
    refusal = yard.refused("P1", Step.SHARED_METER_REMOVED, yard.removal())
    assert refusal.code is Refusal.ORDER
    assert refusal.reason == "the shared meter of A02-S1 is still needed"
    assert refusal.missing == (
        "Old Yard 2 (P2) is not commissioned",
        "Old Yard 3 (workshop) (P3) is not commissioned",
    )


def test_a_usage_point_without_premises_keeps_the_shared_meter_too(yard: Any) -> None:
    yard.all_commissioned()
    with yard.store.transaction() as connection:
        connection.execute(
            b"update installation set valid_to = %s where usage_point_id = "
            b"(select usage_point_id from usage_point where code = 'A02-900')",
            (yard.installed_at,),
        )
    refusal = yard.refused("P2", Step.SHARED_METER_REMOVED, yard.removal())
    assert refusal.missing == ("usage point A02-900 behind A02-S1 has no meter of its own",)


def test_until_the_instant_the_shared_meter_counts_from_then_on_the_households(yard: Any) -> None:
    yard.all_commissioned()
    yard.settle_all()
    at = yard.clock() - timedelta(minutes=20)
    before_all = yard.counted(at - timedelta(days=1))
    result = yard.close("P2", Step.SHARED_METER_REMOVED, yard.removal(removed_at=at.isoformat()))
    assert result.state == "closed"
    assert "5900000 Wh; 4 usage points count for themselves" in result.detail

    assert yard.counted(at - JUST_BEFORE) == before_all == {"A02-S1", "A02-101"}
    assert yard.counted(at) == yard.counted(yard.clock()) == HOUSEHOLDS | {"A02-101"}
    for instant in (at - JUST_BEFORE, at, yard.clock()):
        assert yard.counted(instant) <= yard.read_by_own_meter(instant), "who counts is read by a meter"

    (shared,) = yard.query(
        "select i.valid_to, i.end_import_wh from installation i join meter using (meter_id) where serial = '2'"
    )
    assert shared == {"valid_to": at, "end_import_wh": 5_900_000}
    assert yard.query(
        "select count(*) as n from area_membership where behind_usage_point_id is not null and valid_to is null"
    ) == [{"n": 0}]
    assert yard.dirty() == ["2026-11-23"]


def test_one_removal_closes_the_step_at_every_door(yard: Any) -> None:
    yard.all_commissioned()
    yard.close("P2", Step.SHARED_METER_REMOVED, yard.removal())
    client_id = yard.sent[-1]
    steps = yard.query("select p.code, s.client_id, s.evidence from rollout_step s join premises p using (premises_id) "
                       "where step = 'shared_meter_removed' order by 1")  # fmt: skip
    assert [(s["code"], s["client_id"]) for s in steps] == [("P1", client_id), ("P2", client_id), ("P3", client_id)]
    assert all(s["evidence"]["final_import_wh"] == 5_900_000 for s in steps)
    assert all(state.condition in ("done", "not_needed") for p in yard.service.premises("A02") for state in p.steps)

    before = yard.snapshot()
    assert yard.close("P1", Step.SHARED_METER_REMOVED, yard.removal(), client_id=client_id).repeated
    refusal = yard.refused("P3", Step.SHARED_METER_REMOVED, yard.removal(), by="Wang Fang")
    assert (refusal.code, "was closed by Li Wei at" in refusal.reason) == (Refusal.CONFLICT, True)
    assert yard.snapshot() == before


def test_a_removal_days_back_has_all_those_days_settled_again(yard: Any) -> None:
    for premises in ("P1", "P2", "P3"):
        yard.install(premises, installed_at=(yard.clock() - timedelta(days=4)).isoformat())
    yard.separated()
    for premises in ("P1", "P2", "P3"):
        yard.commission(premises)
    yard.settle_all()
    midnight = "2026-11-21T00:00:00+08:00"
    yard.close("P1", Step.SHARED_METER_REMOVED, yard.removal(removed_at=midnight))
    assert yard.dirty() == ["2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"], "the day that midnight ends, too"
    assert yard.dirty("A01") == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"final_import_wh": None}, "final_import_wh: is missing"),
        ({"seal": ""}, "seal: is missing"),
        ({"final_import_wh": 4_999_999}, "final_import_wh: 4999999 Wh is less than the start register, 5000000 Wh"),
        ({"final_import_wh": 10**8}, "final_import_wh: 100000000 Wh is more than Eastron/2 can show"),
        ({"removed_at": "2026-11-23T14:00:01+08:00"}, "lies in the future"),
    ],
)
def test_a_removal_needs_its_evidence(yard: Any, change: dict[str, Any], says: str) -> None:
    yard.all_commissioned()
    refusal = yard.refused("P1", Step.SHARED_METER_REMOVED, yard.removal(**change))
    assert refusal.code is Refusal.EVIDENCE
    assert any(says in fault for fault in refusal.missing), refusal.missing


def test_nobody_counts_between_an_early_removal_and_the_household_meters(yard: Any) -> None:
    yard.all_commissioned()
    early = yard.installed_at - timedelta(seconds=1)
    refusal = yard.refused("P1", Step.SHARED_METER_REMOVED, yard.removal(removed_at=early.isoformat()))
    assert len(refusal.missing) == 3
    assert refusal.missing[0] == (
        f"removed_at: {early.isoformat()} lies before the meter of A02-001 was installed, "
        f"{yard.installed_at.isoformat()}"
    )


@pytest.mark.parametrize(
    ("final_wh", "fits"),
    [
        (5_799_980, False),
        (5_799_990, True),
        (5_800_000, True),
        (5_840_000, True),
        (5_845_000, False),
        (58_000_000, False),
    ],
)
def test_the_final_register_follows_from_the_last_one_read(yard: Any, final_wh: int, fits: bool) -> None:
    """60 A on three phases carry 41.4 kW: 41.4 kWh in the hour since, and a little for the noting."""
    yard.all_commissioned()
    read_of_shared_meter(yard, timedelta(hours=1), 5_800_000)
    if fits:
        assert yard.close("P1", Step.SHARED_METER_REMOVED, yard.removal(final_import_wh=final_wh)).state == "closed"
        return
    refusal = yard.refused("P1", Step.SHARED_METER_REMOVED, yard.removal(final_import_wh=final_wh))
    assert (
        "does not follow from the last stored register, 5800000 Wh at 2026-11-23T05:00:00+00:00" in refusal.missing[0]
    )


def test_a_household_meter_exchanged_after_the_removal_does_not_hinder_it(yard: Any) -> None:
    yard.all_commissioned()
    at = yard.clock() - timedelta(minutes=40)
    with yard.store.transaction() as connection:
        connection.execute(
            b"with gone as (update installation i set valid_to = %s from meter m "
            b"where m.meter_id = i.meter_id and m.manufacturer = 'Eastron' and m.serial = '210001' returning i.*) "
            b"insert into installation (usage_point_id, meter_id, valid_from) "
            b"select usage_point_id, (select meter_id from meter where serial = '210004'), valid_to from gone",
            (yard.clock() - timedelta(minutes=5),),
        )
    assert yard.close("P1", Step.SHARED_METER_REMOVED, yard.removal(removed_at=at.isoformat())).state == "closed"


def test_a_register_may_roll_over_before_the_end(yard: Any) -> None:
    yard.all_commissioned()
    read_of_shared_meter(yard, timedelta(hours=1), 99_990_000)
    assert yard.close("P1", Step.SHARED_METER_REMOVED, yard.removal(final_import_wh=5_000)).state == "closed"


def test_the_final_register_is_no_more_than_the_meter_showed_later(yard: Any) -> None:
    yard.all_commissioned()
    read_of_shared_meter(yard, timedelta(minutes=10), 5_850_000)
    at = (yard.clock() - timedelta(minutes=30)).isoformat()
    refusal = yard.refused("P1", Step.SHARED_METER_REMOVED, yard.removal(removed_at=at, final_import_wh=5_850_020))
    assert "is more than the meter still showed later, 5850000 Wh at 2026-11-23T05:50:00+00:00" in refusal.missing[0]
    assert (
        yard.close("P1", Step.SHARED_METER_REMOVED, yard.removal(removed_at=at, final_import_wh=5_849_990)).state
        == "closed"
    )


def test_the_same_lists_imported_again_afterwards_change_nothing(yard: Any) -> None:
    yard.all_commissioned()
    yard.close("P1", Step.SHARED_METER_REMOVED, yard.removal())
    before = yard.snapshot()
    report = yard.reimport()
    assert report.applied, str(report)
    assert not report.changes
    assert yard.snapshot() == before
