"""A gap and a meter's stored profile: which records to ask for, and the readings that come of it, oldest first. Pure.

Whoever reads asks `ask()` what to read, reads it, and hands the registers to `take()`, until nothing is left to ask:

    walk = walk_of(spec, gap, bounds, zone=zone, most=most)
    while (ask := walk.ask(now_us)) is not None:
        found = walk.take(words, now_us)

The rules it keeps: what lies outside the gap is passed over; nothing is told twice; records that move on while the
meter freezes another one are not lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Final, Protocol

from drivers.modbus.features import DAY_S, ProfileSpec
from drivers.modbus.profile_records import Belief, Bounds, Doubtful, Frozen, Record, from_us, midnight_us, read_record

_US: Final = 1_000_000
_HOUR_S: Final = 3_600
_CLOCK_SLACK_US: Final = 120 * _US
"""A meter's clock may be off by so much: it may have frozen a record that is not due yet, or not one that is."""
_STAMP_STEP_US: Final = _US
"""Stamps tell seconds."""
_MIDNIGHT_SLACK_US: Final = 600 * _US
"""Records that carry no stamp are numbered by midnights: not read so close to one, since nobody knows whether the meter
has frozen it yet."""


@dataclass(frozen=True, slots=True)
class Gap:
    """An open interval between two readings [UTC µs]."""

    from_us: int
    """What lies at or before it is known, or was read back."""
    to_us: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Records to read now, of consecutive numbers; of a profile with a selector exactly one."""

    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a question brought."""

    frozen: tuple[Frozen, ...] = ()
    """Of the gap, oldest first."""
    doubtful: tuple[Doubtful, ...] = ()


class ProfileWalk(Protocol):
    """The way through one gap."""

    @property
    def done_to_us(self) -> int:
        """Nothing of the gap that lies before is still to come."""
        ...

    def ask(self, now_us: int) -> Ask | None:
        """What to read next; None when the gap is done."""
        ...

    def take(self, words: Sequence[int], now_us: int) -> Found:
        """The registers that were asked for last: (ask.count × spec.stride,). Once for each `ask`."""
        ...


def walk_of(spec: ProfileSpec, gap: Gap, bounds: Bounds, *, zone: tzinfo, most: int) -> ProfileWalk:
    """The way through a gap; `most` records fit into one question. `zone`: of stamps and midnights that are local."""
    most = 1 if spec.selector is not None else most
    if spec.stamp is None:
        return _Midnights(spec, gap, bounds, zone, most)
    return (_Newest if spec.order == "newest_first" else _Ring)(spec, gap, bounds, zone, most)


def may_be_read(spec: ProfileSpec, now_us: int, zone: tzinfo) -> bool:
    """Whether records can be told apart now: without stamps, not about local midnight."""
    if spec.stamp is not None:
        return True
    begun_us = midnight_us(from_us(now_us, zone), 0)
    next_us = midnight_us(from_us(now_us, zone), -1)
    return now_us - begun_us >= _MIDNIGHT_SLACK_US and next_us - now_us >= _MIDNIGHT_SLACK_US


def kept_since_us(spec: ProfileSpec, now_us: int) -> int:
    """What was frozen before is overwritten by now [UTC µs]."""
    return now_us - (spec.records + 1) * spec.period_s * _US


class _Walk:
    """What all ways have in common."""

    def __init__(self, spec: ProfileSpec, gap: Gap, bounds: Bounds, zone: tzinfo, most: int) -> None:
        self._spec = spec
        self._gap = gap
        self._zone = zone
        self._most = max(1, most)
        self._belief = Belief(bounds)
        self._asked = Ask(0, 0)
        self._twice: set[tuple[int, ...]] = set()
        """Records told whose stamp has two meanings: read again they are still the same."""
        self.done_to_us = gap.from_us

    def _records(self, words: Sequence[int]) -> list[Record]:
        """The filled ones of the last answer, by number."""
        stride = self._spec.stride
        if len(words) != self._asked.count * stride:
            raise ValueError(f"wanted {self._asked.count * stride} registers, got {len(words)}")
        numbered = (
            read_record(self._spec, words[i * stride : (i + 1) * stride], self._asked.first + i, self._zone)
            for i in range(self._asked.count)
        )
        return [record for record in numbered if record is not None]

    def _told(self, records: Iterable[Record]) -> Found:
        """Those of `records`, which come oldest first, that lie in what is left of the gap."""
        frozen: list[Frozen] = []
        doubtful: list[Doubtful] = []
        for record in records:
            if not record.instants_us:
                doubtful.append(Doubtful(record.number, "stamp", "its stamp names no instant", record.words))
                continue
            instant_us = self._meant_us(record)
            if instant_us is None or instant_us >= self._gap.to_us or record.words in self._twice:
                continue
            if len(record.instants_us) > 1:
                self._twice.add(record.words)
            judged = self._belief.judge(record, instant_us)
            self.done_to_us = instant_us
            if isinstance(judged, Frozen):
                frozen.append(judged)
            else:
                doubtful.append(judged)
        return Found(tuple(frozen), tuple(doubtful))

    def _meant_us(self, record: Record) -> int | None:
        """What a stamp means: in the hour that the clocks show twice, the first instant behind what came before.

        None: it lies at what came before, or before that.
        """
        return next((i for i in record.instants_us if i > self.done_to_us), None)


class _Newest(_Walk):
    """Record 0 is the newest: find the oldest one of the gap by halving, then go on towards the newer ones.

    Meanwhile the meter may freeze another record, and all of them move on by one place. That shows when an answer does
    not go on where the last one ended: then one place further back is read as well, until it does.
    """

    def __init__(self, spec: ProfileSpec, gap: Gap, bounds: Bounds, zone: tzinfo, most: int) -> None:
        super().__init__(spec, gap, bounds, zone, most)
        self._inside = -1
        """All records up to this one lie behind the beginning of the gap, in time."""
        self._outside: int | None = None
        """None from this one on does; None: nothing is known yet."""
        self._last: int | None = None
        """The oldest record that is still to be read, once the beginning of the gap is found."""
        self._seam: int | None = None
        """The newest of the records that are known was seen here by the last answer, which held nothing else."""
        self._doubted: tuple[int, ...] = ()
        """The record that did not go on where the last answer ended."""

    def ask(self, now_us: int) -> Ask | None:
        """See `ProfileWalk.ask`."""
        if self.done_to_us >= self._gap.to_us:
            return None
        if self._outside is None:
            # Records lie no closer than their period: those with a higher number are older.
            period_s = self._spec.period_s - (_HOUR_S if self._spec.period_s == DAY_S else 0)  # a day may have 23 h
            age = (now_us + _CLOCK_SLACK_US - self._gap.from_us) // (period_s * _US)
            self._outside = min(self._spec.records, max(0, age) + 1)
            first = self._outside - self._most
        elif self._last is None:
            first = (self._inside + self._outside) // 2
        else:
            first = self._last + 1 - self._most
        first, end = max(0, first), self._outside if self._last is None else self._last + 1
        self._asked = Ask(first, min(self._most, end - first))
        return self._asked

    def take(self, words: Sequence[int], now_us: int) -> Found:  # noqa: ARG002 the protocol's
        """See `ProfileWalk.take`."""
        records = self._records(words)
        if self._last is None:
            self._learn(records)
            return Found()
        oldest_first = list(reversed(records))
        last = self._asked.first + self._asked.count - 1
        fresh = next((r for r in oldest_first if not self._is_known(r) and self._meant_us(r) is not None), None)
        known = [r.number for r in records if self._is_known(r)]
        if fresh is not None and not known and not self._goes_on(fresh, last):
            self._doubted = fresh.words
            self._last = last + 1
            return Found()
        self._seam = min(known) if known and fresh is None else None
        self._last = self._asked.first - 1
        found = self._told(oldest_first)
        if self._last < 0 or any(i >= self._gap.to_us for r in records for i in r.instants_us[:1]):
            self.done_to_us = self._gap.to_us
        return found

    def _learn(self, records: Sequence[Record]) -> None:
        """What an answer says of where the gap begins; a record that says nothing counts as older."""
        assert self._outside is not None
        inside = {r.number for r in records if r.instants_us and r.instants_us[-1] > self._gap.from_us}
        for number in range(self._asked.first, self._asked.first + self._asked.count):
            if number not in inside:
                self._outside = min(self._outside, number)
                break
            self._inside = max(self._inside, number)
        if self._inside + 1 >= self._outside:
            self._last = self._inside
        if self._last == -1:
            self.done_to_us = self._gap.to_us  # the meter has nothing of it

    def _goes_on(self, fresh: Record, last: int) -> bool:
        """Whether nothing lies between what is known and `fresh`, the oldest news of an answer that ends at `last`.

        It does where it is a period away, where it was seen here before and after what is known was seen next to it,
        and where the meter has no older record.
        """
        away_us = (self._meant_us(fresh) or 0) - self.done_to_us
        near = away_us <= self._spec.period_s * _US + _STAMP_STEP_US
        sewn = self._seam == last + 1 and self._doubted == fresh.words
        return near or sewn or last + 1 >= self._spec.records

    def _is_known(self, record: Record) -> bool:
        return record.words in self._twice or (bool(record.instants_us) and record.instants_us[-1] <= self.done_to_us)


class _Ring(_Walk):
    """Any order: all records are read once, and those of the gap put into order."""

    def __init__(self, spec: ProfileSpec, gap: Gap, bounds: Bounds, zone: tzinfo, most: int) -> None:
        super().__init__(spec, gap, bounds, zone, most)
        self._next = 0
        self._kept: list[Record] = []

    def ask(self, now_us: int) -> Ask | None:  # noqa: ARG002 the protocol's
        """See `ProfileWalk.ask`."""
        if self._next >= self._spec.records:
            return None
        self._asked = Ask(self._next, min(self._most, self._spec.records - self._next))
        return self._asked

    def take(self, words: Sequence[int], now_us: int) -> Found:  # noqa: ARG002 the protocol's
        """See `ProfileWalk.take`."""
        within = range(self.done_to_us + 1 - 2 * _HOUR_S * _US, self._gap.to_us)  # with all of an hour shown twice
        self._kept += [r for r in self._records(words) if not r.instants_us or any(i in within for i in r.instants_us)]
        self._next += self._asked.count
        if self._next < self._spec.records:
            return Found()
        sure = [r for r in self._kept if len(r.instants_us) < 2]
        unsure = [r for r in self._kept if len(r.instants_us) > 1]
        found = self._told(sorted([*sure, *_one_after_the_other(unsure)], key=lambda r: r.instants_us[:1]))
        self.done_to_us = self._gap.to_us
        return found


def _one_after_the_other(twice: Iterable[Record]) -> list[Record]:
    """Records of hours that the clocks show twice, each with its one instant: the registers tell which pass it was."""
    placed: list[Record] = []
    told: set[tuple[int, ...]] = set()
    before_us = 0
    for record in sorted(twice, key=lambda r: (sum(r.values.values()), r.instants_us)):
        instant_us = next((i for i in record.instants_us if i > before_us), None)
        if instant_us is not None and record.words not in told:
            placed.append(replace(record, instants_us=(instant_us,)))
            told.add(record.words)
            before_us = instant_us
    return placed


class _Midnights(_Walk):
    """No stamps: record i was frozen i local midnights ago."""

    def __init__(self, spec: ProfileSpec, gap: Gap, bounds: Bounds, zone: tzinfo, most: int) -> None:
        super().__init__(spec, gap, bounds, zone, most)
        self._today = 0

    def ask(self, now_us: int) -> Ask | None:
        """See `ProfileWalk.ask`."""
        now = from_us(now_us, self._zone)
        self._today = now.toordinal()
        oldest = self._today - from_us(self.done_to_us, self._zone).toordinal() - 1
        newest = self._today - from_us(self._gap.to_us - 1, self._zone).toordinal()
        oldest, newest = min(oldest, self._spec.records - 1), max(newest, 0)
        if newest > oldest:
            self.done_to_us = self._gap.to_us
            return None
        first = max(newest, oldest - self._most + 1)
        self._asked = Ask(first, oldest - first + 1)
        return self._asked

    def take(self, words: Sequence[int], now_us: int) -> Found:
        """See `ProfileWalk.take`."""
        records = self._records(words)
        now = from_us(now_us, self._zone)
        if now.toordinal() != self._today or not may_be_read(self._spec, now_us, self._zone):
            return Found()  # whose midnight it was is not certain any more: asked again
        dated = [replace(r, instants_us=(midnight_us(now, r.number),)) for r in reversed(records)]
        found = self._told(dated)
        self.done_to_us = max(self.done_to_us, midnight_us(now, self._asked.first))
        return found
