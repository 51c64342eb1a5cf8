"""The usage point's page in a real browser: a stretch is chosen on the bars, and nothing scrolls sideways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from headend.web.app import create_app
from headend.web.screenshot import open_page
from support.editor import Editor
from support.field import QUARTER, T0
from support.served import served

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def url(editor: Editor) -> Iterator[str]:
    """A day with a gap, an edit in it and a reading set aside, on a real server."""
    editor.household(serial="20461173", days=2, without=range(41, 51))
    editor.set("H", T0 + 42 * QUARTER, [10, 20])
    editor.set_aside("H", "20461173", T0 + 70 * QUARTER)
    editor.settle()
    with served(create_app(editor.field.store, editor.field.settings, lambda: editor.now)) as address:
        yield address


def test_a_stretch_is_chosen_on_the_bars_and_tried_out(chromium: Browser, url: str) -> None:
    complaints: list[str] = []
    page = open_page(chromium, f"{url}/usage-points/H?day=2026-03-02", width=1280)
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.reload(wait_until="networkidle")
    page.wait_for_function("() => document.documentElement.dataset.plots")
    kinds = page.evaluate("document.querySelector('.plot-canvas').data.map(t => t.name)")
    assert {"Measured 实测", "Estimated 估算", "Edited 人工编辑", "Before editing 编辑前"} <= set(kinds)
    box = page.locator(".plot-canvas .nsewdrag").bounding_box()
    assert box is not None
    at = [box["x"] + box["width"] * k / 96 for k in (40.3, 46.7)]
    page.mouse.move(at[0], box["y"] + 50)
    page.mouse.down()
    page.mouse.move(at[1], box["y"] + 60, steps=10)
    page.mouse.up()
    page.wait_for_function("() => document.querySelector('#to').value")
    first, last = page.input_value("#from"), page.input_value("#to")
    assert first >= "2026-03-02T09:45"
    assert first < last <= "2026-03-02T12:00"
    assert "intervals of this day chosen" in page.inner_text("[data-chosen]")
    page.fill("#from", "2026-03-02T10:15")
    page.fill("#to", "2026-03-02T11:15")
    page.fill("#total", "0.08")
    page.fill("#reason", "agreed")
    page.fill("#by", "Li Wei")
    page.click("button[value=preview]")
    page.wait_for_selector("#tried")
    assert "1.100 → 1.100" in page.inner_text("#tried")
    page.wait_for_function("() => document.documentElement.dataset.plots")
    assert "Tried out 试算" in page.evaluate("document.querySelector('.plot-canvas').data.map(t => t.name)")
    assert complaints == []
    narrow = open_page(chromium, f"{url}/usage-points/H?day=2026-03-02", width=390)
    for path in ("/usage-points/H?day=2026-03-02", "/edits"):
        narrow.goto(url + path, wait_until="networkidle")
        assert narrow.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
