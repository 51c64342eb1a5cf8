"""The command line: every command explains itself, does its work, and ends with a status and a line one can act on."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.base import Quantity
from drivers.modbus.codec import encode
from drivers.modbus.map_file import load_models
from drivers.modbus.register_map import Table
from headend.cli import app
from headend.store import quarantine
from headend.store.pool import Store

TEMPLATE = Path(__file__).parents[3] / "config" / "import-template"
Headend = Callable[..., Any]


def commands(group: Any = None, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    group = group or typer.main.get_command(app)
    found = [words]
    for name, command in getattr(group, "commands", {}).items():
        found += commands(command, (*words, name)) if hasattr(command, "commands") else [(*words, name)]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_explains_itself_and_its_options(headend: Headend, words: tuple[str, ...]) -> None:
    asked = headend(*words, "--help")
    assert asked.exit_code == 0
    assert headend(*words, "-h").stdout == asked.stdout
    command: Any = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    assert command.help, words
    for option in command.params:
        if option.name != "help":
            assert max(option.opts, key=len) in asked.stdout or option.param_type_name == "argument"


def test_all_commands_of_the_product_are_there() -> None:
    assert {" ".join(words) for words in commands() if words} == {
        "demo", "run", "migrate", "import", "settle", "nightly", "status", "probe", "probe modbus", "probe mqtt",
        "models", "models list", "models show", "models check", "rules",
        "command", "command relay", "command clock", "command tariff", "command show",
        "quarantine", "quarantine list", "quarantine show", "quarantine replay",
        "backup", "backup check", "backup restored", "reconcile", "export", "explain",
    }  # fmt: skip


@pytest.mark.parametrize("words", [("--help",), ("run", "--help")])
def test_help_needs_none_of_the_heavy_parts(words: tuple[str, ...]) -> None:
    import subprocess
    import sys

    program = (
        "import sys; from typer.testing import CliRunner; from headend.cli import app;"
        f"CliRunner().invoke(app, {list(words)!r}); print([m for m in "
        "('psycopg', 'fastapi', 'numpy', 'scipy', 'pymodbus', 'paho') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def refused(done: Any, *told: str, status: int = 1) -> None:
    assert done.exit_code == status, done.output
    for words in told:
        assert words in done.stderr, done.stderr
    assert "Traceback" not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_an_unknown_role_is_named_with_those_there_are(headend: Headend, config: Path) -> None:
    refused(
        headend("run", "--config", config, "--roles", "ingest,polling"),
        "--roles: polling is not one of ingest, poll, settle, billing, upkeep, web",
    )
    refused(headend("run", "--config", config, "--roles", " , "), "--roles: none is named, of ingest")


def test_run_refuses_a_database_that_lacks_migrations(headend: Headend, tmp_path: Path, empty_dsn: str) -> None:
    config = tmp_path / "empty.toml"
    config.write_text(f"[database]\ndsn = '{empty_dsn}'\n")
    refused(headend("run", "--config", config), "the database lacks 001_topology", "run `headend migrate` first")


@pytest.mark.parametrize(
    "words",
    [
        ("run",),
        ("migrate",),
        ("migrate", "--check"),
        ("import", "."),
        ("settle", "--from", "2026-11-01", "--to", "2026-11-02"),
        ("quarantine", "list"),
        ("quarantine", "show", "1"),
        ("quarantine", "replay", "1"),
    ],
    ids=" ".join,
)
def test_wrong_settings_and_an_absent_database_end_with_a_line(
    headend: Headend, tmp_path: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "headend.toml"
    config.write_text("[database]\ndsn = 'host=127.0.0.1 port=1 connect_timeout=1'\n[web]\nport = 0\n")
    refused(headend(*words, "--config", config), f"headend: {config}: web.port = 0: ")
    config.write_text("[database]\ndsn = 'host=127.0.0.1 port=1 connect_timeout=1'\n")
    impatient = Store.__init__
    monkeypatch.setattr(Store, "__init__", lambda self, dsn, **kw: impatient(self, dsn, **kw | {"timeout_s": 0.2}))
    refused(headend(*words, "--config", config), "headend: database: ")


def test_migrate_check_tells_and_changes_nothing(headend: Headend, tmp_path: Path, empty_dsn: str) -> None:
    config = tmp_path / "empty.toml"
    config.write_text(f"[database]\ndsn = '{empty_dsn}'\n")
    checked = headend("migrate", "--check", "--config", config)
    assert checked.exit_code == 1
    assert checked.stdout.splitlines()[0] == "pending: 001_topology"
    with psycopg.connect(empty_dsn) as connection:
        assert connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone() == (0,)
    applied = headend("migrate", "--config", config)
    assert applied.exit_code == 0
    assert applied.stdout == checked.stdout.replace("pending", "applied")
    for words in (("migrate", "--check"), ("migrate",)):
        again = headend(*words, "--config", config)
        assert (again.exit_code, again.stdout) == (0, "nothing to do\n")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TEMPLATE, tmp_path / "area", ignore=shutil.ignore_patterns("*.md")))


def counted(store: Store) -> list[dict[str, Any]]:
    tables = ("station", "area", "usage_point", "meter", "installation", "endpoint")
    query = " union all ".join(f"select '{table}' as name, count(*) as n from {table}" for table in tables)
    return store.rows(query.encode())


def test_a_good_directory_is_imported_and_again_changes_nothing(
    headend: Headend, config: Path, directory: Path, store: Store
) -> None:
    done = headend("import", directory, "--config", config)
    assert done.exit_code == 0, done.output
    assert "stations.csv: 1 added, 0 changed, 0 unchanged, 0 refused" in done.stdout
    before = counted(store)
    again = headend("import", directory, "--config", config)
    assert again.exit_code == 0
    assert ": 0 added, 0 changed" in again.stdout
    assert not [line for line in again.stdout.splitlines() if ": 0 added, 0 changed" not in line]
    assert counted(store) == before


def test_a_bad_directory_changes_nothing_and_names_file_line_and_column(
    headend: Headend, config: Path, directory: Path, store: Store
) -> None:
    lines = (directory / "meters.csv").read_text().splitlines()
    columns = lines[0].split(",")
    bad = lines[1].split(",")
    bad[columns.index("serial")], bad[columns.index("digits")] = "999999", "many"
    (directory / "meters.csv").write_text("\n".join([*lines, ",".join(bad), lines[1]]) + "\n")
    done = headend("import", directory, "--config", config)
    refused(done, "nothing was changed: mend the rows above")
    problems = [line for line in done.stderr.splitlines() if line.startswith("meters.csv")]
    assert len(problems) >= 2
    assert all(word in problems[0] for word in (str(len(lines) + 1), "digits", "many"))
    assert all(word in problems[1] for word in (str(len(lines) + 2), "serial"))
    assert {row["n"] for row in counted(store)} == {0}


def test_skip_bad_takes_the_good_rows_and_says_what_it_left(
    headend: Headend, config: Path, directory: Path, store: Store
) -> None:
    lines = (directory / "meters.csv").read_text().splitlines()
    bad = ["Acme", "999999", "any", "7", "8", "10"]
    (directory / "meters.csv").write_text("\n".join([*lines, ",".join(bad)]) + "\n")
    done = headend("import", directory, "--skip-bad", "--config", config)
    assert done.exit_code == 0
    assert "meters.csv" in done.stderr
    assert f"meters.csv: {len(lines) - 1} added, 0 changed, 0 unchanged, 1 refused" in done.stdout


def test_a_directory_that_is_none_is_named(headend: Headend, config: Path, tmp_path: Path) -> None:
    refused(headend("import", tmp_path / "nowhere", "--config", config), "nowhere", "is no directory")


def test_settle_names_an_unknown_area_and_days_the_wrong_way_round(headend: Headend, config: Path) -> None:
    days = ("--from", "2026-11-01", "--to", "2026-11-02")
    refused(headend("settle", *days, "--area", "TA-99", "--config", config), "no area 'TA-99'")
    refused(
        headend("settle", "--from", "2026-11-02", "--to", "2026-11-01", "--config", config),
        "the last day 2026-11-01 is before the first 2026-11-02",
    )
    refused(headend("settle", "--from", "yesterday", "--to", "2026-11-01", "--config", config), "--from", status=2)


def test_settle_settles_the_days_asked_for(headend: Headend, config: Path, directory: Path, store: Store) -> None:
    assert headend("import", directory, "--config", config).exit_code == 0
    areas = store.rows(b"select count(*) as n from area")[0]["n"]
    whatever_the_import_touched = headend("settle", "--from", "2026-11-03", "--to", "2026-11-03", "--config", config)
    assert whatever_the_import_touched.exit_code == 0
    with store.transaction() as connection:
        connection.execute("delete from balance_day where day = '2026-11-02'")
    done = headend("settle", "--from", "2026-11-01", "--to", "2026-11-03", "--config", config)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith(f"{3 * areas} area-days settled in ")
    mended = store.rows(b"select count(*) as n from balance_day where day = '2026-11-02'")
    assert mended == [{"n": areas}]


NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def kept(store: Store) -> Store:
    """Three messages in the quarantine: a meter nobody knows, twice, and no JSON."""

    def message(serial: str, payload: bytes, reason: str, minutes: int) -> quarantine.Kept:
        return quarantine.Kept(
            received_at=NOW - timedelta(minutes=minutes),
            source="mqtt",
            origin=f"headend/v1/meter/Acme/{serial}/reading",
            reason=reason,
            detail=f"said of {serial}",
            payload=payload,
        )

    body = json.dumps({"ts": (NOW - timedelta(hours=1)).isoformat(), "import_wh": 5}).encode()
    with store.transaction() as connection:
        for entry in (
            message("77", body, "unknown_meter", 3),
            message("78", body, "unknown_meter", 2),
            message("79", b"\xff{", "not_json", 1),
        ):
            quarantine.add(connection, [entry])
    return store


def test_the_quarantine_is_listed_newest_first(headend: Headend, config: Path, kept: Store) -> None:
    listed = headend("quarantine", "list", "--config", config)
    assert listed.exit_code == 0
    heads = [line.split() for line in listed.stdout.splitlines()[::2]]
    assert [(number, reason, origin.split("/")[-2]) for number, _, reason, origin in heads] == [
        ("3", "not_json", "79"),
        ("2", "unknown_meter", "78"),
        ("1", "unknown_meter", "77"),
    ]
    assert "said of 79" in listed.stdout
    some = headend("quarantine", "list", "--reason", "unknown_meter", "--limit", "1", "--config", config)
    assert "Acme/78" in some.stdout
    assert "Acme/77" not in some.stdout
    origin = headend("quarantine", "list", "--origin", "headend/v1/meter/Acme/77", "--config", config)
    assert origin.stdout.split()[0] == "1"


def test_one_message_is_shown_whole(headend: Headend, config: Path, kept: Store) -> None:
    shown = headend("quarantine", "show", "3", "--config", config)
    assert shown.exit_code == 0
    assert "reason: not_json" in shown.stdout
    assert shown.stdout.rstrip("\n").endswith("\n\n\\xff{")
    refused(headend("quarantine", "show", "99", "--config", config), "quarantine has no message 99")


def test_a_replay_stores_what_is_understood_now_and_keeps_the_rest(headend: Headend, config: Path, kept: Store) -> None:
    refused(headend("quarantine", "replay", "--config", config), "say which: numbers, --reason or --origin")
    refused(headend("quarantine", "replay", "99", "--config", config), "quarantine has no message 99")
    with kept.transaction() as connection:
        connection.execute(
            "insert into meter (manufacturer, serial, model, phases, digits, resolution_wh) "
            "values ('Acme', '77', 'any', 1, 8, 10)"
        )
    first = headend("quarantine", "replay", "--reason", "unknown_meter", "--config", config)
    assert first.exit_code == 1
    one, two = first.stdout.splitlines()
    assert one == "1: 1 stored, 0 known already"
    assert two.startswith("2: 0 stored, 0 known already, stays: ")
    assert kept.rows(b"select import_wh from register_reading") == [{"import_wh": 5}]
    listed = headend("quarantine", "list", "--reason", "unknown_meter", "--config", config).stdout
    assert "Acme/77" not in listed
    assert "Acme/78" in listed
    assert "Acme/77" in headend("quarantine", "list", "--all", "--config", config).stdout
    again = headend("quarantine", "replay", "1", "--config", config)
    assert (again.exit_code, again.stdout) == (0, "1: 0 stored, 1 known already\n")


def test_a_replay_by_reason_takes_all_of_them(headend: Headend, config: Path, store: Store) -> None:
    with store.transaction() as connection:
        connection.execute(
            "insert into quarantine (received_at, last_received_at, source, origin, reason, detail, payload) "
            "select now(), now(), 'mqtt', 'headend/v1/x', 'unknown_topic', '', g::text::bytea "
            "from generate_series(1, 1200) g"
        )
    done = headend("quarantine", "replay", "--reason", "unknown_topic", "--config", config)
    assert (done.exit_code, len(done.stdout.splitlines())) == (1, 1200)


@pytest.fixture
def meter() -> Iterator[tuple[int, int]]:
    """Port and unit of an SDM120 with serial 120001 behind a gateway that answers from a thread of its own."""
    values: dict[Quantity, Any] = {Quantity.IMPORT_WH: 5_000, Quantity.VOLTAGE_L1_V: 229.5, Quantity.FREQUENCY_HZ: 50.0}
    words: dict[Table, dict[int, int]] = {Table.HOLDING: {0: 0}, Table.INPUT: dict.fromkeys(range(0x200), 0)}
    for spec in load_models()["eastron-sdm120"].registers:
        value = "120001" if spec.quantity is Quantity.SERIAL else values.get(spec.quantity, 0)
        for i, word in enumerate(encode(spec, value)):
            words[spec.table][spec.address + i] = word
    bits = [SimData(0, values=False, datatype=DataType.BITS)]
    blocks = {
        table: [SimData(a, values=w, datatype=DataType.REGISTERS) for a, w in sorted(words[table].items())]
        for table in words
    }
    device = SimDevice(2, simdata=(bits, bits, blocks[Table.HOLDING], blocks[Table.INPUT]))
    loop, ports, done = asyncio.new_event_loop(), [], threading.Event()

    async def serve() -> None:
        server = ModbusTcpServer([device], address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        ports.append(server.transport.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
        listening.set()
        await asyncio.to_thread(done.wait)
        await server.shutdown()

    listening = threading.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert listening.wait(20)
    yield ports[0], 2
    done.set()
    thread.join(20)
    loop.close()


def test_a_meter_is_probed_with_its_serial(headend: Headend, meter: tuple[int, int]) -> None:
    port, unit = meter
    where = ("probe", "modbus", "--host", "127.0.0.1", "--port", port, "--unit", unit, "--model", "sdm120")
    good = headend(*where, "--serial", "120001")
    assert good.exit_code == 0, good.output
    assert "import_wh                5000 Wh" in good.stdout
    other = headend(*where, "--serial", "120002")
    assert other.exit_code == 1
    assert "serial mismatch: expected 120002, the meter says 120001" in other.stdout


def test_a_probe_that_fails_says_whose_fault_it_is(headend: Headend, meter: tuple[int, int], tmp_path: Path) -> None:
    port, _ = meter
    where = ("probe", "modbus", "--host", "127.0.0.1", "--timeout", "0.1", "--unit", "2")
    refused(headend(*where, "--port", port, "--model", "sdm999"), "no model 'sdm999'")
    refused(headend(*where, "--port", 1, "--model", "sdm120"), "127.0.0.1:1")
    (tmp_path / "own.toml").write_text('idd = "x"\n')
    refused(headend(*where, "--port", port, "--model", "sdm120", "--models-dir", tmp_path), "own.toml")


def test_a_demo_on_another_address_than_this_machines_is_refused(headend: Headend, tmp_path: Path) -> None:
    done = headend("demo", "--host", "0.0.0.0", "--data-dir", tmp_path / "d")
    refused(done, "--host 0.0.0.0: only 127.0.0.1 is accepted, since there is no login yet")
    assert not (tmp_path / "d").exists()


def test_models_are_listed_shown_and_checked(headend: Headend, tmp_path: Path) -> None:
    listed = headend("models", "list").stdout
    assert "eastron-sdm630" in listed
    assert f"{len(load_models())} models" in listed
    shown = headend("models", "show", "sdm630").stdout
    assert "compared with:" in shown
    assert "import_wh      input 0x0048     f32      kWh, step 2.5" in shown
    assert "one round asks for:" in shown
    refused(headend("models", "show", "sdm999"), "no model 'sdm999'; known are ")

    good = tmp_path / "acme-one.toml"
    text = (Path(__file__).parents[3] / "drivers/modbus/maps/eastron-sdm230.toml").read_text()
    good.write_text(text.replace('id = "eastron-sdm230"', 'id = "acme-one"', 1))
    checked = headend("models", "check", good)
    assert checked.exit_code == 0
    assert "acme-one" in checked.stdout
    assert "! import_wh: a f32 shows steps of 7.8125 Wh at 100,000 kWh" in checked.stdout
    assert "! no serial:" in checked.stdout

    bad = tmp_path / "bad.toml"
    bad.write_text(text.replace('id = "eastron-sdm230"', 'id = "Acme one"', 1))
    line = next(n for n, row in enumerate(bad.read_text().splitlines(), start=1) if row.startswith("id ="))
    refused(headend("models", "check", bad, good), f"{bad}:{line}: id: 'Acme one': wanted lower case, digits, -")


def test_probe_wants_one_place_and_one_thing_to_do(headend: Headend) -> None:
    refused(headend("probe", "modbus", "--unit", 3), "say where: either --host (and --port), or --bus")
    refused(headend("probe", "modbus", "--host", "x", "--unit", 3), "say what: --unit N --model M")
    refused(headend("probe", "modbus", "--host", "x", "--scan", "--units", "0-3"), "0-3 is not within 1..247")
    refused(headend("probe", "modbus", "--bus", "modbus+smoke://x", "--scan"), "unknown scheme 'modbus+smoke'")
