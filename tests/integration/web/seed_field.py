"""Buses in every state, modems, refused registers and gaps, as the process that polls would have left them."""

from __future__ import annotations

from datetime import datetime, timedelta

from seed_base import NOW, Seeded, insert

from headend.store.pool import Connection

GATEWAY = "modbus+tcp://10.20.0.11:502"
AWAY = "modbus+rtu+tcp://10.20.0.12:4001"
MODEM = "modbus+dialin://DTU-0017"
SERIAL = "modbus+serial:///dev/ttyUSB0?baud=9600&parity=N&stop=1"


def _ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def field(c: Connection, made: Seeded) -> None:
    """Four buses: one well, one with meters in every kind of trouble, one away, one without a round yet."""
    _bus(c, GATEWAY, "10.20.0.11:502", asked=8, read=3, failed=4, resting=1, meters=8)
    _bus(c, MODEM, "modem DTU-0017", asked=2, read=2, meters=2, took_s=21.4)
    _bus(c, AWAY, "10.20.0.12:4001", asked=2, failed=2, meters=2, reason="10.20.0.12:4001: no connection within 5 s")
    insert(c, "poll_bus", bus=SERIAL, peer="/dev/ttyUSB0", meters=1, written_at=NOW)
    troubles = [
        ("Eastron/901001", "ok", "", 0, 38.0),
        ("Chint/211003", "ok", "", 0, 41.0),
        ("Chint/211006", "ok", "", 0, 87.0),
        ("Chint/211009", "timeout", "10.20.0.11:502 unit 4: no answer within 1 s to input 0x0000..0x004F", 1, 55.0),
        ("Chint/211012", "resting", "10.20.0.11:502 unit 5: silent 12 times in a row; asked again at 06:44", 12, None),
        ("Chint/211015", "serial_mismatch", "the store expects Chint/211015 here, the meter says 99", 3, 60.0),
        ("Chint/211018", "unknown_model", "no register map for model 'chint-dds'", 96, None),
        ("Chint/211021", "illegal_address", "10.20.0.11:502 unit 8: illegal data address", 2, 44.0),
    ]  # fmt: skip
    for unit, (name, outcome, reason, failures, response_ms) in enumerate(troubles, start=1):
        _meter(c, made, name, GATEWAY, unit, outcome, reason, failures, response_ms)
    for unit, name in enumerate(("Chint/213003", "Chint/213006"), start=1):
        _meter(c, made, name, MODEM, unit, "ok", "", 0, 620.0 + unit)
    for unit, name in enumerate(("Chint/212003", "Chint/212006"), start=1):
        _meter(c, made, name, AWAY, unit, "connection", "10.20.0.12:4001: no connection within 5 s", 9, None)
    for modem, connected, in_use, age in (
        ("DTU-0017", True, True, 0.4),
        ("DTU-0018", True, False, 9),
        ("861234567890123", False, False, 400),
    ):
        insert(
            c, "poll_modem",
            modem=modem, peer="117.132.4.9:40112", connected=connected, in_use=in_use, registered_at=_ago(hours=30),
            heard_at=_ago(minutes=age), registrations=3, written_at=NOW,
        )  # fmt: skip
    _refusals(c, made)
    _gaps(c, made)


def _bus(
    c: Connection,
    bus: str,
    peer: str,
    *,
    asked: int,
    meters: int,
    read: int = 0,
    failed: int = 0,
    resting: int = 0,
    took_s: float = 1.83,
    reason: str | None = None,
) -> None:
    insert(
        c, "poll_bus",
        bus=bus, peer=peer, connected=reason is None, since_at=_ago(hours=5 if reason is None else 2), reason=reason,
        began_at=_ago(minutes=10), took_s=took_s, meters=meters, asked=asked, read=read, failed=failed, resting=resting,
        written_at=_ago(minutes=9),
    )  # fmt: skip


def _meter(
    c: Connection,
    made: Seeded,
    name: str,
    bus: str,
    unit: int,
    outcome: str,
    reason: str,
    failures: int,
    response_ms: float | None,
) -> None:
    insert(c, "endpoint", meter_id=made.meters[name], protocol="modbus", bus=bus, unit=unit)
    insert(
        c, "poll_meter",
        meter_id=made.meters[name], bus=bus, outcome=outcome, reason=reason, since_at=_ago(minutes=15 * failures + 9),
        failures=failures, next_probe_at=NOW + timedelta(minutes=4) if outcome == "resting" else None,
        response_ms=response_ms, timeout_ms=1000.0 if response_ms is None else 5 * response_ms, firmware="1.7",
        written_at=_ago(minutes=9),
    )  # fmt: skip


def _refusals(c: Connection, made: Seeded) -> None:
    for firmware, first, last in (("1.7", 0x0156, 0x0159), (None, 0xFC00, 0xFC01)):
        insert(
            c, "register_refusal",
            model="chint-ddsu666", firmware=firmware, meter_id=None if firmware else made.meters["Chint/211003"],
            register_table="holding" if first > 0x1000 else "input", first_register=first, last_register=last,
            found_at=_ago(hours=26), found_by=made.meters["Chint/211003"], expires_at=NOW + timedelta(days=6),
        )  # fmt: skip


def _gaps(c: Connection, made: Seeded) -> None:
    for name, state, done_h, attempts, detail in (
        ("Chint/213003", "open", 7, 0, ""),
        ("Chint/213006", "open", 9, 2, "modem DTU-0017 unit 2: no answer within 2.4 s to holding 0x2000"),
        ("Chint/211003", "given_up", 9, 3, "10.20.0.11:502 unit 2: illegal data address"),
        ("Chint/211006", "closed", 6, 0, ""),
    ):
        insert(
            c, "profile_gap",
            meter_id=made.meters[name], from_at=_ago(hours=9), to_at=_ago(hours=6), done_to=_ago(hours=done_h),
            state=state, records=4 * (9 - done_h), refused=1 if attempts == 0 and state == "open" else 0,
            attempts=attempts, detail=detail, noted_at=_ago(hours=6), changed_at=_ago(minutes=7),
        )  # fmt: skip
