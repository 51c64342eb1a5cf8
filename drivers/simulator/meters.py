"""From what flows to what meters register: accuracy, current transformers, clocks, gaps, instrument noise, faults.

The rule it keeps: a fault of a meter alters only what is reported, never the physics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from drivers.simulator.days import US
from drivers.simulator.faults import (
    AreaMeterRatio,
    ClockDrift,
    PacketLoss,
    Stuck,
    UnderRegistering,
    WrongMultiplier,
)
from drivers.simulator.fleet import AREA, SHARED, STOCK, Fleet
from drivers.simulator.physics import Flow
from drivers.simulator.scenario import INTERVAL_S, Scenario
from drivers.simulator.streams import Bools, Floats, Ints, stream

HOURS: float = INTERVAL_S / 3600
DAY_US: int = 86_400 * US


@dataclass(frozen=True, slots=True)
class RateFault:
    """A meter that registers `factor` of what flows from an instant on."""

    meter: int
    factor: float
    onset_us: int


@dataclass(frozen=True, slots=True)
class Channels:
    """Every place where a meter measures one phase: loads, busbars, shared meters. C channels."""

    power_w: Floats
    """(C, n) net power, + drawn from the grid."""
    voltage_v: Floats
    """(C, n)."""
    current_a: Floats
    """(C, n)."""


@dataclass(frozen=True, slots=True)
class Metered:
    """What meters register in one day. M meters, of which M3 three-phase; n intervals."""

    import_wh: Floats
    """(M, n) on the register's own side."""
    export_wh: Floats
    phase_import_wh: Floats
    """(M3, 3, n)."""
    phase_export_wh: Floats
    voltage_v: Floats
    """(M, n) mean of the phases there are, as the instrument shows it."""
    phase_voltage_v: Floats
    """(M3, 3, n)."""
    power_w: Floats
    """(M, n) net."""
    phase_power_w: Floats
    """(M3, 3, n)."""
    current_a: Floats
    """(M, n) of the first phase."""
    phase_current_a: Floats
    """(M3, 3, n)."""
    gap: Bools
    """(M, n) the freeze at the end of this interval never arrives."""


class Instruments:
    """The meters' persistent errors and faults, and the day's reading of what flows."""

    def __init__(self, scenario: Scenario, fleet: Fleet, start_us: int) -> None:
        """`start_us`: start of history, from which fault onsets are counted."""
        self.scenario, self.fleet, self.start_us = scenario, fleet, start_us
        meters, rng = fleet.meters, stream(scenario.seed, "instruments")
        n = len(meters)
        area = np.array([m.role == AREA for m in meters])
        a = scenario.accuracy
        of_area = rng.normal(0, a.area_gain_sd, n).clip(-a.area_gain_most, a.area_gain_most)
        of_household = rng.normal(0, a.household_gain_sd, n).clip(-a.household_gain_most, a.household_gain_most)
        gain = np.where(area, of_area, of_household)
        self.phases = np.array([m.phases for m in meters])
        self.three = np.flatnonzero(self.phases == 3)
        self.place3 = np.full(n, -1)
        self.place3[self.three] = np.arange(self.three.size)
        phase_gain = 1 + gain[:, None] + rng.normal(0, a.phase_gain_sd, (n, 3))
        ratio = np.array([m.multiplier for m in meters], dtype=np.float64)
        self.gain = phase_gain / ratio[:, None]
        """(M, 3) register Wh for each Wh that flows."""
        self.current_gain = 1 / ratio
        self.offset = 1 + rng.normal(0, 1, (n, 3)) * np.where(area, 0.001, 0.002)[:, None]
        self.noise_v = np.where(area, 0.2, 0.3)
        self.gap_rate = np.where(area, 0.002, 0.01)
        # Meters on a bus are frozen by broadcast; power-line meters have clocks of their own.
        wild = np.array([m.unit is None and m.role not in (AREA, SHARED) for m in meters])
        self.lead_s = np.where(wild, rng.uniform(-60, 60, n), 0.0)
        """(M,) how far each clock runs ahead at the start of history."""
        self.drift = np.zeros(n)
        """(M,) lead gained per second."""
        self.channel = self._channels()
        self.rates, self.losses = self._faults()

    def _channels(self) -> Ints:
        """(M, 3) index of the channel of each phase; a single-phase meter's stands first, the rest repeat it."""
        fleet, areas = self.fleet, len(self.fleet.wiring)
        users = np.concatenate([w.user for w in fleet.wiring])
        phase = np.concatenate([w.phase for w in fleet.wiring])
        of = {(int(u), int(p)): c for c, (u, p) in enumerate(zip(users, phase, strict=True))}
        n = users.size
        rows, shared = np.zeros((len(fleet.meters), 3), dtype=np.int64), 0
        for i, meter in enumerate(fleet.meters):
            if meter.role == AREA:
                rows[i] = n + 3 * meter.area + np.arange(3)
            elif meter.role == SHARED:
                rows[i] = n + 3 * areas + 3 * shared + np.arange(3)
                shared += 1
            else:
                there = [of[meter.user, p] for p in range(3) if (meter.user, p) in of]
                rows[i] = there if len(there) == 3 else there[:1] * 3
        return rows

    def _faults(self) -> tuple[tuple[RateFault, ...], tuple[tuple[int, float, int], ...]]:
        rates, losses = [], []
        for k, meter in self.fleet.planted.items():
            fault = self.scenario.faults[k]
            onset = self.start_us + round(getattr(fault, "onset_day", 0.0) * DAY_US)
            match fault:
                case UnderRegistering() | AreaMeterRatio():
                    rates.append(RateFault(meter, fault.factor, onset))
                case Stuck():
                    rates.append(RateFault(meter, 0.0, onset))
                case WrongMultiplier():
                    rates.append(RateFault(meter, 1 / fault.true_multiplier, onset))
                    self.current_gain[meter] /= fault.true_multiplier
                case PacketLoss():
                    losses.append((meter, fault.rate, onset))
                case ClockDrift():
                    self.lead_s[meter], self.drift[meter] = fault.lead_s, fault.lead_s_per_day / 86_400
                case _:  # a meter listed elsewhere is sound; so is one that only tells something, or cannot be read
                    pass
        return tuple(rates), tuple(losses)

    def channels(self, drawn_w: Floats, fed_w: Floats, tap_w: dict[int, Floats], flows: Sequence[Flow]) -> Channels:
        """What flows past every place of measurement. drawn_w, fed_w (U, n); tap_w by fault number (n,)."""
        net = drawn_w - fed_w
        power, volts, amps = [], [], []
        yards: list[tuple[Floats, Floats, Floats]] = []
        with_yard = {m.area for m in self.fleet.meters if m.role == SHARED}
        yard_users = np.array([m.user for m in self.fleet.meters if m.role == STOCK], dtype=np.int64)
        for number, (wiring, flow) in enumerate(zip(self.fleet.wiring, flows, strict=True)):
            p = wiring.share[:, None] * np.stack([net[u] if u >= 0 else tap_w[int(-1 - u)] for u in wiring.user])
            power.append(p)
            volts.append(flow.voltage_v)
            amps.append(np.abs(flow.current_a))
            if number in with_yard:
                yard = np.isin(wiring.user, yard_users)
                for k in range(3):
                    at = np.flatnonzero(yard & (wiring.phase == k))
                    v = flow.voltage_v[at].mean(axis=0) if at.size else flow.busbar_v[k]
                    yards.append((p[at].sum(axis=0), v, np.abs(flow.current_a[at].sum(axis=0))))
        power += [f.supplied_w for f in flows] + [y[0][None] for y in yards]
        volts += [f.busbar_v for f in flows] + [y[1][None] for y in yards]
        amps += [np.abs(f.supplied_a) for f in flows] + [y[2][None] for y in yards]
        return Channels(np.concatenate(power), np.concatenate(volts), np.concatenate(amps))

    def rate(self, interval_start_us: Ints) -> Floats:
        """(M, n) what share of the energy each meter registers, 1 for a sound one."""
        out = np.ones((len(self.fleet.meters), interval_start_us.size))
        for fault in self.rates:
            out[fault.meter, interval_start_us >= fault.onset_us] *= fault.factor
        return out

    def read(self, day: date, grid_us: Ints, channels: Channels) -> Metered:
        """What every meter registers on one day."""
        seed, ordinal, n = self.scenario.seed, day.toordinal(), grid_us.size - 1
        m = len(self.fleet.meters)
        rate = self.rate(grid_us[:-1])
        three, c3 = self.three, self.channel[self.three]
        phase_w = channels.power_w[c3] * self.gain[three][:, :, None] * rate[three][:, None, :]
        power = channels.power_w[self.channel[:, 0]] * self.gain[:, :1] * rate
        power[three] = phase_w.sum(axis=1)
        wobble = self.noise_v[:, None] * stream(seed, "volts", ordinal).standard_normal((m, n))
        volts = channels.voltage_v[self.channel[:, 0]] * self.offset[:, :1] + wobble
        own = stream(seed, "volts3", ordinal).standard_normal((three.size, 3, n)) * self.noise_v[three][:, None, None]
        phase_v = channels.voltage_v[c3] * self.offset[three][:, :, None] + own
        volts[three] = phase_v.mean(axis=1)
        gap = stream(seed, "gaps", ordinal).random((m, n)) < self.gap_rate[:, None]
        for meter, loss, onset_us in self.losses:
            lost = stream(seed, "loss", meter, ordinal).random(n) < loss
            gap[meter] |= lost & (grid_us[1:] > onset_us)
        return Metered(
            import_wh=np.clip(power, 0, None) * HOURS,
            export_wh=np.clip(-power, 0, None) * HOURS,
            phase_import_wh=np.clip(phase_w, 0, None) * HOURS,
            phase_export_wh=np.clip(-phase_w, 0, None) * HOURS,
            voltage_v=volts,
            phase_voltage_v=phase_v,
            power_w=power,
            phase_power_w=phase_w,
            current_a=channels.current_a[self.channel[:, 0]] * self.current_gain[:, None],
            phase_current_a=channels.current_a[c3] * self.current_gain[three][:, None, None],
            gap=gap,
        )

    def clock_lead_us(self, meters: Ints, instant_us: Ints) -> Ints:
        """(g, k) how far the clocks of `meters` (g,) are ahead at true instants (k,)."""
        since_s = (instant_us - self.start_us) / US
        lead = self.lead_s[meters][:, None] + self.drift[meters][:, None] * since_s[None]
        return np.asarray(np.rint(lead * US), dtype=np.int64)

    def start_registers(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Registers at the start of history: import, export (M,); by phase import, export (M3, 3) [Wh]."""
        meters, rng = self.fleet.meters, stream(self.scenario.seed, "registers")
        n = len(meters)
        # Below 8,000 kWh a 32-bit float of kWh, as many meters have it, still shows every Wh.
        imported = rng.uniform(300e3, 7.5e6, n)
        exported = rng.uniform(50e3, 2e6, n)
        solar = np.array([m.user >= 0 and self.fleet.users.pv_wp[m.user] > 0 for m in meters])
        stock = np.array([m.role == STOCK for m in meters])
        imported = np.where(stock, rng.uniform(0, 2000, n), imported)
        exported = np.where(solar & ~stock, exported, 0.0)
        for number, area in enumerate(self.scenario.areas):
            plain = [
                i
                for i, m in enumerate(meters)
                if m.area == number and m.unit is None and m.phases == 1 and not m.single_mqtt and not solar[i]
            ]
            for i in plain[: area.rollovers]:
                imported[i] = 10.0 ** meters[i].digits * meters[i].resolution_wh - 60e3
        share = np.full((self.three.size, 3), 1 / 3)
        return imported, exported, imported[self.three][:, None] * share, exported[self.three][:, None] * share
