"""Cases in words: both languages for everything, forms that ask for what the API takes, plots that keep their gaps."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from headend.api.cases import KindOfVerdicts, MonthOfVerdicts
from headend.api.errors import Problem
from headend.domain.cases import CaseState, EngineMove, Inspection, Move, SeenCause
from headend.web import case_forms, case_plots, case_words
from headend.web.case_forms import FORMS, Faults, order_of

ZONE = ZoneInfo("Asia/Shanghai")
ID = "5b1f8b0e-3a64-4f0e-8d07-0f6f0a1f2c3d"


def test_everything_has_words_in_both_languages() -> None:
    told = [case_words.STATES[s] for s in CaseState] + [case_words.CAUSES[c] for c in SeenCause]
    told += [case_words.move(m.value) for m in (*Move, *EngineMove)]
    assert all(one.english and any("\u4e00" <= c <= "\u9fff" for c in one.chinese) for one in told)
    assert set(FORMS) == set(Move)
    assert all(field.chinese for form in FORMS.values() for field in form.fields)


def test_a_form_becomes_what_a_crew_saw() -> None:
    entered = {
        "event_id": ID, "by": " Li Wei ", "cause": "meter_stopped", "visited_at": "2026-03-03T10:00", "seal": "S-1",
        "register_wh": "1234.5", "photos": "IMG-1， IMG-2; ", "text": "dark display",
    }  # fmt: skip
    order = order_of(FORMS[Move.INSPECT], entered, ZONE)
    assert (order.by, order.inspection) == (
        "Li Wei",
        Inspection(
            cause=SeenCause.METER_STOPPED, visited_at=datetime(2026, 3, 3, 2, tzinfo=UTC), text="dark display",
            register_wh=1_234_500, seal="S-1", photos=("IMG-1", "IMG-2"),
        ),
    )  # fmt: skip
    bare = {"event_id": ID, "by": "Li", "cause": "bypass", "visited_at": "2026-03-03T10:00"}
    assert order_of(FORMS[Move.INSPECT], bare, ZONE).inspection == Inspection(
        cause=SeenCause.BYPASS, visited_at=datetime(2026, 3, 3, 2, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("move", "more", "fields"),
    [
        (Move.INSPECT, {}, {"cause", "visited_at"}),
        (Move.INSPECT, {"cause": "ghost", "visited_at": "soon"}, {"cause", "visited_at"}),
        (Move.INSPECT, {"cause": "bypass", "visited_at": "2026-03-03T10:00", "register_wh": "x"}, {"register_wh"}),
        (Move.INSPECT, {"cause": "bypass", "visited_at": "2026-03-03T10:00", "photos": "x" * 301}, {"photos"}),
        (Move.CONFIRM, {"by": ""}, {"by", "note"}),
        (Move.REPAIR, {"repaired_on": "tomorrow"}, {"repaired_on"}),
        (Move.ASSIGN, {"assigned_to": "x", "event_id": "none"}, {"event_id"}),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_form_is_said_beside_its_field(move: Move, more: dict[str, str], fields: set[str]) -> None:
    with pytest.raises(Faults) as wrong:
        order_of(FORMS[move], {"event_id": ID, "by": "Li"} | more, ZONE)
    assert set(wrong.value.by_field) == fields


def test_what_the_domain_refuses_comes_back_as_the_apis_problem() -> None:
    entered = {"event_id": ID, "by": "Li", "cause": "no_access", "visited_at": "2026-03-03T10:00"}
    with pytest.raises(Problem) as refused:
        order_of(FORMS[Move.INSPECT], entered, ZONE)
    assert [case_forms.field_of(e["pointer"]) for e in refused.value.errors] == ["text"]


def _run(day: int, confidence: float | None) -> dict[str, Any]:
    wh = None if confidence is None else 1000.0 * day
    return {
        "ran_at": datetime(2026, 3, day, 18, tzinfo=UTC), "window_from": date(2026, 2, day),
        "window_to": date(2026, 3, day), "seen": confidence is not None, "confidence": confidence, "energy_wh": wh,
        "energy_low_wh": wh, "energy_high_wh": wh,
    }  # fmt: skip


def test_a_night_that_told_nothing_is_a_gap_and_one_that_did_not_see_it_says_so() -> None:
    events = [
        {"move": "inspect", "made_at": datetime(2026, 3, 3, 17, tzinfo=UTC)},
        {"move": "assign", "made_at": datetime(2026, 3, 2, tzinfo=UTC)},
        {"move": "confirm", "made_at": datetime(2026, 4, 2, tzinfo=UTC)},
        {"move": "closed", "made_at": datetime(2026, 3, 2, 18, tzinfo=UTC)},
    ]
    plot = case_plots.strength([_run(1, 0.5), _run(2, None), _run(4, 0.75)], events, ZONE)
    assert plot is not None
    assert plot["x"] == ["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"]
    confidence, missed, energy = plot["series"]
    assert confidence["values"] == [50.0, None, None, 75.0]
    assert missed["values"] == [None, 0.0, None, None]
    assert energy["values"] == energy["low"] == [1.0, None, None, 4.0]
    assert [(mark["x"], mark["label"].split()[0]) for mark in plot["marks"]] == [
        ("2026-03-04", "inspected"), ("2026-03-02", "closed"),
    ], "the local day, of a run its window's; only what lies in the picture"  # fmt: skip
    assert case_plots.strength([], events, ZONE) is None


def test_a_month_without_verdicts_is_a_gap_in_the_share_and_a_zero_in_the_count() -> None:
    def month(number: int, year: int = 2026) -> MonthOfVerdicts:
        return MonthOfVerdicts(
            month=date(year, number, 1), confirmed=3, rejected=1, precision=0.75, low=0.3, high=0.95
        )  # fmt: skip

    kind = KindOfVerdicts(
        kind="stuck", confirmed=6, rejected=2, precision=0.75, low=0.4, high=0.9, months=[month(11, 2025), month(2)]
    )
    plot = case_plots.precision(kind)
    assert plot["x"] == ["2025-11-01", "2025-12-01", "2026-01-01", "2026-02-01"]
    share, confirmed, rejected = plot["series"]
    assert (share["values"], share["low"]) == ([75.0, None, None, 75.0], [30.0, None, None, 30.0])
    assert (confirmed["values"], rejected["values"]) == ([3.0, 0.0, 0.0, 3.0], [1.0, 0.0, 0.0, 1.0])
