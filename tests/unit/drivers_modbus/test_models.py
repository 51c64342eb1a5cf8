"""Every shipped model decodes its frames (frames/<model-id>.toml): recorded ones where there are any, else computed."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from drivers.base import Quantity
from drivers.modbus.codec import decode, encode, step
from drivers.modbus.feature_codec import decode_clock, encode_clock
from drivers.modbus.features import ClockField, SwitchSpec
from drivers.modbus.map_file import load_models
from drivers.modbus.model import MeterModel
from drivers.modbus.plan import plan
from drivers.modbus.register_map import ENERGIES, TEXTS, RegisterSpec, RegisterType, Table, TransformerRatio
from support.model_frames import FRAMES_DIR, Frame, ModelFrames, load_frames

MODELS = load_models()
FRAMES = {path.stem: load_frames(path) for path in sorted(FRAMES_DIR.glob("*.toml"))}
LOCAL = ZoneInfo("Asia/Shanghai")
FLOATS = {RegisterType.F32: np.float32, RegisterType.F64: np.float64}

with_frames = pytest.mark.parametrize(
    ("model", "frames"), [(MODELS[i], FRAMES[i]) for i in MODELS if i in FRAMES], ids=[i for i in MODELS if i in FRAMES]
)
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))


def test_every_model_has_its_frames_and_every_frame_a_model() -> None:
    assert set(MODELS) == set(FRAMES)


@pytest.mark.parametrize(
    ("model", "frame"),
    [pytest.param(MODELS[i], f, id=f"{i}-{f.address:#06x}") for i in MODELS if i in FRAMES for f in FRAMES[i].frames],
)
def test_a_frame_decodes_to_its_values(model: MeterModel, frame: Frame) -> None:
    found = {}
    for spec in model.registers:
        start = spec.address - frame.address
        if model.limits.function_codes[spec.table] != frame.function or not 0 <= start <= len(frame.words) - spec.count:
            continue
        found[spec.quantity.value] = decode(spec, frame.words[start : start + spec.count])
    assert len(frame.words) <= model.limits.max_registers
    expected: dict[str, Any] = {**frame.values, **dict.fromkeys(frame.absent)}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        right = pytest.approx(value, abs=1e-3, rel=1e-6) if isinstance(value, float) else value
        assert found[name] == right, name
        assert type(found[name]) is type(value), name


@with_frames
def test_frames_show_every_type_and_every_encoding_of_no_value(model: MeterModel, frames: ModelFrames) -> None:
    shown, absent = set(), set()
    for frame in frames.frames:
        shown |= {_how_written(model.by_quantity[Quantity(name)]) for name in frame.values}
        for spec in (model.by_quantity[Quantity(name)] for name in frame.absent):
            absent.add((spec.type, _as_one_number(spec, frame)))
    assert {_how_written(spec) for spec in model.registers} == shown
    assert {(spec.type, bits) for spec in model.registers for bits in spec.invalid} <= absent


@each_model
def test_a_float_resolves_what_a_float_can(model: MeterModel) -> None:
    for spec in model.registers:
        if spec.quantity in ENERGIES:
            at_100_mwh = step(spec, 100_000_000)
            assert 0 < step(spec, 0) <= 1000
            if spec.type in FLOATS:
                spacing = float(np.spacing(FLOATS[spec.type](100_000_000 / spec.factor)) * spec.factor)
                assert at_100_mwh == max(spacing, float(spec.resolution))
            else:
                assert at_100_mwh == step(spec, 0) == float(spec.resolution)


def test_a_float_of_kwh_resolves_8_wh_at_100_000_kwh() -> None:
    spec = MODELS["eastron-sdm630"].by_quantity[Quantity.IMPORT_WH]
    assert step(spec, 100_000_000) == 7.8125
    assert decode(spec, encode(spec, 100_000_000)) == 100_000_000
    assert decode(spec, encode(spec, 100_000_003)) == 100_000_000


@with_frames
def test_the_optional_tables_have_frames_too(model: MeterModel, frames: ModelFrames) -> None:
    features = model.features
    assert bool(features.clock) == bool(frames.clock)
    assert bool(features.relay) == bool(frames.relay)
    assert bool(features.tariff) == bool(frames.tariff)
    assert {s.address for s in features.status} == {f.address for f in frames.status}
    assert bool(features.profile) == bool(frames.profile)


@with_frames
def test_a_clock_says_its_instant_and_is_set_to_it(model: MeterModel, frames: ModelFrames) -> None:
    for frame in frames.clock:
        assert model.features.clock is not None
        form = model.features.clock.format
        assert decode_clock(form, frame.words, LOCAL) == frame.instant
        if frame.instant is not None and not {ClockField.WEEKDAY, ClockField.FILLER} & set(form.fields):
            assert encode_clock(form, frame.instant, LOCAL) == frame.words


@with_frames
def test_a_switch_says_its_state(model: MeterModel, frames: ModelFrames) -> None:
    for switch, shown in ((model.features.relay, frames.relay), (model.features.tariff, frames.tariff)):
        for frame in shown:
            assert switch is not None
            assert _state(switch, frame.word) == frame.state
        if switch is not None:
            assert {f.state for f in shown} >= set(switch.writes)


@with_frames
def test_a_status_register_says_its_events(model: MeterModel, frames: ModelFrames) -> None:
    specs = {s.address: s for s in model.features.status}
    for frame in frames.status:
        events = {kind.value for bit, (kind, _) in specs[frame.address].bits.items() if frame.word >> bit & 1}
        assert events == set(frame.events)


@with_frames
def test_a_stored_record_says_its_instant_and_values(model: MeterModel, frames: ModelFrames) -> None:
    for frame in frames.profile:
        profile = model.features.profile
        assert profile is not None
        assert len(frame.words) == profile.stride
        if profile.stamp is not None:
            stamp = frame.words[profile.stamp_offset : profile.stamp_offset + profile.stamp.count]
            assert decode_clock(profile.stamp, stamp, LOCAL) == frame.instant
        found = {s.quantity.value: decode(s, frame.words[s.address : s.last + 1]) for s in profile.registers}
        assert found == {**frame.values, **dict.fromkeys(frame.absent)}


@each_model
def test_every_register_speaks_both_ways(model: MeterModel) -> None:
    for spec in model.registers:
        if spec.quantity in TEXTS:
            text = "12" if spec.type is not RegisterType.DOTTED else ".".join("1203"[: spec.count])
            assert decode(spec, encode(spec, text)) == text
        else:
            value = 100 * spec.factor.numerator if spec.quantity in ENERGIES else float(spec.factor)
            assert decode(spec, encode(spec, value)) == pytest.approx(value)


@each_model
def test_every_model_names_its_manual_and_sources(model: MeterModel) -> None:
    assert model.manual.title.startswith((model.manufacturer, "Eastron"))
    assert len(model.sources) >= 2


@with_frames
def test_every_model_has_what_a_head_end_lives_on(model: MeterModel, frames: ModelFrames) -> None:
    wanted = {Quantity.IMPORT_WH, Quantity.EXPORT_WH}
    wanted |= {Quantity[f"VOLTAGE_L{phase}_V"] for phase in range(1, model.phases + 1)}
    if model.transformer_ratio is not TransformerRatio.NONE and model.phases == 3:
        wanted.add(Quantity.CT_RATIO)
    assert wanted - model.quantities == {Quantity(name) for name in frames.lacks}
    assert Quantity.IMPORT_WH in model.quantities
    voltages = {q for q in model.quantities if q.value.startswith("voltage_")}
    assert len(voltages) in (0, model.phases)


def test_merged_blocks_save_most_of_the_requests() -> None:
    sdm630 = MODELS["eastron-sdm630"]
    blocks = plan(sdm630.registers, sdm630.limits)
    assert [str(b) for b in blocks] == [
        "holding 0xFC00..0xFC01",
        "input 0x0000..0x004B",
        "input 0x015A..0x0165",
    ]
    assert len(sdm630.registers) == 21
    assert all(s.type is not RegisterType.F32 for s in sdm630.registers if s.table is Table.HOLDING)


def _how_written(spec: RegisterSpec) -> tuple[str, ...]:
    return spec.type.value, spec.word_order.value, spec.byte_order.value


def _as_one_number(spec: RegisterSpec, frame: Frame) -> int:
    words = frame.words[spec.address - frame.address :][: spec.count]
    high_first = words if spec.word_order.value == "high_first" else words[::-1]
    big = high_first if spec.byte_order.value == "big" else [w >> 8 | (w & 0xFF) << 8 for w in high_first]
    return sum(word << 16 * i for i, word in enumerate(reversed(big)))


def _state(switch: SwitchSpec, word: int) -> str | None:
    masked = word & switch.state.mask
    return next((name for name, values in switch.states.items() if masked in values), None)
