"""`headend quarantine` as a person types it: found, shown whole, replayed, with a line to act on and an exit status."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headend.store import quarantine
from headend.store.pool import Store
from headend.store.quarantine import Kept, Share

Headend = Callable[..., Any]
NOW = datetime.now(UTC).replace(microsecond=0)
BINARY = bytes(range(32)) + b"\xff\x00tail"


def kept(origin: str, payload: bytes, reason: str, *, minutes: int = 0, **more: Any) -> Kept:
    return Kept(NOW - timedelta(minutes=minutes), "mqtt", origin, reason, f"detail of {origin}", payload, **more)


def meters(store: Store, *serials: str) -> None:
    with store.transaction() as connection:
        for serial in serials:
            connection.execute(
                "insert into meter (manufacturer, serial, model, phases, digits, resolution_wh) "
                "values ('Acme', %s, 'any', 1, 8, 10)",
                [serial],
            )


@pytest.fixture
def kept_store(store: Store) -> Store:
    """1: of meter 77; 2: binary; 3 and 4: of meter 78."""
    body = json.dumps({"ts": (NOW - timedelta(hours=1)).isoformat(), "import_wh": 5}).encode()
    more = json.dumps({"ts": (NOW - timedelta(hours=2)).isoformat(), "import_wh": 4}).encode()
    with store.transaction() as connection:
        for entry in (
            kept("headend/v1/meter/Acme/77/reading", body, "unknown_meter", minutes=40, strangers=("Acme/77",)),
            kept("headend/v1/meter/Acme/9/reading", BINARY, "not_json", minutes=30),
            kept("headend/v1/meter/Acme/78/reading", body, "unknown_meter", minutes=20, strangers=("Acme/78",)),
            kept("headend/v1/meter/Acme/78/reading", more, "unknown_meter", minutes=10, strangers=("Acme/78",)),
        ):
            quarantine.add(connection, [entry])
    return store


def numbers(done: Any) -> list[int]:
    assert done.exit_code == 0, done.output
    return [json.loads(line)["quarantine_id"] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), [4, 3, 2, 1]),
        (("--device", "Acme/78"), [4, 3]),
        (("--origin", "*/78/*"), [4, 3]),
        (("--content", '"import_wh": 4'), [4]),
        (("--content", "0xff0074"), [2]),
        (("--detail", "ACME/9"), [2]),
        (("--since", (NOW - timedelta(minutes=20)).isoformat()), [4, 3]),
        (("--until", (NOW - timedelta(minutes=20)).isoformat()), [2, 1]),
        (("--source", "modbus"), []),
        (("--limit", "2", "--before", "4"), [3, 2]),
        (("--closed",), []),
    ],
)
def test_found_by_what_is_known_of_it(
    headend: Headend, config: Path, kept_store: Store, options: tuple[str, ...], found: list[int]
) -> None:
    done = headend("quarantine", "list", "--json", "--config", config, *options)
    assert numbers(done) == found
    if "--limit" in options:
        assert "there is more: --before 2" in done.stderr


def test_shown_as_text_as_a_dump_and_byte_for_byte(headend: Headend, config: Path, kept_store: Store) -> None:
    shown = headend("quarantine", "show", "2", "--config", config)
    assert "000020  ff 00 74 61 69 6c" in shown.stdout
    assert "ÿ" not in shown.stdout
    assert headend("quarantine", "show", "2", "--raw", "--config", config).stdout_bytes == BINARY
    as_json = json.loads(headend("quarantine", "show", "2", "--json", "--config", config).stdout)
    assert base64.b64decode(as_json["payload_base64"]) == BINARY
    assert datetime.fromisoformat(as_json["received_at"]) == NOW - timedelta(minutes=30)
    assert '"import_wh": 4}' in headend("quarantine", "show", "4", "--config", config).stdout


def test_a_dry_run_says_what_would_happen(headend: Headend, config: Path, kept_store: Store) -> None:
    meters(kept_store, "78")
    dry = headend("quarantine", "replay", "--all", "--dry-run", "--config", config)
    assert dry.exit_code == 1
    assert "4 messages, if it were done: 2 understood; 2 stay; readings: 2 stored, 0 known already" in dry.stderr
    assert kept_store.rows(b"select 1 from register_reading") == []
    assert kept_store.rows(b"select 1 from quarantine where replayed_at is not null") == []
    done = headend("quarantine", "replay", "--all", "--config", config)
    assert (done.exit_code, done.stdout) == (1, dry.stdout)
    assert "\n  unknown_meter: 1" in done.stderr
    assert "\n  not_json: 1" in done.stderr


def test_exit_status_0_when_everything_was_understood(headend: Headend, config: Path, kept_store: Store) -> None:
    meters(kept_store, "78")
    done = headend("quarantine", "replay", "--device", "Acme/78", "--config", config, "--json")
    assert done.exit_code == 0
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["quarantine_id"], first["outcome"], first["stored"]) == (3, "understood", 1)
    assert second["quarantine_id"] == 4
    assert "2 messages: 2 understood; readings: 2 stored" in done.stderr
    nothing = headend("quarantine", "replay", "--device", "Acme/78", "--config", config)
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert numbers(headend("quarantine", "list", "--closed", "--json", "--config", config)) == [4, 3]


def test_what_another_reason_it_has_now_is_said(headend: Headend, config: Path, kept_store: Store) -> None:
    old = json.dumps({"ts": "2001-01-01T00:00:00Z", "import_wh": 5}).encode()
    with kept_store.transaction() as connection:
        quarantine.add(connection, [kept("headend/v1/meter/Acme/78/reading", old, "unknown_meter")])
    meters(kept_store, "78")
    done = headend("quarantine", "replay", "5", "--config", config)
    assert done.exit_code == 1
    assert done.stdout.startswith("5: 0 stored, 0 known already, now 6: ")
    assert "became_id: 6" in headend("quarantine", "show", "5", "--config", config).stdout
    assert "came_from: [5]" in headend("quarantine", "show", "6", "--config", config).stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("replay", "1", "--all"), "numbers or a filter, not both"),
        (("replay", "--dry-run"), "say which: "),
        (("show", "99"), "quarantine has no message 99"),
    ],
)
def test_what_makes_no_sense_is_refused(
    headend: Headend, config: Path, kept_store: Store, words: tuple[str, ...], told: str
) -> None:
    done = headend("quarantine", *words, "--config", config)
    assert done.exit_code == 1
    assert told in done.stderr


def test_the_summary_tells_what_was_not_kept(headend: Headend, config: Path, kept_store: Store) -> None:
    with kept_store.transaction() as connection:
        flood = [kept("flood", str(k).encode(), "not_json") for k in range(10)]
        quarantine.add(connection, flood, Share(messages=4, size=1000, payload=1000))
    told = headend("quarantine", "list", "--summary", "--config", config).stdout
    assert "3  unknown_meter" in told
    assert "6  not_json                 not kept (origin)" in told
    as_json = json.loads(headend("quarantine", "list", "--summary", "--json", "--config", config).stdout)
    assert {row["reason"]: row["messages"] for row in as_json["open"]} == {"not_json": 5, "unknown_meter": 3}
    assert as_json["given_up"][0]["messages"] == 6
