"""What happened between backup and failure is known to others: billing has batches, meters carried out commands."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from headend.billing.service import BillingService
from headend.domain.commands import CommandKind, Order
from headend.settings import Billing, Database, Settings
from headend.store import billing as batches
from headend.store import commands
from headend.store.pool import Store

# The parts of the billing tests: test directories are no packages.
_spec = importlib.util.spec_from_file_location("billing_parts", Path(__file__).parents[1] / "billing" / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
parts = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(parts)
neighbourhood, endpoint = parts.neighbourhood, parts.endpoint

FIRST, SECOND = date(2026, 11, 2), date(2026, 11, 3)


def billing_on(store: Store, url: str) -> BillingService:
    settings = Billing(endpoint_url=url, secret=SecretStr(parts.SECRET), timeout_s=5.0, retry_first_s=0.05)
    return BillingService(
        store, Settings(database=Database(dsn=store.dsn), billing=settings), lambda: datetime.now(UTC)
    )


def states(store: Store) -> list[tuple[int, str]]:
    found = store.rows(b"select number, state from billing_batch order by number")
    return [(row["number"], row["state"]) for row in found]


def bill(store: Store, url: str, wanted: list[tuple[int, str]]) -> None:
    """Run the billing role until the batches stand so."""

    async def until() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(billing_on(store, url).run(stop))
        try:
            async with asyncio.timeout(20):
                while await asyncio.to_thread(states, store) != wanted:
                    await asyncio.sleep(0.05)
        finally:
            stop.set()
            await running

    asyncio.run(until())


def accepted(endpoint: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(endpoint.import_url, trust_env=False).json()["batches"]
    return found


@pytest.fixture
def lost(
    neighbourhood: Any, endpoint: Any, tools: Any, fresh_dsn: str, tmp_path: Path, kit: Any
) -> tuple[bytes, Callable[..., None]]:
    """The first day was billed, then the backup made, then the second day billed; the body of that batch, and how to
    settle the second day again in the restored database."""
    store = neighbourhood.store
    neighbourhood.settle(1, FIRST)
    bill(store, endpoint.import_url, [(1, "acknowledged")])
    tools.dump(store.dsn, tmp_path / "headend.dump")
    neighbourhood.settle(1, SECOND, [200] * 24)
    bill(store, endpoint.import_url, [(1, "acknowledged"), (2, "acknowledged")])
    loaded = batches.load_batch(store, 2)
    assert loaded is not None
    tools.restore(tmp_path / "headend.dump", fresh_dsn, timescale=kit.has_timescale(store.dsn))

    def settle_again(restored: Store, energy_wh: int) -> None:
        other = object.__new__(parts.Neighbourhood)
        other.store = restored
        other.settle(1, SECOND, [energy_wh] * 24)

    return loaded[0].body(), settle_again


def test_a_restored_head_end_that_is_told_nothing_is_refused_and_nothing_is_billed_twice(
    lost: tuple[bytes, Callable[..., None]], endpoint: Any, fresh_dsn: str
) -> None:
    _body, settle_again = lost
    before = accepted(endpoint)
    with Store(fresh_dsn) as restored:
        assert states(restored) == [(1, "acknowledged")]
        settle_again(restored, 150)
        bill(restored, endpoint.import_url, [(1, "acknowledged"), (2, "rejected")])
        (row,) = restored.rows(b"select last_error from billing_batch where number = 2")
    assert "409" in row["last_error"]
    assert "accepted before" in row["last_error"]
    assert accepted(endpoint) == before


def test_with_the_batches_that_billing_has_it_goes_on_as_if_it_had_not_been_restored(
    lost: tuple[bytes, Callable[..., None]], endpoint: Any, fresh_dsn: str, tmp_path: Path, kit: Any
) -> None:
    body, settle_again = lost
    (tmp_path / "batch-2.json").write_bytes(body)
    done = kit.headend("backup", "restored", "--batch", str(tmp_path / "batch-2.json"), dsn=fresh_dsn)
    assert done.returncode == 0, done.stderr
    assert "1 batches taken back\nthe next batch is number 3" in done.stdout
    with Store(fresh_dsn) as restored:
        loaded = batches.load_batch(restored, 2)
        assert loaded is not None
        assert loaded[0].body() == body
        settle_again(restored, 150)
        bill(restored, endpoint.import_url, [(1, "acknowledged"), (2, "acknowledged"), (3, "acknowledged")])
        (row,) = restored.rows(b"select revision, energy_wh from determinant where batch_number = 3")
    assert row == {"revision": 1, "energy_wh": (150 - 200) * 24}, "an adjustment of what billing had been told"
    assert [one["number"] for one in accepted(endpoint)] == [1, 2, 3]
    assert kit.headend("backup", "check", dsn=fresh_dsn).stdout == "consistent\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body: body.replace(b'"energy_wh":4800', b'"energy_wh":4801'), "not the one that its rows make"),
        (lambda body: body[:-10], "no billing batch"),
    ],
)
def test_a_changed_batch_is_not_taken_back(
    lost: tuple[bytes, Callable[..., None]],
    fresh_dsn: str,
    tmp_path: Path,
    kit: Any,
    change: Callable[[bytes], bytes],
    said: str,
) -> None:
    (tmp_path / "batch.json").write_bytes(change(lost[0]))
    done = kit.headend("backup", "restored", "--batch", str(tmp_path / "batch.json"), dsn=fresh_dsn)
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    with Store(fresh_dsn) as restored:
        assert states(restored) == [(1, "acknowledged")]


def test_a_command_that_waited_when_the_backup_was_made_is_never_sent(laid_out: str, kit: Any) -> None:
    now = datetime.now(UTC)
    with Store(laid_out) as store:
        with store.transaction() as connection:
            ids = []
            for meter in (1, 2, 3):
                order = Order(
                    command_id=uuid4(),
                    kind=CommandKind.RELAY,
                    wanted="open",
                    requested_by="somebody",
                    reason="arrears",
                    ttl_s=3600,
                )
                commands.add(connection, meter, order, now=now)
                ids.append(order.command_id)
            held = commands.take(connection, now=now, lease_s=60, most=2)
            commands.mark_sent(connection, held[0], (), before_state="closed", words=None, now=now, lease_s=60)
        done = kit.headend("backup", "restored", dsn=laid_out)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("2 commands and 0 live reads given up\n")
        with store.transaction() as connection:
            found = {one: commands.find(connection, one) for one in ids}
            told = commands.lives(connection, ids)
            assert commands.take(connection, now=now, lease_s=60, most=9) == []
            # The one that may have been written is only read back, as after any crash.
            (again,) = commands.take(connection, now=now + timedelta(seconds=120), lease_s=60, most=9)
    assert again.command_id == held[0].command_id
    expired = [one for one in ids if one != held[0].command_id]
    assert all(found[one].state == "expired" and "restored from a backup" in found[one].detail for one in expired)
    assert all(told[one][-1].step == "expired" for one in expired)


def test_it_may_be_said_twice(laid_out: str, kit: Any) -> None:
    for _ in range(2):
        assert kit.headend("backup", "restored", dsn=laid_out).returncode == 0
    with psycopg.connect(laid_out) as connection:
        assert connection.execute("select count(*) from device_command").fetchone() == (0,)
