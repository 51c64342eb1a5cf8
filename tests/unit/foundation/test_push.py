"""One push against an endpoint in memory: what is signed, what acknowledges, what is tried again and what is not."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from headend.billing.push import PushError, PushRejected, push
from headend.domain.billing import Batch, Determinant

URL = "http://billing.example/import/batches"
NOW = datetime(2026, 11, 23, 4, 0, 0, 900_000, tzinfo=UTC)
RECEIPT_ID = "2f4f7f0c-5f0f-4b0f-9b43-7d3c9f5b1a90"
SECRET = b"not a real key"


def determinant(number: int, direction: str = "import") -> Determinant:
    return Determinant(
        usage_point_id=number,
        usage_point=f"U{number}",
        category="residential",
        day=date(2026, 11, 22),
        direction=direction,
        tariff_band="total",
        revision=0,
        energy_wh=1000 * number,
        estimated_wh=0,
        start_register_wh=0,
        start_ts=datetime(2026, 11, 21, 16, tzinfo=UTC),
        end_register_wh=1000 * number,
        end_ts=datetime(2026, 11, 22, 16, tzinfo=UTC),
        multiplier=Decimal(1),
        meters=("Acme/1",),
        reason=None,
    )


BATCH = Batch(
    number=12,
    idempotency_key=UUID("6f0e4d36-4a8f-4bb4-9a6a-0d9c0a4b8c11"),
    created_at=NOW,
    period_from=date(2026, 11, 22),
    period_to=date(2026, 11, 22),
    determinants=(determinant(1), determinant(1, "export"), determinant(2)),
)


def receipt(**changes: Any) -> dict[str, Any]:
    given = {"receipt_id": RECEIPT_ID, "number": 12, "accepted_count": 3, "accepted_energy_wh": 4000, "exceptions": []}
    return given | changes


def refused(*usage_points: str) -> list[dict[str, str]]:
    return [{"usage_point": code, "day": "2026-11-22", "reason": "unknown contract"} for code in usage_points]


def send(answer: Callable[[httpx.Request], httpx.Response] | httpx.Response) -> dict[str, Any]:
    handler = answer if callable(answer) else lambda _: answer
    with httpx.Client(transport=httpx.MockTransport(handler)) as client:
        return push(client, URL, SECRET, BATCH, NOW)


def test_a_push_is_signed_over_time_key_and_body() -> None:
    seen: list[httpx.Request] = []

    def endpoint(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json=receipt())

    assert send(endpoint) == receipt()
    (request,) = seen
    stamp = str(int(NOW.timestamp()))
    signed = stamp.encode() + b".6f0e4d36-4a8f-4bb4-9a6a-0d9c0a4b8c11." + BATCH.body()
    assert request.content == BATCH.body()
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Idempotency-Key"] == str(BATCH.idempotency_key)
    assert request.headers["X-Headend-Timestamp"] == stamp
    assert request.headers["X-Headend-Signature"] == "v1=" + hmac.new(SECRET, signed, hashlib.sha256).hexdigest()


def test_200_acknowledges_as_201_does() -> None:
    assert send(httpx.Response(200, json=receipt()))["receipt_id"] == RECEIPT_ID


@pytest.mark.parametrize("status", [302, 401, 403, 408, 425, 429, 500, 502, 503])
def test_what_is_about_us_or_the_moment_is_tried_again(status: int) -> None:
    with pytest.raises(PushError, match=f"answered {status}"):
        send(httpx.Response(status, text="no"))


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
def test_what_is_about_the_batch_waits_for_a_person(status: int) -> None:
    problem = {"title": "Totals differ", "detail": "count is 4"}
    with pytest.raises(PushRejected, match=f"answered {status}: Totals differ count is 4"):
        send(httpx.Response(status, json=problem))


def test_an_answer_that_is_no_problem_is_shown_in_part() -> None:
    with pytest.raises(PushRejected) as told:
        send(httpx.Response(422, text="x" * 10_000))
    assert "xxx" in str(told.value)
    assert len(str(told.value)) < 700


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_a_failed_connection_is_tried_again(failure: type[httpx.HTTPError]) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise failure("gone", request=request)  # type: ignore[call-arg]

    with pytest.raises(PushError, match=f"{failure.__name__}: gone"):
        send(broken)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(201, text="<html>welcome</html>"),
        httpx.Response(201, content=b"\xff\xfe"),
        httpx.Response(204),
        httpx.Response(201, json=[]),
        httpx.Response(201, json={}),
        httpx.Response(201, json=None),
        httpx.Response(201, json=receipt(number=None)),
        httpx.Response(201, json=receipt(receipt_id="")),
        httpx.Response(201, json=receipt(receipt_id=7)),
        httpx.Response(201, json=receipt(accepted_count="3")),
        httpx.Response(201, json=receipt(accepted_energy_wh=4000.5)),
        httpx.Response(201, json=receipt(exceptions=None)),
        httpx.Response(201, json=receipt(exceptions=["U1"])),
        httpx.Response(201, json=receipt(exceptions=[{"usage_point": "U1", "day": "yesterday"}])),
    ],
)
def test_success_without_a_receipt_acknowledges_nothing(answer: httpx.Response) -> None:
    with pytest.raises(PushError, match="no receipt"):
        send(answer)


def test_a_receipt_for_another_number_acknowledges_nothing() -> None:
    with pytest.raises(PushError, match="the receipt is for batch 11, not 12"):
        send(httpx.Response(201, json=receipt(number=11)))


@pytest.mark.parametrize("wrong", [{"accepted_count": 2}, {"accepted_energy_wh": 3999}, {"accepted_count": 0}])
def test_other_totals_than_ours_are_no_acknowledgement(wrong: dict[str, int]) -> None:
    with pytest.raises(PushRejected, match=r"of 3 with 4000 Wh"):
        send(httpx.Response(201, json=receipt(**wrong)))


@pytest.mark.parametrize(
    ("codes", "accepted"),
    [(("U2",), 2), (("U1",), 1), (("U1",), 2), (("U1", "U2"), 0)],
    ids=["its one row", "both its rows", "one of its two rows", "all"],
)
def test_refused_rows_that_are_named_belong_to_a_receipt(codes: tuple[str, ...], accepted: int) -> None:
    answer = receipt(exceptions=refused(*codes), accepted_count=accepted, accepted_energy_wh=0)
    assert send(httpx.Response(201, json=answer)) == answer


@pytest.mark.parametrize(("codes", "accepted"), [(("U2",), 0), (("U2",), 3), (("U9",), 2)])
def test_a_row_is_never_lost_behind_an_exception_for_another(codes: tuple[str, ...], accepted: int) -> None:
    with pytest.raises(PushRejected, match=f"accepted {accepted} rows"):
        send(httpx.Response(201, json=receipt(exceptions=refused(*codes), accepted_count=accepted)))
