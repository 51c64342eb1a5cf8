"""The case on the page of its finding, in a real browser: forms, history, strength; and how often kinds are right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from headend.domain.cases import Move
from headend.web.app import create_app
from headend.web.screenshot import open_page
from support.nights import Nights
from support.served import served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE, DESK = 390, 1280


@pytest.fixture
def url(nights: Nights) -> Iterator[str]:
    """A case over thirty nights; one that came back after its rejection; verdicts of some months."""
    for n, verdict in ((-200, Move.REJECT), (-160, Move.CONFIRM), (-90, Move.REJECT), (-50, Move.CONFIRM)):
        nights.night(n - 1)
        nights.seen(n, kind="wrong_area", meter="m2")
        nights.judge(nights.cases()[-1]["finding_id"], verdict)
    for n in range(30):
        found = nights.finding(n, "stuck" if n < 10 else "under_registering", confidence=0.5 + 0.014 * n, wh=9e3 * n)
        misplaced = nights.finding(n, "wrong_area", "m2")
        nights.night(n, *([] if n in (12, 13) else [found]), *([] if n < 29 else [misplaced]))
    with served(create_app(nights.field.store, nights.field.settings, lambda: nights.now)) as address:
        yield address


@pytest.fixture
def look(chromium: Browser, url: str) -> Iterator[Callable[[str, int], Page]]:
    """Open a page; at the end nothing may have been complained of, and nothing scrolls sideways."""
    complaints: list[str] = []
    pages: list[Page] = []

    def opened(path: str, width: int) -> Page:
        page = open_page(chromium, url + path, width=width)
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.reload(wait_until="networkidle")
        page.wait_for_function("() => !document.querySelector('[data-plot]') || document.documentElement.dataset.plots")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (path, width)
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.context.close()
    assert complaints == []


def latest(nights: Nights, kind: str) -> int:
    """The last case of a kind."""
    return int(next(c["finding_id"] for c in reversed(nights.cases()) if c["kind"] == kind))


def test_a_crew_with_a_phone_says_what_it_saw_and_the_desk_judges(
    look: Callable[[str, int], Page], nights: Nights
) -> None:
    finding = latest(nights, "under_registering")
    phone = look(f"/findings/{finding}", PHONE)
    assert "Clamp the current" in phone.inner_text("ol.checks"), "what to check on site stands on the page"
    phone.locator("#inspect summary").click()
    form = phone.locator("form[data-move=inspect]")
    form.get_by_label("What was found").select_option("other")
    form.get_by_label("When").fill("2026-09-01T09:00:00")
    form.get_by_label("Register").fill("1234.5678")
    form.get_by_label("Photos").fill("IMG-1, IMG-2")
    form.get_by_label("Your name").fill("Li Wei 李伟")
    form.get_by_role("button").click()
    phone.wait_for_selector("#inspect-register_wh-fault")
    assert "three decimals" in phone.inner_text("#inspect-register_wh-fault")
    form.get_by_label("Register").fill("1234.567")
    form.get_by_role("button").click()
    phone.wait_for_selector("#inspect-text-fault")
    assert form.get_by_label("Photos").input_value() == "IMG-1, IMG-2"
    form.get_by_label("What was seen").fill("meter behind a wall")
    form.get_by_label("When").fill("2026-03-01T09:00:00")
    form.get_by_role("button").click()
    phone.wait_for_selector(".case-steps >> text=meter behind a wall")
    steps = phone.inner_text(".case-steps")
    assert "1,234.567 kWh" in steps
    assert "Something else" in steps
    assert "Li Wei 李伟" in steps
    assert "现场核查" in steps
    desk = look(f"/findings/{finding}", DESK)
    stale = look(f"/findings/{finding}", DESK)
    for page, move in ((desk, "confirm"), (stale, "reject")):
        page.locator(f"#{move} summary").click()
        sent = page.locator(f"form[data-move={move}]")
        sent.get_by_label("Reason").fill("so it is")
        sent.get_by_label("Your name").fill("Wang Fang")
        sent.get_by_role("button").click()
        page.wait_for_selector(".case-steps >> text=so it is" if move == "confirm" else "[role=alert]")
    assert "this one is confirmed" in stale.inner_text("[role=alert]")
    assert nights.field.one("select verdict from finding where finding_id = %s", [finding]) == "confirmed"
    assert desk.locator("#repair, #reopen").count() == 2


def test_strength_is_drawn_with_what_was_not_seen(look: Callable[[str, int], Page], nights: Nights) -> None:
    for width in (PHONE, DESK):
        page = look(f"/findings/{latest(nights, 'under_registering')}", width)
        drawn = page.evaluate(
            "Array.from(document.querySelectorAll('.plot-canvas')).at(-1).data.filter(t => t.name)"
            ".map(t => [t.name, t.y.filter(v => v !== null).length])"
        )
        assert drawn[:2] == [["Confidence 置信度", 28], ["Looked for, not seen 未再发现", 2]]
        assert "Stuck or dead meter → Under-registering meter" in page.inner_text(".case-steps")


def test_one_night_has_its_day_on_the_axis_and_one_month_its_interval(
    look: Callable[[str, int], Page], nights: Nights
) -> None:
    ticks = look(f"/findings/{latest(nights, 'wrong_area')}", DESK).evaluate(
        "[...[...document.querySelectorAll('.plot-canvas')].at(-1).querySelectorAll('.xtick text')]"
        ".map(t => t.textContent)"
    )
    assert len(ticks) == 1, "one night, and no minutes around it"
    assert ticks[0].startswith(nights.day(29).strftime("%d %b")), ticks
    nights.judge(latest(nights, "under_registering"), Move.CONFIRM)
    bars = look("/findings/precision", DESK).evaluate(
        "[...document.querySelectorAll('.plot-canvas')].at(-1).data.filter(t => t.error_y)"
        ".map(t => [t.error_y.array, t.error_y.arrayminus])"
    )
    ((up, down),) = bars
    assert (up, round(down[0])) == ([0], 79), "confirmed once: from 21 % to 100 %"


def test_a_long_name_stays_within_its_tile_on_a_phone(look: Callable[[str, int], Page], nights: Nights) -> None:
    over = look(f"/findings/{latest(nights, 'wrong_area')}", PHONE).evaluate(
        "() => { const tile = [...document.querySelectorAll('.tile')].find(t => t.querySelector('.tile-t a'));"
        " tile.querySelector('.tile-t a').textContent = 'SchneiderElectric/210100091234567';"
        " return tile.scrollWidth - tile.clientWidth; }"
    )
    assert over <= 0


def test_a_case_that_came_back_says_after_what(look: Callable[[str, int], Page], nights: Nights) -> None:
    back = latest(nights, "wrong_area")
    before = nights.field.one("select follows from finding where finding_id = %s", [back])
    page = look(f"/findings/{back}", DESK)
    assert "it has come back" in page.inner_text(".case-steps")
    page.get_by_role("link", name=f"finding {before}", exact=True).first.click()
    page.wait_for_url(f"**/findings/{before}")
    assert f"followed by finding {back}" in page.inner_text("main")


def test_how_often_kinds_are_right_is_drawn_by_month(look: Callable[[str, int], Page]) -> None:
    for width in (PHONE, DESK):
        page = look("/findings/precision", width)
        assert "50 %" in page.inner_text("tbody").replace("\u00a0", " ")
        assert page.locator(".plot-canvas .main-svg").count() >= 1
        share = page.evaluate("document.querySelector('.plot-canvas').data.find(t => t.name?.startsWith('Right')).y")
        assert None in share
        assert {0, 100} <= set(share)


def test_the_list_is_filtered_by_whose_it_is(look: Callable[[str, int], Page], nights: Nights) -> None:
    nights.move(latest(nights, "wrong_area"), Move.ASSIGN, assigned_to="crew 7 七班")
    page = look("/findings", DESK)
    page.get_by_label("Assigned to").select_option("crew 7 七班")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**assigned_to=crew**")
    assert page.locator("tbody tr").count() == 1
    assert "crew 7 七班" in page.inner_text("tbody")
    look("/findings?assigned_to=crew%207%20七班&state=any", PHONE)
