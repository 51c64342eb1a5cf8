"""What the demo's billing system checks of a request before it looks at its own books: signature, shape, totals.

Written against the push's description, not with the sender's code: two implementations that agree prove something.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec

REPLAY_WINDOW_S = 300
"""How far a signature's time may lie from ours; older ones could be replayed by whoever recorded them."""
SIGNATURE_HEADER = "x-headend-signature"
TIMESTAMP_HEADER = "x-headend-timestamp"
IDEMPOTENCY_HEADER = "idempotency-key"
CHECKSUM_PREFIX = "sha256:"

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Energy = Annotated[int, msgspec.Meta(ge=-(10**15), le=10**15)]
"""[Wh]; a petawatt-hour is no bill but a fault, and the sum of a batch stays within 64 bits."""


class Refused(Exception):
    """A request that is not accepted: becomes an ``application/problem+json`` answer (RFC 9457)."""

    def __init__(self, status: int, kind: str, title: str, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.title = title
        self.detail = detail
        self.members = members


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sender's own totals over the determinants."""

    count: int
    energy_wh: int
    checksum: str
    """See :func:`determinants_checksum`."""


class Period(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"first": "from", "last": "to"}):
    """First and last local day of a batch, both included."""

    first: date
    last: date


class Determinant(msgspec.Struct, frozen=True):
    """What billing keys a row on; the row's other members are kept as they came."""

    usage_point: Text
    day: date
    direction: Literal["import", "export"]
    tariff_band: Text
    revision: Annotated[int, msgspec.Meta(ge=0)]
    """0: the day's first bill; n: its n-th adjustment."""
    energy_wh: Energy
    """Billed energy; of an adjustment the difference to what was billed before, so it may be negative."""
    estimated_wh: Energy
    reason: str | None = None

    @property
    def charge(self) -> tuple[str, str, str, str]:
        """What is charged once: usage point, day, direction and tariff band."""
        return self.usage_point, self.day.isoformat(), self.direction, self.tariff_band


class _Envelope(msgspec.Struct, frozen=True):
    format: Literal["headend.billing-batch/1"]
    number: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    created_at: datetime
    period: Period
    control: Control
    determinants: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A request that is sound in itself."""

    number: int
    idempotency_key: str
    body: bytes = field(repr=False)
    determinants: tuple[Determinant, ...] = field(repr=False)

    @property
    def energy_wh(self) -> int:
        """Sum over the determinants."""
        return sum(row.energy_wh for row in self.determinants)

    @property
    def body_sha256(self) -> str:
        """Tells a repeated request from another one under the same key."""
        return hashlib.sha256(self.body).hexdigest()


def signature(secret: bytes, timestamp: str, idempotency_key: str, body: bytes) -> str:
    """``v1=`` and the hex HMAC-SHA256 of ``<timestamp>.<idempotency key>.<body>``."""
    message = f"{timestamp}.{idempotency_key}.".encode() + body
    return "v1=" + hmac.new(secret, message, hashlib.sha256).hexdigest()


def check_signature(
    secret: bytes, *, timestamp: str, idempotency_key: str, given: str, body: bytes, now_s: float
) -> None:
    """Raise Refused (401) unless ``given`` signs exactly this request and ``timestamp`` [Unix s] is recent."""
    expected = signature(secret, timestamp, idempotency_key, body)
    # Compared before the time is looked at, so that only a holder of the secret learns about our clock.
    if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
        raise Refused(401, "signature", "Signature does not match", "the request is not signed with the shared secret")
    # The signature covers the timestamp's very bytes, so what is no number was signed as none.
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(now_s - int(timestamp)) > REPLAY_WINDOW_S:
        raise Refused(
            401,
            "timestamp",
            "Signature is too old",
            f"{TIMESTAMP_HEADER} is {timestamp!r}, which is not within {REPLAY_WINDOW_S} s of {int(now_s)}",
            now_s=int(now_s),
        )


def determinants_checksum(determinants: list[dict[str, Any]]) -> str:
    """``sha256:`` and the hex digest of the determinants in their order, each as one line of canonical JSON.

    Canonical: keys sorted, no blanks, UTF-8 unescaped; the lines are joined with a line feed.
    """
    lines = (
        json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        for row in determinants
    )
    return CHECKSUM_PREFIX + hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_batch(body: bytes, idempotency_key: str) -> Batch:
    """The batch in a signed body.

    Raises Refused: 400 for what is no batch (naming the place); 422 where a control total differs from the rows, where
    a row lies outside the period or occurs twice, or an adjustment has no reason.
    """
    try:
        envelope = msgspec.json.decode(body, type=_Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, "malformed", "Not a billing batch", str(error)) from error
    rows = tuple(_determinant(index, row) for index, row in enumerate(envelope.determinants))
    _check_totals(envelope, rows)
    _check_rows(envelope.period, rows)
    return Batch(number=envelope.number, idempotency_key=idempotency_key, body=body, determinants=rows)


def _determinant(index: int, row: dict[str, Any]) -> Determinant:
    try:
        return msgspec.convert(row, Determinant)
    except msgspec.ValidationError as error:
        raise Refused(400, "malformed", "Not a billing batch", f"determinants[{index}]: {error}") from error


def _check_rows(period: Period, rows: tuple[Determinant, ...]) -> None:
    seen: dict[tuple[Any, ...], int] = {}
    for index, row in enumerate(rows):
        where = f"determinants[{index}] (usage point {row.usage_point} on {row.day}, revision {row.revision})"
        if not period.first <= row.day <= period.last:
            raise Refused(
                422, "period", "Day outside the period", f"{where} lies outside {period.first} to {period.last}"
            )
        earlier = seen.setdefault((row.charge, row.revision), index)
        if earlier != index:
            raise Refused(422, "duplicate", "A determinant occurs twice", f"{where} repeats determinants[{earlier}]")
        if row.revision > 0 and not row.reason:
            raise Refused(422, "reason", "Adjustment without a reason", f"{where} has no reason")


def _check_totals(envelope: _Envelope, rows: tuple[Determinant, ...]) -> None:
    computed: dict[str, int | str] = {
        "count": len(rows),
        "energy_wh": sum(row.energy_wh for row in rows),
        "checksum": determinants_checksum(envelope.determinants),
    }
    claimed = msgspec.structs.asdict(envelope.control)
    differences = {
        name: {"claimed": claimed[name], "computed": value}
        for name, value in computed.items()
        if claimed[name] != value
    }
    if differences:
        told = "; ".join(f"{name} {both['claimed']} should be {both['computed']}" for name, both in differences.items())
        raise Refused(422, "control-totals", "Control totals differ", told, differences=differences)
