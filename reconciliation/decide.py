"""From evidence to a verdict: what the cause is, whom to visit; every gate fails closed.

Alarm: the area's log evidence against "clean" exceeds ALARM. A meter is accused only if, each time with all other
suspects in the fit, (a) its own evidence exceeds ACCUSE, (b) it is specific: its gain beats an unmetered load's on its
streams, and that of the meter it takes most evidence from, by MARGIN and by a share of itself, (c) either it takes away
most of the excess innovation variance of its streams, or it is so specific that what is left may be its own
irregularity, or a dead register on the same streams leaves it (nobody knows a load's course that no register follows).
Where an input is lacking (``poor``), only the most specific is accused. A direct tap
resembles no reading: a neighbour can absorb a share of it, but hardly better than a plain load, and the excess stays;
so whoever is tried and refused makes all later ones on the same streams suspect of the same. A register that stands
still is accused by rule if it is the only one on its streams and an unmetered load is clearly missing there.
"""

from dataclasses import dataclass

import numpy as np

from reconciliation.localise import STUCK, Localisation, Suspect, explained_share
from reconciliation.model import AreaModel
from reconciliation.window import Bools, Floats

ALARM = 12.0
"""[nat] one false alarm in e¹² if the model were exact; leaves room for it not being so."""
ALARM_MODEL = 30.0
"""[nat] the same where the technical loss comes from a load model, or the noise is mostly three-phase loads' unbalance:
errors with a shape of their own."""
ACCUSE = 20.0
"""[nat] a visit to an honest family costs far more than a month's delay."""
MARGIN = 8.0
"""[nat] odds of 3,000 : 1 over the next explanation."""
MARGIN_SHARE, LONE_SHARE = 0.3, 0.8
"""The margin as share of the evidence itself: model errors grow with the evidence. The latter where the excess is not
explained."""
EXPLAINED, EXPLAINED_LONE = 0.5, 0.1
"""Share of the excess innovation variance on its streams that a meter must explain; the latter where it is specific
enough for the rest to be its own irregularity."""
CROWD = 3
"""Other suspects on the same streams from which none is told by being specific alone: a large unmetered load looks like
a little of everybody."""
FURTHER, LONE = 30.0, 50.0
"""[nat] evidence for every meter after the first (what earlier choices leave over looks like somebody), and where the
excess stays."""
VOLTAGE_Z, VOLTAGE_SHARE = 4.0, 0.7
"""Response of a dead meter's voltage to the missing load [SD], and its share of the strongest response on the same
streams."""
FEW_DAYS, LONG_INTERVAL_S = 14, 1800
"""Fewer days than two of each weekday, and intervals longer than this, count as a poor input."""
HALT_MARGIN = MARGIN
"""[nat] over a plain load that begins on some other day: the odds that any other accusation needs."""
STILL_DAYS = 2.0
"""A register must have stood still this long to be called dead, and, where it stands at another value than zero, have
moved as long before."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is held against the meters of one area."""

    accused: tuple[int, ...]
    """Indices into the localisation's suspects."""
    dead: tuple[int, ...]
    """Meters accused by rule: a register that stands still where a load is missing."""
    explained: float
    """Share of the excess variance explained by the suspects, 0..1."""
    meter_cause: bool
    """Whether meters, rather than an unmetered load, are the cause."""


def judge(model: AreaModel, found: Localisation, still: Bools, voltage: Floats | None) -> Verdict:
    """Apply the gates; ``still`` (N, T): whether a register stands still; ``voltage`` (N,): see voltage_response.py."""
    explained = float(np.nan_to_num(explained_share(model.fit.ratio, found.fit.ratio)))
    dead = dead_registers(model, found, still, voltage)
    if poor(model):
        dead = tuple(i for i in dead if crowd(model, found, i) < CROWD)
    strict = poor(model)
    accused: list[int] = []
    standing = model.share[list(dead)].sum(axis=0) > 0
    refused, taken = np.zeros(standing.size, bool), np.zeros(standing.size, bool)
    for k, suspect in enumerate(found.suspects):
        if suspect.meter in dead:
            continue
        on = model.share[suspect.meter] > 0
        weight = min(float(found.own_evidence[k]), suspect.gain, suspect.evidence)
        over = float(found.hidden_wh[k].sum()) < 0  # no unmetered load looks like that
        told = EXPLAINED_LONE if np.isnan(suspect.explained) else suspect.explained  # nothing to explain: lone
        lone = told < EXPLAINED or bool(refused[on].any())
        crowded = crowd(model, found, suspect.meter) >= CROWD
        # what an earlier one leaves over may be that one's irregularity, and looks like somebody
        enough = EXPLAINED if strict or crowded or taken[on].any() else must_explain(suspect)
        if standing[on].any():
            enough = EXPLAINED_LONE
        good = (
            specific(suspect, LONE_SHARE if strict or refused[on].any() else MARGIN_SHARE)
            and weight >= (LONE if strict or lone else FURTHER if k else ACCUSE)
            and (over or told >= enough)
            and not (strict and crowded)
            and not (over and lost_wh(model, on) > 0)
        )
        if good:
            accused.append(k)
            taken |= on
        else:
            refused |= on
    return Verdict(
        accused=tuple(accused),
        dead=dead,
        explained=explained,
        meter_cause=bool(accused or dead) or _meter_like(found, explained),
    )


def lost_wh(model: AreaModel, on: Bools) -> float:
    """Energy [Wh] that streams ``on`` lost beyond the technical loss.

    A meter that counts too much makes it negative: where energy is missing, one that seems to is only taking up what
    another's irregularity leaves over.
    """
    streams = model.area.supplied - model.share.T @ model.area.net - model.loss.stream_wh
    return float(np.nansum(streams[on]))


def poor(model: AreaModel) -> bool:
    """Whether an input is lacking that tells honest meters from others: then only the clearest case is accused.

    Few days do not pin down gains and clocks; the total alone, or hours, mix what phases and quarters of an hour
    separate; a load model's technical loss has a shape of its own.
    """
    area = model.area
    return (
        area.n_days < FEW_DAYS
        or area.n_streams == 1
        or area.window.interval_s > LONG_INTERVAL_S
        or not model.loss.from_voltage
    )


def crowd(model: AreaModel, found: Localisation, meter: int) -> int:
    """How many other suspects are on a meter's streams."""
    on = model.share[meter] > 0
    return sum(bool((model.share[s.meter] > 0)[on].any()) for s in found.suspects if s.meter != meter)


def must_explain(suspect: Suspect) -> float:
    """Share of the excess a meter must explain: the more specific its evidence, the less."""
    margin = (suspect.gain - max(suspect.rival_gain, suspect.load_gain, 0.0)) / max(suspect.gain, 1e-9)
    return float(np.interp(margin, [MARGIN_SHARE, LONE_SHARE], [EXPLAINED, EXPLAINED_LONE]))


def specific(suspect: Suspect, share: float) -> bool:
    """Whether the evidence singles this meter out."""
    margin = suspect.gain - max(suspect.rival_gain, suspect.load_gain, 0.0)
    return margin >= max(MARGIN, share * suspect.gain)


def _meter_like(found: Localisation, explained: float) -> bool:
    """Whether a meter's reading explains clearly more than a plain load, although not clearly which meter's."""
    if not found.suspects:
        return False
    first = found.suspects[0]
    margin = first.evidence - max(first.load_evidence, 0.0)
    return margin >= max(MARGIN, 0.15 * first.evidence) and (explained >= 0.1 or margin >= 0.75 * first.evidence)


def dead_registers(model: AreaModel, found: Localisation, still: Bools, voltage: Floats | None) -> tuple[int, ...]:
    """Registers that never moved, or stand at a value after having moved; alone on their streams; where a load is
    missing.

    An empty flat also reads zero: one that never moved is only accused if its own voltage falls with the missing load,
    about as much as any meter's on its streams. A register that falls to zero within the window is only accused if the
    missing load begins as it stops: people go away.
    """
    long = STILL_DAYS * 86400 / model.area.window.interval_s
    recent = model.area.measured[:, -1 - model.area.n_intervals // 20 :]
    moves_later = np.cumsum(~still[:, ::-1], axis=1)[:, ::-1] > 0
    ended = still.copy()
    ended[moves_later] = False
    ended[recent.sum(axis=1) == 0] = False
    never: Bools = np.asarray((np.abs(model.area.net).max(axis=1) <= 0) & (model.area.measured.mean(axis=1) > 0.5))
    halted: Bools = np.asarray((ended.sum(axis=1) >= long) & ((~still).sum(axis=1) >= long))
    level = np.where(ended, np.abs(model.area.net), 0.0).max(axis=1)
    stuck, loads = found.last.by_family[:, STUCK].copy(), found.last.load.copy()
    for suspect in found.suspects:  # what it was worth when it was chosen; later it has nothing left to explain
        loads[suspect.meter] = suspect.load_evidence
        stuck[suspect.meter] = suspect.evidence if suspect.family.name == "stuck" else -np.inf
    out = []
    for i in np.flatnonzero(never | halted):
        same = np.any((model.share > 0) & (model.share[i] > 0), axis=1)
        load = float(loads[i])
        supported = (
            voltage is not None and voltage[i] >= VOLTAGE_Z and voltage[i] >= VOLTAGE_SHARE * float(voltage[same].max())
        )
        rivals = int(np.sum((never | (halted & (level > 0))) & same))
        if never[i]:
            good = rivals == 1 and load >= ACCUSE and supported
        elif level[i] > 0:
            good = rivals == 1 and max(load, float(stuck[i])) >= ACCUSE and (supported or voltage is None)
        else:  # fell to zero: the missing load must begin when the register stops
            best = int(np.argmax(np.where(same, stuck, -np.inf))) == i
            elsewhere = voltage is not None and voltage[same].max() >= VOLTAGE_Z and not supported
            good = best and stuck[i] >= ACCUSE and stuck[i] - max(load, 0.0) >= (MARGIN if elsewhere else HALT_MARGIN)
        if good:
            out.append(int(i))
    return tuple(out)
