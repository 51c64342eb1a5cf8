"""What a report could not tell, and how probable each cause is: codes and numbers in the API, words on the page."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient
from seed_base import DAYS, Seeded


def _reports(client: TestClient, seeded: Seeded) -> dict[str, tuple[str, dict[str, Any]]]:
    """By cause: the area's code, and its report."""
    found = {code: client.get(f"/api/v1/areas/{code}/report").json() for code in seeded.areas}
    return {report["cause"]: (code, report) for code, report in found.items() if "cause" in report}


def test_a_report_says_what_it_could_not_tell(client: TestClient, seeded: Seeded) -> None:
    _, report = _reports(client, seeded)["meter"]
    assert (report["window_from"], report["window_to"]) == (str(DAYS[0]), str(DAYS[-1]))
    assert report["limits"] == [
        {"code": "missing_readings", "numbers": {"missing_share": 0.06, "meters_hardly_read": 1.0}},
        {"code": "no_neighbours", "numbers": {}},
    ]
    assert report["cause_probability"] == {"meter": 0.82, "unmetered": 0.177, "mapping": 0.003}


def test_an_area_that_is_unknown_or_was_never_looked_at_is_404(client: TestClient, seeded: Seeded) -> None:
    assert client.get("/api/v1/areas/nowhere/report").json()["type"].endswith(":unknown-area")
    told = {code for code, _ in _reports(client, seeded).values()}
    missing = [client.get(f"/api/v1/areas/{code}/report") for code in seeded.areas if code not in told]
    never = [answer for answer in missing if answer.status_code == 404]
    assert never
    assert all(answer.json()["type"].endswith(":unknown-report") for answer in never)


def test_the_page_says_it_in_words_of_both_languages(client: TestClient, seeded: Seeded) -> None:
    reports = _reports(client, seeded)
    page = client.get(f"/areas/{reports['meter'][0]}").text
    assert "6\u00a0% of the meters’ readings are missing (meters that lack most of theirs: 1)" in page
    assert "没有相邻台区数据" in page
    assert "2 things that the data could not tell" in page
    assert "unmetered consumption 17.7" in page
    assert "listed on the wrong area 0.3" not in page, "what is next to impossible is left out"
    blind = client.get(f"/areas/{reports['not_computable'][0]}").text
    assert "read in 31 of 2,688 intervals" in blind
    later = client.get(f"/areas/{reports['clean'][0]}").text
    assert "Seen by later engines (readings 3)." in later
