"""Shuffled, doubled, delayed, with changes of topology, edits and passes of settlement in between: the same bytes.

HEADEND_ARRIVAL_SEEDS=N tries N worlds instead of the few that are tried always, HEADEND_ARRIVAL_FIRST_SEED from which
on; a failure names its seed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from headend.domain.edits import EditOrder
from headend.domain.quality import ValidationFlag as Flag
from support.arrivals import Change, Sample, World
from support.field import Field, assert_same_rows

FIRST = int(os.environ.get("HEADEND_ARRIVAL_FIRST_SEED", "1"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("HEADEND_ARRIVAL_SEEDS", "2")))


@pytest.mark.parametrize("wild", [False, True], ids=["plausible", "wild"])
@pytest.mark.parametrize("seed", SEEDS)
def test_any_order_settles_to_the_same_bytes(make_field: Callable[..., Field], seed: int, wild: bool) -> None:
    world = World(make_field(interval_s=3600, tolerance_s=4500), seed, wild)
    world.begin()
    for change in world.changes:
        world.change(change)
    world.write(world.samples)
    world.settle()
    world.edits = [edit for edit in world.edits if world.edit(*edit)]
    world.settle()
    wanted = world.settled()
    assert len(wanted["balance_day"]) > 100
    shaped = [row for row in wanted["interval_day"] if any(flag & Flag.BY_REFERENCE_DAYS for flag in row["flags"])]
    assert len(shaped) > 30, "gaps have the shape of reference days"
    assert world.edits, "something is edited"

    world.begin()
    choose = random.Random(seed)
    refused: list[tuple[str, EditOrder]] = []
    for step in _steps(world, choose):
        if isinstance(step, tuple):
            if not world.edit(*step):
                refused.append(step)
        elif isinstance(step, Change):
            world.change(step)
        else:
            world.write(step)
        if choose.random() < 0.6:
            world.settle(choose.choice([1, 1, 2, 5, 1000]))
    assert all(world.edit(*edit) for edit in refused), "what could be edited in the end can be now"
    world.settle()
    found = world.settled()
    for table, rows in wanted.items():
        assert_same_rows(found[table], rows)


Step = list[Sample] | Change | tuple[str, EditOrder]


def _steps(world: World, choose: random.Random) -> list[Step]:
    """The samples in messages of any size: some in order, some late, some twice; changes and edits somewhere between
    them.
    """
    samples = list(world.samples)
    late = [s for s in samples if choose.random() < choose.choice([0.02, 0.3])]
    rest = [s for s in samples if s not in set(late)]
    if choose.random() < 0.5:
        choose.shuffle(rest)
    choose.shuffle(late)
    line = rest + late
    line += choose.sample(line, len(line) // 6)  # told again
    steps: list[Step] = []
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
    for edit in world.edits:
        steps.insert(choose.randrange(len(steps) + 1), edit)
    return steps
