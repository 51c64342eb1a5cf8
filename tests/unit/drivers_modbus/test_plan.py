"""The read plan against exhaustive search, and its limits one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from drivers.modbus.plan import Block, PlanError, cover, plan
from drivers.modbus.register_map import AddressRange, Limits, RegisterSpec, Table


def _partitions(items: list[RegisterSpec]) -> Any:
    if not items:
        yield []
        return
    first, *rest = items
    for smaller in _partitions(rest):
        for i, group in enumerate(smaller):
            yield [*smaller[:i], [first, *group], *smaller[i + 1 :]]
        yield [[first], *smaller]


def _read_anyway(specs: list[RegisterSpec], align: int) -> set[int]:
    """Wanted registers, and those that share a multiple of `align` with one: these are no gap."""
    units = {a // align for s in specs for a in range(s.address, s.last + 1)}
    return {unit * align + i for unit in units for i in range(align)}


def _feasible(group: list[RegisterSpec], everything: list[RegisterSpec], limits: Limits, closed: Any) -> Block | None:
    """An independent statement of what a request may be: by address sets, not by neighbours."""
    if len({s.table for s in group}) > 1:
        return None
    block = cover(group, limits)
    table = group[0].table
    wanted = _read_anyway([s for s in everything if s.table is table], limits.align)
    first, last = min(s.address for s in group), max(s.last for s in group)
    run = 0
    for address in range(first, last + 1):
        run = 0 if address in wanted else run + 1
        if run > limits.max_gap:
            return None
    asked = set(range(block.address, block.address + block.count))
    shut = {a for c in closed if c.table is table for a in range(c.first, c.last + 1)}
    return None if block.count > limits.max_registers or asked & shut else block


@st.composite
def _problems(draw: Any) -> tuple[list[tuple[Table, int, int]], dict[str, Any], list[AddressRange]]:
    spans: list[tuple[Table, int, int]] = []
    for table in Table:
        address = draw(st.integers(0, 5))
        for _ in range(draw(st.integers(0, 4))):
            count = draw(st.integers(1, 4))
            spans.append((table, address, count))
            address += count + draw(st.integers(0, 7))
    limits = {
        "max_registers": draw(st.integers(2, 16)),
        "max_gap": draw(st.integers(0, 6)),
        "align": draw(st.sampled_from([1, 1, 2, 4])),
        "function_codes": draw(st.sampled_from([{Table.INPUT: i, Table.HOLDING: h} for i in (3, 4) for h in (3, 4)])),
    }
    closed = [
        AddressRange(draw(st.sampled_from(list(Table))), first, first + draw(st.integers(0, 3)))
        for first in draw(st.lists(st.integers(0, 40), max_size=2))
    ]
    return spans, limits, closed


@seed(20261123)
@settings(max_examples=400, deadline=None)
@given(problem=_problems(), as_forbidden=st.booleans())
def test_no_plan_has_fewer_requests_nor_as_few_with_fewer_registers(
    problem: Any, as_forbidden: bool, make_spec: Any, make_limits: Any
) -> None:
    spans, given_limits, closed = problem
    limits = make_limits(**given_limits, forbidden=tuple(closed) if as_forbidden else ())
    refused = () if as_forbidden else tuple(closed)
    specs = [make_spec(table=t, address=a, count=n) for t, a, n in spans]
    costs = []
    for partition in _partitions(specs):
        blocks = [_feasible(group, specs, limits, closed) for group in partition]
        if all(blocks):
            costs.append((len(blocks), sum(b.count for b in blocks if b)))
    if not costs:
        with pytest.raises(PlanError):
            plan(specs, limits, refused=refused)
        return
    blocks = plan(specs[::-1], limits, refused=refused)
    assert (len(blocks), sum(b.count for b in blocks)) == min(costs)
    assert sorted(map(repr, specs)) == sorted(repr(s) for b in blocks for s in b.specs)
    for block in blocks:
        assert _feasible(list(block.specs), specs, limits, closed) == block


def _fewest(specs: list[RegisterSpec], limits: Limits, closed: list[AddressRange]) -> tuple[int, int] | None:
    """(requests, registers) of the cheapest set of requests whatsoever: every interval of addresses that a request may
    be, wider than needed or not, and every choice among them. Of plans, runs and covers it knows nothing."""
    fewest = (0, 0)
    for table in Table:
        mine = [s for s in specs if s.table is table]
        wanted = _read_anyway(mine, limits.align)
        shut = {a for c in closed if c.table is table for a in range(c.first, c.last + 1)}
        end = max(wanted, default=0) + limits.align
        brings: dict[int, int] = {}
        for first in range(0, end + 1, limits.align):
            for count in range(limits.align, limits.max_registers + 1, limits.align):
                inside = [s for s in mine if first <= s.address and s.last < first + count]
                if not inside or shut & set(range(first, first + count)):
                    continue
                between = range(min(s.address for s in inside), max(s.last for s in inside) + 1)
                gaps = "".join("x" if a in wanted else "." for a in between).split("x")
                if all(len(gap) <= limits.max_gap for gap in gaps):
                    which = sum(1 << mine.index(s) for s in inside)
                    brings[which] = min(count, brings.get(which, count))
        cost = {0: (0, 0)}
        for have in range(1 << len(mine)):
            for which, count in brings.items() if have in cost else ():
                paid = (cost[have][0] + 1, cost[have][1] + count)
                cost[have | which] = min(paid, cost.get(have | which, paid))
        if (whole := (1 << len(mine)) - 1) not in cost:
            return None
        fewest = (fewest[0] + cost[whole][0], fewest[1] + cost[whole][1])
    return fewest


@seed(20261124)
@settings(max_examples=600, deadline=None)
@given(problem=_problems(), as_forbidden=st.booleans())
def test_no_set_of_requests_whatsoever_is_cheaper(
    problem: Any, as_forbidden: bool, make_spec: Any, make_limits: Any
) -> None:
    spans, given_limits, closed = problem
    limits = make_limits(**given_limits, forbidden=tuple(closed) if as_forbidden else ())
    specs = [make_spec(table=t, address=a, count=n) for t, a, n in spans]
    fewest = _fewest(specs, limits, closed)
    if fewest is None:
        with pytest.raises(PlanError):
            plan(specs, limits, refused=() if as_forbidden else closed)
        return
    blocks = plan(specs, limits, refused=() if as_forbidden else closed)
    assert (len(blocks), sum(b.count for b in blocks)) == fewest


def test_a_forbidden_register_between_two_wanted_ones_splits_the_request(make_spec: Any, make_limits: Any) -> None:
    specs = [make_spec(address=0, count=2), make_spec(address=6, count=2)]
    assert [str(b) for b in plan(specs, make_limits(max_gap=10))] == ["input 0x0000..0x0007"]
    shut = make_limits(max_gap=10, forbidden=(AddressRange(Table.INPUT, 3, 3),))
    assert [str(b) for b in plan(specs, shut)] == ["input 0x0000..0x0001", "input 0x0006..0x0007"]
    elsewhere = make_limits(max_gap=10, forbidden=(AddressRange(Table.HOLDING, 3, 3),))
    assert len(plan(specs, elsewhere)) == 1


def test_alignment_widens_a_request_on_both_sides(make_spec: Any, make_limits: Any) -> None:
    (block,) = plan([make_spec(address=3, count=2)], make_limits(align=4))
    assert (block.address, block.count) == (0, 8)
    assert block.words_of(block.specs[0], tuple(range(100, 108))) == (103, 104)


def test_what_cannot_be_read_says_why(make_spec: Any, make_limits: Any) -> None:
    with pytest.raises(PlanError, match=r"power_w at input 0x0000\.\.0x0003 is 4 registers long, a request may be 2"):
        plan([make_spec(count=4)], make_limits(max_registers=2))
    with pytest.raises(PlanError, match=r"power_w .* lies in input 0x0001\.\.0x0009, which must not be asked for"):
        plan([make_spec(count=4)], make_limits(), refused=[AddressRange(Table.INPUT, 1, 9)])


def test_nothing_wanted_needs_no_request(make_limits: Any) -> None:
    assert plan([], make_limits()) == ()
