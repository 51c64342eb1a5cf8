"""What a mass settlement counts, by whomever its pieces are settled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date

from headend.settlement.mass import AreaDays, Piece, Tally, settle

DAY = date(2026, 3, 2)


def test_an_area_that_is_settled_again_for_another_ones_sake_counts_once() -> None:
    areas = [(AreaDays(n, f"A{n}", ((DAY, DAY),)), 10) for n in (1, 2)]
    rounds: list[list[str]] = []

    def spread(pieces: Iterable[Piece]) -> Iterator[Tally]:
        """The first time the second area makes a day of the first one out of date, and one of an area not asked for."""
        rounds.append([])
        for piece in pieces:
            for area in piece:
                rounds[-1].append(area.code)
                passed_on = {1: {DAY}, 7: {DAY}} if len(rounds) == 1 and area.code == "A2" else {}
                yield Tally(area_days=1, areas=1, passed_on=passed_on)

    total = settle(areas, spread)
    assert rounds == [["A1", "A2"], ["A1"]]
    assert (total.area_days, total.areas) == (3, 2), "areas never are more than were asked for"
    assert total.passed_on == {7: {DAY}}
