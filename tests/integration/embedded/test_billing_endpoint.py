"""The billing import endpoint as the process that it is: signed HTTP in, receipts out, failures on demand."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from headend.embedded.billing_process import EmbeddedBilling
from headend.embedded.billing_request import determinants_checksum, signature
from headend.embedded.errors import EmbeddedError

SECRET = b"a secret for the test"


class Endpoint:
    def __init__(self, directory: Path, secret: bytes = SECRET) -> None:
        self.process = EmbeddedBilling(directory, secret=secret.decode(), port=0)
        self.http = httpx.Client(base_url=self.process.base_url, timeout=20)

    def push(self, body: bytes, key: str = "", *, secret: bytes = SECRET, timeout: float = 20, **headers: str) -> Any:
        key, now = key or str(uuid.uuid4()), str(int(time.time()))
        signed = {
            "Content-Type": "application/json",
            "Idempotency-Key": key,
            "X-Headend-Timestamp": now,
            "X-Headend-Signature": signature(secret, now, key, body),
        }
        return self.http.post(self.process.import_url, content=body, headers=signed | headers, timeout=timeout)

    def control(self, **failure: Any) -> None:
        self.http.post("/control", json=failure).raise_for_status()

    def accepted(self) -> list[int]:
        return [batch["number"] for batch in self.http.get("/import/batches").json()["batches"]]


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    made = Endpoint(tmp_path)
    with made.process, made.http:
        yield made


def make_body(number: int = 1, usage_point: str = "U1", **control: Any) -> bytes:
    rows = [
        {
            "usage_point": usage_point,
            "category": "residential",
            "day": f"2026-11-{day:02}",
            "direction": "import",
            "tariff_band": "total",
            "revision": 0,
            "energy_wh": 1000 + day,
            "estimated_wh": 0,
            "meters": ["Eastron/1"],
            "reason": None,
        }
        for day in (20, 21)
    ]
    totals = {"count": 2, "energy_wh": 2041, "checksum": determinants_checksum(rows)}
    return json.dumps(
        {
            "format": "headend.billing-batch/1",
            "number": number,
            "created_at": "2026-11-23T00:00:00Z",
            "period": {"from": "2026-11-20", "to": "2026-11-21"},
            "control": totals | control,
            "determinants": rows,
        }
    ).encode()


def test_accepted_once_and_remembered_over_a_kill(endpoint: Endpoint) -> None:
    first = endpoint.push(make_body(), "key-1")
    assert first.status_code == 201
    assert (first.json()["accepted_count"], first.json()["accepted_energy_wh"]) == (2, 2041)
    assert endpoint.process.pid is not None
    os.kill(endpoint.process.pid, signal.SIGKILL)
    assert endpoint.process._process is not None
    endpoint.process._process.wait(20)
    endpoint.process.start()
    again = endpoint.push(make_body(), "key-1")
    assert (again.status_code, again.json()) == (200, first.json())
    other = endpoint.push(make_body(usage_point="U2"), "key-1")
    assert (other.status_code, other.headers["content-type"]) == (409, "application/problem+json")
    assert other.json()["type"].endswith("idempotency-key")
    assert endpoint.push(make_body(number=2), "key-2").json()["type"].endswith("billed-before")
    assert endpoint.accepted() == [1]


def test_wrong_signature_is_401_and_wrong_totals_422(endpoint: Endpoint) -> None:
    forged = endpoint.push(make_body(), secret=b"guess")
    assert (forged.status_code, forged.json()["title"]) == (401, "Signature does not match")
    assert endpoint.push(make_body(), **{"X-Headend-Signature": ""}).status_code == 401
    replayed = str(int(time.time()) - 3600)
    old = endpoint.push(
        make_body(),
        "k",
        **{"X-Headend-Timestamp": replayed, "X-Headend-Signature": signature(SECRET, replayed, "k", make_body())},
    )
    assert (old.status_code, old.json()["title"]) == (401, "Signature is too old")
    wrong = endpoint.push(make_body(energy_wh=2042))
    assert wrong.status_code == 422
    assert wrong.json()["differences"] == {"energy_wh": {"claimed": 2042, "computed": 2041}}
    assert endpoint.push(b"no json").status_code == 400
    assert endpoint.accepted() == []
    assert SECRET.decode() not in endpoint.process.log_path.read_text()


def test_fails_as_told_and_as_often_as_told(endpoint: Endpoint) -> None:
    endpoint.control(mode="error500", count=2)
    assert [endpoint.push(make_body(), "key").status_code for _ in range(4)] == [500, 500, 201, 200]
    endpoint.control(mode="reject")
    assert [endpoint.push(make_body(2, "U2"), "key-2").status_code for _ in range(2)] == [422, 422]
    endpoint.control(mode="exception", count=1)
    excepted = endpoint.push(make_body(3, "U3"), "key-3").json()
    assert (excepted["accepted_count"], len(excepted["exceptions"])) == (1, 1)
    endpoint.control(mode="ok")
    assert endpoint.http.post("/control", json={"mode": "explode"}).status_code == 422
    assert endpoint.accepted() == [1, 3]


def test_hangs_before_or_after_the_booking_and_lives_on(endpoint: Endpoint) -> None:
    endpoint.control(mode="hang", count=1)
    with pytest.raises(httpx.ReadTimeout):
        endpoint.push(make_body(), "key", timeout=0.3)
    assert endpoint.accepted() == []
    endpoint.control(mode="hang_after", count=1)
    with pytest.raises(httpx.ReadTimeout):
        endpoint.push(make_body(), "key", timeout=1)
    assert endpoint.accepted() == [1]
    assert endpoint.push(make_body(), "key").status_code == 200


def test_stop_does_not_wait_for_a_hanging_caller(endpoint: Endpoint, wait_until: Callable[..., None]) -> None:
    endpoint.control(mode="hang", count=1)
    outcomes: list[object] = []

    def call() -> None:
        try:
            outcomes.append(endpoint.push(make_body()).status_code)
        except httpx.TransportError as error:
            outcomes.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    # The switch falls back to ok when the hanging call has taken its turn.
    wait_until(lambda: endpoint.http.get("/control").json()["mode"] == "ok", "the call hangs")
    process = endpoint.process._process
    assert process is not None
    endpoint.process.stop()
    caller.join(20)
    (outcome,) = outcomes
    assert outcome == 500 or isinstance(outcome, httpx.TransportError)
    assert process.returncode != -signal.SIGKILL


def test_another_host_name_is_refused(endpoint: Endpoint) -> None:
    assert endpoint.http.get("/healthz", headers={"Host": "rebound.example"}).status_code == 400


def test_start_without_a_secret_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"(?s)status 2.*HEADEND_BILLING_SECRET"):
        Endpoint(tmp_path, b"").process.start()


def test_secret_is_on_no_command_line(endpoint: Endpoint) -> None:
    assert SECRET not in Path(f"/proc/{endpoint.process.pid}/cmdline").read_bytes()


def test_port_that_another_server_answers_on_is_not_taken_for_ours(tmp_path: Path) -> None:
    first = EmbeddedBilling(tmp_path / "first", secret="s", port=0)
    second = EmbeddedBilling(tmp_path / "second", secret="s", port=first.port)
    assert second.port == first.port  # both chose before either listened
    with first:
        with pytest.raises(EmbeddedError, match=r"(?s)billing ended with status .*address already in use"):
            second.start()
        assert first.running
