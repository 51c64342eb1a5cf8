"""What models can do, a clock over weeks, commands in every state: as the process that polls would have left them."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from seed_base import NOW, Seeded

from headend.domain.commands import CommandKind, CommandState, CommandStep, Order
from headend.store import clocks, commands, models
from headend.store.clocks import ClockReading
from headend.store.commands import HeldCommand, Step
from headend.store.models import ModelFeatures
from headend.store.pool import Connection

SWITCHED = "Chint/211003"
"""Has a clock, a relay, tariffs, and a history."""
WAITING = "Chint/211006"
"""The same, and a command under way."""


_AHEAD_MS_A_DAY = 520


def command_id(n: int) -> UUID:
    """Known beforehand, so that a test can ask for it."""
    return UUID(int=n)


def commanded(c: Connection, made: Seeded) -> None:
    """The clock is set once by policy; the relay goes through every end there is."""
    models.tell(
        c,
        [
            ModelFeatures(
                model="chint-ddsu666", manufacturer="Chint", name="DDSU666", tells_serial=True, clock="set",
                relay=("open", "closed"), tariffs=("1", "2"),
            ),
            ModelFeatures(
                model="eastron-sdm630", manufacturer="Eastron", name="SDM630 v2", tells_serial=True, clock="none",
                relay=(), tariffs=(),
            ),
        ],
        now=NOW - timedelta(hours=30),
    )  # fmt: skip
    meter = made.meters[SWITCHED]
    set_at = NOW - timedelta(days=12, hours=3)
    _clock(c, meter, set_at)
    _concluded(
        c, meter, 2, "relay", "open", NOW - timedelta(days=3, hours=2), CommandState.CONFIRMED, "read back as open",
        before="closed", after="open", words=(0xAAAA,), reason="rewiring in the stairwell, agreed with the customer",
    )  # fmt: skip
    _concluded(
        c, meter, 3, "relay", "closed", NOW - timedelta(days=3), CommandState.UNCONFIRMED,
        "whether the meter obeyed is not known: 10.20.0.11:502 unit 2: no answer within 1 s; within 20 s of reading "
        "back it could not be read back: 10.20.0.11:502 unit 2: no answer within 1 s",
        before="open", after=None, words=(0x5555,), reason="rewiring done",
    )  # fmt: skip
    _concluded(
        c, meter, 4, "relay", "closed", NOW - timedelta(days=2, hours=23), CommandState.CONFIRMED,
        "it was closed already: nothing was written", before="closed", after="closed", reason="is it on again?",
    )  # fmt: skip
    _concluded(
        c, meter, 5, "tariff", "2", NOW - timedelta(hours=5), CommandState.REFUSED,
        "the meter refused: 10.20.0.11:502 unit 2: exception 4 (device failure)", before="1", after=None, words=(2,),
        reason="trial of the evening tariff",
    )  # fmt: skip
    order = _order(6, "tariff", "2", "trial of the evening tariff")
    commands.add(c, meter, order, now=NOW - timedelta(hours=4))
    commands.expire(c, now=NOW - timedelta(hours=3))
    held = _sent(
        c, made.meters[WAITING], _order(7, "clock", "now", "off by 40 s"), NOW - timedelta(seconds=3), None, ()
    )
    assert held.state is CommandState.SENT


def _clock(c: Connection, meter: int, set_at: datetime) -> None:
    for day in range(28, 0, -1):
        at = NOW - timedelta(days=day, minutes=7)
        days_since = (at - set_at) / timedelta(days=1)
        offset_ms = round(_AHEAD_MS_A_DAY * days_since) + (80 if days_since > 0 else 8_100)
        clocks.add(c, meter, ClockReading(at=at, offset_ms=offset_ms, uncertainty_ms=540, drifted=offset_ms > 5_540))
    command = _concluded(
        c, meter, 1, "clock", "now", set_at, CommandState.CONFIRMED, "read back as +0.1 s ± 0.5 s",
        before="+8.1 s ± 0.5 s", after="+0.1 s ± 0.5 s", reason="off by +8.1 s, more than 5 s", automatic=True,
    )  # fmt: skip
    clocks.add(
        c,
        meter,
        ClockReading(
            at=set_at + timedelta(seconds=1), offset_ms=80, uncertainty_ms=540, drifted=False, command_id=command
        ),
    )


def _order(n: int, kind: str, wanted: str, reason: str, *, automatic: bool = False) -> Order:
    return Order(
        command_id=command_id(n),
        kind=CommandKind(kind),
        wanted=wanted,
        requested_by="clock policy" if automatic else "Wang Fang 王芳",
        reason=reason,
        ttl_s=900,
        automatic=automatic,
    )


def _sent(
    c: Connection, meter: int, order: Order, at: datetime, before: str | None, words: tuple[int, ...]
) -> HeldCommand:
    commands.add(c, meter, order, now=at)
    (held,) = commands.take(c, now=at + timedelta(milliseconds=400), lease_s=60, most=1)
    found = Step(at=at + timedelta(milliseconds=450), step=CommandStep.FOUND, state=before, words=(0,))
    sent = commands.mark_sent(
        c, held, [found], before_state=before, words=words or None, now=at + timedelta(milliseconds=460), lease_s=80
    )
    assert sent is not None
    return sent


def _concluded(
    c: Connection,
    meter: int,
    n: int,
    kind: str,
    wanted: str,
    at: datetime,
    state: CommandState,
    detail: str,
    *,
    before: str,
    after: str | None,
    reason: str,
    words: tuple[int, ...] = (),
    automatic: bool = False,
) -> UUID:
    order = _order(n, kind, wanted, reason, automatic=automatic)
    if words or kind == "clock":
        held = _sent(c, meter, order, at, before, words)
        steps = [Step(at=at + timedelta(milliseconds=480), step=CommandStep.WRITTEN, words=words or None)]
    else:
        commands.add(c, meter, order, now=at)
        (held,) = commands.take(c, now=at + timedelta(milliseconds=400), lease_s=60, most=1)
        steps = [Step(at=at + timedelta(milliseconds=450), step=CommandStep.FOUND, state=before, words=(0,))]
    if after is not None and words:
        steps.append(Step(at=at + timedelta(milliseconds=900), step=CommandStep.READ_BACK, state=after, words=(1,)))
    assert commands.conclude(
        c,
        held,
        steps,
        state=state,
        before_state=before,
        after_state=after,
        detail=detail,
        now=at + timedelta(seconds=1),
    )
    return order.command_id
