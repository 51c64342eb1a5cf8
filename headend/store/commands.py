"""Commands to meters as rows, and every step of their lives; the rows that a person asks about later are never changed.

The rules it keeps: a command is held by a lease; it is sent at most once, by whoever holds it then, in time, and is
committed as sent before anything is written; once sent it can only be concluded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from headend.domain.commands import CommandKind, CommandState, CommandStep, Order
from headend.store.pool import Connection, Row, row, rows
from headend.store.queries import load


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command and how it stands."""

    command_id: UUID
    meter_id: int
    kind: CommandKind
    wanted: str
    across_intervals: bool
    requested_by: str
    reason: str
    note: str
    automatic: bool
    requested_at: datetime
    expires_at: datetime
    state: CommandState
    not_before: datetime | None
    tries: int
    sent_at: datetime | None
    done_at: datetime | None
    before_state: str | None
    """As read from the meter; None: not read, or not understood."""
    after_state: str | None
    detail: str
    """Why it stands where it stands, for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCommand:
    """A command that is ours to execute, or to conclude, until `taken_until`."""

    command_id: UUID
    meter_id: int
    kind: CommandKind
    wanted: str
    across_intervals: bool
    requested_at: datetime
    expires_at: datetime
    state: CommandState
    """Taken, or sent: by somebody who did not conclude it."""
    tries: int
    sent_at: datetime | None
    before_state: str | None
    taken_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a command's life."""

    at: datetime
    step: CommandStep
    state: str | None = None
    """Of the meter, as its registers say."""
    words: tuple[int, ...] | None = None
    """Raw registers, as read or written."""
    detail: str = ""


class CommandIdTaken(Exception):
    """The id was sent before with another content."""

    def __init__(self, earlier: Command) -> None:
        super().__init__(
            f"command {earlier.command_id} was sent before with another content: {earlier.kind} {earlier.wanted}, by "
            f"{earlier.requested_by}, at {earlier.requested_at.isoformat()}"
        )
        self.earlier = earlier


def add(connection: Connection, meter_id: int, order: Order, *, now: datetime) -> tuple[Command, bool]:
    """Queue an order; (the command as it stands, whether it is new). Raises CommandIdTaken."""
    expires_at = now + timedelta(seconds=order.ttl_s)
    values = {
        "command_id": order.command_id,
        "meter_id": meter_id,
        "kind": order.kind.value,
        "wanted": order.wanted,
        "across_intervals": order.across_intervals,
        "requested_by": order.requested_by,
        "reason": order.reason,
        "note": order.note,
        "automatic": order.automatic,
        "now": now,
        "expires_at": expires_at,
    }
    new = connection.execute(load("commands")["insert"], values).rowcount == 1
    if new:
        note(connection, order.command_id, Step(at=now, step=CommandStep.REQUESTED, detail=order.reason))
    command = find(connection, order.command_id)
    assert command is not None  # inserted, or the conflict's other row, which is never deleted
    same = (
        command.meter_id == meter_id
        and command.expires_at - command.requested_at == timedelta(seconds=order.ttl_s)
        and (command.kind, command.wanted, command.across_intervals)
        == (order.kind, order.wanted, order.across_intervals)
        and (command.requested_by, command.reason, command.note) == (order.requested_by, order.reason, order.note)
    )
    if not same:
        raise CommandIdTaken(command)
    return command, new


def find(connection: Connection, command_id: UUID) -> Command | None:
    """How a command stands."""
    found = row(connection, load("commands")["find"], {"command_id": command_id})
    return None if found is None else _command(found)


def of_meter(
    connection: Connection, meter_id: int, *, limit: int, before: tuple[datetime, UUID] | None = None
) -> list[Command]:
    """A meter's commands, newest first; `before` is (requested_at, command_id) of the last one of the page before."""
    at, command_id = before or (None, None)
    parameters = {"meter_id": meter_id, "limit": limit, "before_at": at, "before_id": command_id}
    return [_command(r) for r in rows(connection, load("commands")["of_meter"], parameters)]


def lives(connection: Connection, commands: Iterable[UUID]) -> dict[UUID, list[Step]]:
    """Every step of these commands, in order."""
    found: dict[UUID, list[Step]] = {command: [] for command in commands}
    for r in rows(connection, load("commands")["steps"], {"commands": list(found)}):
        words = None if r["words"] is None else tuple(r["words"])
        found[r["command_id"]].append(
            Step(at=r["at"], step=CommandStep(r["step"]), state=r["state"], words=words, detail=r["detail"])
        )
    return found


def under_way(connection: Connection, meter_id: int, kind: CommandKind) -> bool:
    """Whether a meter has a command of this kind that is not done."""
    found = row(connection, load("commands")["under_way"], {"meter_id": meter_id, "kind": kind.value})
    return found is not None and bool(found["under_way"])


def expire(connection: Connection, *, now: datetime) -> list[CommandKind]:
    """Give up what was never sent and is out of time; the kind of each."""
    return [CommandKind(r["kind"]) for r in rows(connection, load("commands")["expire"], {"now": now})]


def take(connection: Connection, *, now: datetime, lease_s: float, most: int) -> list[HeldCommand]:
    """Take up to `most`, one of a meter; they are free again after `lease_s` seconds."""
    parameters = {"now": now, "taken_until": now + timedelta(seconds=lease_s), "most": most}
    held = [
        HeldCommand(**r | {"kind": CommandKind(r["kind"]), "state": CommandState(r["state"])})
        for r in rows(connection, load("commands")["take"], parameters)
    ]
    for one in held:
        again = "left behind by another process after it may have been written; only read back from now on"
        detail = again if one.state is CommandState.SENT else ""
        note(connection, one.command_id, Step(at=now, step=CommandStep.TAKEN, detail=detail))
    return held


def release(
    connection: Connection,
    held: HeldCommand,
    steps: Sequence[Step],
    *,
    not_before: datetime,
    detail: str,
    now: datetime,
) -> bool:
    """Give a command back that was not sent, with the steps so far; False when the lease was over."""
    given_back = _held(connection, "release", held, not_before=not_before, detail=detail)
    if given_back:
        _note_all(connection, held.command_id, steps)
        note(connection, held.command_id, Step(at=now, step=CommandStep.GIVEN_BACK, detail=detail))
    return given_back


def let_go(connection: Connection, held: HeldCommand, *, now: datetime) -> None:
    """Give a sent command's lease back: whoever comes next reads it back at once."""
    _held(connection, "let_go", held, now=now)


def mark_sent(
    connection: Connection,
    held: HeldCommand,
    steps: Sequence[Step],
    *,
    before_state: str | None,
    words: tuple[int, ...] | None,
    now: datetime,
    lease_s: float,
) -> HeldCommand | None:
    """The write may go out once this is committed; None: it may not, the lease or the time-to-live is over."""
    until = now + timedelta(seconds=lease_s)
    if not _held(connection, "mark_sent", held, before_state=before_state, now=now, until=until):
        return None
    _note_all(connection, held.command_id, steps)
    note(connection, held.command_id, Step(at=now, step=CommandStep.SENT, words=words))
    return replace(
        held, state=CommandState.SENT, sent_at=now, before_state=before_state or held.before_state, taken_until=until
    )


def conclude(
    connection: Connection,
    held: HeldCommand,
    steps: Sequence[Step],
    *,
    state: CommandState,
    before_state: str | None,
    after_state: str | None,
    detail: str,
    now: datetime,
) -> bool:
    """Say how a command ended, with the steps so far; False when the lease was over and another says it."""
    values = {
        "state": state.value,
        "before_state": before_state,
        "after_state": after_state,
        "detail": detail,
        "now": now,
    }
    if not _held(connection, "conclude", held, **values):
        return False
    _note_all(connection, held.command_id, steps)
    note(connection, held.command_id, Step(at=now, step=CommandStep(state.value), state=after_state, detail=detail))
    return True


def note(connection: Connection, command_id: UUID, step: Step) -> None:
    """Put down one step of a command's life."""
    values = {
        "command_id": command_id,
        "at": step.at,
        "step": step.step.value,
        "state": step.state,
        "words": None if step.words is None else list(step.words),
        "detail": step.detail,
    }
    connection.execute(load("commands")["note"], values)


def _note_all(connection: Connection, command_id: UUID, steps: Sequence[Step]) -> None:
    for step in steps:
        note(connection, command_id, step)


def _held(connection: Connection, name: str, held: HeldCommand, **values: object) -> bool:
    keys = {"command_id": held.command_id, "taken_until": held.taken_until}
    return connection.execute(load("commands")[name], keys | values).rowcount == 1


def _command(found: Row) -> Command:
    return Command(**found | {"kind": CommandKind(found["kind"]), "state": CommandState(found["state"])})
