"""What an import would change of the grid around the meters: feeders, which area hangs on which, loads without a meter.

The rule it keeps: a span that is stored is not rewritten; only an open one may be closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from headend.domain.topology import AreaFeeder, Feeder, overlap
from headend.domain.unmetered import UnmeteredLoad, parse_schedule
from headend.ingest.topology_bookkeeping import Bookkeeping, Refused
from headend.ingest.topology_csv import Row

SpanT = TypeVar("SpanT", AreaFeeder, UnmeteredLoad)


class GridPlanner(Bookkeeping):
    """Plans the rows of three files."""

    def plan_grid(self) -> None:
        """After stations and areas."""
        self.each("feeders.csv", self._feeder)
        self.each("area_feeders.csv", self._area_feeder)
        self.each("unmetered_loads.csv", self._unmetered_load)

    def _feeder(self, file: str, row: Row) -> None:
        new = Feeder(**row.values)
        self.once("feeder", new.feeder, row, "feeder", "duplicate code: the same feeder")
        self.must_know("station", new.station, self.known.stations, "station", "stations.csv")
        self.take(file, "feeder", new, self.known.feeders, new.feeder)

    def _area_feeder(self, file: str, row: Row) -> None:
        new = AreaFeeder(**row.values)
        self.once("area_feeder", new.key, row, "valid_from", "duplicate: the same area from the same instant")
        self.must_know("area", new.area, self.known.areas, "area", "areas.csv")
        self.must_know("feeder", new.feeder, self.known.feeders, "feeder", "feeders.csv")
        others = [held for held in self.known.area_feeders.values() if held.area == new.area]
        self._take_span(file, "area_feeder", new, stored=self.known.area_feeders, others=others, kept=("feeder",))

    def _unmetered_load(self, file: str, row: Row) -> None:
        new = UnmeteredLoad(**row.values)
        self.once("unmetered_load", new.key, row, "valid_from", "duplicate: the same load from the same instant")
        self.must_know("area", new.area, self.known.areas, "area", "areas.csv")
        if (new.latitude_deg is None) != (new.longitude_deg is None):
            lacking = "latitude_deg" if new.latitude_deg is None else "longitude_deg"
            raise Refused(lacking, "is required: latitude and longitude come together")
        if parse_schedule(new.schedule).needs_place and new.latitude_deg is None:
            raise Refused("latitude_deg", "is required: the schedule goes by the sun")
        others = [held for held in self.known.unmetered_loads.values() if held.code == new.code]
        kept = ("area", "kind", "power_w", "tolerance", "schedule", "latitude_deg", "longitude_deg", "name")
        self._take_span(file, "unmetered_load", new, stored=self.known.unmetered_loads, others=others, kept=kept)

    def _take_span(
        self,
        file: str,
        noun: str,
        new: SpanT,
        *,
        stored: dict[tuple[str, datetime], SpanT],
        others: Iterable[SpanT],
        kept: tuple[str, ...],
    ) -> None:
        if new.valid_to is not None and new.valid_to <= new.valid_from:
            raise Refused("valid_to", "is not after valid_from")
        old = stored.get(new.key)
        if old is None:
            for other in others:
                if overlap(new.valid_from, new.valid_to, other.valid_from, other.valid_to):
                    end = "still" if other.valid_to is None else f"until {other.valid_to.isoformat()}"
                    known = f"what is known from {other.valid_from.isoformat()}, {end}"
                    raise Refused("valid_from", f"overlaps {known}; close that first")
            self.added[noun].append(new)
            stored[new.key] = new
            return
        for name in kept:
            if getattr(new, name) != getattr(old, name):
                raise Refused(name, f"is stored as {getattr(old, name)}; history is not rewritten by an import")
        if new.valid_to is None or new.valid_to == old.valid_to:
            self.unchanged[file] += 1
            return
        if old.valid_to is not None:
            raise Refused("valid_to", f"ended at {old.valid_to.isoformat()} already")
        closed = replace(old, valid_to=new.valid_to)
        self.changed[noun].append(closed)
        stored[new.key] = closed
