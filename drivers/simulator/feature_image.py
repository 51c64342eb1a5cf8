"""The registers beside the measured ones, through the real maps: clock, relay, tariff, status bits, stored profile.

The rule it keeps: only what a map describes can be written, and only as it describes it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta, tzinfo
from typing import Final, Protocol

from drivers.base import Quantity
from drivers.events import EventKind
from drivers.modbus.codec import CodecError, Value, encode
from drivers.modbus.feature_codec import decode_clock, encode_clock
from drivers.modbus.features import DAY_S, Features, ProfileSpec, SwitchSpec, WriteTarget
from drivers.modbus.register_map import AddressRange, Table
from drivers.simulator.days import US, from_us, to_us
from drivers.simulator.refusal import DEVICE_FAILURE, ILLEGAL_ADDRESS, ILLEGAL_VALUE, ModbusException

_UNLOCKED_US: Final = 10 * US
"""A password holds so long, or for one write."""


@dataclass(slots=True)
class Entered:
    """What somebody has entered in a meter that forgets it by itself: passwords, the stored record to show."""

    unlocked: dict[tuple[int, tuple[int, ...]], int] = field(default_factory=dict)
    """(address, words) → until when it holds [true µs]."""
    record: int = 0


class MeterNow(Protocol):
    """One meter at this moment."""

    @property
    def now_us(self) -> int:
        """The true instant."""
        ...

    @property
    def entered(self) -> Entered:
        """See `Entered`."""
        ...

    def clock_us(self) -> int:
        """What its clock shows."""
        ...

    def set_clock(self, shown_us: int) -> None:
        """Set it."""
        ...

    def relay(self) -> str:
        """`open` or `closed`."""
        ...

    def switch_relay(self, state: str) -> None:
        """Tell the relay to move."""
        ...

    def tariff(self) -> str:
        """The number of the tariff in force."""
        ...

    def switch_tariff(self, tariff: str) -> None:
        """Put another one in force."""
        ...

    def noticed(self) -> frozenset[EventKind]:
        """What goes on that it notices itself."""
        ...

    def frozen(self, shown_us: int) -> Mapping[Quantity, Value] | None:
        """The energies that it stored when its clock showed `shown_us`; None: it was not there yet."""
        ...


class FeatureImage:
    """How meters of one model answer beside being measured."""

    def __init__(self, features: Features, zone: tzinfo) -> None:
        """`zone`: that the meters are in."""
        self._features, self._zone = features, zone
        self._unlocks = {(address, words) for target in _targets(features) for address, words in target.unlock}

    @property
    def ranges(self) -> tuple[AddressRange, ...]:
        """The registers that can be read."""
        f = self._features
        switches = [s.state.range for s in (f.relay, f.tariff) if s is not None]
        found = [*switches, *(s.range for s in f.status)]
        if f.clock is not None:
            found.append(f.clock.range)
        if f.profile is not None:
            records = 1 if f.profile.selector is not None else f.profile.records
            last = f.profile.address + f.profile.stride * records - 1
            found.append(AddressRange(f.profile.table, f.profile.address, last))
        return tuple(dict.fromkeys(found))

    @property
    def functions(self) -> frozenset[int]:
        """Function codes that write something."""
        unlock = {16} if self._unlocks else set()
        return frozenset({t.function for t in _targets(self._features)} | unlock)

    def fill(self, out: bytearray, table: Table, address: int, meter: MeterNow) -> None:
        """Put what the meter shows into the registers of a request that begins at `address`; the rest stays."""
        last = address + len(out) // 2 - 1
        for held, words in self._shown(table, address, last, meter):
            for i, word in enumerate(words):
                if address <= held + i <= last:
                    struct.pack_into(">H", out, 2 * (held + i - address), word)

    def _shown(self, table: Table, first: int, last: int, meter: MeterNow) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Address and words of everything that lies in `first..last`, wholly or in part."""
        f = self._features
        if f.clock is not None and f.clock.range.overlaps(table, first, last):
            yield f.clock.address, encode_clock(f.clock.format, from_us(meter.clock_us()), self._zone)
        states: dict[int, int] = {}  # relay and tariff may be bits of the same register
        for switch, state in ((f.relay, meter.relay), (f.tariff, meter.tariff)):
            if switch is not None and switch.state.range.overlaps(table, first, last):
                states[switch.state.address] = states.get(switch.state.address, 0) | _state_word(switch, state())
        for status in f.status:
            if status.range.overlaps(table, first, last):
                noticed = meter.noticed()
                word = sum(1 << bit for bit, (kind, _) in status.bits.items() if kind in noticed)
                states[status.address] = states.get(status.address, 0) | word
        for address, word in states.items():
            yield address, (word,)
        if f.profile is not None and f.profile.table is table:
            yield from self._records(f.profile, first, last, meter)

    def _records(
        self, spec: ProfileSpec, first: int, last: int, meter: MeterNow
    ) -> Iterator[tuple[int, tuple[int, ...]]]:
        if spec.selector is not None:
            if spec.address <= last and first < spec.address + spec.stride:
                yield spec.address, self._record(spec, meter.entered.record, meter)
            return
        low = max(0, (first - spec.address) // spec.stride)
        high = min(spec.records - 1, (last - spec.address) // spec.stride)
        for number in range(low, high + 1):
            yield spec.address + number * spec.stride, self._record(spec, number, meter)

    def _record(self, spec: ProfileSpec, number: int, meter: MeterNow) -> tuple[int, ...]:
        """The words of one stored record."""
        stamp = self._stamp(spec, number, meter.clock_us())
        values = meter.frozen(to_us(stamp))
        if values is None:
            return (spec.empty,) * spec.stride
        words = [0] * spec.stride
        if spec.stamp is not None:
            words[spec.stamp_offset : spec.stamp_offset + spec.stamp.count] = encode_clock(
                spec.stamp, stamp, self._zone
            )
        for register in spec.registers:
            if (value := values.get(register.quantity)) is not None:
                words[register.address : register.address + register.count] = encode(register, value)
        return tuple(words)

    def _stamp(self, spec: ProfileSpec, number: int, clock_us: int) -> datetime:
        """What the meter's clock showed when record `number` was frozen."""
        there = from_us(clock_us).astimezone(self._zone)
        midnight = datetime.combine(there.date(), time(), self._zone)
        if spec.period_s == DAY_S:
            age = number if spec.order == "newest_first" else (midnight.toordinal() - number) % spec.records
            return datetime.combine(there.date() - timedelta(days=age), time(), self._zone)
        step_us = spec.period_s * US
        newest_us = to_us(midnight) + (clock_us - to_us(midnight)) // step_us * step_us
        age = number if spec.order == "newest_first" else (newest_us // step_us - number) % spec.records
        return from_us(newest_us - age * step_us)

    def write(self, function: int, address: int, words: tuple[int, ...], meter: MeterNow) -> None:
        """Do as told. Raises `ModbusException` where a meter would refuse it."""
        if function == 16 and any(address == a for a, _ in self._unlocks):
            if (address, words) not in self._unlocks:
                raise ModbusException(ILLEGAL_VALUE)
            meter.entered.unlocked[address, words] = meter.now_us + _UNLOCKED_US
            return
        found = [(t, act) for t, act in self._writable() if (t.function, t.address) == (function, address)]
        if not found:
            raise ModbusException(ILLEGAL_ADDRESS)
        for target, act in found:
            until = meter.entered.unlocked
            if any(until.pop(step, 0) < meter.now_us for step in target.unlock):
                raise ModbusException(DEVICE_FAILURE)
            if act(words, meter):
                return
        raise ModbusException(ILLEGAL_VALUE)

    def _writable(self) -> Iterator[tuple[WriteTarget, Callable[[tuple[int, ...], MeterNow], bool]]]:
        """Where something can be written, and what takes it: False for words that mean nothing there."""
        f = self._features
        if f.clock is not None and f.clock.write is not None:
            yield f.clock.write, self._set_clock
        if f.relay is not None:
            yield f.relay.write, self._switch_relay
        if f.tariff is not None:
            yield f.tariff.write, self._switch_tariff
        if f.profile is not None and f.profile.selector is not None:
            yield f.profile.selector, self._select

    def _set_clock(self, words: tuple[int, ...], meter: MeterNow) -> bool:
        assert self._features.clock is not None
        try:
            told = decode_clock(self._features.clock.format, words, self._zone)
        except CodecError:
            return False
        if told is not None:
            meter.set_clock(to_us(told))
        return told is not None

    def _switch_relay(self, words: tuple[int, ...], meter: MeterNow) -> bool:
        assert self._features.relay is not None
        state = _state_of(self._features.relay, words)
        if state is not None:
            meter.switch_relay(state)
        return state is not None

    def _switch_tariff(self, words: tuple[int, ...], meter: MeterNow) -> bool:
        assert self._features.tariff is not None
        state = _state_of(self._features.tariff, words)
        if state is not None:
            meter.switch_tariff(state)
        return state is not None

    def _select(self, words: tuple[int, ...], meter: MeterNow) -> bool:
        spec = self._features.profile
        assert spec is not None
        number = words[0] - spec.selector_base
        fits = len(words) == 1 and 0 <= number < spec.records
        if fits:
            meter.entered.record = number
        return fits


def _targets(features: Features) -> list[WriteTarget]:
    """Everything that can be written."""
    f = features
    found = [s.write for s in (f.relay, f.tariff) if s is not None]
    found += [f.clock.write] if f.clock is not None and f.clock.write is not None else []
    return found + ([f.profile.selector] if f.profile is not None and f.profile.selector is not None else [])


def _state_of(switch: SwitchSpec, words: tuple[int, ...]) -> str | None:
    return next((state for state, wanted in switch.writes.items() if wanted == words), None)


def _state_word(switch: SwitchSpec, state: str) -> int:
    """What the state register shows; one that the map cannot tell as a value that means none of the others."""
    told = switch.states.get(state)
    if told is not None:
        return told[0]
    meaning = {v for values in switch.states.values() for v in values}
    return next((v for v in range(0x10000) if v & ~switch.state.mask == 0 and v not in meaning), 0)
