"""One push of one batch over HTTP: signed, with its idempotency key, and the answer understood or refused."""

from __future__ import annotations

import hashlib
import hmac
import operator
from datetime import date, datetime
from typing import Any
from uuid import UUID

import httpx

from headend.domain.billing import Batch


class PushError(Exception):
    """No receipt this time; trying again is right: time-out, no connection, 5xx, or a refused signature or clock."""


class PushRejected(Exception):
    """Billing understood the batch and will not take it: a person has to look."""


RETRIED_STATUS = frozenset({401, 403, 408, 425, 429})
"""Client errors that are about us or the moment, not about the batch: keys being rotated, clocks, rates."""


def sign(secret: bytes, timestamp: int, idempotency_key: str, body: bytes) -> str:
    """`v1=` and the HMAC-SHA256 over `<unix seconds>.<idempotency key>.<body>`."""
    message = f"{timestamp}.{idempotency_key}.".encode() + body
    return "v1=" + hmac.new(secret, message, hashlib.sha256).hexdigest()


def push(client: httpx.Client, url: str, secret: bytes, batch: Batch, now: datetime) -> dict[str, Any]:
    """Send a batch and return billing's receipt. Raises PushError, PushRejected."""
    body = batch.body()
    key, timestamp = str(batch.idempotency_key), int(now.timestamp())
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": key,
        "X-Headend-Timestamp": str(timestamp),
        "X-Headend-Signature": sign(secret, timestamp, key, body),
    }
    try:
        response = client.post(url, content=body, headers=headers)
    except httpx.HTTPError as error:
        raise PushError(f"{url}: {type(error).__name__}: {error}") from error
    if response.is_success:
        return _receipt(url, response, batch)
    said = f"{url} answered {response.status_code}: {_reason(response)}"
    if response.is_client_error and response.status_code not in RETRIED_STATUS:
        raise PushRejected(said)
    raise PushError(said)


def _receipt(url: str, response: httpx.Response, batch: Batch) -> dict[str, Any]:
    """A receipt must be about this batch: one that is not does not acknowledge it."""
    try:
        receipt: dict[str, Any] = response.json()
        told = {name: operator.index(receipt[name]) for name in ("number", "accepted_count", "accepted_energy_wh")}
        refused = {(str(row["usage_point"]), date.fromisoformat(row["day"])) for row in receipt["exceptions"]}
        UUID(receipt["receipt_id"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PushError(f"{url} answered {response.status_code} with no receipt: {error!r}") from error
    if told["number"] != batch.number:
        raise PushError(f"{url}: the receipt is for batch {told['number']}, not {batch.number}")
    said = f"{told['accepted_count']} rows with {told['accepted_energy_wh']} Wh"
    wanted = (len(batch.determinants), batch.energy_wh)
    if not refused and (told["accepted_count"], told["accepted_energy_wh"]) != wanted:
        raise PushRejected(f"{url} accepted {said}, of {wanted[0]} with {wanted[1]} Wh")
    taken = sum((d.usage_point, d.day) not in refused for d in batch.determinants)
    if refused and not taken <= told["accepted_count"] < wanted[0]:
        raise PushRejected(f"{url} accepted {said}, of {wanted[0]}, and named {wanted[0] - taken} as refused")
    return receipt


def _reason(response: httpx.Response) -> str:
    try:
        problem = response.json()
        return " ".join(str(problem[part]) for part in ("title", "detail") if problem.get(part)) or response.text[:500]
    except (ValueError, AttributeError):
        return response.text[:500]
