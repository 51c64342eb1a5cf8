"""Reading batches: what was not measured is absent, never zero, and an index that points nowhere is refused."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.base import (
    ABSENT,
    ABSENT_DV,
    IMPORT_TARIFFS,
    MAX_TARIFFS,
    PHASE_DTYPE,
    READING_DTYPE,
    MeterIdentity,
    Quantity,
    ReadingBatch,
    ReadingFlag,
    RegisterReading,
    Source,
    batch_of,
    empty,
    tariffs,
)

A, B = MeterIdentity("Acme", "1"), MeterIdentity("Bcme", "1")


def reading(**values: object) -> RegisterReading:
    return RegisterReading(**({"instant_us": 1_700_000_000_000_000, "uncertainty_ms": 3} | values))  # type: ignore[arg-type]


def test_empty_rows_measure_nothing() -> None:
    rows, phases = empty(READING_DTYPE, 3), empty(PHASE_DTYPE, 2)
    assert (rows["import_wh"] == ABSENT).all()
    assert (rows["export_wh"] == ABSENT).all()
    assert (rows["voltage_dv"] == ABSENT_DV).all()
    for name, absent in (("import_wh", ABSENT), ("export_wh", ABSENT), ("voltage_dv", ABSENT_DV)):
        assert (phases[name] == absent).all(), name
    assert (phases["current_ma"] == ABSENT).all()
    assert (phases["power_w"] == ABSENT).all()
    assert (rows["flags"] == 0).all()


def test_a_zero_and_nothing_are_told_apart() -> None:
    rows = batch_of([(A, reading(import_wh=0)), (A, reading(export_wh=0))], Source.MODBUS).rows
    assert rows["import_wh"].tolist() == [0, ABSENT]
    assert rows["export_wh"].tolist() == [ABSENT, 0]


def test_meters_are_indexed_once_and_by_manufacturer_and_serial() -> None:
    batch = batch_of([(B, reading(import_wh=1)), (A, reading(import_wh=2)), (B, reading(import_wh=3))], Source.MQTT)
    assert batch.meters == (B, A)
    assert batch.rows["meter"].tolist() == [0, 1, 0]
    assert len(batch) == 3
    assert set(batch.rows["source"].tolist()) == {Source.MQTT}


def test_columns_of_a_three_phase_reading() -> None:
    flags = ReadingFlag.CLOCK_SUSPECT | ReadingFlag.BACKFILL
    whole = reading(
        import_wh=6,
        import_phase_wh=(1, None, 3),
        voltage_v=(229.84, None, 231.0),
        current_a=(0.0015, 2.0, None),
        power_w=-12.6,
        flags=flags,
    )
    batch = batch_of([(A, reading(import_wh=1, voltage_v=(230.0, None, None))), (B, whole)], Source.MODBUS)
    assert batch.rows["voltage_dv"].tolist() == [2300, round(10 * (229.84 + 231.0) / 2)]
    assert batch.rows["flags"].tolist() == [0, int(flags)]
    assert batch.rows["uncertainty_ms"].tolist() == [3, 3]
    (phase,) = batch.phases
    assert batch.meters[phase["meter"]] == B
    assert phase["ts_us"] == whole.instant_us
    assert phase["import_wh"].tolist() == [1, ABSENT, 3]
    assert phase["export_wh"].tolist() == [ABSENT] * 3
    assert phase["voltage_dv"].tolist() == [2298, ABSENT_DV, 2310]
    assert phase["current_ma"].tolist() == [2, 2000, ABSENT]
    assert phase["power_w"] == -13


def test_registers_per_rate_make_a_phase_row_whose_phases_are_absent() -> None:
    told = reading(import_wh=9, import_tariff_wh=(4, None, 5), voltage_v=(230.0, None, None))
    none = [reading(import_wh=9, import_tariff_wh=rates) for rates in (None, (), (None, None))]
    batch = batch_of([(A, told), *((B, r) for r in none)], Source.MODBUS)
    (phase,) = batch.phases
    assert batch.meters[phase["meter"]] == A
    assert phase["import_tariff_wh"].tolist() == [4, ABSENT, 5, *[ABSENT] * 5]
    assert phase["import_wh"].tolist() == phase["export_wh"].tolist() == [ABSENT] * 3
    assert phase["voltage_dv"].tolist() == [2300, ABSENT_DV, ABSENT_DV]


def test_more_rates_than_there_are_registers_for_are_refused() -> None:
    assert reading(import_tariff_wh=(1,) * MAX_TARIFFS).import_tariff_wh == (1,) * 8
    with pytest.raises(ValueError, match="import_tariff_wh: 9 rates, at most 8"):
        reading(import_tariff_wh=(1,) * 9)


def test_rates_end_with_the_last_one_that_was_measured() -> None:
    values = {IMPORT_TARIFFS[0]: 4, IMPORT_TARIFFS[2]: 0, IMPORT_TARIFFS[3]: None, Quantity.IMPORT_WH: 4}
    assert tariffs(values) == (4, None, 0)
    assert tariffs({Quantity.IMPORT_WH: 4, IMPORT_TARIFFS[1]: None}) is None


def test_no_readings_make_an_empty_batch() -> None:
    batch = batch_of([], Source.MODBUS)
    assert (len(batch), batch.meters, batch.phases.size) == (0, (), 0)


@pytest.mark.parametrize("index", [-1, 1])
@pytest.mark.parametrize("name", ["rows", "phases"])
def test_an_index_that_points_nowhere_is_refused(name: str, index: int) -> None:
    parts = {"rows": empty(READING_DTYPE, 1), "phases": empty(PHASE_DTYPE, 1)}
    parts[name]["meter"] = index
    with pytest.raises(ValueError, match=rf"{name}: a meter index is outside 0\.\.0"):
        ReadingBatch((A,), **parts)


@pytest.mark.parametrize("rows", [np.zeros(2), empty(PHASE_DTYPE, 1), empty(READING_DTYPE, 4).reshape(2, 2)])
def test_another_shape_or_type_is_refused(rows: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"rows: wanted shape \(n,\)"):
        ReadingBatch((A,), rows)
