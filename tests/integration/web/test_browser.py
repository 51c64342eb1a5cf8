"""A real browser on a real server: plots under the content policy, no sideways scrolling, keys suffice."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from seed_base import Seeded
from web_door import Door

from headend.web.screenshot import open_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console said."""
    return []


def _open(chromium: Browser, url: str, complaints: list[str], width: int = 1280) -> Page:
    page = open_page(chromium, url, width=width)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.reload(wait_until="networkidle")
    page.wait_for_function("() => !document.querySelector('[data-plot]') || document.documentElement.dataset.plots")
    return page


def test_plots_are_drawn_with_their_gaps(chromium: Browser, server: str, seeded: Seeded, complaints: list[str]) -> None:
    page = _open(chromium, f"{server}/areas/A3", complaints)
    assert page.locator(".plot-canvas .main-svg").count() >= 2
    drawn = page.evaluate(
        "document.querySelector('.plot-canvas').data.map(t => [t.name ?? 'band', t.y.length, t.connectgaps])"
    )
    assert ["Supplied", 28, False] in drawn
    gaps = page.evaluate("document.querySelector('.plot-canvas').data[0].y.filter(v => v === null).length")
    assert gaps == 2
    assert (
        page.evaluate("document.querySelectorAll('.plot-canvas')[0].querySelectorAll('.scatterlayer .trace').length")
        == 5
    )
    assert complaints == []
    _open(chromium, f"{server}/findings/{seeded.findings['wrong_area']}", complaints)
    assert complaints == []


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_no_page_scrolls_sideways(chromium: Browser, server: str, width: int, complaints: list[str]) -> None:
    for path in (
        "/",
        "/areas/A1",
        "/findings/1",
        "/findings",
        "/billing",
        "/billing/1",
        "/rollout/A2",
        "/rollout/premises/P-3",
        "/field",
        "/field/bus?bus=modbus%2Btcp%3A%2F%2F10.20.0.11%3A502",
        "/meters/Chint/211003",
        "/meters/Chint/211003/command?kind=clock&wanted=now",
        "/quarantine",
        "/docs",
    ):
        page = _open(chromium, server + path, complaints, width)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (path, width)
        page.context.close()
    assert complaints == []


def test_keys_alone_sort_the_list_and_open_an_area(chromium: Browser, server: str, complaints: list[str]) -> None:
    page = _open(chromium, server, complaints)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.locator("th a.sort", has_text="Area").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**sort=code**")
    page.locator("tbody th a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/areas/A1")


def test_households_sort_with_the_unknown_last(chromium: Browser, server: str, complaints: list[str]) -> None:
    page = _open(chromium, f"{server}/areas/A4", complaints)
    head = page.locator("#households ~ .scroll th button", has_text="kWh 7 d")
    for _ in range(2):
        head.click()
        column = page.locator("#households ~ .scroll tbody tr td:nth-child(4)").all_inner_texts()
        known = [float(text) for text in column if text != "–"]
        assert column[len(known) :] == ["–"] * 4
        assert known in (sorted(known), sorted(known, reverse=True))


def test_a_crew_closes_a_step_on_a_phone(chromium: Browser, server: str, door: Door, complaints: list[str]) -> None:
    page = _open(chromium, f"{server}/rollout/A2", complaints, 390)
    page.get_by_text("Mill Courtyard, room 3").click()
    form = page.locator("form[data-step='household_meter_installed']")
    form.get_by_label("Serial").fill("310003")
    form.get_by_label("Start register").fill("1.25")
    form.get_by_label("Your name").fill("Li Wei")
    form.get_by_role("button").click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "seal" in alert.inner_text()
    assert form.get_by_label("Serial").input_value() == "310003"
    form.get_by_label("Seal number").fill("S-1")
    form.get_by_role("button").click()
    page.wait_for_url(re.compile(r"/rollout/premises/P-3(#\w+)?$"))
    assert door.asked[-1][4]["seal"] == "S-1"
    assert door.asked[-1][4]["start_import_wh"] == 1250
    assert door.asked[-1][4]["installed_at"] == "2026-11-23T06:40:00+00:00"


def test_the_screenshot_command_writes_a_picture(chromium: Browser, server: str, tmp_path: Path) -> None:
    # The command drives a browser of its own; playwright allows one loop a thread.
    import subprocess
    import sys

    out = tmp_path / "areas.png"
    command = [sys.executable, "-m", "headend.web.screenshot", "--url", server, "--out", str(out), "--width", "800"]
    subprocess.run(command, check=True, timeout=120)
    assert out.read_bytes().startswith(b"\x89PNG")
    short = [*command[:4], f"{server}/rollout/A1", *command[5:]]
    subprocess.run(short, check=True, timeout=120)
    width, height = struct.unpack_from(">II", out.read_bytes(), 16)
    assert width == 800
    assert 100 < height < 500  # the page, not the window
    failed = subprocess.run(
        [*command[:4], f"{server}/areas/NOPE", *command[5:]], capture_output=True, text=True, timeout=120, check=False
    )
    assert failed.returncode == 1
    assert "answered 404" in failed.stderr
