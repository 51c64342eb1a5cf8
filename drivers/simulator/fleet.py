"""Everything that stands in the neighbourhood, in columns: users, the loads that they put on the wires, and meters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from drivers.simulator.faults import ClockDrift, DirectTap, HouseholdFault, WrongArea
from drivers.simulator.households import HOUSEHOLD, PHASE_SPLITS, WORKSHOP, Users, draw_users, join
from drivers.simulator.network import street, transformer_ohm
from drivers.simulator.scenario import Area, Scenario
from drivers.simulator.streams import Complexes, Floats, Ints, stream

AREA, SHARED, INSTALLED, STOCK = 0, 1, 2, 3
"""Roles of a meter: at the transformer, before several premises, at a user's, in stock for the rollout."""
OWN_USE_W: Final = {1: 0.8, 3: 1.8}
"""What a meter itself takes from the line before it, by its number of phases (IEC 62053-21 allows 2 W a phase)."""
_SINGLE: Final = (("Eastron", "eastron-sdm120"), ("Eastron", "eastron-sdm230"), ("Chint", "chint-ddsu666"))
_THREE: Final = (("Eastron", "eastron-sdm630"), ("Chint", "chint-dtsu666"))


def usage_point(area: int, number: int) -> str:
    """Code of household `number` (1…) of an area."""
    return f"UP-{area + 1:02d}-{number:03d}"


@dataclass(frozen=True, slots=True)
class Meter:
    """One device: what the lists say of it."""

    manufacturer: str
    serial: str
    model: str
    phases: int
    digits: int
    resolution_wh: int
    role: int
    area: int
    """Where it is listed."""
    user: int
    """Whose energy it measures; −1 for area and shared meters."""
    usage_point: str
    """Where it is installed, or meant for."""
    unit: int | None
    """Modbus unit id behind its area's gateway; None = not on Modbus."""
    single_mqtt: bool
    multiplier: int
    """As listed: the current transformers' ratio."""

    @property
    def name(self) -> str:
        """`manufacturer/serial`."""
        return f"{self.manufacturer}/{self.serial}"


@dataclass(frozen=True, slots=True)
class Wiring:
    """The loads on one area's network. L loads."""

    line_ohm: Complexes
    """(L, L), see `Network.impedance`."""
    transformer_ohm: complex
    user: Ints
    """(L,) whose load; −1 − k for the k-th direct tap of the scenario."""
    phase: Ints
    """(L,) 0..2."""
    share: Floats
    """(L,) of the user's power."""
    own_use_w: Floats
    """(L,) of meters there."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The whole neighbourhood."""

    users: Users
    user_area: Ints
    """(U,) where a user's energy comes from."""
    wiring: tuple[Wiring, ...]
    """By area."""
    meters: tuple[Meter, ...]
    planted: Mapping[int, int] = field(default_factory=dict)
    """Number of a fault → index of the meter that it sits on; those in the wiring or a concentrator are not there."""

    @property
    def area_meter(self) -> tuple[int, ...]:
        """Index of each area's own meter."""
        return tuple(i for i, m in enumerate(self.meters) if m.role == AREA)

    def household(self, area: int, number: int) -> int:
        """Index of the meter that is listed as household `number` (1…) of an area."""
        return next(
            i for i, m in enumerate(self.meters) if m.role == INSTALLED and m.usage_point == usage_point(area, number)
        )


def build_fleet(scenario: Scenario) -> Fleet:
    """Draw everything that does not change from the seed."""
    areas = scenario.areas
    codes = [a.code for a in areas]
    moved = {
        (codes.index(f.area), f.household - 1): codes.index(f.true_area)
        for f in scenario.faults
        if isinstance(f, WrongArea)
    }
    parts, physical, meters = [], [], []
    phases_of: list[tuple[int, ...]] = []  # each user's phases
    first = 0
    for number, area in enumerate(areas):
        users, phases = _area_users(scenario, area)
        parts.append(users)
        phases_of += phases
        physical += [moved.get((number, i), number) for i in range(users.size)]
        meters += _area_meters(scenario, area, number, first, phases)
        first += users.size
    joined, at = join(parts), np.array(physical, dtype=np.int64)
    wiring = tuple(
        _wire(scenario, number, users=joined, at=at, phases_of=phases_of, meters=meters) for number in range(len(areas))
    )
    return Fleet(joined, at, wiring, tuple(meters))


def _area_users(scenario: Scenario, area: Area) -> tuple[Users, list[tuple[int, ...]]]:
    """Households and workshops first, then the premises behind the shared meter; and the phases of each."""
    rng = stream(scenario.seed, "area", area.code)
    premises = area.shared.premises if area.shared else 0
    homes, n = area.households, area.households + premises
    kinds = np.full(n, HOUSEHOLD)
    faulty = {f.household - 1 for f in scenario.faults if f.area == area.code and isinstance(f, HouseholdFault)}
    kinds[[i for i in rng.permutation(homes) if i not in faulty][: area.workshops]] = WORKSHOP
    three = (rng.random(n) < area.three_phase_share) | (kinds == WORKSHOP)
    pv = (rng.random(n) < area.pv_share) & (kinds == HOUSEHOLD)
    three[homes:], pv[homes:] = False, False
    for i in faulty:  # planted faults sit on plain households: what they do is not hidden by panels
        three[i], pv[i] = False, False
    production = kinds == WORKSHOP
    production[homes : homes + (area.shared.with_production if area.shared else 0)] = True
    turn = rng.permutation(np.arange(n) % 3)
    turn[homes:] = np.arange(premises) % 3
    phases: list[tuple[int, ...]] = [(0, 1, 2) if three[i] else (int(turn[i]),) for i in range(n)]
    return draw_users(scenario.seed, area.code, kinds.tolist(), pv=pv, production=production), phases


def _area_meters(scenario: Scenario, area: Area, number: int, first: int, phases: list[tuple[int, ...]]) -> list[Meter]:
    rng = stream(scenario.seed, "meters", area.code)
    serial = iter(range(21_000_000 + number * 10_000 + 1, 21_000_000 + (number + 1) * 10_000))
    prefix = f"UP-{number + 1:02d}"

    def meter(
        kind: tuple[str, str], wires: int, role: int, *, user: int, point: str, unit: int | None,
        single_mqtt: bool = False, resolution_wh: int = 10, digits: int = 7, multiplier: int = 1,
    ) -> Meter:  # fmt: skip
        return Meter(
            kind[0], str(next(serial)), kind[1], wires, digits, resolution_wh, role, number, user, point, unit,
            single_mqtt, multiplier,
        )  # fmt: skip

    # Behind current transformers the register is secondary: 1 Wh of it is worth `ct_ratio` Wh.
    found = [
        meter(
            _THREE[0],
            3,
            AREA,
            user=-1,
            point=f"{prefix}-T",
            unit=1,
            resolution_wh=1,
            digits=8,
            multiplier=area.ct_ratio,
        )
    ]
    if area.shared:
        found.append(meter(_THREE[0], 3, SHARED, user=-1, point=f"{prefix}-S1", unit=2))
    # Who hangs elsewhere, or whose clock is far off, is reached by the concentrator alone.
    far = {f.household - 1 for f in scenario.faults if isinstance(f, WrongArea | ClockDrift) and f.area == area.code}
    link = np.array([i for i in rng.permutation(area.households) if i not in far], dtype=np.int64)
    on_modbus = set(link[: round(area.links.modbus * area.households)].tolist())
    single = set(link[len(on_modbus) :][: round(area.links.mqtt * area.households)].tolist())
    unit = 3
    for i in range(area.households):
        kinds = _THREE if len(phases[i]) == 3 else _SINGLE
        kind = kinds[int(rng.integers(len(kinds)))]
        found.append(
            meter(kind, len(phases[i]), INSTALLED, user=first + i, point=usage_point(number, i + 1),
                  unit=unit if i in on_modbus else None, single_mqtt=i in single)
        )  # fmt: skip
        unit += i in on_modbus
    for k in range(area.shared.premises if area.shared else 0):
        i = area.households + k  # in stock: a model that tells its serial, so that commissioning can compare it
        found.append(meter(_SINGLE[0], 1, STOCK, user=first + i, point=f"{prefix}-P{k + 1:02d}", unit=unit))
        unit += 1
    return found


def _wire(
    scenario: Scenario, number: int, *, users: Users, at: Ints, phases_of: list[tuple[int, ...]], meters: list[Meter]
) -> Wiring:
    """Put the users that hang on this area, and the taps, on a street of their own."""
    area = scenario.areas[number]
    rng = stream(scenario.seed, "street", area.code)
    behind = {m.user for m in meters if m.role == STOCK}
    here = np.flatnonzero(at == number)
    alone = [int(u) for u in here if int(u) not in behind]
    yard = [int(u) for u in here if int(u) in behind]
    taps = [k for k, f in enumerate(scenario.faults) if isinstance(f, DirectTap) and f.area == area.code]
    network, places = street(rng, places=len(alone) + bool(yard) + len(taps), feeders=area.feeders, span_m=area.span_m)
    rows: list[tuple[int, int, int, float, float]] = []  # user, node, phase, share, own use
    wires = {m.user: m.phases for m in meters if m.user >= 0}
    for place, user in enumerate(alone):
        split = rng.permutation(PHASE_SPLITS[int(users.kind[user])])
        rows += _loads(user, int(places[place]), phases_of[user], split, OWN_USE_W[wires[user]])
    for user in yard:  # all at the shared meter's node: it measures exactly what they take
        rows += _loads(user, int(places[len(alone)]), phases_of[user], np.ones(3), OWN_USE_W[1])
    for k, tap in enumerate(taps):
        fault = scenario.faults[tap]
        phase = fault.phase - 1 if isinstance(fault, DirectTap) else 0
        rows.append((-1 - tap, int(places[len(alone) + bool(yard) + k]), phase, 1.0, 0.0))
    node, phase_ = np.array([r[1] for r in rows]), np.array([r[2] for r in rows])
    return Wiring(
        line_ohm=network.impedance(node, phase_),
        transformer_ohm=transformer_ohm(area.transformer_kva, scenario.busbar_v),
        user=np.array([r[0] for r in rows]),
        phase=phase_,
        share=np.array([r[3] for r in rows]),
        own_use_w=np.array([r[4] for r in rows]),
    )


def _loads(
    user: int, node: int, phases: tuple[int, ...], split: Floats, own_use_w: float
) -> list[tuple[int, int, int, float, float]]:
    if len(phases) == 1:
        return [(user, node, phases[0], 1.0, own_use_w)]
    return [(user, node, p, float(split[p]), own_use_w / 3) for p in phases]
