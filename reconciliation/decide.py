"""From evidence to a verdict: what the cause is, whom to visit; every gate fails closed, but that against a rival
where nobody else had evidence that fell.

Alarm: the area's log evidence against "clean" exceeds ALARM. A meter is accused if the posterior probability that its
reading is wrong exceeds ACCUSE_PROBABILITY, given all other suspects: prior odds PRIOR_WRONG, evidence of its days
(replication.py: the honest hypothesis may have unmetered loads with habits, and days of any scale; the choice of
activity and coefficients is paid for), spread over the families, and what the voltages say of its place
(suspicion.py; by more where they say nothing for it); if the voltages do not place what it hides elsewhere and not
there; if it explains the balance better than the meter it takes most evidence from would in its place, by MARGIN; if it
does not count too much where energy is missing; and if no load of unknown course beside it could lend it its days.
Nothing is asked of the excess that is left: thieves who leave gaps and noise leave a good part of it, and so do the
others. Where an input is lacking, evidence shrinks by itself, because days are fewer or less alike. A register that
stands still is accused by rule if it is the only one on its streams and an unmetered load is clearly missing there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from reconciliation.attribution import variance_evidence
from reconciliation.levels import AT_VALUE, STILL_DAYS, standing_at_a_value
from reconciliation.localise import UNKNOWN_COURSE, Localisation, explained_share
from reconciliation.model import AreaModel
from reconciliation.prepare import Prepared, dequantised
from reconciliation.search import STUCK
from reconciliation.shapes import FAMILIES
from reconciliation.silence import missing_beside, of_silence, silence
from reconciliation.suspects import Suspect
from reconciliation.suspicion import placed
from reconciliation.voltage_evidence import Field, follows
from reconciliation.window import Bools, Floats, Ints

WRONG_AREAS, ALARM_PROBABILITY = 0.02, 0.98
"""Share of areas in which something is wrong that nobody knows of yet, and the posterior probability that something is
from which an area is looked into: nobody is accused by that alone."""
ALARM = float(special.logit(ALARM_PROBABILITY) - special.logit(WRONG_AREAS))
"""[nat] evidence that it takes, 7.8."""
ALARM_MODEL = 30.0
"""[nat] the same where the technical loss comes from a load model, or the noise is mostly three-phase loads' unbalance:
errors with a shape of their own."""
ACCUSE_PROBABILITY = 0.99
"""Posterior probability from which a crew is sent: a visit to an honest family costs far more than a month's delay."""
ACCUSE_MODEL = 2 * ALARM_MODEL
"""[nat] evidence of its rows, given all other suspects, on less than which no meter is accused where the technical loss
comes from a load model: what that errs by goes with the load, as most readings do."""
PRIOR_WRONG = 0.02
"""Share of meters that are wrong in areas that stand out: one in fifty, the order of what inspection campaigns find
where nothing points to anybody."""
ACCUSE = 20.0
"""[nat] evidence of a missing load from which a register that stands still is called dead."""
MARGIN = 8.0
"""[nat] odds of 3,000 : 1 over the next explanation."""
VOLTAGE_MOST = 6.0
"""[nat] most that voltages may add: they place a load among meters at one joint, and do not tell those apart. Where
they do not speak for the suspect (VOTE), its days' evidence stands alone against it, and so much more of that is
asked."""
VOTE = 0.5
"""[nat] from which voltages speak for a meter at all."""
OVER = 7.0
"""[nat] prior odds against a meter that counts too much where energy is missing: one fault in twenty counts too much,
and another meter in fifty would have to be wrong, too."""
MOVED = 0.1
"""Share of what a reading is wrong by, to either side, up to which it counts neither too much nor too little."""
MIN_DAYS, MIN_DAYS_SHARE = 4.0, 0.75
"""Days on which a fault must hide energy: two count no more than the next (TRIM in replication.py), and two more must
agree; as share of all where there are fewer than six."""
TWIN = 0.9
"""Correlation of two readings from which one meter's course is no evidence against it rather than the other."""
OWN_COURSE = 2.0
"""Scale up to which a meter's days count as explained to within noise: it is exceeded by one true fault in a hundred
over two weeks or more."""
CROWD = 3
"""Other suspects on the same streams beside which no register is called dead where an input is lacking; and meters that
seem to count too much together: that is the area meter counting too little, such as a dead phase nobody sees alone."""
VOLTAGE_Z, VOLTAGE_SHARE = 4.0, 0.7
"""Response of a dead meter's voltage to the missing load [SD], and its share of the strongest response on the same
streams."""
FEW_DAYS, LONG_INTERVAL_S = 14, 1800
"""Fewer days than two of each weekday, and intervals longer than this, count as a poor input."""
HALT_MARGIN = MARGIN
"""[nat] over a plain load that begins on some other day: the odds that any other accusation needs."""


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
    held: Mapping[int, float]
    """Posterior log odds [nat] of the registers that stand still at a value, by meter; those called dead are not among
    them."""


def voted(suspect: Suspect) -> float:
    """What the voltages say for a suspect [nat]; 0 without voltages, and for a multiple of its own reading."""
    return float(suspect.place - suspect.other_places)


def log_odds(suspect: Suspect) -> float:
    """Posterior log odds [nat] that a suspect's reading is wrong in its way, given the other suspects."""
    prior = float(special.logit(PRIOR_WRONG)) - np.log(len(FAMILIES))
    return float(suspect.replicated + min(voted(suspect), VOLTAGE_MOST) + prior)


def judge(
    model: AreaModel, found: Localisation, still: Bools, voltage: Floats | None, field: Field | None = None
) -> Verdict:
    """Apply the gates; ``still`` (N, T): whether a register stands still; ``voltage`` (N,): see voltage_response.py;
    ``field``: see voltage_evidence.py."""
    explained = float(np.nan_to_num(explained_share(model.fit.ratio, found.fit.ratio)))
    held = {} if field is None else held_registers(model, found, still, field)
    dead = dead_registers(model, found, still, voltage, held)
    if field is not None:
        silent = ~follows(field) if dead else None
        dead = tuple(i for i in dead if i in held or not placed(model, found, i, field, silent).elsewhere)
    if poor(model):
        dead = tuple(i for i in dead if crowd(model, found, i) < CROWD)
    frozen = standing_at_a_value(model.area, still)
    accused: list[int] = []
    too_much = counts_too_much(found.hidden_wh)  # no unmetered load looks like that
    over_all = sum(bool(over) and log_odds(s) > 0 for s, over in zip(found.suspects, too_much, strict=True))
    crowded = over_all >= _crowd_of_a_phase(model)
    for k, suspect in enumerate(found.suspects):
        over = bool(too_much[k])
        if suspect.meter in dead or (over and crowded):
            continue
        odds = log_odds(suspect) - OVER * (over and lost_wh(model, model.share[suspect.meter] > 0) > 0)
        good = (
            odds >= special.logit(ACCUSE_PROBABILITY) + VOLTAGE_MOST * (voted(suspect) < VOTE)
            and suspect.rival_margin >= MARGIN
            and not unfounded(model, found, k)
            and not placed_elsewhere(suspect)
            and not _hardly_ticks(model.area, suspect.meter)
            and not _twin(model, suspect.meter)
            and days_of(found.hidden_wh[k], model.area.day) >= min(MIN_DAYS, MIN_DAYS_SHARE * model.area.n_days)
            and not _away(model, suspect.meter, found.hidden_wh[k], still)
            and not (suspect.scale > OWN_COURSE and resembles(suspect, field))
            and not (suspect.scale > OWN_COURSE and unknown_course_beside(model, found, suspect, frozen))
        )
        if good:
            accused.append(k)
    return Verdict(
        accused=tuple(accused),
        dead=dead,
        explained=explained,
        meter_cause=bool(accused or dead)
        or any(log_odds(s) > 0 for s in found.suspects)
        or any(odds > 0 for odds in held.values())
        or _meter_like(found, explained),
        held={i: odds for i, odds in held.items() if i not in dead},
    )


def _crowd_of_a_phase(model: AreaModel) -> int:
    """Meters that seem to count too much together as a phase's do that the area meter lost: CROWD, and where no phase's
    balance is drawn up, as few as half of what hangs on one."""
    return CROWD if model.area.n_streams > 1 else min(CROWD, max(len(model.area.meters) // 6, 1))


def counts_too_much(hidden: Floats) -> Bools:
    """(n,) whether readings that hide (n, T) count too much: not a day stored backwards, which moves energy only."""
    return np.asarray(hidden.sum(axis=1) < -MOVED * np.abs(hidden).sum(axis=1))


def days_of(hidden: Floats, day: Ints) -> float:
    """(Σ e_d)²/Σ e_d² of the energy e_d that (T,) ``hidden`` is or moves on each day: their number, if on all as
    much."""
    energy = np.bincount(day, weights=np.abs(hidden))
    return float(np.square(energy.sum()) / max(float(np.square(energy).sum()), 1e-300))


def _away(model: AreaModel, meter: int, hidden: Floats, still: Bools) -> bool:
    """Whether a suspect may just be away: it is one because it reads nothing, and energy is missing before or after."""
    silent = silence(model, meter, still)
    return of_silence(hidden, silent) and missing_beside(model, meter, silent)


def _hardly_ticks(area: Prepared, meter: int) -> bool:
    """Whether a register coarse beside its neighbours moves less than a step an interval: how much was used over some
    days is known, and not when."""
    return bool(area.coarse[meter] and area.imported[meter].mean() < area.step[meter])


def _twin(model: AreaModel, meter: int) -> bool:
    """Whether another meter on the same streams runs like this one: two street lights, two pumps. Which of them hides a
    load is then told by their rounding alone, in favour of the one that counts more."""
    same = np.flatnonzero(np.any((model.share > 0) & (model.share[meter] > 0), axis=1))
    x = dequantised(model.area.imported[same], model.area.step[same])
    x -= x.mean(axis=1, keepdims=True)
    own = x[int(np.flatnonzero(same == meter)[0])]
    size = np.sqrt(np.einsum("it,it->i", x, x) * float(own @ own))
    alike = (x @ own)[same != meter] > TWIN * np.maximum(size[same != meter], 1e-9)
    return bool(alike.any())


def unfounded(model: AreaModel, found: Localisation, k: int) -> bool:
    """Whether the technical loss is a load model's, and a suspect's rows say no more than its errors may."""
    return not model.loss.from_voltage and float(found.own_evidence[k]) < ACCUSE_MODEL


def placed_elsewhere(suspect: Suspect) -> bool:
    """Whether voltages place what a suspect hides elsewhere, and not there, too: what they say of the others is in its
    odds."""
    return suspect.elsewhere and suspect.place < VOTE


def resembles(suspect: Suspect, field: Field | None) -> bool:
    """Whether a suspect may just be somewhat like what nobody measured: an intermittent bypass is given a share of the
    reading and of what is usual then, which suits the habits of many, and voltages do not speak for this one."""
    return field is not None and suspect.family.name == "random" and voted(suspect) < VOTE


def unknown_course_beside(model: AreaModel, found: Localisation, suspect: Suspect, frozen: Bools) -> bool:
    """Whether another meter on the same streams hides a load of which its register says nothing: a suspect, or one that
    is ``frozen`` (N,) at a value other than zero, as no honest one is.

    That load may run like an honest neighbour's (two shops with the same hours), and then lends its days to him.
    """
    if suspect.family.name in UNKNOWN_COURSE:
        return False
    on = model.share[suspect.meter] > 0
    if bool((model.share[frozen] > 0)[:, on].any()):
        return True
    return any(
        s is not suspect
        and s.family.name in UNKNOWN_COURSE
        and log_odds(s) > 0
        and bool((model.share[s.meter] > 0)[on].any())
        for s in found.suspects
    )


def lost_wh(model: AreaModel, on: Bools) -> float:
    """Energy [Wh] that streams ``on`` lost beyond the technical loss.

    A meter that counts too much makes it negative: where energy is missing, one that seems to is only taking up what
    another's irregularity leaves over.
    """
    streams = model.area.supplied - model.share.T @ model.area.net - model.loss.stream_wh
    return float(np.nansum(streams[on]))


def poor(model: AreaModel) -> bool:
    """Whether an input is lacking that tells honest meters from others: then a crowd of suspects acquits a register
    that stands still.

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


def _meter_like(found: Localisation, explained: float) -> bool:
    """Whether a meter's reading explains clearly more than a plain load, although not clearly which meter's."""
    if not found.suspects:
        return False
    first = found.suspects[0]
    margin = first.evidence - max(first.load_evidence, 0.0)
    return margin >= max(MARGIN, 0.15 * first.evidence) and (explained >= 0.1 or margin >= 0.75 * first.evidence)


def held_registers(model: AreaModel, found: Localisation, still: Bools, field: Field) -> dict[int, float]:
    """Registers that stand still at a value, and are not placed elsewhere: posterior log odds [nat] that they are
    stuck. Other meters whose own voltage follows their reading are no rivals: they hide no load of any course."""
    frozen = np.flatnonzero(standing_at_a_value(model.area, still))
    silent = ~follows(field) if frozen.size else np.zeros(0, bool)
    out = {}
    for i in frozen:
        here = placed(model, found, int(i), field, silent)
        if not here.elsewhere:
            odds = float(special.logit(PRIOR_WRONG)) + AT_VALUE
            out[int(i)] = odds + min(here.own - here.others, VOLTAGE_MOST)
    return out


def dead_registers(
    model: AreaModel, found: Localisation, still: Bools, voltage: Floats | None, placed_odds: Mapping[int, float]
) -> tuple[int, ...]:
    """Registers that never moved, or stand at a value after having moved; alone on their streams; where a load is
    missing.

    An empty flat also reads zero: one that never moved is only accused if its own voltage falls with the missing load,
    about as much as any meter's on its streams. A register that falls to zero within the window is only accused if the
    missing load begins as it stops, it never stood as long before, and no reading that lives explains as much: people
    go away. One that has stood at a value other than zero throughout, as no household does, is held to the same as one
    that came to stand there. Nor may energy be missing right before, unless its own voltage falls with it.
    """
    long = STILL_DAYS * 86400 / model.area.window.interval_s
    recent = model.area.measured[:, -1 - model.area.n_intervals // 20 :]
    moves_later = np.cumsum(~still[:, ::-1], axis=1)[:, ::-1] > 0
    ended = still.copy()
    ended[moves_later] = False
    ended[recent.sum(axis=1) == 0] = False
    never: Bools = np.asarray((np.abs(model.area.net).max(axis=1) <= 0) & (model.area.measured.mean(axis=1) > 0.5))
    halted: Bools = np.asarray((ended.sum(axis=1) >= long) & ((~still).sum(axis=1) >= long))
    held: Bools = np.asarray(
        (still | ~model.area.measured).all(axis=1) & (model.area.measured.mean(axis=1) > 0.5) & ~never
    )
    level = np.where((ended | held[:, None]) & model.area.measured, np.abs(model.area.net), 0.0).max(axis=1)
    missing = np.where(model.share > 0, variance_evidence(model.fit)[None, :], np.inf).min(axis=1)
    stuck, loads = found.beside_plain.by_family[:, STUCK].copy(), found.beside_plain.load.copy()
    for suspect in found.suspects:  # what it was worth at first; now it has nothing left to explain
        loads[suspect.meter] = found.first.load[suspect.meter]
        if suspect.family.name == "stuck":
            stuck[suspect.meter] = found.first.by_family[suspect.meter, STUCK]
        else:
            stuck[suspect.meter] = -np.inf
    out = []
    for i in np.flatnonzero(never | halted | held):
        same = np.any((model.share > 0) & (model.share[i] > 0), axis=1)
        load, any_course = float(loads[i]), max(float(loads[i]), float(missing[i]))
        supported = (
            voltage is not None and voltage[i] >= VOLTAGE_Z and voltage[i] >= VOLTAGE_SHARE * float(voltage[same].max())
        )
        at_value = (halted | held) & (level > 0)
        rivals = int(np.sum((at_value if level[i] > 0 else never | at_value) & same))
        if never[i]:
            good = rivals == 1 and any_course >= ACCUSE and supported
        elif level[i] > 0:
            timed = max(load, float(stuck[i])) if halted[i] else -np.inf
            sure = placed_odds.get(int(i), -np.inf) >= special.logit(ACCUSE_PROBABILITY)
            seen = any_course >= ACCUSE and (supported or sure)
            good = rivals == 1 and (seen or (timed >= ACCUSE and voltage is None))
        else:  # fell to zero: the missing load must begin when the register stops
            best = int(np.argmax(np.where(same, stuck, -np.inf))) == i
            live = same & ~(never | halted)
            live[[s.meter for s in found.suspects]] = False
            best = best and stuck[i] >= float(np.where(live, found.beside_plain.total, -np.inf).max())
            good = best and stuck[i] >= ACCUSE and stuck[i] - max(load, 0.0) >= HALT_MARGIN
            good = good and int(ended[i].sum()) > _longest(still[i] & ~ended[i])
            good = good and (supported or not missing_beside(model, int(i), silence(model, int(i), still)))
        if good:
            out.append(int(i))
    return tuple(out)


def _longest(x: Bools) -> int:
    """Length of the longest run of true values in (T,)."""
    change = np.flatnonzero(np.diff(np.concatenate([[0], x.astype(np.int8), [0]])))
    return int((change[1::2] - change[::2]).max(initial=0))
