"""Uploads as the head-end's own decoder understands them, numbered for ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from drivers.mqtt.payload import ProfileUpload, decode
from drivers.simulator.days import STEP_US, US
from drivers.simulator.export import truth
from drivers.simulator.fleet import AREA
from drivers.simulator.profile import Profiles, freezes
from drivers.simulator.world import World

Make = Callable[..., World]


def decoded(profiles: Profiles, seq: int) -> ProfileUpload:
    """One upload, through the real decoder."""
    topic = f"headend/v1/concentrator/{profiles.code}/profile"
    found = decode(topic, profiles.payload(seq, 3), prefix="headend/v1", received_us=profiles.world.epoch_us)
    assert isinstance(found, ProfileUpload)
    return found


def test_history_decodes_to_what_the_truth_counts(make_world: Make) -> None:
    world = make_world()
    counted: dict[str, int] = {}
    for area in (0, 1):
        profiles = Profiles(world, area)
        for seq in range(1, profiles.history + 1):
            upload = decoded(profiles, seq)
            assert (upload.concentrator, upload.seq, upload.backlog) == (profiles.code, seq, 3)
            for i, name in enumerate(upload.batch.meters):
                counted[str(name)] = counted.get(str(name), 0) + int(np.sum(upload.batch.rows["meter"] == i))
    assert counted == truth(world)["history"]["readings"]


def test_the_values_are_the_registers(make_world: Make) -> None:
    world = make_world()
    profiles = Profiles(world, 1)
    upload, batch = profiles.upload(2), decoded(profiles, 2).batch
    frozen = freezes(world, upload.meters, upload.ts_us)
    for row in batch.rows[::37]:
        g, k = int(row["meter"]), int(np.searchsorted(upload.ts_us, row["ts_us"]))
        assert row["import_wh"] == frozen.import_wh[g, k]
        assert row["export_wh"] == frozen.export_wh[g, k]
        assert row["voltage_dv"] == pytest.approx(frozen.voltage_v[g, k] * 10, abs=0.51)
    assert {int(m) for m in batch.phases["meter"]} == {0}, "the area meter tells its phases"
    assert world.fleet.meters[upload.meters[0]].role == AREA
    total = batch.phases["import_wh"].sum(axis=1) - batch.phases["export_wh"].sum(axis=1)
    assert np.all(np.diff(total) >= -6)


def test_days_then_today_then_every_freeze(make_world: Make) -> None:
    world = make_world()
    profiles = Profiles(world, 0)
    assert profiles.history == 4
    assert [profiles.upload(s).ts_us.size for s in (1, 2, 3)] == [97, 96, 96]
    stamps = np.concatenate([profiles.upload(s).ts_us for s in range(1, 8)])
    assert np.all(np.diff(stamps) == STEP_US)
    assert stamps[0] == world.start_us
    assert profiles.upload(4).ts_us[-1] == world.until_us <= world.epoch_us < world.until_us + STEP_US
    assert profiles.upload(5).ts_us.tolist() == [world.until_us + STEP_US]
    assert profiles.last_due(world.epoch_us) == 4
    due = world.until_us + STEP_US + world.scenario.live.collect_s * US
    assert profiles.last_due(due - 1) == 4
    assert profiles.last_due(due) == 5


def test_a_start_at_midnight_has_no_today(make_world: Make) -> None:
    world = make_world(epoch=datetime(2026, 11, 22, 16, 0, 5, tzinfo=UTC))
    assert Profiles(world, 0).history == 3
    assert Profiles(world, 0).upload(4).ts_us[0] == world.until_us + STEP_US


def test_large_areas_are_split_into_groups_that_cover_all(make_world: Make) -> None:
    world = make_world()
    live = msgspec.structs.replace(world.scenario.live, upload_meters=5)
    split = Profiles(World(msgspec.structs.replace(world.scenario, live=live), world.epoch_us), 0)
    assert split.history == 4 * 3
    day = [split.upload(s) for s in (1, 2, 3)]
    assert np.array_equal(np.concatenate([u.meters for u in day]), split.meters)
    assert all(np.array_equal(u.ts_us, day[0].ts_us) for u in day)


def test_the_same_number_gives_the_same_bytes(make_world: Make) -> None:
    a, b = Profiles(make_world(), 0), Profiles(make_world(), 0)
    assert b.payload(6, 1) == a.payload(6, 1)
    assert b.payload(2, 9) == a.payload(2, 9)


def test_days_on_which_the_clocks_change(make_world: Make) -> None:
    world = make_world(zone="Europe/Berlin", epoch=datetime(2026, 10, 26, 9, 0, tzinfo=UTC))
    assert [Profiles(world, 0).upload(s).ts_us.size for s in (1, 2, 3)] == [97, 96, 100]
