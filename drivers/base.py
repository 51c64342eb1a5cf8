"""What every driver delivers: raw register readings as the meter shows them, one at a time or in batches.

The rule it keeps: energies are integer Wh *as the register shows them* (no multiplier, no sign: those belong to the
installation), and what was not measured is absent (`None`, or the sentinel `ABSENT`), never zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag, StrEnum
from typing import Any, Final, Protocol, Self

import numpy as np
import numpy.typing as npt

ABSENT: Final = np.iinfo(np.int64).min
"""Sentinel for *not measured* in int64 columns."""
ABSENT_DV: Final = np.iinfo(np.int16).min
"""Sentinel for *not measured* in int16 voltage columns [0.1 V]."""

Phases3 = tuple[int | None, int | None, int | None]
Phases3f = tuple[float | None, float | None, float | None]
Tariffs = tuple[int | None, ...]
"""Per rate, the first one first; None: not measured."""
MAX_TARIFFS: Final = 8
"""Rates that have a register of their own: 1.8.1 … 1.8.8 (IEC 62056-6-1); DL/T 645 names four of them."""


class Quantity(StrEnum):
    """What a register can hold; the unit is in the name."""

    IMPORT_WH = "import_wh"
    EXPORT_WH = "export_wh"
    IMPORT_L1_WH = "import_l1_wh"
    IMPORT_L2_WH = "import_l2_wh"
    IMPORT_L3_WH = "import_l3_wh"
    EXPORT_L1_WH = "export_l1_wh"
    EXPORT_L2_WH = "export_l2_wh"
    EXPORT_L3_WH = "export_l3_wh"
    IMPORT_T1_WH = "import_t1_wh"
    IMPORT_T2_WH = "import_t2_wh"
    IMPORT_T3_WH = "import_t3_wh"
    IMPORT_T4_WH = "import_t4_wh"
    IMPORT_T5_WH = "import_t5_wh"
    IMPORT_T6_WH = "import_t6_wh"
    IMPORT_T7_WH = "import_t7_wh"
    IMPORT_T8_WH = "import_t8_wh"
    VOLTAGE_L1_V = "voltage_l1_v"
    VOLTAGE_L2_V = "voltage_l2_v"
    VOLTAGE_L3_V = "voltage_l3_v"
    CURRENT_L1_A = "current_l1_a"
    CURRENT_L2_A = "current_l2_a"
    CURRENT_L3_A = "current_l3_a"
    POWER_W = "power_w"
    POWER_L1_W = "power_l1_w"
    POWER_L2_W = "power_l2_w"
    POWER_L3_W = "power_l3_w"
    FREQUENCY_HZ = "frequency_hz"
    POWER_FACTOR = "power_factor"
    CT_RATIO = "ct_ratio"
    SERIAL = "serial"
    FIRMWARE = "firmware"


IMPORT_TARIFFS: Final = tuple(Quantity(f"import_t{rate}_wh") for rate in range(1, MAX_TARIFFS + 1))
"""The register of each rate, in order."""


class Source(IntEnum):
    """How a reading reached us; stored with it."""

    MODBUS = 1
    MQTT = 2
    """A meter that publishes for itself."""
    CONCENTRATOR = 3
    """A stored profile uploaded by a concentrator."""
    MANUAL = 4
    """Noted by a person: a crew's start or final register."""


class ReadingFlag(IntFlag):
    """What is special about a raw reading; 0 is an ordinary one."""

    NONE = 0
    CLOCK_SUSPECT = 1
    """The device says, or we can see, that its clock is off."""
    BACKFILL = 2
    """Came from a stored profile after the fact."""
    AHEAD = 4
    """Stamped later than it came in; its clock is suspect then, too."""


@dataclass(frozen=True, slots=True, order=True)
class MeterIdentity:
    """A meter is unique by manufacturer and serial."""

    manufacturer: str
    serial: str

    def __str__(self) -> str:
        return f"{self.manufacturer}/{self.serial}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterReading:
    """One meter's registers at one instant."""

    instant_us: int
    """UTC, microseconds since 1970: when the values were true (midpoint of request and response)."""
    uncertainty_ms: int
    """Half the span in which they were true, rounded up."""
    import_wh: int | None = None
    export_wh: int | None = None
    import_phase_wh: Phases3 | None = None
    export_phase_wh: Phases3 | None = None
    import_tariff_wh: Tariffs | None = None
    """Per rate, up to MAX_TARIFFS; their sum is `import_wh` but for what the registers cut off."""
    voltage_v: Phases3f | None = None
    """Per phase; a single-phase meter fills the first place."""
    current_a: Phases3f | None = None
    power_w: float | None = None
    resolution_wh: float | None = None
    """Step of the energy registers; tolerances are made of it."""
    serial: str | None = None
    """As the device itself says, where it can."""
    firmware: str | None = None
    """As the device itself says, where it can."""
    flags: ReadingFlag = ReadingFlag.NONE
    refused: tuple[str, ...] = ()
    """Quantities that the device did not deliver although its model has them."""

    def __post_init__(self) -> None:
        if self.import_tariff_wh is not None and len(self.import_tariff_wh) > MAX_TARIFFS:
            raise ValueError(f"import_tariff_wh: {len(self.import_tariff_wh)} rates, at most {MAX_TARIFFS}")


READING_DTYPE: Final = np.dtype(
    [
        ("meter", np.int32),  # index into ReadingBatch.meters; behind the ingest's look-up, the store's meter_id
        ("ts_us", np.int64),  # UTC, µs since 1970
        ("uncertainty_ms", np.int32),
        ("import_wh", np.int64),  # ABSENT = not measured
        ("export_wh", np.int64),  # ABSENT = not measured
        ("voltage_dv", np.int16),  # 0.1 V, mean of the phases there are; ABSENT_DV = not measured
        ("flags", np.int16),  # ReadingFlag
        ("source", np.int16),  # Source
        ("resolution_wh", np.int16),  # step of the energy registers at this value, rounded up; 0 = not stated
    ]
)
PHASE_DTYPE: Final = np.dtype(
    [
        ("meter", np.int32),
        ("ts_us", np.int64),
        ("import_wh", np.int64, (3,)),  # per phase; ABSENT = not measured
        ("export_wh", np.int64, (3,)),
        ("voltage_dv", np.int16, (3,)),
        ("current_ma", np.int64, (3,)),
        ("power_w", np.int64),
        ("import_tariff_wh", np.int64, (MAX_TARIFFS,)),  # per rate; ABSENT = not measured, or no such rate
    ]
)
"""What few meters send: rows only for meters that measure per phase (area meters, three-phase households), or count per
rate."""


def empty(dtype: np.dtype[Any], n: int) -> npt.NDArray[Any]:
    """`n` rows of READING_DTYPE or PHASE_DTYPE with every measurement absent."""
    rows = np.zeros(n, dtype=dtype)
    for name in rows.dtype.names or ():
        base = rows.dtype[name].base
        if name in {"import_wh", "export_wh", "current_ma", "power_w", "import_tariff_wh"}:
            rows[name] = ABSENT
        elif name == "voltage_dv" and base == np.int16:
            rows[name] = ABSENT_DV
    return rows


@dataclass(frozen=True, slots=True)
class ReadingBatch:
    """Readings of several meters in columns: what drivers hand to the ingest."""

    meters: tuple[MeterIdentity, ...]
    rows: npt.NDArray[Any]
    """(n,) READING_DTYPE; `meter` indexes `meters`."""
    phases: npt.NDArray[Any] = field(default_factory=lambda: empty(PHASE_DTYPE, 0))
    """(k,) PHASE_DTYPE; `meter` indexes `meters`; every (meter, ts_us) of it is in `rows` too."""

    def __post_init__(self) -> None:
        for name, array, dtype in (("rows", self.rows, READING_DTYPE), ("phases", self.phases, PHASE_DTYPE)):
            if array.dtype != dtype or array.ndim != 1:
                raise ValueError(f"{name}: wanted shape (n,) of {dtype}, got {array.shape} of {array.dtype}")
            if array.size and not (array["meter"].min() >= 0 and array["meter"].max() < len(self.meters)):
                raise ValueError(f"{name}: a meter index is outside 0..{len(self.meters) - 1}")

    @classmethod
    def unchecked(cls, meters: tuple[MeterIdentity, ...], rows: npt.NDArray[Any], phases: npt.NDArray[Any]) -> Self:
        """For who has just made the arrays of many batches at once: the checks cost more than a single reading."""
        made = object.__new__(cls)
        for name, value in (("meters", meters), ("rows", rows), ("phases", phases)):
            object.__setattr__(made, name, value)
        return made

    def __len__(self) -> int:
        return int(self.rows.size)


def tariffs(values: Mapping[Quantity, object]) -> Tariffs | None:
    """The rates among values, as far as the last one that was measured; None: none was."""
    rates = [value if isinstance(value := values.get(q), int) else None for q in IMPORT_TARIFFS]
    while rates and rates[-1] is None:
        rates.pop()
    return tuple(rates) or None


def whole_resolution_wh(resolution_wh: float | None) -> int:
    """A register's step as a row holds it: whole Wh, rounded up, bounded by its column; 0 = not stated."""
    return 0 if resolution_wh is None else min(math.ceil(resolution_wh), int(np.iinfo(np.int16).max))


def _present(values: Iterable[float | None]) -> list[float]:
    return [v for v in values if v is not None]


def batch_of(readings: Sequence[tuple[MeterIdentity, RegisterReading]], source: Source) -> ReadingBatch:
    """Columns from single readings; a phase row is made only where a reading has values per phase or rate."""
    meters = tuple(dict.fromkeys(identity for identity, _ in readings))
    index = {identity: i for i, identity in enumerate(meters)}
    rows = empty(READING_DTYPE, len(readings))
    phased = [(i, r) for i, (_, r) in enumerate(readings) if _has_detail(r)]
    phases = empty(PHASE_DTYPE, len(phased))
    for k, (identity, r) in enumerate(readings):
        rows["meter"][k] = index[identity]
        rows["ts_us"][k], rows["uncertainty_ms"][k] = r.instant_us, r.uncertainty_ms
        if r.import_wh is not None:
            rows["import_wh"][k] = r.import_wh
        if r.export_wh is not None:
            rows["export_wh"][k] = r.export_wh
        if voltages := _present(r.voltage_v or ()):
            rows["voltage_dv"][k] = round(10 * sum(voltages) / len(voltages))
        rows["flags"][k], rows["source"][k] = int(r.flags), int(source)
        rows["resolution_wh"][k] = whole_resolution_wh(r.resolution_wh)
    for k, (i, r) in enumerate(phased):
        phases["meter"][k], phases["ts_us"][k] = rows["meter"][i], rows["ts_us"][i]
        for name, values, scale in (
            ("import_wh", r.import_phase_wh, 1),
            ("export_wh", r.export_phase_wh, 1),
            ("voltage_dv", r.voltage_v, 10),
            ("current_ma", r.current_a, 1000),
            ("import_tariff_wh", r.import_tariff_wh, 1),
        ):
            for place, value in enumerate(values or ()):
                if value is not None:
                    phases[name][k, place] = round(value * scale)
        if r.power_w is not None:
            phases["power_w"][k] = round(r.power_w)
    return ReadingBatch(meters, rows, phases)


def _has_detail(reading: RegisterReading) -> bool:
    """Whether it measured something per phase or per rate."""
    return (
        reading.import_phase_wh is not None
        or (reading.voltage_v is not None and len(_present(reading.voltage_v)) > 1)
        or (reading.import_tariff_wh is not None and bool(_present(reading.import_tariff_wh)))
    )


class MeterDriver(Protocol):
    """A way to read one meter now: the same for every protocol that can be asked."""

    async def read(self, address: Any, quantities: frozenset[Quantity]) -> RegisterReading:
        """Read now. Raises `PeerError` when the meter does not answer rightly."""
        ...
