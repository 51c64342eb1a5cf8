"""Guesses which model a meter is: reads it by every map there is and weighs what a meter on a live network would show.

Modbus has no common way to ask a meter what it is, so evidence decides: registers that answer or are refused, voltages
and frequency where networks have them, powers and energies that agree with each other. Scores are points, not
probabilities; two models that read alike are both told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from drivers.base import Quantity
from drivers.errors import ConnectionFailed, DeviceException, PeerError
from drivers.modbus.bus import ModbusAddress, ModbusBus
from drivers.modbus.codec import Value
from drivers.modbus.gate import Priority
from drivers.modbus.model import MeterModel
from drivers.modbus.register_map import ENERGIES, AddressRange, Table, dimension

NOBODY: Final = frozenset({10, 11})
"""Exceptions of a gateway that found nobody (Modbus Application Protocol V1.1b3, section 7)."""
_VOLTAGE_V: Final = (80.0, 300.0)
_FREQUENCY_HZ: Final = (47.0, 63.0)
_MOST_WH: Final = 10**12
_MOST: Final = {"a": 20_000.0, "w": 2e7}
"""Behind the largest distribution transformer."""
_AS_GOOD: Final = 2.0
"""Points within which two models cannot be told apart."""

_L: Final = {
    phase: (
        Quantity(f"voltage_l{phase}_v"),
        Quantity(f"current_l{phase}_a"),
        Quantity(f"power_l{phase}_w"),
    )
    for phase in (1, 2, 3)
}


@dataclass(frozen=True, slots=True)
class Guess:
    """How well one model fits what the meter answered."""

    model_id: str
    score: float
    """Points; the more the better, below 0 it is hardly this one."""
    reasons: tuple[str, ...]
    """What spoke for it (+) and against it (−), in words."""
    values: Mapping[Quantity, Value | None]


@dataclass(frozen=True, slots=True)
class Found:
    """A unit that answered."""

    unit: int
    detail: str
    """What it said to the first question: `registers`, or the exception."""


async def scan(
    bus: ModbusBus, models: Iterable[MeterModel], units: Iterable[int], *, told: Callable[[int], None] = lambda _: None
) -> list[Found]:
    """Units that answer anything at all to one small question of each table; `told` hears each unit before it is asked.

    Raises `ConnectionFailed` when the bus itself cannot be reached.
    """
    asker = next(iter(models))
    found = []
    for unit in units:
        told(unit)
        if detail := await _answers(bus, ModbusAddress(unit, asker, Priority.COMMAND)):
            found.append(Found(unit, detail))
    return found


async def _answers(bus: ModbusBus, address: ModbusAddress) -> str | None:
    try:
        async with bus.turn(address) as turn:
            await turn.read(AddressRange(Table.INPUT, 0, 1))
    except DeviceException as refusal:
        return None if refusal.exception_code in NOBODY else f"exception {refusal.exception_code}"
    except ConnectionFailed:
        raise
    except PeerError:
        return None
    return "registers"


async def detect(
    bus: ModbusBus, unit: int, models: Iterable[MeterModel], *, told: Callable[[str], None] = lambda _: None
) -> list[Guess]:
    """Every model with its score, the best first; `told` hears each model's id before it is tried.

    Raises `PeerError` of the last try when the unit answered to none of them.
    """
    guesses, silence = [], None
    for model in models:
        told(model.id)
        try:
            snapshot = await bus.visit(ModbusAddress(unit, model, Priority.COMMAND))
        except DeviceException as refusal:
            guesses.append(Guess(model.id, -float(len(model.registers)), (f"− {refusal}",), {}))
        except PeerError as error:
            silence = error
        else:
            score, reasons = weigh(model, snapshot.values, snapshot.missing)
            guesses.append(Guess(model.id, score, reasons, snapshot.values))
    if not guesses and silence is not None:
        raise silence
    return sorted(guesses, key=lambda g: -g.score)


def best(guesses: Iterable[Guess]) -> list[Guess]:
    """The most plausible guess and those that are as good; empty where nothing fits."""
    ranked = [g for g in sorted(guesses, key=lambda g: -g.score) if g.score > 0]
    return [g for g in ranked if g.score >= ranked[0].score - _AS_GOOD]


def weigh(
    model: MeterModel, values: Mapping[Quantity, Value | None], missing: Iterable[Quantity]
) -> tuple[float, tuple[str, ...]]:
    """Points for a model, and the reasons. Pure.

    `values`: what was read, each in its own unit; `missing`: what the meter refused or did not answer.
    """
    evidence = [*_single(values), *_agreements(values)]
    if refused := sorted(q.value for q in missing):
        evidence.append((-2.0 * len(refused), f"refused: {', '.join(refused)}"))
    if empty := sorted(q.value for q, v in values.items() if v is None):
        evidence.append((-0.5 * len(empty), f"without a value: {', '.join(empty)}"))
    live = [v for q, v in values.items() if dimension(q) == "v" and isinstance(v, float)]
    if live and not any(_VOLTAGE_V[0] <= v <= _VOLTAGE_V[1] for v in live):
        evidence.append((-4.0, "no voltage of a network on any phase"))
    if model.phases == 3 and sum(_VOLTAGE_V[0] <= v <= _VOLTAGE_V[1] for v in live) == 1:
        evidence.append((-1.5, "a three-phase model, and voltage on one phase only"))
    return sum(points for points, _ in evidence), tuple(f"{'+' if p > 0 else '−'} {why}" for p, why in evidence)


def _single(values: Mapping[Quantity, Value | None]) -> list[tuple[float, str]]:
    """What each value alone says: a network's voltage in a random register is rare, a small number is not."""
    found = []
    for quantity, value in values.items():
        if isinstance(value, str) or value is None:
            continue
        kind, name = dimension(quantity), f"{quantity.value} = {value:.6g}"
        if kind == "v" and abs(value) >= 1.0:
            good = _VOLTAGE_V[0] <= value <= _VOLTAGE_V[1]
            found.append((2.5, name) if good else (-4.0, name))
        elif kind == "hz" and value:
            found.append((3.0, name) if _FREQUENCY_HZ[0] <= value <= _FREQUENCY_HZ[1] else (-4.0, name))
        elif _absurd(quantity, value):
            found.append((-3.0, name))
        elif quantity in ENERGIES and value:
            found.append((0.3, name))
    return found


def _absurd(quantity: Quantity, value: float) -> bool:
    """What no meter shows; tiny floats are integers that were read as floats."""
    if quantity in ENERGIES:
        return not 0 <= value < _MOST_WH
    if quantity is Quantity.POWER_FACTOR:
        return not -1.0 <= value <= 1.0
    return abs(value) > _MOST.get(dimension(quantity), float("inf")) or 0 < abs(value) < 1e-9


def _agreements(values: Mapping[Quantity, Value | None]) -> list[tuple[float, str]]:
    """What values say of each other."""

    def number(quantity: Quantity) -> float | None:
        value = values.get(quantity)
        return float(value) if isinstance(value, (int, float)) else None

    found = []
    for phase, (u, i, p) in _L.items():
        voltage, current, power = number(u), number(i), number(p)
        if voltage and current and power and current > 0.05:
            apparent = abs(voltage * current)
            fits = abs(power) <= 1.05 * apparent + 5
            found.append((2.0 if fits and abs(power) > 0.1 * apparent else 0.0 if fits else -3.0, f"power of L{phase}"))
    for total, parts, what in (
        (Quantity.POWER_W, [p for _, _, p in _L.values()], "phase powers and their total"),
        (Quantity.IMPORT_WH, [Quantity(f"import_l{n}_wh") for n in (1, 2, 3)], "phase imports and their total"),
    ):
        whole, known = number(total), [number(p) for p in parts]
        if whole and all(v is not None for v in known) and len(known) == 3:
            off = abs(sum(v for v in known if v is not None) - whole)
            found.append((3.0, f"{what} agree") if off <= max(20.0, 0.02 * abs(whole)) else (-3.0, f"{what} differ"))
    return found
