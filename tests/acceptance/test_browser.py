"""What a person sees of the running demo in a real browser, on a desk and on a phone; nothing comes from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from support.demo import Running, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.acceptance

STATES = {"Normal", "High loss", "Negative loss", "Not computable"}
PHONE, DESK = 390, 1280


@pytest.fixture
def look(chromium: Browser, demo: Running) -> Iterator[Callable[..., Page]]:
    """Opens pages of the demo; whatever they ask of the network or complain of is judged at the end."""
    asked: set[str] = set()
    complaints: list[str] = []
    contexts = []

    def opened(path: str, width: int = DESK) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.add(request.url))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        answer = page.goto(demo.url() + path, wait_until="load")
        assert answer is not None
        assert answer.ok, (path, answer.status)
        _settle(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
    hosts = {urlsplit(url).hostname for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}


def _settle(page: Page) -> None:
    page.wait_for_function(
        "() => !document.querySelector('[data-plot]') || document.documentElement.dataset.plots === 'ready'"
    )


def _drawn(page: Page) -> list[int]:
    """Of every plot on the page, how many curves hold more than one point."""
    found: list[int] = page.evaluate(
        "[...document.querySelectorAll('.plot-canvas')].map(plot =>"
        " [...plot.querySelectorAll('.scatterlayer .trace path.js-line')]"
        ".filter(line => (line.getAttribute('d') ?? '').length > 20).length)"
    )
    return found


def _publish(port: int, topic: str, payload: bytes) -> None:
    """One message as a meter sends it, acknowledged by the broker."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="stranger", protocol=mqtt.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        sent = client.publish(topic, payload, qos=1)
        sent.wait_for_publish(20)
        assert sent.is_published()
    finally:
        client.disconnect()
        client.loop_stop()


def _codes(page: Page) -> list[str]:
    return page.locator("table.areas tbody th > a").all_inner_texts()


def test_the_areas_page_tells_three_areas_their_loss_and_state(look: Callable[..., Page]) -> None:
    page = look("/")
    rows = page.locator("table.areas tbody tr")
    assert rows.count() == 3
    for k in range(3):
        cells = rows.nth(k).locator("td")
        assert cells.nth(0).locator(".badge").inner_text().split(" ", 1)[1] in STATES
        assert cells.nth(1).inner_text().replace("\u00a0", " ").split("\n")[0].endswith(" %")
        assert rows.nth(k).locator("svg.spark polyline").count() >= 1
    assert page.locator("section[aria-labelledby=largest] tbody tr").count() >= 1


def test_the_list_is_sorted_by_its_heads(look: Callable[..., Page]) -> None:
    page = look("/")

    def losses() -> list[float]:
        texts = page.locator("table.areas tbody tr td:nth-child(8)").all_inner_texts()
        return [float(text.replace("−", "-").replace(",", "")) for text in texts]

    page.locator("th a.sort", has_text="Loss kWh").click()
    page.wait_for_url("**sort=loss_28d**")
    assert losses() == sorted(losses(), reverse=True)
    page.locator("th a.sort", has_text="Loss kWh").click()
    page.wait_for_url("**direction=asc**")
    assert losses() == sorted(losses())
    page.locator("th a.sort", has_text="Area").click()
    page.wait_for_url("**sort=code**")
    assert _codes(page) == sorted(_codes(page))


def test_an_area_is_drawn_by_day_and_by_interval(look: Callable[..., Page]) -> None:
    page = look("/")
    page.locator("table.areas tbody th > a").first.click()
    page.wait_for_url("**/areas/**")
    _settle(page)
    drawn = _drawn(page)
    assert len(drawn) == 2
    assert min(drawn) >= 3  # supplied, delivered, loss
    households = page.locator("section[aria-labelledby=households] tbody tr").count()
    assert households > 40


def test_a_finding_shows_its_evidence(look: Callable[..., Page]) -> None:
    page = look("/findings")
    page.locator("tbody th a").first.click()
    page.wait_for_url("**/findings/*")
    _settle(page)
    assert _drawn(page)[0] >= 1
    assert page.locator("ol.checks li").count() >= 2
    assert "kWh" in page.locator(".tiles").inner_text()


def test_billing_shows_an_acknowledged_batch_with_its_receipt(look: Callable[..., Page]) -> None:
    page = look("/billing")
    row = page.locator("tbody tr", has_text="acknowledged").first
    assert row.locator("td").nth(4).inner_text().strip() != "–"
    row.locator("th a").click()
    page.wait_for_url("**/billing/*")
    assert "Receipt" in page.locator("dl.numbers").inner_text()
    assert page.locator("tbody tr").count() > 100


def test_what_cannot_be_understood_is_seen_whole(look: Callable[..., Page], demo: Running) -> None:
    broken = '{"ts": "2026-11-23T05:15:00Z", "import_wh": 12 <b>bold</b> 电表'
    ports = demo.ports()
    assert ports is not None
    _publish(ports["broker"], "headend/v1/meter/Nobody/1/reading", broken.encode())
    page = look("/")
    until(lambda: page.reload() and page.get_by_text("in quarantine").count(), "the figure on the areas page", 30)
    page.get_by_role("link", name="in quarantine").click()
    page.wait_for_url("**/quarantine")
    row = page.locator("tbody tr", has_text="headend/v1/meter/Nobody/1/reading")
    assert row.locator("th").inner_text().startswith("Not JSON")
    row.locator("th a").click()
    page.wait_for_url("**/quarantine/*")
    assert page.locator("pre.payload").inner_text() == broken
    with page.expect_download() as saved:
        page.get_by_role("link", name="Download the payload").click()
    assert saved.value.path().read_bytes() == broken.encode()


def test_nothing_scrolls_sideways_on_a_phone(look: Callable[..., Page]) -> None:
    home = look("/", PHONE)
    area = home.locator("table.areas tbody th > a").first.get_attribute("href")
    finding = look("/findings", PHONE).locator("tbody th a").first.get_attribute("href")
    premises = look("/rollout/TA-03", PHONE).locator("a.card").first.get_attribute("href")
    for path in ("/", area, "/findings", finding, "/billing", "/billing/1", "/rollout", premises, "/quarantine"):
        page = look(str(path), PHONE)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
