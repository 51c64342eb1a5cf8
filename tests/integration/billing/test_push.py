"""The push against the real import endpoint in its own process: acknowledged once, whatever goes wrong on the way."""

from __future__ import annotations

import asyncio
from datetime import date

import httpx
import pytest
from prometheus_client import REGISTRY

from headend.store.jobs import Again

DAY = date(2026, 11, 2)


def pushes(outcome):
    return REGISTRY.get_sample_value("headend_billing_pushes_total", {"outcome": outcome}) or 0.0


def state(store, number=1):
    (row,) = store.rows(b"select state, attempts, last_error, receipt from billing_batch where number = %s", [number])
    return row


def acknowledged(store):
    (row,) = store.rows(b"select count(*) as n from billing_batch where state = 'acknowledged'")
    return row["n"]


async def until(billing, condition, timeout_s=20.0):
    """Run the service until the condition holds."""
    stop = asyncio.Event()
    running = asyncio.create_task(billing.run(stop))
    try:
        async with asyncio.timeout(timeout_s):
            while not await asyncio.to_thread(condition):
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await running


def told(endpoint, **failure):
    httpx.post(f"{endpoint.base_url}/control", json=failure, trust_env=False).raise_for_status()


def accepted(endpoint):
    return httpx.get(endpoint.import_url, trust_env=False).json()["batches"]


def test_a_batch_is_pushed_acknowledged_and_locked(neighbourhood, service, store, endpoint):
    neighbourhood.settle(1)
    asyncio.run(until(service(endpoint.import_url), lambda: acknowledged(store) == 1))
    assert state(store)["state"] == "acknowledged"
    assert state(store)["receipt"]["accepted_energy_wh"] == 2400
    assert len(accepted(endpoint)) == 1


@pytest.mark.parametrize("failure", ["error500", "hang"])
def test_an_endpoint_that_fails_or_hangs_is_asked_again_until_it_acknowledges(
    neighbourhood, service, store, endpoint, failure
):
    neighbourhood.settle(1)
    told(endpoint, mode=failure, count=2)
    before = pushes("retried")
    billing = service(endpoint.import_url)
    billing.make_batches()
    asyncio.run(until(billing, lambda: state(store)["state"] == "acknowledged"))
    assert pushes("retried") - before == 2
    assert state(store)["attempts"] == 3
    assert len(accepted(endpoint)) == 1


def test_a_rejected_batch_waits_for_a_person_with_the_reason(neighbourhood, service, store, endpoint):
    neighbourhood.settle(1)
    told(endpoint, mode="reject", count=1)
    billing = service(endpoint.import_url)
    billing.make_batches()
    asyncio.run(until(billing, lambda: state(store)["state"] == "rejected"))
    assert "422" in state(store)["last_error"]
    assert accepted(endpoint) == []


def test_a_push_whose_answer_was_lost_is_accepted_once(neighbourhood, service, store, endpoint):
    neighbourhood.settle(1)
    billing = service(endpoint.import_url)
    billing.make_batches()
    billing.push_batch(1)
    receipt = state(store)["receipt"]
    with store.transaction() as c:  # as if the answer had never come
        c.execute("alter table billing_batch disable trigger billing_batch_immutable")
        c.execute("update billing_batch set state = 'created', acknowledged_at = null, receipt = null")
        c.execute("alter table billing_batch enable trigger billing_batch_immutable")
    billing.push_batch(1)
    assert state(store)["receipt"]["receipt_id"] == receipt["receipt_id"]
    assert len(accepted(endpoint)) == 1


def test_a_wrong_secret_is_tried_again_and_acknowledges_nothing(neighbourhood, service, store, endpoint):
    neighbourhood.settle(1)
    billing = service(endpoint.import_url)
    billing._secret = b"another"
    billing.make_batches()
    with pytest.raises(Again, match="401"):
        billing.push_batch(1)
    assert state(store)["state"] == "created"
    assert accepted(endpoint) == []


def test_no_endpoint_there_at_all(neighbourhood, service, store):
    neighbourhood.settle(1)
    billing = service("http://127.0.0.1:9/import/batches")
    billing.make_batches()
    with pytest.raises(Again, match="ConnectError"):
        billing.push_batch(1)
    assert state(store)["attempts"] == 1
