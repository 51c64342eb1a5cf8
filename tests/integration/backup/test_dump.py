"""A dump taken under load restores to a head-end that is consistent, goes on, and gets what the field still holds."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from support.chaos.audit import audit, missing
from support.chaos.house import IngestProcess
from support.mosquitto import needs_mosquitto

pytestmark = needs_mosquitto

LOST_SINCE_THE_DUMP = {
    "acknowledged and not stored",
    "sum of a meter differs",
    "spoilt and not in the quarantine",
    "another value confirmed and not noted",
}
"""What a dump cannot have."""
EXCHANGED = {"stored with another value than sent", "revision noted where no other value was sent"}
"""Where the first value was lost with what came after the dump, the other one, sent later, may be the first now."""


def test_a_dump_under_load_restores_to_a_head_end_that_goes_on(
    laid_out: str,
    fresh_dsn: str,
    field: Any,
    tools: Any,
    run_headend: Callable[[str], IngestProcess],
    kit: Any,
    tmp_path: Path,
) -> None:
    running = run_headend(laid_out)
    field.order("go")
    kit.wait_until(lambda: kit.one(laid_out, "select count(*) from register_reading") > 500, "readings")
    kit.wait_until(lambda: kit.one(laid_out, "select count(*) from balance_day") > 0, "settled days")
    began_ns = time.time_ns()
    tools.dump(laid_out, tmp_path / "headend.dump")
    at_the_dump = kit.one(laid_out, "select count(*) from register_reading")
    kit.wait_until(
        lambda: kit.one(laid_out, "select count(*) from register_reading") > at_the_dump + 200, "more after the dump"
    )
    running.signal(signal.SIGKILL, stay_away=True)  # the machine is lost, with its database
    failed_ns = time.time_ns()

    tools.restore(tmp_path / "headend.dump", fresh_dsn, timescale=kit.has_timescale(laid_out))
    checked = kit.headend("backup", "check", dsn=fresh_dsn)
    assert (checked.returncode, checked.stdout) == (0, "consistent\n"), checked.stdout + checked.stderr
    found = audit(fresh_dsn, field.book, field.numbers)
    assert set(found.wrong) <= LOST_SINCE_THE_DUMP | {"concentrator's book is wrong"}, found.wrong
    assert found.counts["acknowledged and not stored"] > 100, "what came after the dump is not in it"
    assert _missing(fresh_dsn, field, confirmed_before_ns=began_ns) == 0, "what was confirmed before it is"

    assert kit.headend("backup", "restored", dsn=fresh_dsn).returncode == 0
    run_headend(fresh_dsn)
    field.order("pause")
    kit.wait_until(lambda: field.order("how") == 0, "the field to be rid of what it held")
    kit.wait_until(
        lambda: _missing(fresh_dsn, field, confirmed_before_ns=began_ns, acknowledged_after_ns=failed_ns) == 0,
        "what came since the failure",
    )
    found = audit(fresh_dsn, field.book, field.numbers)
    assert set(found.wrong) <= LOST_SINCE_THE_DUMP | EXCHANGED, found.wrong
    assert _of_another_value(fresh_dsn, field) <= set(field.book.others()), "only those that were sent with two values"
    assert "stored more than once" not in found.wrong
    kit.wait_until(lambda: kit.one(fresh_dsn, "select count(*) from dirty_day") == 0, "all of it is settled")
    assert kit.headend("backup", "check", dsn=fresh_dsn).stdout == "consistent\n"


def _missing(dsn: str, field: Any, *, confirmed_before_ns: int, acknowledged_after_ns: int | None = None) -> int:
    """How many readings are not stored: of uploads that were confirmed before the one, of anything after the other.

    What has a PUBACK only may have been the broker's still when the dump began.
    """
    book = field.book
    book.read_on()
    wanted = set()
    for message, entry in book.entries.items():
        acks = book.acks.get(message, ())
        confirmed = entry.kind == "profile" and any(at_ns < confirmed_before_ns for at_ns in acks)
        later = acknowledged_after_ns is not None and any(at_ns > acknowledged_after_ns for at_ns in acks)
        if entry.kind in ("reading", "batch", "profile") and (confirmed or later):
            wanted |= {(meter, field.numbers.ts_us(number)) for meter, number in entry.readings}
    with psycopg.connect(dsn) as connection:
        stored = connection.execute(
            "select meter_id, (extract(epoch from ts) * 1000000)::bigint from register_reading"
        ).fetchall()
    return len(wanted - set(stored))


def _of_another_value(dsn: str, field: Any) -> set[tuple[int, int]]:
    """(meter, number) of readings that are stored with another value than they were sent with first."""
    numbers = field.numbers
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "select meter_id, (extract(epoch from ts) * 1000000)::bigint, import_wh from register_reading"
        ).fetchall()
    stored = {(meter, ts_us): import_wh for meter, ts_us, import_wh in found}
    return {
        (meter, number)
        for meter, sent in field.book.sent.items()
        for number in sent
        if stored.get((meter, numbers.ts_us(number)), numbers.import_wh(meter, number))
        != numbers.import_wh(meter, number)
    }


def test_a_database_that_does_not_agree_with_itself_is_found_out(laid_out: str, kit: Any) -> None:
    with psycopg.connect(laid_out) as connection:
        connection.execute(
            "insert into latest_reading (meter_id, ts, import_wh, source, received_at, readings_mqtt) "
            "values (1, '2026-11-20T00:00Z', 1, 2, '2026-11-20T00:00Z', 3)"
        )
        connection.execute(
            "insert into billing_batch (number, idempotency_key, created_at, period_from, period_to, determinants, "
            "energy_wh, checksum) values (2, gen_random_uuid(), now(), now(), now(), 5, 1, 'sha256:0'), "
            "(3, gen_random_uuid(), now(), now(), now(), 1, 7, 'sha256:0')"
        )
        connection.execute(
            "insert into determinant (batch_number, usage_point_id, day, direction, category, energy_wh, estimated_wh, "
            "start_ts, end_ts, meters) values (3, 1, now(), 'import', 'residential', 7, 0, now(), now(), '{}')"
        )
    checked = kit.headend("backup", "check", dsn=laid_out)
    assert checked.returncode == 1, checked.stderr
    assert not checked.stderr
    told = checked.stdout.splitlines()
    assert [line.split(":")[0] for line in told] == [
        "1 readings counted otherwise than stored",
        "1 latest readings that are not the newest ones",
        "1 numbers of billing batches that are missing",
        "1 billing batches whose control totals are not those of their rows",
        "1 billing batches whose rows have another checksum",
    ]


def test_missing_tells_of_a_loss(laid_out: str, field: Any) -> None:
    """The helper that these tests lean on."""
    field.order("go")
    time.sleep(0.5)
    field.order("pause")
    assert missing(laid_out, field.book, field.numbers) > 0
