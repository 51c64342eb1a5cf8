"""Takes a picture of a page with a real browser: `python -m headend.web.screenshot --url URL --out FILE [--width PX]`.

Needs the extra `dev` (playwright) and a Chromium; playwright's own download is not used, so that it works offline.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from headend.web.png_pack import packed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FloatRect, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TIMEOUT_MS = 30_000


class NoBrowser(Exception):
    """There is nothing here to take a picture with; the message says what to install."""


def find_browser() -> str:
    """Path of a Chromium on this machine. Raises NoBrowser."""
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    raise NoBrowser("no Chromium was found; on Debian: apt-get install chromium fonts-noto-cjk")


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless browser of this machine. Raises NoBrowser where playwright or Chromium is missing."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 an extra, needed here only
    except ModuleNotFoundError as missing:
        raise NoBrowser("playwright is not installed; it is in the extra: pip install '.[dev]'") from missing
    executable = find_browser()
    with sync_playwright() as playwright:
        # Chromium's own sandbox refuses to run as root; the pages are ours.
        opened = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--force-color-profile=srgb", "--disable-lcd-text"]
        )
        try:
            yield opened
        finally:
            opened.close()


def open_page(
    opened: Browser,
    url: str,
    *,
    width: int,
    height: int = 900,
    scheme: Literal["light", "dark"] = "light",
    scale: float = 1.0,
) -> Page:
    """The page, when its plots are drawn. Raises RuntimeError when it answers with an error, or not at all."""
    context = opened.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=scale, locale="en-GB"
    )
    page = context.new_page()
    from playwright.sync_api import Error as BrowserError  # noqa: PLC0415 an extra, there when there is a browser

    try:
        answer = page.goto(url, wait_until="load", timeout=TIMEOUT_MS)
    except BrowserError as error:
        raise RuntimeError(f"{url} was not reached: {error.message.splitlines()[0]}") from error
    if answer is None or not answer.ok:
        raise RuntimeError(f"{url} answered {answer.status if answer else 'nothing'}")
    page.wait_for_function(
        "() => !document.querySelector('[data-plot]') || document.documentElement.dataset.plots === 'ready'",
        timeout=TIMEOUT_MS,
    )
    return page


def content_of(page: Page) -> FloatRect:
    """The page's own rectangle [CSS pixels]: a short page is not filled up to the window's height."""
    width, height = page.evaluate(
        "() => [innerWidth, Math.ceil(Math.max(...[...document.body.children]"
        ".map(part => part.getBoundingClientRect().bottom + scrollY)))]"
    )
    return {"x": 0, "y": 0, "width": width, "height": height}


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m headend.web.screenshot", description="Takes a picture of a page.")
    parser.add_argument("--url", required=True, help="address of the page, such as http://127.0.0.1:8080/")
    parser.add_argument("--out", required=True, type=Path, help="PNG file to write")
    parser.add_argument(
        "--width", type=int, default=1280, help="of the window, in CSS pixels; 390 is a phone (default: 1280)"
    )
    parser.add_argument("--height", type=int, default=900, help="of the window (default: 900)")
    parser.add_argument("--scale", type=float, default=1.0, help="device pixels of one CSS pixel (default: 1)")
    parser.add_argument("--dark", action="store_true", help="as someone sees it who prefers dark")
    parser.add_argument("--window", action="store_true", help="only the window, not the whole length of the page")
    given = parser.parse_args(arguments)
    try:
        with browser() as opened:
            page = open_page(
                opened,
                given.url,
                width=given.width,
                height=given.height,
                scheme="dark" if given.dark else "light",
                scale=given.scale,
            )
            picture = page.screenshot() if given.window else page.screenshot(full_page=True, clip=content_of(page))
            given.out.write_bytes(packed(picture))
    except (NoBrowser, RuntimeError) as error:
        print(f"screenshot: {error}", file=sys.stderr)  # noqa: T201 a command's message
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
