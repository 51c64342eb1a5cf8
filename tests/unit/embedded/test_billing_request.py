"""The billing endpoint's checks of a request in itself."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from headend.embedded.billing_request import (
    REPLAY_WINDOW_S,
    Refused,
    check_signature,
    determinants_checksum,
    read_batch,
    signature,
)

SECRET = b"shared secret"
NOW_S = 1_700_000_000


def determinant(usage_point: str = "户-1", day: str = "2026-11-20", **changes: Any) -> dict[str, Any]:
    return {
        "usage_point": usage_point,
        "category": "residential",
        "day": day,
        "direction": "import",
        "tariff_band": "total",
        "revision": 0,
        "energy_wh": 1500,
        "estimated_wh": 0,
        "start_register_wh": 1000,
        "end_register_wh": None,
        "multiplier": "1",
        "meters": ["Eastron/210001"],
        "reason": None,
    } | changes


def body(determinants: list[dict[str, Any]], number: Any = 1, **control: Any) -> dict[str, Any]:
    totals = {
        "count": len(determinants),
        "energy_wh": sum(row["energy_wh"] for row in determinants),
        "checksum": determinants_checksum(determinants),
    }
    return {
        "format": "headend.billing-batch/1",
        "number": number,
        "created_at": "2026-11-23T00:00:00Z",
        "period": {"from": "2026-11-01", "to": "2026-11-30"},
        "control": totals | control,
        "determinants": determinants,
    }


def read(content: Any) -> Any:
    return read_batch(json.dumps(content).encode(), "key")


def test_signature_is_the_documented_hmac() -> None:
    expected = hmac.new(SECRET, b"1700000000.key.{}", hashlib.sha256).hexdigest()
    assert signature(SECRET, "1700000000", "key", b"{}") == f"v1={expected}"


@pytest.mark.parametrize("skew_s", [-REPLAY_WINDOW_S, 0, REPLAY_WINDOW_S])
def test_signed_request_within_the_window_passes(skew_s: int) -> None:
    given = signature(SECRET, str(NOW_S), "key", b"{}")
    check_signature(SECRET, timestamp=str(NOW_S), idempotency_key="key", given=given, body=b"{}", now_s=NOW_S + skew_s)


@pytest.mark.parametrize(
    "changed",
    [
        {"secret": b"another"},
        {"timestamp": str(NOW_S + 1)},
        {"idempotency_key": "kez"},
        {"body": b"{ }"},
        {"given": ""},
    ],
)
def test_anything_changed_breaks_the_signature(changed: dict[str, Any]) -> None:
    parts: dict[str, Any] = {"secret": SECRET, "timestamp": str(NOW_S), "idempotency_key": "key", "body": b"{}"}
    parts["given"] = signature(**parts)
    check_signature(**parts, now_s=NOW_S)
    with pytest.raises(Refused) as refused:
        check_signature(**(parts | changed), now_s=NOW_S)
    assert (refused.value.status, refused.value.kind) == (401, "signature")


@pytest.mark.parametrize("given", ["v1=", "v1=" + "0" * 64, "ü", "no prefix"])
def test_what_is_no_signature_is_refused(given: str) -> None:
    with pytest.raises(Refused, match="not signed"):
        check_signature(SECRET, timestamp=str(NOW_S), idempotency_key="key", given=given, body=b"{}", now_s=NOW_S)


@pytest.mark.parametrize(
    "timestamp", [str(NOW_S - REPLAY_WINDOW_S - 1), str(NOW_S + REPLAY_WINDOW_S + 1), "", "now", "１７", "-5", "1e9"]
)
def test_old_or_senseless_time_is_refused_though_signed(timestamp: str) -> None:
    given = signature(SECRET, timestamp, "key", b"{}")
    with pytest.raises(Refused) as refused:
        check_signature(SECRET, timestamp=timestamp, idempotency_key="key", given=given, body=b"{}", now_s=NOW_S)
    assert (refused.value.status, refused.value.kind) == (401, "timestamp")


def test_checksum_of_a_batch_worked_by_hand() -> None:
    lines = '{"a":"台区","b":null}\n{"a":1}'
    expected = "sha256:" + hashlib.sha256(lines.encode()).hexdigest()
    assert determinants_checksum([{"b": None, "a": "台区"}, {"a": 1}]) == expected


def test_sound_batch_is_read() -> None:
    batch = read(body([determinant(), determinant("户-2", energy_wh=500)]))
    assert (batch.number, batch.energy_wh, len(batch.determinants)) == (1, 2000, 2)
    assert batch.determinants[0].charge == ("户-1", "2026-11-20", "import", "total")


@pytest.mark.parametrize(
    ("control", "told"),
    [
        ({"count": 3}, "count 3 should be 2"),
        ({"energy_wh": 2001}, "energy_wh 2001 should be 2000"),
        ({"checksum": "sha256:0"}, "checksum sha256:0 should be sha256:"),
    ],
)
def test_each_control_total_is_compared_and_named(control: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told) as refused:
        read(body([determinant(), determinant("户-2", energy_wh=500)], **control))
    assert (refused.value.status, list(refused.value.members["differences"])) == (422, list(control))


def test_order_of_the_rows_is_part_of_the_checksum() -> None:
    rows = [determinant("a"), determinant("b")]
    with pytest.raises(Refused, match="checksum"):
        read(body(rows[::-1], checksum=determinants_checksum(rows)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"energy_wh": "1500"}, r"determinants\[1\].*energy_wh"),
        ({"energy_wh": None}, r"determinants\[1\].*energy_wh"),
        ({"energy_wh": 10**16}, r"determinants\[1\].*energy_wh"),
        ({"day": "2026-11-31"}, r"determinants\[1\].*day"),
        ({"direction": "both"}, r"determinants\[1\].*direction"),
        ({"usage_point": ""}, r"determinants\[1\].*usage_point"),
        ({"revision": -1}, r"determinants\[1\].*revision"),
    ],
)
def test_malformed_row_is_named_by_index_and_member(changes: dict[str, Any], told: str) -> None:
    content = body([determinant(), determinant("户-2")])
    content["determinants"][1] |= changes
    with pytest.raises(Refused, match=told) as refused:
        read(content)
    assert (refused.value.status, refused.value.kind) == (400, "malformed")


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"\xff\xfe", b'{"number": 1}', json.dumps(body([], number="1")).encode(),
            json.dumps(body([]) | {"format": "other/1"}).encode()]
)  # fmt: skip
def test_what_is_no_batch_is_refused(raw: bytes) -> None:
    with pytest.raises(Refused) as refused:
        read_batch(raw, "key")
    assert refused.value.status == 400


def test_row_twice_outside_the_period_or_adjusted_without_reason() -> None:
    for rows, told in [
        ([determinant(), determinant(energy_wh=7)], r"determinants\[1\].*repeats determinants\[0\]"),
        ([determinant(day="2026-10-31")], "outside 2026-11-01 to 2026-11-30"),
        ([determinant(revision=1, energy_wh=-20)], "has no reason"),
    ]:
        with pytest.raises(Refused, match=told) as refused:
            read(body(rows))
        assert refused.value.status == 422
    allowed = [determinant(), determinant(direction="export"), determinant(tariff_band="peak")]
    assert len(read(body(allowed)).determinants) == 3
