"""Moves of a case: which are possible from where, and what an order has to say."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from headend.domain.cases import (
    LIVE,
    CaseState,
    Inspection,
    Move,
    MoveForbidden,
    MoveOrder,
    SeenCause,
    concern,
    moves_from,
    state_after,
)
from reconciliation import FindingKind

AT = datetime(2026, 3, 3, tzinfo=UTC)
WAYS = {
    CaseState.OPEN: {Move.ASSIGN: "assigned", Move.INSPECT: "inspected"},
    CaseState.ASSIGNED: {Move.ASSIGN: "assigned", Move.INSPECT: "inspected"},
    CaseState.INSPECTED: {
        Move.ASSIGN: "assigned", Move.INSPECT: "inspected", Move.CONFIRM: "confirmed", Move.REJECT: "rejected",
    },
    CaseState.CONFIRMED: {Move.REPAIR: "confirmed", Move.REOPEN: "open"},
    CaseState.REJECTED: {Move.REOPEN: "open"},
    CaseState.CLOSED: {Move.REOPEN: "open"},
}  # fmt: skip


@pytest.mark.parametrize("state", CaseState)
@pytest.mark.parametrize("move", Move)
def test_each_move_from_each_state(state: CaseState, move: Move) -> None:
    if move in WAYS[state]:
        assert state_after(state, move) == WAYS[state][move]
    else:
        with pytest.raises(
            MoveForbidden, match=f"{move.value} is possible while a case is .*this one is {state.value}"
        ):
            state_after(state, move)
    assert set(moves_from(state)) == set(WAYS[state])


def test_nothing_is_judged_that_nobody_has_seen() -> None:
    for state in LIVE - {CaseState.INSPECTED}:
        assert not {Move.CONFIRM, Move.REJECT} & set(moves_from(state))


@pytest.mark.parametrize("state", [CaseState.OPEN, CaseState.ASSIGNED, CaseState.INSPECTED])
def test_who_was_not_let_in_has_seen_nothing(state: CaseState) -> None:
    assert state_after(state, Move.INSPECT, SeenCause.NO_ACCESS) is state
    assert state_after(state, Move.INSPECT, SeenCause.NOTHING_FOUND) is CaseState.INSPECTED


@pytest.mark.parametrize(
    ("move", "more", "field"),
    [
        (Move.ASSIGN, {}, "assigned_to"),
        (Move.ASSIGN, {"assigned_to": "x" * 101}, "assigned_to"),
        (Move.INSPECT, {}, "saw"),
        (Move.CONFIRM, {}, "note"),
        (Move.REJECT, {"note": "x" * 501}, "note"),
        (Move.REOPEN, {"note": "\n "}, "note"),
        (Move.REPAIR, {}, "repaired_on"),
        (Move.CONFIRM, {"note": "x", "assigned_to": "crew"}, "assigned_to"),
        (Move.REJECT, {"note": "x", "repaired_on": date(2026, 3, 3)}, "repaired_on"),
        (Move.CONFIRM, {"note": "x", "by": " "}, "by"),
        (Move.CONFIRM, {"note": "x", "inspection": Inspection(cause=SeenCause.BYPASS, visited_at=AT)}, "saw"),
    ],
)
def test_an_order_names_what_is_wrong(move: Move, more: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        MoveOrder(**({"event_id": UUID(int=1), "move": move, "by": "Li"} | more))


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"register_wh": -1}, "register_wh"),
        ({"register_wh": 10**16}, "register_wh"),
        ({"photos": ("x",) * 21}, "photos"),
        ({"photos": ("",)}, "photos"),
        ({"seal": "x" * 101}, "seal"),
        ({"text": "x" * 2001}, "text"),
        ({"text": "a\x07"}, "text"),
        ({"cause": SeenCause.NO_ACCESS}, "text"),
        ({"visited_at": datetime(1900, 1, 1, tzinfo=UTC)}, "visited_at"),
    ],
)
def test_an_inspection_names_what_is_wrong(more: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        Inspection(**({"cause": SeenCause.BYPASS, "visited_at": AT} | more))


def test_an_inspection_survives_being_kept() -> None:
    whole = Inspection(
        cause=SeenCause.OTHER, visited_at=AT, text="a\nb", register_wh=0, seal="S-1", photos=("a", "b")
    )  # fmt: skip
    bare = Inspection(cause=SeenCause.BYPASS, visited_at=AT)
    for saw in (whole, bare):
        assert Inspection.of_json(json.loads(json.dumps(saw.as_json()))) == saw


def test_one_question_about_a_meter_is_one_concern() -> None:
    of_meters = {kind.value: concern(kind, of_a_meter=True) for kind in FindingKind}
    assert {k for k, c in of_meters.items() if c == "reading"} == {
        "under_registering", "stuck", "wrong_multiplier", "reversed_polarity",
    }  # fmt: skip
    assert of_meters["missing_data"] == concern("prolonged_estimation", of_a_meter=True) == "data"
    assert of_meters["wrong_area"] == "wrong_area"
    assert all(concern(kind, of_a_meter=False) == kind for kind in FindingKind)
