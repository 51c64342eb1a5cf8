"""What is taken for granted of each kind of finding before its own evidence, and how inspections change it.

p = log odds that a finding of a kind that passed the engine's gates turns out right on site. A utility's inspections
move it by Beta-Binomial shrinkage: with default precision π₀ = 1/(1 + e^−p₀) worth W inspections, c confirmed and
r rejected give

    π = (W π₀ + c) / (W + c + r),        p = min(max(ln(π / (1 − π)), floor), ceiling)

and every confidence of that kind is stated with its log odds moved by p − p₀. Kinds are all that is learnt about: no
customer, category, place or meter has a prior of its own, and the floor leaves every kind within reach of evidence.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from reconciliation.evidence_odds import restated
from reconciliation.report import AreaReport, Finding, FindingKind

DEFAULT_PRECISION: Final[Mapping[FindingKind, float]] = {
    FindingKind.UNDER_REGISTERING: 0.90,
    FindingKind.STUCK: 0.80,
    FindingKind.WRONG_MULTIPLIER: 0.90,
    FindingKind.WRONG_AREA: 0.95,
    FindingKind.DIRECT_TAP: 0.80,
    FindingKind.AREA_METER_RATIO: 0.90,
    FindingKind.AREA_METER_PHASE: 0.95,
    FindingKind.REVERSED_POLARITY: 0.95,
    FindingKind.MISSING_DATA: 0.99,
    FindingKind.CLOCK_SKEW: 0.80,
    FindingKind.UNEXPLAINED: 0.50,
}
"""[1] Share of findings expected to be confirmed, before a utility has inspected any.

A fault with a fixed coefficient is hard to mimic: a meter on the wrong area takes exactly −1 and gives exactly +1, a
phase that is missing or reversed takes exactly its own energy (.95). A current transformer's ratio and a share of a
meter's own profile have a free factor (.90). A register that stands still may belong to a flat that is empty, a load
without a profile of its own may be an unbilled street lamp, and a clock is right again after the next setting (.80).
What no known cause explains is confirmed as often as not (.50). That data are missing is a fact (.99)."""
PRIOR_WEIGHT: Final = 20.0
"""[inspections] What the default is worth: after as many inspections, half of the belief is the utility's own. A crew
makes about as many in a month or two; less would let one bad week hide a kind."""
FLOOR: Final = math.log(1 / 7)
"""[nat] A kind is believed to be right at least once in eight: what is never inspected can never be found right again,
and the surest finding (.98) of the most trusted kinds of meter (.90) is still stated above two in five then."""
CEILING: Final = math.log(0.99 / 0.01)
"""[nat] And wrong at least once in a hundred: a long run of luck does not make the evidence superfluous."""
LEAST, MOST = 0.01, 0.99
"""Ends of what is stated as a confidence: the model is not exact."""


def _default_log_odds() -> dict[FindingKind, float]:
    return {kind: math.log(p / (1 - p)) for kind, p in DEFAULT_PRECISION.items()}


@dataclass(frozen=True, slots=True)
class Priors:
    """Of each kind the log odds that a finding of it is right."""

    log_odds: Mapping[FindingKind, float] = field(default_factory=_default_log_odds)
    """[nat] One for every kind, finite."""

    def __post_init__(self) -> None:
        missing = [kind.value for kind in FindingKind if kind not in self.log_odds]
        if missing:
            raise ValueError(f"no prior for {', '.join(missing)}")
        wrong = [kind.value for kind, odds in self.log_odds.items() if not math.isfinite(odds)]
        if wrong:
            raise ValueError(f"the prior of {', '.join(wrong)} is not finite")

    def shift(self, kind: FindingKind) -> float:
        """[nat] What is added to the log odds of a finding: 0 where nothing was learnt."""
        return self.log_odds[kind] - _default_log_odds()[kind]

    def stated(self, kind: FindingKind, confidence: float) -> float:
        """The confidence with which a finding is stated that its own evidence gives this one."""
        shift = self.shift(kind)
        if shift == 0.0:
            return confidence
        kept = min(max(confidence, LEAST), MOST)
        odds = math.log(kept / (1 - kept)) + shift
        return min(max(1 / (1 + math.exp(-odds)), LEAST), MOST)

    def applied(self, report: AreaReport) -> AreaReport:
        """The report with its findings' confidences as they are stated; none is dropped."""
        if all(self.shift(found.kind) == 0.0 for found in report.findings):
            return report
        return replace(report, findings=tuple(self._restated(found) for found in report.findings))

    def _restated(self, found: Finding) -> Finding:
        now = self.stated(found.kind, found.confidence)
        odds = restated(found.evidence.alternatives, found.confidence, now)
        return replace(found, confidence=now, evidence=replace(found.evidence, alternatives=odds))


def learnt(
    confirmed: Mapping[FindingKind, int],
    rejected: Mapping[FindingKind, int],
    default: Priors | None = None,
    floor: float = FLOOR,
) -> Priors:
    """Priors after so many cases of each kind were confirmed and rejected; a kind nobody judged keeps its default.

    ``floor`` [nat]: no kind falls below it (nor below its default, where that is lower). Raises ValueError where a
    count is negative.
    """
    base = Priors() if default is None else default
    log_odds = dict(base.log_odds)
    for kind, prior in base.log_odds.items():
        hits, misses = confirmed.get(kind, 0), rejected.get(kind, 0)
        if hits < 0 or misses < 0:
            raise ValueError(f"{kind.value}: {hits} confirmed and {misses} rejected")
        if hits or misses:
            expected = 1 / (1 + math.exp(-prior))
            right = PRIOR_WEIGHT * expected + hits
            wrong = PRIOR_WEIGHT * (1 - expected) + misses
            log_odds[kind] = min(max(math.log(right / wrong), min(floor, prior)), max(CEILING, prior))
    return Priors(log_odds)
