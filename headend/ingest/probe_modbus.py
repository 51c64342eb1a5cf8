"""Behind `headend probe modbus`: one meter, or a whole bus, looked at by a person in the field; nothing is stored.

It needs no database and opens a connection of its own, so a gateway that takes one connection alone has to be free.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from drivers.base import Quantity
from drivers.errors import DriverConfigError
from drivers.modbus.bus import BusSettings, ModbusBus
from drivers.modbus.codec import Value
from drivers.modbus.detect import Found, Guess, best, detect, scan
from drivers.modbus.map_file import load_models
from drivers.modbus.model import MeterModel
from drivers.modbus.probe import ProbeReport
from drivers.modbus.probe import probe as probe_meter
from drivers.registry import open_bus
from headend.ingest.poll_round import same_serial
from headend.ingest.probe import remark_lines
from headend.settings import Poll

_SHOWN_GUESSES: Final = 5
_SHOWN_VALUES: Final = (
    Quantity.IMPORT_WH,
    Quantity.VOLTAGE_L1_V,
    Quantity.POWER_W,
    Quantity.FREQUENCY_HZ,
    Quantity.SERIAL,
)


async def probe_modbus(
    *, endpoint: str, unit: int, model: str, poll: Poll, expected_serial: str | None = None
) -> ProbeReport:
    """Read everything that a model has from one unit; a serial other than the expected one is among the remarks.

    `model` is an id, or the end of exactly one (`sdm630`). Raises `DriverConfigError` for a model that there is not,
    `PeerError` when nothing could be read.
    """
    chosen = find_model(load_models(poll.models_dir), model)
    async with _opened(endpoint, poll) as bus:
        report = await probe_meter(bus, unit, chosen)
    remarks = [*report.remarks, *(f"{q.value}: the meter refuses it" for q in report.missing)]
    told = next((v.value for v in report.values if v.quantity is Quantity.SERIAL), None)
    if expected_serial is not None and told is None:
        remarks.append(f"serial {expected_serial} could not be checked: the meter does not tell its serial")
    elif expected_serial is not None and not same_serial(expected_serial, str(told)):
        remarks.append(f"serial mismatch: expected {expected_serial}, the meter says {told}")
    return replace(report, remarks=tuple(remarks))


async def scan_modbus(
    *, endpoint: str, units: Iterable[int], poll: Poll, told: Callable[[int], None] = lambda _: None
) -> list[Found]:
    """Unit ids that answer. Raises `ConnectionFailed` when the bus cannot be reached."""
    models = load_models(poll.models_dir)
    async with _opened(endpoint, poll.model_copy(update={"retries": 0})) as bus:
        return await scan(bus, models.values(), units, told=told)


async def detect_modbus(
    *, endpoint: str, unit: int, poll: Poll, told: Callable[[str], None] = lambda _: None
) -> list[Guess]:
    """Every model with how well it fits, the best first. Raises `PeerError` when the unit answers to none."""
    models = load_models(poll.models_dir)
    async with _opened(endpoint, poll) as bus:
        return await detect(bus, unit, models.values(), told=told)


@asynccontextmanager
async def _opened(endpoint: str, poll: Poll) -> AsyncIterator[ModbusBus]:
    bus = open_bus(endpoint, BusSettings(timeout_s=poll.timeout_s, retries=poll.retries))
    try:
        yield bus
    finally:
        await bus.close()


def units_of(text: str) -> list[int]:
    """Unit ids from `1-32,40`. Raises `DriverConfigError`."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise DriverConfigError(f"units {text!r}: wanted unit ids such as 1-32,40")
        low, high = int(first), int(last or first)
        if not 1 <= low <= high <= 247:
            raise DriverConfigError(f"units {text!r}: {part.strip()} is not within 1..247")
        found += range(low, high + 1)
    return list(dict.fromkeys(found))


def find_model(models: Mapping[str, MeterModel], name: str) -> MeterModel:
    """A model by its id or by the end of it. Raises `DriverConfigError` listing what there is."""
    if name in models:
        return models[name]
    fitting = [m for model_id, m in models.items() if model_id.endswith(f"-{name}")]
    if len(fitting) != 1:
        raise DriverConfigError(f"no model {name!r}; known are {', '.join(sorted(models))}")
    return fitting[0]


def describe_modbus(report: ProbeReport) -> list[str]:
    """The report as lines: values, requests with their times, remarks."""
    lines = [f"{report.peer} unit {report.unit}, model {report.model_id}", ""]
    for v in report.values:
        shown = "no value" if v.value is None else f"{v.value:.10g}" if isinstance(v.value, float) else str(v.value)
        words = " ".join(f"{word:04X}" for word in v.words)
        where = f"{v.table.value} 0x{v.address:04X}"
        lines.append(f"  {v.quantity.value:<14} {shown:>14} {v.unit:<3} {where:<15} [{words}]")
    asked = [
        f"  {r.table.value} 0x{r.address:04X}, {r.count} registers: answered in {r.span_ms:.1f} ms"
        for r in report.requests
    ]
    return [*lines, "", *asked, "", *remark_lines(report.remarks)]


def describe_scan(found: Sequence[Found]) -> list[str]:
    """A line for each unit that answered."""
    lines = [f"  unit {f.unit:>3}: answers ({f.detail})" for f in found]
    return [*lines, f"{len(found)} units answer; --detect --unit N guesses the model of one"]


def _plain(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def describe_guesses(guesses: Sequence[Guess]) -> list[str]:
    """The best guesses with what speaks for and against them."""
    winners = best(guesses)
    lines = []
    for guess in guesses[:_SHOWN_GUESSES]:
        mark = "*" if guess in winners else " "
        shown = ((q, guess.values.get(q)) for q in _SHOWN_VALUES)
        values = ", ".join(f"{q.value} {_plain(v)}" for q, v in shown if v is not None)
        lines.append(f"{mark} {guess.model_id:<24} {guess.score:+7.1f}  {values}")
        lines += [f"      {reason}" for reason in guess.reasons]
    if not winners:
        lines.append("none of the models fits: is the meter energised, and is its map among `headend models list`?")
    elif len(winners) > 1:
        lines.append(f"cannot be told apart by what they show: {', '.join(g.model_id for g in winners)}")
    else:
        lines.append(f"most plausible: {winners[0].model_id}; check the type plate")
    return lines
