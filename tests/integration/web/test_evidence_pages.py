"""A finding of every kind from the engine, on its page: words from its data, pictures, odds, money."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from seed_base import NOW, Seeded, insert
from web_door import Door

from headend.settings import Database, Findings, Settings
from headend.settlement.evidence_rows import evidence_json
from headend.store.pool import Store
from headend.web.app import create_app
from support.every_kind import FAULTS, case

METER = "Eastron/211001"
PLACES = {"A": "A1", "B": "A3"}
SAYS = {
    "under_registering": ["on 12 of 12 days since 2026-03-11", "It counts 3", "kWh a day", "Hour against hour"],
    "stuck": ["The register stands still on 13 of 21 days", "For comparison"],
    "wrong_multiplier": ["times what it shows", "Expect a multiplier of 4.0"],
    "wrong_area": ["Its voltage moves with A3", "With it, what A3 cannot explain goes from", "Look for it at A3 first"],
    "not_from_here": ["with a correlation of", "none that is known here"],
    "direct_tap": ["kWh a day are missing on", "It is on phase L1", "Begin with phase L1"],
    "area_meter_ratio": ["It shows 0.8 of what the households take", "on 11 of 11 days", "An honest meter"],
    "area_meter_phase": ["Phase L2 showed nothing for 96 hours, 2 times, and came back"],
    "swapped_phases": ["the energy of L1 with the voltage of L2", "No energy is missing"],
    "reversed_polarity": ["It shows -1 of what the households take"],
    "clock_skew": ["stored in reverse order", "in sum over the window"],
    "missing_data": ["19", "The longest gap is 408 hours"],
}
"""What only its own data say, of each."""


@pytest.fixture
def stored(seeded_store: Store, seeded: Seeded) -> Iterator[dict[str, int]]:
    """Every kind in the store, as settlement would put it there."""
    ids = {}
    with seeded_store.transaction() as c:
        for name in FAULTS:
            found = case(name).finding
            window = case(name).window
            day, onset = window.start.date(), found.onset_interval
            frame = {"starts_at": window.start.isoformat(), "interval_s": 900}
            ids[name] = insert(
                c, "finding", "finding_id",
                area_id=seeded.areas[PLACES["A"]], meter_id=seeded.meters[METER] if found.meter else None,
                correct_area_id=seeded.areas[PLACES["B"]] if found.correct_area else None, kind=str(found.kind),
                state="closed", confidence=found.confidence, energy_wh=found.energy_wh,
                energy_low_wh=found.energy_low_wh, energy_high_wh=found.energy_high_wh,
                onset_at=None if onset is None else window.start + timedelta(seconds=900 * onset), window_from=day,
                window_to=day + timedelta(days=20), evidence=evidence_json(found.evidence) | frame,
                opened_at=NOW, seen_at=NOW, closed_at=NOW,
            )  # fmt: skip
    yield ids
    with seeded_store.transaction() as c:
        c.execute("delete from finding where finding_id = any(%s)", (list(ids.values()),))


@pytest.fixture
def settings(seeded_store: Store) -> Settings:
    """Money is told where a price is set."""
    return Settings(database=Database(dsn=seeded_store.dsn), findings=Findings(price_per_kwh=0.5, currency="CNY"))


@pytest.fixture
def app(seeded_store: Store, seeded: Seeded, settings: Settings, door: Door) -> FastAPI:
    """The application with that price."""
    return create_app(seeded_store, settings, lambda: NOW, rollout_door=door)


def test_every_kind_is_shown_with_what_its_own_data_say(client: TestClient, stored: dict[str, int]) -> None:
    for name, finding_id in stored.items():
        answer = client.get(f"/findings/{finding_id}")
        assert answer.status_code == 200, name
        page = answer.text
        for words in SAYS[name]:
            assert words in page, (name, words)
        assert "None" not in re.sub(r"<script.*?</script>|None were kept|None was close", "", page, flags=re.S), name
        plots = re.findall(r'<script type="application/json">(.*?)</script>', page, flags=re.S)
        drawn = [json.loads(plot) for plot in plots]
        pictures = [p for p in case(name).finding.evidence.pictures if p.resolution != "meter"]
        assert len(drawn) >= 1 + len(pictures), name
        for plot in drawn:
            for one in plot["series"]:
                assert len(one["values"]) == len(one.get("x") or plot["x"]), (name, one["name"])
            assert all(panel["unit"] or panel["title"] for panel in plot["panels"]), name


def test_money_is_energy_times_price_with_its_interval(client: TestClient, stored: dict[str, int]) -> None:
    found = case("under_registering").finding
    page = client.get(f"/findings/{stored['under_registering']}").text
    assert f"{found.energy_wh / 2000:.1f} <small>CNY</small>" in page
    assert f"90 % between {found.energy_low_wh / 2000:.1f} and {found.energy_high_wh / 2000:.1f} CNY" in page
    for name in ("wrong_area", "missing_data", "clock_skew"):
        assert "CNY" not in client.get(f"/findings/{stored[name]}").text, name


def test_what_nobody_read_is_not_zero(client: TestClient, stored: dict[str, int]) -> None:
    page = client.get(f"/findings/{stored['missing_data']}").text
    assert "what nobody read is not zero" in page
    assert "between 0 and 0" not in page
    row = client.get("/findings?kind=missing_data&state=any").text.partition(f'/findings/{stored["missing_data"]}"')[2]
    assert 'data-label="At stake, kWh" class="n">–</td>' in row.partition("</tr>")[0]
