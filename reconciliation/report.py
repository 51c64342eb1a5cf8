"""What the engine answers: one report per area, with findings that carry the numbers a page needs to show why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import numpy as np

from reconciliation.window import Floats


class Cause(StrEnum):
    """Why an area's balance looks as it does."""

    CLEAN = "clean"
    METER = "meter"
    MAPPING = "mapping"
    AREA_METER = "area_meter"
    UNMETERED = "unmetered"
    NOT_COMPUTABLE = "not_computable"


class FindingKind(StrEnum):
    """What one finding claims."""

    UNDER_REGISTERING = "under_registering"
    STUCK = "stuck"
    WRONG_MULTIPLIER = "wrong_multiplier"
    WRONG_AREA = "wrong_area"
    DIRECT_TAP = "direct_tap"
    AREA_METER_RATIO = "area_meter_ratio"
    AREA_METER_PHASE = "area_meter_phase"
    REVERSED_POLARITY = "reversed_polarity"
    MISSING_DATA = "missing_data"
    CLOCK_SKEW = "clock_skew"
    UNEXPLAINED = "unexplained"


class LimitCode(StrEnum):
    """Which input lacks, and what therefore cannot be told."""

    NO_METERS = "no_meters"
    """Nothing: no meter is listed."""
    TOO_FEW_DAYS = "too_few_days"
    """Nothing: ``days`` of data, ``days_needed`` at least."""
    AREA_METER_HARDLY_READ = "area_meter_hardly_read"
    """Nothing: the area meter was read in ``intervals_read`` of ``intervals``."""
    METERS_HARDLY_READ = "meters_hardly_read"
    """Nothing: ``meters_hardly_read`` of ``meters`` say too little of their own."""
    NO_HOUSEHOLD_VOLTAGE = "no_household_voltage"
    """Technical loss only as a load model; whether an empty reading is an empty flat; mapping by voltage."""
    NO_BUSBAR_VOLTAGE = "no_busbar_voltage"
    """The same: drops have no reference."""
    VOLTAGE_HARDLY_READ = "voltage_hardly_read"
    """The same: ``meters_with_voltage`` of ``meters``, the busbar in ``busbar_share`` of intervals."""
    NO_PHASE_ENERGY = "no_phase_energy"
    """Phases of the meters, a dead phase or one wrong CT of the area meter."""
    COARSE_PHASE_ENERGY = "coarse_phase_energy"
    """The same: phases carry less than the step their energies are rounded to."""
    PHASE_MISSING = "phase_missing"
    """The same: ``phases_missing`` of three have no energies; the balance is drawn up of the total."""
    LONG_INTERVALS = "long_intervals"
    """Faults and clocks within ``interval_s`` [s]."""
    FEW_DAYS = "few_days"
    """All but the clearest: ``days`` of data, ``days_wanted`` show each weekday twice."""
    FEW_METERS = "few_meters"
    """Whether a load without a meter is a household's: ``meters``."""
    MISSING_READINGS = "missing_readings"
    """Small faults: ``missing_share`` of the meters' readings lacks, ``meters_hardly_read`` lack most of them."""
    AREA_METER_GAPS = "area_meter_gaps"
    """What happened while the area meter was not read: ``missing_share`` of intervals."""
    NO_NEIGHBOURS = "no_neighbours"
    """Where a meter that is not from here belongs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Limit:
    """One thing that could not be told, or told only roughly."""

    code: LimitCode
    """What lacks."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """How much of it, named scalars with units in the names."""


class Explanation(StrEnum):
    """What may be behind an irregularity; a particular meter is ``meter:`` and its name."""

    THIS_FINDING = "this_finding"
    OTHER_METER = "other_meter"
    SOME_METER = "some_meter"
    UNMETERED = "unmetered"
    AREA_METER = "area_meter"
    LISTED_AREA = "listed_area"
    NOTHING = "nothing"


METER_PREFIX = "meter:"
"""Before a meter's name among the explanations."""


class Untold(StrEnum):
    """What a finding's evidence leaves open."""

    WHOSE = "whose"
    """Which meter it is."""
    WHAT = "what"
    """What it is at all: no cause known here explains it."""
    MANNER = "manner"
    """By a bypass, a missing phase or a defect: the balance sees what is missing, not how."""
    SINCE = "since"
    """Since when: it was there as the window began."""
    PHASE = "phase"
    """On which phase: only the total is balanced."""
    PLACE_NO_VOLTAGE = "place_no_voltage"
    """Where on the feeders: there are no voltages to tell it by."""
    PLACE_ALIKE = "place_alike"
    """Where on the feeders: the voltages do not tell one place from another."""
    CORRECT_AREA = "correct_area"
    """On which area the meter hangs."""
    LOSS_MODEL = "loss_model"
    """How large exactly: the technical loss is of a load model, not of voltages."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EvidenceSeries:
    """One curve of an evidence plot."""

    name: str
    """What it shows, a stable key (``loss_before``, ``loss_after``, ``reading``, ``coefficient`` …)."""
    unit: str
    """``Wh``, ``V``, ``nat`` (log evidence), ``SD`` or ``1``."""
    values: Floats
    """(k,) one value per day, interval, hour, pair or meter; NaN = unknown."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EvidencePicture:
    """One further picture: a telling day, the hours, pairs, or the meters along the line."""

    name: str
    """A stable key: ``day``, ``day_before``, ``hours``, ``pairs``, ``place``, ``voltages``."""
    resolution: Literal["interval", "hour", "pair", "meter"]
    """What one value of a series stands for. Of hours: the 24 of the local day. Of pairs the first series is the
    abscissa, and a series of two values ``line_…`` a straight line from 0 to the largest abscissa."""
    series: tuple[EvidenceSeries, ...]
    """Curves of equal length, lines apart."""
    first_interval: int | None = None
    """Of a picture by interval: where in the window it begins."""
    meters: tuple[str, ...] = ()
    """Of a picture by meter: whose values they are."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """The numbers behind a finding."""

    series: tuple[EvidenceSeries, ...] = ()
    """Curves of equal length."""
    resolution: Literal["day", "interval"] = "day"
    """What one value of a series stands for."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Named scalars, units in the names."""
    alternatives: Mapping[str, float] = field(default_factory=dict)
    """Explanations (``Explanation``, or a meter), the finding's own among them → posterior probability; sum to 1. Empty
    where the finding is a fact."""
    pattern: str | None = None
    """In which way a meter is wrong, by the name of the family (see shapes.py); None: there is no such choice."""
    pictures: tuple[EvidencePicture, ...] = ()
    """Further pictures, the most telling first."""
    untold: tuple[Untold, ...] = ()
    """What this evidence leaves open."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """One cause, on one meter or on the area, with evidence, confidence and energy."""

    kind: FindingKind
    meter: str | None
    """The meter concerned; None = the area as a whole."""
    correct_area: str | None = None
    """Where the meter belongs, for ``wrong_area``; None = not known."""
    confidence: float
    """Posterior probability, 0..1."""
    energy_wh: float
    """At stake over the window [Wh]; + = lost by the utility. For ``wrong_area`` the meter's own energy: not lost, but
    booked to another area's balance."""
    energy_low_wh: float
    """Lower end of the 90 % interval [Wh]."""
    energy_high_wh: float
    """Upper end of the 90 % interval [Wh]."""
    onset_interval: int | None = None
    """First interval of the fault; None = from the window's start, or not told."""
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True, kw_only=True)
class TechnicalLossModel:
    """Technical loss of an interval from its supplied energy: ``constant_wh + quadratic_per_wh · supplied_wh²``."""

    constant_wh: float
    """Meters' and cables' own use [Wh per interval], ≥ 0."""
    quadratic_per_wh: float
    """Copper loss [1/Wh], ≥ 0."""

    def predict(self, supplied_wh: Floats) -> Floats:
        """(n,) technical loss [Wh] of intervals with the given supplied energy [Wh]."""
        return self.constant_wh + self.quadratic_per_wh * np.square(supplied_wh)


@dataclass(frozen=True, kw_only=True, eq=False)
class AreaReport:
    """The engine's answer for one area."""

    anomaly_score: float
    """Log evidence against a clean area [nat], comparable between areas; the higher, the more anomalous."""
    alarm: bool
    """Whether the area stands out."""
    cause: Cause
    """The most probable cause."""
    suspicion: Mapping[str, float]
    """Meter → log evidence that its reading is wrong [nat]; for ranking, not for accusing."""
    accused: Sequence[str]
    """Meters worth a visit: precision before recall."""
    misplaced: Sequence[tuple[str, str | None]]
    """(meter listed here, area where it hangs); None = on no area known here."""
    technical_loss_wh: float
    """Over the window [Wh]; NaN where not computable."""
    findings: Sequence[Finding]
    """Strongest first."""
    technical_interval_wh: Floats
    """(n_intervals,) technical loss [Wh]; NaN where unknown."""
    technical_model: TechnicalLossModel
    """For days outside the window."""
    reason: str | None = None
    """Why not computable, or what could not be told, in English for a terminal."""
    limits: tuple[Limit, ...] = ()
    """The same in codes and numbers, the gravest first; empty where nothing lacks."""
    cause_probability: Mapping[Cause, float] = field(default_factory=dict)
    """Posterior probability of each cause, sums to 1; empty where not computable."""
