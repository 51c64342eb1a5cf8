"""Shuffled, doubled, delayed, with changes of topology and passes of settlement in between: the same rows, every byte.

HEADEND_ARRIVAL_SEEDS=N tries N worlds instead of the few that are tried always, HEADEND_ARRIVAL_FIRST_SEED from which
on; a failure names its seed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from support.arrivals import Change, Sample, World
from support.field import Field

FIRST = int(os.environ.get("HEADEND_ARRIVAL_FIRST_SEED", "1"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("HEADEND_ARRIVAL_SEEDS", "2")))


@pytest.mark.parametrize("wild", [False, True], ids=["plausible", "wild"])
@pytest.mark.parametrize("seed", SEEDS)
def test_any_order_settles_to_the_same_bytes(make_field: Callable[..., Field], seed: int, wild: bool) -> None:
    world = World(make_field(interval_s=3600, tolerance_s=1800), seed, wild)
    world.begin()
    for change in world.changes:
        world.change(change)
    world.write(world.samples)
    world.settle()
    wanted = world.settled()
    assert len(wanted["balance_day"]) > 100
    assert wanted["shaped_day"], "a gap has the shape of reference days"

    world.begin()
    choose = random.Random(seed)
    for step in _steps(world, choose):
        if isinstance(step, Change):
            world.change(step)
        else:
            world.write(step)
        if choose.random() < 0.6:
            world.settle(choose.choice([1, 1, 2, 5, 1000]))
    world.settle()
    found = world.settled()
    for table, rows in wanted.items():
        assert len(found[table]) == len(rows), (seed, table)
        for a, b in zip(found[table], rows, strict=True):
            different = {key: (a[key], b[key]) for key in b if a[key] != b[key]}
            assert not different, (seed, table, b.get("usage_point_id"), b["day"], different)


def _steps(world: World, choose: random.Random) -> list[list[Sample] | Change]:
    """The samples in messages of any size: some in order, some late, some twice; the changes somewhere between them."""
    samples = list(world.samples)
    late = [s for s in samples if choose.random() < choose.choice([0.02, 0.3])]
    rest = [s for s in samples if s not in set(late)]
    if choose.random() < 0.5:
        choose.shuffle(rest)
    choose.shuffle(late)
    line = rest + late
    line += choose.sample(line, len(line) // 6)  # told again
    steps: list[list[Sample] | Change] = []
    while line:
        size = choose.choice([3, 40, 200, 700])
        steps.append(line[:size])
        line = line[size:]
    # A gap's far end before its near end, a reference day after all: whole messages change places, too.
    for _ in range(len(steps) // 3):
        a, b = choose.randrange(len(steps)), choose.randrange(len(steps))
        steps[a], steps[b] = steps[b], steps[a]
    places = sorted(choose.randrange(len(steps) + 1) for _ in world.changes)
    for n, (place, change) in enumerate(zip(places, world.changes, strict=True)):
        steps.insert(place + n, change)
    return steps
