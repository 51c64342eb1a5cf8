"""The store against the publishers' book: in plain SQL, with a connection of its own, knowing nothing of the head-end.

Each check is a query that returns what is wrong; none of them may return anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg.rows import TupleRow

from support.chaos.book import Book
from support.chaos.numbers import Numbers

Connection = psycopg.Connection[TupleRow]
ZONE: Final = "Asia/Shanghai"
_SHOWN: Final = 5

_BOOK: Final = """
create temporary table book (meter_id integer, ts timestamptz, import_wh bigint, acknowledged boolean) on commit drop;
create temporary table quarantine_book (origin text, payload bytea, acknowledged boolean) on commit drop;
create temporary table other_book (meter_id integer, ts timestamptz, acknowledged boolean) on commit drop;
create temporary table seq_book (code text, confirmed bigint, sent bigint) on commit drop;
"""

CHECKS: Final = {
    "acknowledged and not stored": """
        select b.meter_id, b.ts, b.import_wh from book b
        left join register_reading r on r.meter_id = b.meter_id and r.ts = b.ts
        where b.acknowledged and r.meter_id is null""",
    "stored and never sent": """
        select r.meter_id, r.ts, r.import_wh from register_reading r
        left join book b on b.meter_id = r.meter_id and b.ts = r.ts where b.meter_id is null""",
    "stored with another value than sent": """
        select r.meter_id, r.ts, r.import_wh, b.import_wh as sent_wh, r.export_wh from register_reading r
        join book b on b.meter_id = r.meter_id and b.ts = r.ts
        where r.import_wh is distinct from b.import_wh or r.export_wh is not null""",
    "stored more than once": """
        select meter_id, ts, count(*) from register_reading group by 1, 2 having count(*) > 1""",
    "counted otherwise than stored": """
        select * from (select meter_id, sum(readings) as counted from reading_count group by 1) c
        full join (select meter_id, count(*) as stored from register_reading group by 1) r using (meter_id)
        where c.counted is distinct from r.stored""",
    "latest reading is not the latest": """
        select * from (select meter_id, ts, import_wh from latest_reading) l
        full join (select distinct on (meter_id) meter_id, ts, import_wh from register_reading
                   order by meter_id, ts desc) r using (meter_id)
        where (l.ts, l.import_wh) is distinct from (r.ts, r.import_wh)""",
    "neither settled nor marked": f"""
        select distinct m.area_id, (r.ts at time zone '{ZONE}')::date as day
        from register_reading r
        join installation i on i.meter_id = r.meter_id and tstzrange(i.valid_from, i.valid_to) @> r.ts
        join area_membership m on m.usage_point_id = i.usage_point_id and tstzrange(m.valid_from, m.valid_to) @> r.ts
        except select area_id, day from dirty_day
        except select area_id, day from balance_day""",
    "spoilt and not in the quarantine": """
        select b.origin, b.payload from quarantine_book b left join quarantine q using (origin, payload)
        where b.acknowledged and q.quarantine_id is null""",
    "in the quarantine and not spoilt": """
        select q.origin, q.reason, q.payload from quarantine q left join quarantine_book b using (origin, payload)
        where b.origin is null""",
    "in the quarantine more than once": """
        select origin, payload, count(*) from quarantine group by 1, 2 having count(*) > 1""",
    "another value confirmed and not noted": """
        select b.meter_id, b.ts from other_book b left join reading_revision r using (meter_id, ts)
        where b.acknowledged and r.meter_id is null""",
    "revision noted where no other value was sent": """
        select r.* from reading_revision r left join other_book b using (meter_id, ts)
        left join register_reading s using (meter_id, ts)
        where b.meter_id is null or r.kept_import_wh <> s.import_wh or r.other_import_wh <> s.import_wh + 1""",
    "revision noted more than once": """
        select meter_id, ts, count(*) from reading_revision group by 1, 2 having count(*) > 1""",
    "concentrator's book is wrong": """
        select code, c.confirmed_seq, b.confirmed, b.sent from seq_book b left join concentrator c using (code)
        where b.sent > 0 and coalesce(c.confirmed_seq between b.confirmed and b.sent, b.confirmed = 0) is not true""",
    "sum of a meter differs": """
        select * from (select meter_id, sum(import_wh) as sent_wh from book where acknowledged group by 1) b
        full join (select r.meter_id, sum(r.import_wh) as stored_wh
                   from register_reading r join book b on b.meter_id = r.meter_id and b.ts = r.ts
                   where b.acknowledged group by 1) s using (meter_id)
        where b.sent_wh is distinct from s.stored_wh""",
}


@dataclass
class Findings:
    """What the audit found."""

    wrong: dict[str, list[str]] = field(default_factory=dict)
    """Check → its first rows."""
    counts: dict[str, int] = field(default_factory=dict)
    """Check → rows."""
    totals: dict[str, int] = field(default_factory=dict)


def audit(dsn: str, book: Book, numbers: Numbers) -> Findings:
    """All checks over everything, within one snapshot."""
    book.read_on()
    book.settle()
    found = Findings()
    with psycopg.connect(dsn) as connection:
        connection.execute("set transaction isolation level repeatable read")
        connection.execute("set local timezone to 'UTC'")
        _copy_book(connection, book, numbers)
        for name, query in CHECKS.items():
            rows = connection.execute(query.encode()).fetchall()
            if rows:
                found.counts[name] = len(rows)
                found.wrong[name] = [str(row) for row in rows[:_SHOWN]]
        found.totals = _totals(connection, book)
    return found


def missing(dsn: str, book: Book, numbers: Numbers) -> int:
    """Cheap, for between the rounds: how many readings acknowledged beyond doubt are not stored (yet), or how many
    more are stored than were sent; 0: even."""
    book.read_on()
    book.settle()
    query = b"select meter_id, count(*), sum(import_wh)::bigint from register_reading group by 1"
    with psycopg.connect(dsn) as connection:
        stored = {meter: (count, total) for meter, count, total in connection.execute(query)}
        short = 0
        for meter, sent in book.sent.items():
            certain = book.certain[meter]
            expected = (len(certain), sum(numbers.import_wh(meter, n) for n in certain))
            if stored.get(meter) == expected:
                continue
            of_meter = b"select (extract(epoch from ts) * 1000000)::bigint from register_reading where meter_id = %s"
            there = {(us - numbers.base_us) / _step(numbers) for (us,) in connection.execute(of_meter, [meter])}
            short += len(certain - there) + len(there - sent)
        quarantined = connection.execute(b"select count(*) from quarantine").fetchone()
        assert quarantined is not None
        short += max(0, sum(book.quarantined().values()) - quarantined[0])
    return short


def _step(numbers: Numbers) -> int:
    return numbers.ts_us(1) - numbers.ts_us(0)


def _copy_book(connection: Connection, book: Book, numbers: Numbers) -> None:
    connection.execute(_BOOK.encode())
    with connection.cursor().copy("copy book from stdin") as copy:
        for meter, sent in book.sent.items():
            for number in sent:
                known = number in book.certain[meter]
                copy.write_row((meter, numbers.ts(number), numbers.import_wh(meter, number), known))
    with connection.cursor().copy("copy quarantine_book from stdin") as copy:
        for (origin, payload), known in book.quarantined().items():
            copy.write_row((origin, payload, known))
    with connection.cursor().copy("copy other_book from stdin") as copy:
        for (meter, number), known in book.others().items():
            copy.write_row((meter, numbers.ts(number), known))
    with connection.cursor().copy("copy seq_book from stdin") as copy:
        for code, (confirmed, sent_seq) in book.confirmed_seq().items():
            copy.write_row((code, confirmed, sent_seq))
    connection.execute("analyze book")


def _totals(connection: Connection, book: Book) -> dict[str, int]:
    def one(query: str) -> int:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        value: Any = row[0]
        return int(value or 0)

    return {
        "messages": len(book.entries),
        "readings_sent": one("select count(*) from book"),
        "readings_acknowledged": one("select count(*) from book where acknowledged"),
        "acknowledged_wh": one("select sum(import_wh) from book where acknowledged"),
        "stored_of_these_wh": one(
            "select sum(r.import_wh) from register_reading r "
            "join book b on b.meter_id = r.meter_id and b.ts = r.ts where b.acknowledged"
        ),
        "readings_stored": one("select count(*) from register_reading"),
        "quarantined": one("select count(*) from quarantine"),
        "quarantined_again": one("select sum(times - 1) from quarantine"),
        "revisions": one("select count(*) from reading_revision"),
        "messages_in_doubt": len(book.in_doubt()),
        "readings_lost_in_doubt": one(
            "select count(*) from book b left join register_reading r on r.meter_id = b.meter_id and r.ts = b.ts "
            "where not b.acknowledged and r.meter_id is null"
        ),
    }
