"""Batches: made of final days only, once each, never changed; later knowledge becomes an adjustment."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from threading import Thread

import pytest

from headend.store import billing as repository
from headend.store.errors import StoreError

DAY = date(2026, 11, 2)
LATER = datetime(2026, 11, 21, tzinfo=UTC)


def batch(store, number):
    found = repository.load_batch(store, number)
    assert found is not None
    return found[0]


def test_a_final_day_is_billed_once_with_its_registers(neighbourhood, service, store):
    neighbourhood.settle(1)
    neighbourhood.settle(2, energy_wh=[7] * 24)
    billing = service(None)
    assert billing.make_batches() == [1]
    assert billing.make_batches() == []
    made = batch(store, 1)
    assert [(d.usage_point, d.energy_wh, d.start_register_wh, d.end_register_wh) for d in made.determinants] == [
        ("H1", 2400, 5000, 7400),
        ("H2", 168, 5000, 5168),
    ]
    assert made.energy_wh == 2568
    assert made.determinants[0].meters == ("Acme/H1",)
    assert made.determinants[0].start_ts == datetime(2026, 11, 1, 16, tzinfo=UTC)
    assert made.determinants[0].end_ts == datetime(2026, 11, 2, 16, tzinfo=UTC)


def test_a_new_service_does_not_bill_again_what_an_older_one_billed(neighbourhood, service):
    neighbourhood.settle(1)
    assert service(None).make_batches() == [1]
    assert service(None).make_batches() == []


def test_a_day_that_is_not_final_waits(neighbourhood, service):
    neighbourhood.settle(1, final=False)
    assert service(None).make_batches() == []


def test_an_area_with_days_to_settle_waits_and_is_billed_afterwards(neighbourhood, service, store):
    neighbourhood.settle(1)
    with store.transaction() as c:
        c.execute("insert into dirty_day values (1, %s, now())", [DAY])
    billing = service(None)
    assert billing.make_batches() == []
    with store.transaction() as c:
        c.execute("delete from dirty_day")
    assert billing.make_batches() == [1]


def test_a_missing_interval_is_an_exception_and_no_bill(neighbourhood, service):
    neighbourhood.settle(1, energy_wh=[100] * 23 + [None])
    billing = service(None)
    assert billing.make_batches() == []
    assert service(None).make_batches() == []
    assert neighbourhood.count("billing_exception") == 1


def test_what_is_settled_again_becomes_an_adjustment_of_the_difference(neighbourhood, service, store):
    neighbourhood.settle(1)
    billing = service(None)
    billing.make_batches()
    neighbourhood.settle(1, energy_wh=[90] * 24, at=LATER)
    assert billing.make_batches() == [2]
    (adjustment,) = batch(store, 2).determinants
    assert (adjustment.energy_wh, adjustment.revision) == (-240, 1)
    assert adjustment.reason == "settled again: 2400 Wh were billed, 2160 Wh are right"
    neighbourhood.settle(1, energy_wh=[95] * 24, at=LATER + timedelta(hours=1))
    assert billing.make_batches() == [3]
    assert [(d.energy_wh, d.revision) for d in batch(store, 3).determinants] == [(120, 2)]


def test_export_is_billed_where_there_is_some(neighbourhood, service, store):
    neighbourhood.settle(1, export_wh=500)
    service(None).make_batches()
    assert [(d.direction, d.energy_wh) for d in batch(store, 1).determinants] == [("export", 500), ("import", 2400)]


def test_the_area_meter_and_households_behind_a_shared_meter_are_not_billed(neighbourhood, service, store):
    shared = neighbourhood.point("SHARED", kind="shared")
    behind = neighbourhood.point("BEHIND", behind=shared)
    transformer = neighbourhood.point("TRAFO", kind="area")
    for point in (shared, behind, transformer):
        neighbourhood.settle(point)
    service(None).make_batches()
    assert [d.usage_point for d in batch(store, 1).determinants] == ["SHARED"]


def test_the_day_of_a_shared_meters_removal_is_split_between_it_and_the_household(neighbourhood, service, store):
    shared = neighbourhood.point("SHARED", kind="shared")
    behind = neighbourhood.point("BEHIND", behind=shared)
    noon = datetime(2026, 11, 2, 4, tzinfo=UTC)  # local noon: 12 of 24 hours are over
    with store.transaction() as c:
        c.execute("update area_membership set valid_to = %s where usage_point_id = %s", [noon, behind])
        c.execute(
            "insert into area_membership (usage_point_id, area_id, valid_from) values (%s, 1, %s)", [behind, noon]
        )
        c.execute("update installation set valid_to = %s where usage_point_id = %s", [noon, shared])
    neighbourhood.settle(behind, energy_wh=[10] * 24)
    neighbourhood.settle(shared, energy_wh=[20] * 12 + [None] * 12)
    service(None).make_batches()
    assert [(d.usage_point, d.energy_wh) for d in batch(store, 1).determinants] == [("BEHIND", 120), ("SHARED", 240)]


def test_two_makers_at_once_number_without_gaps_and_bill_nothing_twice(neighbourhood, service):
    for offset in range(10):
        neighbourhood.settle(1, day=DAY + timedelta(days=offset))
        neighbourhood.settle(2, day=DAY + timedelta(days=offset))
    makers = [Thread(target=service(None).make_batches) for _ in range(4)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert neighbourhood.count("determinant") == 20
    assert neighbourhood.count("billing_batch") == 1


@pytest.mark.parametrize(
    "tampering",
    [
        "update determinant set energy_wh = 0",
        "delete from determinant",
        "update billing_batch set energy_wh = 0",
        "update billing_batch set checksum = 'x'",
        "delete from billing_batch",
    ],
)
def test_the_database_itself_refuses_to_change_what_billing_was_told(neighbourhood, service, store, tampering):
    neighbourhood.settle(1)
    service(None).make_batches()
    with pytest.raises(StoreError, match="never changed"), store.transaction() as c:
        c.execute(tampering)


def test_the_body_is_the_same_bytes_whenever_it_is_made(neighbourhood, service, store):
    neighbourhood.settle(1)
    service(None).make_batches()
    body = batch(store, 1).body()
    assert body == batch(store, 1).body()
    content = json.loads(body)
    assert content["control"] == {"count": 1, "energy_wh": 2400, "checksum": batch(store, 1).checksum}
    assert content["determinants"][0]["multiplier"] == "1"
