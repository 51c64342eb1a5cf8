"""In which order the meters of a bus are read: area by area, the area meter first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headend.domain.topology import PollTarget


@dataclass(frozen=True, slots=True)
class AreaRound:
    """The meters of one area on one bus, which are read close together."""

    area: str | None
    """None: meters that hang nowhere."""
    area_meters: tuple[PollTarget, ...]
    """Read first, and again at the end where the rest took long."""
    others: tuple[PollTarget, ...]


def by_area(targets: Iterable[PollTarget]) -> list[AreaRound]:
    """Areas by code, those without one last; within an area by unit."""
    grouped: dict[str | None, list[PollTarget]] = {}
    for target in sorted(targets, key=lambda t: (t.area is None, t.area or "", t.unit, t.meter_id)):
        grouped.setdefault(target.area, []).append(target)
    return [
        AreaRound(area, tuple(t for t in found if t.is_area_meter), tuple(t for t in found if not t.is_area_meter))
        for area, found in grouped.items()
    ]


def by_bus(targets: Sequence[PollTarget]) -> dict[str, tuple[PollTarget, ...]]:
    """Targets that share a connection, together, by the URI of it."""
    grouped: dict[str, list[PollTarget]] = {}
    for target in targets:
        grouped.setdefault(target.bus, []).append(target)
    return {bus: tuple(found) for bus, found in grouped.items()}


def areas_of(targets: Iterable[PollTarget]) -> set[str]:
    """The areas that some meters belong to."""
    return {t.area for t in targets if t.area is not None}
