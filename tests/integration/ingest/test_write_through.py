"""What the database refuses for what is in it goes to the quarantine; nothing else does, however often it fails."""

from __future__ import annotations

import pytest
from psycopg.conninfo import make_conninfo

from headend.ingest.write_through import write_through
from headend.store.errors import StoreError, StoreUnavailable
from headend.store.pool import Store
from support.desk import MINUTE, NOW, Desk, item

ITEMS = [item((str(n), NOW - MINUTE, n)) for n in range(1, 5)]


def change(desk: Desk, statement: str) -> None:
    with desk.store.transaction() as connection:
        connection.execute(statement.encode())


def test_a_value_that_does_not_fit_is_refused_and_holds_up_no_other(desk: Desk) -> None:
    change(desk, "alter table latest_reading alter column import_wh type smallint")
    odd = item(("5", NOW - MINUTE, 99_999), origin="odd")
    assert write_through(desk.writer.write, [*ITEMS, odd]) == len(ITEMS)
    assert desk.rows("select reason, origin from quarantine") == [("store_refused", "odd")]


@pytest.mark.parametrize(("table", "column"), [("latest_reading", "power_w"), ("dirty_day", "marked_at")])
def test_a_fault_of_the_database_puts_no_reading_into_the_quarantine(desk: Desk, table: str, column: str) -> None:
    """The quarantine itself works, and would be full of good readings."""
    change(desk, f"alter table {table} rename column {column} to something_else")
    with pytest.raises(StoreError, match="does not exist"):
        write_through(desk.writer.write, ITEMS)
    assert desk.rows("select count(*) from quarantine") == [(0,)]
    change(desk, f"alter table {table} rename column something_else to {column}")
    assert write_through(desk.writer.write, ITEMS) == len(ITEMS)


def test_a_database_that_only_reads_is_waited_for(desk: Desk) -> None:
    """So is a standby to which a name leads for a moment when the primary has gone."""
    standby = make_conninfo(desk.store.dsn, options="-c default_transaction_read_only=on")
    with Store(standby) as reads_only, pytest.raises(StoreUnavailable, match="read-only"):
        write_through(Desk(reads_only, desk.settings).writer.write, ITEMS)
    assert desk.stored() == []
