"""A small low-voltage area with physics of its own: loads on a three-phase feeder, drops and losses from currents."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from reconciliation import AreaWindow

PER_DAY = 96


@dataclass
class Street:
    """True energies [Wh per 15 min] and what a reader would report."""

    name: str
    n: int
    days: int
    seed: int
    true: np.ndarray = field(init=False)
    phase: np.ndarray = field(init=False)
    read: np.ndarray = field(init=False)
    volt: np.ndarray = field(init=False)
    busbar: np.ndarray = field(init=False)
    supplied: np.ndarray = field(init=False)
    loss_wh: float = field(init=False)
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = rng = np.random.default_rng(self.seed)
        t = self.days * PER_DAY
        hour = np.arange(t) % PER_DAY / 4
        shape = 0.4 + np.exp(-np.square((hour - 19.5) / 2.5)) * 1.6 + np.exp(-np.square((hour - 7.5) / 1.5)) * 0.8
        level = rng.lognormal(np.log(60.0), 0.5, self.n)
        habit = np.stack([np.roll(shape, int(rng.integers(-6, 7))) for _ in range(self.n)])
        base = level[:, None] * habit * rng.gamma(3.0, 1 / 3.0, (self.n, t))
        on = rng.random((self.n, t)) < 0.02
        appliance = np.apply_along_axis(lambda x: np.convolve(x, np.ones(3))[:t], 1, on.astype(float))
        self.true = base + np.minimum(appliance, 1) * rng.uniform(200, 600, (self.n, 1))
        self.phase = np.arange(self.n) % 3
        # radial: meter i hangs behind segments 0..position(i); one resistance per segment, phase and neutral
        segments = 6
        position = rng.integers(0, segments, self.n)
        path = (np.arange(segments)[None, :] <= position[:, None]).astype(float)
        ohm = 0.02
        self.busbar = 232 + np.cumsum(rng.normal(0, 0.05, t)) * 0.3 + rng.normal(0, 0.4, t) + rng.normal(0, 0.1, (3, t))
        amps = self.true * 4 / 230.0
        self.volt = np.zeros((self.n, t))
        loss = np.zeros((3, t))
        for k in range(3):
            mine = self.phase == k
            current = path[mine].T @ amps[mine]
            self.volt[mine] = self.busbar[k] - path[mine] @ (current * ohm)
            loss[k] = np.square(current).sum(axis=0) * ohm / 4
        self.supplied = np.stack([self.true[self.phase == k].sum(axis=0) for k in range(3)]) + loss
        self.loss_wh = float(loss.sum())
        self.read = self.true.copy()

    def window(self, keep: np.ndarray | None = None, **changes: object) -> AreaWindow:
        """What is reported: gains, rounded registers, rounded voltages, gaps. Same noise on every call."""
        rng = np.random.default_rng(self.seed + 1000)
        n, t = self.read.shape
        imported = registers(self.read * (1 + rng.normal(0, 0.003, (n, 1))), 10.0, rng)
        volt = np.round(self.volt * (1 + rng.normal(0, 0.001, (n, 1))) + rng.normal(0, 0.2, (n, t)), 1)
        gaps = rng.random((n, t)) < 0.01
        imported[gaps] = np.nan
        volt[gaps] = np.nan
        phases = self.supplied * (1 + rng.normal(0, 0.002, (3, 1)))
        total = registers(phases.sum(axis=0)[None], 100.0, rng)[0]
        which = np.arange(n) if keep is None else keep
        fields: dict[str, object] = {
            "area": self.name,
            "start": datetime(2026, 3, 2, tzinfo=UTC),
            "interval_s": 900,
            "meters": tuple(f"{self.name}-{i}" for i in which),
            "three_phase": np.zeros(which.size, bool),
            "household_import_wh": imported[which],
            "household_export_wh": np.where(gaps, np.nan, 0.0)[which],
            "household_voltage_v": volt[which],
            "area_import_wh": np.maximum(total, 0),
            "area_export_wh": np.zeros(t),
            "area_phase_wh": np.round(phases / 100.0) * 100.0,
            "area_voltage_v": np.round(self.busbar + rng.normal(0, 0.1, self.busbar.shape), 1),
        }
        return AreaWindow(**(fields | changes))  # type: ignore[arg-type]


def registers(energy: np.ndarray, step: float, rng: np.random.Generator) -> np.ndarray:
    """Differences of a counter that shows whole steps."""
    count = np.cumsum(energy, axis=1) + rng.uniform(0, step, (energy.shape[0], 1))
    shown = np.floor(count / step) * step
    return np.diff(np.concatenate([np.zeros((energy.shape[0], 1)), shown], axis=1), axis=1)
