"""Cells, headers and files as people really write them: each mistake is named with line, column, value and remedy."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.ingest.topology_csv import SHEETS, BadRow, Row, Table, read_sheet

BY_FILE = {sheet.file: sheet for sheet in SHEETS}
METERS = "manufacturer,serial,model,phases,digits,resolution_wh\n"
INSTALLATIONS = (
    "usage_point,manufacturer,serial,valid_from,valid_to,multiplier,sign,start_import_wh,start_export_wh,seal\n"
)


def _read(file: str, text: str | bytes) -> Table:
    return read_sheet(BY_FILE[file], text.encode() if isinstance(text, str) else text)


def _only_problem(table: Table) -> tuple[int | None, str | None, str | None]:
    assert len(table.problems) == 1, table.problems
    problem = table.problems[0]
    return problem.line, problem.column, problem.value


def test_a_good_row_becomes_typed_values() -> None:
    row = "A-1,Eastron,00120001,2026-01-01T00:00:00+08:00,,2.5,-1,100,,\n"
    table = _read("installations.csv", INSTALLATIONS + row)
    assert table.problems == ()
    assert table.rows[0].line == 2
    assert table.rows[0].values == {
        "usage_point": "A-1",
        "manufacturer": "Eastron",
        "serial": "00120001",
        "valid_from": datetime(2025, 12, 31, 16, tzinfo=UTC),
        "valid_to": None,
        "multiplier": Decimal("2.5"),
        "sign": -1,
        "start_import_wh": 100,
        "start_export_wh": None,
        "seal": None,
    }


def test_empty_multiplier_and_sign_mean_one() -> None:
    values = _read("installations.csv", INSTALLATIONS + "A,E,1,2026-01-01T00:00:00Z,,,,,,\n").rows[0].values
    assert (values["multiplier"], values["sign"]) == (1, 1)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("valid_from", "2026-01-01T00:00:00", "no offset"),
        ("valid_from", "2026-01-01", "no offset"),
        ("valid_from", "yesterday", "wanted an instant"),
        ("valid_from", "2026-02-30T00:00:00Z", "wanted an instant"),
        ("valid_from", "0001-01-01T00:00:00+14:00", "1970 to 2199"),
        ("valid_from", "", "is required"),
        ("multiplier", "0", "above 0"),
        ("multiplier", "-40", "above 0"),
        ("multiplier", "1e3", "above 0"),
        ("multiplier", "nan", "above 0"),
        ("multiplier", "1.00001", "at most 4 decimals"),
        ("multiplier", "100000000", "below 100000000"),
        ("multiplier", "1,5", None),
        ("sign", "+1", "one of 1, -1"),
        ("start_import_wh", "12.5", "whole number"),
        ("start_import_wh", "-1", "0 or more"),
        ("start_import_wh", "１２", "whole number"),
        ("start_import_wh", "99999999999999999999", "whole number"),
        ("usage_point", "a/b", "without / + # ? %"),
        ("usage_point", "a#b", "without / + # ? %"),
        ("usage_point", "x" * 65, "1 to 64"),
        ("seal", "a\x00b", "printable"),
    ],
)
def test_a_bad_cell_is_named(column: str, value: str, says: str | None) -> None:
    cells = {
        "usage_point": "A-1",
        "manufacturer": "E",
        "serial": "1",
        "valid_from": "2026-01-01T00:00:00Z",
        "multiplier": "1",
        "sign": "1",
    }
    header = INSTALLATIONS.strip().split(",")
    row = ",".join((cells | {column: value}).get(name, "") for name in header)
    table = _read("installations.csv", INSTALLATIONS + "\n\n" + row + "\n")
    assert table.rows == ()
    if says is None:  # an unquoted decimal comma makes one cell too many
        assert _only_problem(table) == (4, None, None)
        assert "11 cells, the header has 10" in table.problems[0].reason
    else:
        assert _only_problem(table) == (4, column, value)
        assert says in table.problems[0].reason


@pytest.mark.parametrize(
    ("file", "column", "value", "says"),
    [
        ("meters.csv", "phases", "2", "one of 1, 3"),
        ("meters.csv", "digits", "3", "4 to 12"),
        ("meters.csv", "resolution_wh", "0", "1 to 1000000"),
        ("areas.csv", "high_loss_rate", "7", "a share from 0 to 1"),
        ("areas.csv", "negative_loss_rate", "0.01", "a share from -1 to 0"),
        ("areas.csv", "transformer_kva", "400.55", "at most 1 decimals"),
        ("usage_points.csv", "kind", "household", "one of customer, shared, area"),
        ("usage_points.csv", "category", "living", "one of residential"),
        ("usage_points.csv", "phase", "A", "one of L1, L2, L3, L123"),
        ("endpoints.csv", "protocol", "modbus-tcp", "one of modbus, mqtt"),
        ("endpoints.csv", "host", "tcp://10.0.0.1", "host name or IP address"),
        ("endpoints.csv", "host", "10.0.0.1:502", "host name or IP address"),
        ("endpoints.csv", "host", "10.0.0.256", "host name or IP address"),
        ("endpoints.csv", "port", "65536", "1 to 65535"),
        ("endpoints.csv", "unit", "256", "0 to 255"),
        ("premises.csv", "has_production", "maybe", "true or false"),
    ],
)
def test_other_columns(files: dict[str, str], file: str, column: str, value: str, says: str) -> None:
    header, first, *_ = files[file].splitlines()
    cells = dict(zip(header.split(","), first.split(","), strict=True)) | {column: value}
    table = _read(file, header + "\n" + ",".join(cells.values()) + "\n")
    assert _only_problem(table) == (2, column, value)
    assert says in table.problems[0].reason


@pytest.mark.parametrize(
    ("written", "read"), [("GW-1.Example", "gw-1.example"), ("10.0.0.1", "10.0.0.1"), ("2001:DB8::0:1", "2001:db8::1")]
)
def test_hosts_are_read_in_one_spelling(written: str, read: str) -> None:
    header = "manufacturer,serial,protocol,host,port,unit,concentrator\n"
    assert _read("endpoints.csv", f"{header}E,1,modbus,{written},502,1,\n").rows[0].values["host"] == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("modbus+tcp://GW-1.Example", "modbus+tcp://gw-1.example:502"),
        ("modbus+rtu+tcp://10.0.0.1:4001", "modbus+rtu+tcp://10.0.0.1:4001"),
        ("modbus+serial:///dev/ttyUSB0?baud=9600", "modbus+serial:///dev/ttyUSB0?baud=9600&parity=N&stop=1"),
        ("modbus+dialin://DTU-1", "modbus+dialin://DTU-1"),
        ("modbus+dialin+tcp://DTU-1", "modbus+dialin+tcp://DTU-1"),
    ],
)
def test_buses_are_read_in_one_spelling(written: str, read: str) -> None:
    header = "manufacturer,serial,protocol,host,port,unit,concentrator,bus\n"
    row = f"{header}E,1,modbus,,,1,,{written}\n"
    assert _read("endpoints.csv", row).rows[0].values["bus"] == read


@pytest.mark.parametrize(
    ("bus", "says"),
    [
        ("10.0.0.1:502", "unknown scheme"),
        ("modbus+rtu+tcp://10.0.0.1", "the port is missing; wanted modbus+rtu+tcp://HOST:PORT"),
        ("modbus+serial:///dev/ttyUSB0?baud=9601", "baud = '9601': wanted one of 300"),
        ("modbus+dialin://", "wanted modbus+dialin://MODEM-ID"),
    ],
)
def test_a_bus_that_is_none_says_what_would_be_right(bus: str, says: str) -> None:
    header = "manufacturer,serial,protocol,host,port,unit,concentrator,bus\n"
    table = _read("endpoints.csv", f"{header}E,1,modbus,,,1,,{bus}\n")
    assert _only_problem(table) == (2, "bus", bus)
    assert says in table.problems[0].reason
    assert str(table.problems[0]).startswith(f"endpoints.csv:2: bus = '{bus}': ")


def test_a_file_from_before_there_were_buses_is_read_as_it_was() -> None:
    old = "manufacturer,serial,protocol,host,port,unit,concentrator\n"
    [row] = _read("endpoints.csv", f"{old}E,1,modbus,10.0.0.1,502,1,\n").rows
    assert (row.values["host"], row.values["port"], row.values["bus"]) == ("10.0.0.1", 502, None)
    missing = _read("endpoints.csv", "manufacturer,serial,protocol,host,port,concentrator,bus\n")
    assert [(p.column, p.reason) for p in missing.problems] == [("unit", "missing column")]


def test_all_bad_cells_of_a_row_are_named_and_the_rest_is_read() -> None:
    table = _read("meters.csv", METERS + "E,1,m,2,3,10\nE,2,m,3,8,10\n")
    assert [p.column for p in table.problems] == ["phases", "digits"]
    assert [row.cells["serial"] for row in table.rows] == ["2"]
    assert table.bad == (BadRow(2, table.bad[0].cells),)


@pytest.mark.parametrize(
    ("data", "line", "column", "says"),
    [
        (b"", None, None, "is empty; wanted the header manufacturer,serial"),
        (b"\n \n", None, None, "is empty"),
        (METERS.encode() + "E,Zähler,m,3,8,10\n".encode("latin-1"), 2, None, "is not UTF-8 (byte 0xE4)"),
        (METERS.encode("utf-16"), 1, None, "is not UTF-8"),
        (b"manufacturer,serial,model,phases,digits\n", 1, "resolution_wh", "missing column"),
        (METERS.strip().encode() + b",note\n", 1, "note", "unknown column; the columns are manufacturer"),
        (METERS.strip().encode() + b",serial\n", 1, "serial", "stands twice"),
        (METERS.encode() + b'E,"1,m,3,8,10\n', None, None, "is not CSV to its end"),
    ],
)
def test_an_unusable_file_is_named(data: bytes, line: int | None, column: str | None, says: str) -> None:
    table = _read("meters.csv", data)
    assert table.rows == ()
    assert _only_problem(table)[:2] == (line, column)
    assert says in table.problems[0].reason


def test_byte_order_mark_quotes_blanks_and_line_breaks_of_spreadsheets() -> None:
    header = "area,station,name,transformer_kva,high_loss_rate,negative_loss_rate"
    text = f'\ufeff{header}\r\n A1 ,S," Mill ""old"" Lane ",,,\r\n'
    table = _read("areas.csv", text)
    assert table.problems == ()
    assert table.rows[0].values["area"] == "A1"
    assert table.rows[0].values["name"] == 'Mill "old" Lane'


def test_columns_may_stand_in_any_order() -> None:
    assert _read("stations.csv", "name,station\nRiver,S1\n").rows[0].values == {"station": "S1", "name": "River"}


def test_lines_are_counted_across_quoted_line_breaks() -> None:
    table = _read("stations.csv", 'station,name\nS1,"two\nlines"\nS/2,x\n')
    assert [(p.line, p.column) for p in table.problems] == [(2, "name"), (4, "station")]


@given(st.sampled_from(SHEETS), st.binary(max_size=400))
def test_no_bytes_raise(sheet: object, data: bytes) -> None:
    assert isinstance(sheet, type(SHEETS[0]))
    header = ",".join(c.name for c in sheet.columns).encode() + b"\n"
    for text in (data, header + data):
        table = read_sheet(sheet, text)
        assert all(isinstance(row, Row) for row in table.rows)
        assert table.problems or table.rows or not table.bad
