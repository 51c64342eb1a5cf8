"""The pages in a real browser: nothing scrolls sideways, the keyboard suffices, nothing is complained of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headend.domain.changes import ChangeCategory, ChangeMultiplier, CorrectInstallation, Move, SwapMeter
from headend.web.app import create_app
from headend.web.screenshot import content_of
from support.field import DAY, T0
from support.served import served
from support.yard import Yard

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PICTURES = os.environ.get("HEADEND_TEST_PICTURES")
"""A directory for pictures of what was seen."""


@pytest.fixture
def server(yard: Yard) -> Iterator[str]:
    """A real server on a usage point with a history."""
    yard.meter("NEW-2026-000417")
    yard.change(
        SwapMeter(
            usage_point="U1", at=T0 + 4 * DAY, manufacturer="Acme", serial="NEW-2026-000417", end_import_wh=96_000
        ),
        reason="display dead, sealed bag 117",
    )
    yard.change(
        ChangeMultiplier(usage_point="U1", at=T0 + 6 * DAY, multiplier=Decimal(40)), by="李伟", reason="换互感器"
    )
    yard.change(Move(usage_point="U1", at=T0 + 7 * DAY, area="A2"), reason="line rebuilt")
    yard.change(ChangeCategory(usage_point="U1", at=T0 + 8 * DAY, category="commercial"), reason="a shop opened")
    yard.change(
        CorrectInstallation(usage_point="U1", since=T0 + 6 * DAY, given={"multiplier": Decimal(30)}),
        reason="name plate says 150/5",
    )
    with served(create_app(yard.store, yard.settings, lambda: yard.now)) as address:
        yield address


def _seen(page: Page, name: str) -> None:
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, name
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True, clip=content_of(page))


@pytest.mark.parametrize("width", [390, 1280])
def test_a_swap_by_keyboard_alone(chromium: Browser, server: str, yard: Yard, width: int) -> None:
    yard.meter("SPARE")
    page = chromium.new_context(viewport={"width": width, "height": 900}).new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{server}/usage-points/U1/history")
    _seen(page, f"history-{width}")
    assert page.locator(".lane-bar").count() == 3 + 3 + 2 + 2
    page.get_by_role("link", name="Swap the meter").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/changes/new?*")
    page.locator("#at").fill("2026-03-11T09:30")
    page.locator("#manufacturer").focus()
    for text, presses in (("Acme", 1), ("SPARE", 5)):  # from field to field: registers, multiplier and seal stay empty
        page.keyboard.type(text)
        for _ in range(presses):
            page.keyboard.press("Tab")
    page.keyboard.type("terminal cover broken")
    page.keyboard.press("Tab")
    page.keyboard.type("Wang Fang")
    _seen(page, f"form-{width}")
    page.keyboard.press("Enter")
    page.wait_for_selector(".effect")
    _seen(page, f"preview-{width}")
    assert page.evaluate("document.activeElement.textContent").startswith("Do it")
    page.keyboard.press("Enter")
    page.wait_for_url("**/usage-points/U1/history#changes")
    assert "terminal cover broken" in page.locator("#changes ~ article").first.inner_text()
    page.goto(f"{server}/changes/new?kind=change_category&usage_point=U1")
    page.locator("#reason").fill("x")
    page.locator("#at").fill("2026-03-01T00:00")
    page.locator("#category").select_option("temporary")
    page.locator("#by").fill("")
    page.evaluate("document.querySelector('form.evidence').noValidate = true")
    page.get_by_role("button", name="See what").click()
    page.wait_for_selector("#by-fault")
    _seen(page, f"fault-{width}")
    page.goto(f"{server}/changes?area=A2")
    _seen(page, f"changes-{width}")
    assert [said for said in complaints if "422" not in said] == []
