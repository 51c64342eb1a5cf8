"""The report in a real browser: on a desk and on a phone nothing is cut off, and no script or network is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from headend.cli import app

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    assert CliRunner().invoke(app, ["reconcile", "--example", "--out", str(out)]).exit_code == 0
    return out / "report.html"


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(chromium: Browser, report: Path, width: int) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, java_script_enabled=True, offline=True)
    asked: list[str] = []
    try:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        drawn = page.evaluate(
            "[...document.querySelectorAll('figure.picture')].map(f => [...f.querySelectorAll('svg')]"
            ".filter(s => s.getBoundingClientRect().width > 0).length)"
        )
        assert drawn
        assert set(drawn) == {1}, "each picture is shown once, the one for this width"
        smallest = page.evaluate(
            "Math.min(...[...document.querySelectorAll('figure.picture svg')]"
            ".filter(s => s.getBoundingClientRect().width > 0)"
            ".map(s => 11 * s.getBoundingClientRect().width / s.viewBox.baseVal.width))"
        )
        assert smallest > 9, "letters in pictures can be read"
        assert asked == [report.as_uri()]
    finally:
        context.close()
