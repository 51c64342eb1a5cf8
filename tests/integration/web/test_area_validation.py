"""The area page's panel of what validation found on a day: the same counts as the API, in people's words."""

from __future__ import annotations

import re

from fastapi.testclient import TestClient
from seed_base import Seeded

from headend.store.pool import Store

HTML = {"accept": "text/html"}


def _panel(client: TestClient, path: str) -> str:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text[:2000]
    found = re.search(r'<section aria-labelledby="validation">.*?</section>', answer.text, re.DOTALL)
    assert found is not None
    return " ".join(re.sub(r"<[^>]+>", " ", found.group().replace("&nbsp;", " ")).split()) + found.group()


def test_it_counts_what_is_wrong_and_leads_to_the_usage_points(
    client: TestClient, seeded: Seeded, seeded_store: Store
) -> None:
    (worst, *_) = seeded_store.rows(
        b"select a.code as area, u.code, d.day::text as day from interval_day d join usage_point u using "
        b"(usage_point_id) join area_membership m using (usage_point_id) join area a using (area_id) "
        b"where 16 = any (d.flags) and m.valid_to is null order by d.day desc, u.code"
    )
    told = client.get(f"/api/v1/areas/{worst['area']}/validation?day={worst['day']}").json()
    (missing,) = told["found"]
    assert missing["code"] == "missing"
    panel = _panel(client, f"/areas/{worst['area']}?day={worst['day']}")
    assert f"wrong with {told['flagged']:,} of {told['intervals']:,} intervals" in panel
    assert "Reading missing 缺数 a meter served here" in panel
    assert f'href="/usage-points/{worst["code"]}?day={worst["day"]}"' in panel
    assert f"{worst['code']} ({missing['worst'][worst['code']]})" in panel
    assert 'href="/api/v1/validation/rule-sets/1"' in panel


def test_a_day_without_a_fault_and_one_that_was_not_settled(
    client: TestClient, seeded: Seeded, seeded_store: Store
) -> None:
    (clean, *_) = seeded_store.rows(
        b"select a.code as area, d.day::text as day from interval_day d join area_membership m using (usage_point_id) "
        b"join area a using (area_id) group by 1, 2 having not bool_or(16 = any (d.flags)) order by 2, 1"
    )
    assert "Nothing is wrong with any of" in _panel(client, f"/areas/{clean['area']}?day={clean['day']}")
    assert "This day has not been settled" in _panel(client, "/areas/A1?day=2020-01-01")


def test_the_api_names_a_day_at_the_end_of_the_calendar(client: TestClient, seeded: Seeded) -> None:
    for day in ("0001-01-01", "9999-12-31"):
        answer = client.get(f"/api/v1/areas/A1/validation?day={day}")
        assert answer.status_code == 422
        assert day in answer.text
