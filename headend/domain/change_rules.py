"""What a change or a correction makes of what is stored. Pure: records in, changed rows out, or a Contradiction.

The rules that hold afterwards: who is supplied behind a shared usage point hangs on its area as long as he is; a
register fits its meter; a usage point always has a category.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from headend.domain import change_corrected as corrected
from headend.domain import change_happened as happened
from headend.domain import changes as wanted
from headend.domain.change_known import Known, check_register, of_point
from headend.domain.changes import ChangeKind
from headend.domain.timeline import (
    Contradiction,
    InstallationRow,
    MembershipRow,
    Records,
    RowChange,
    Span,
    check,
    differences,
)

_RULES: Final[Mapping[ChangeKind, Callable[[Any, Known], Records]]] = {
    ChangeKind.SWAP_METER: happened.swapped,
    ChangeKind.MOVE: happened.moved,
    ChangeKind.CHANGE_MULTIPLIER: happened.multiplier_changed,
    ChangeKind.CHANGE_SIGN: happened.sign_changed,
    ChangeKind.CHANGE_CATEGORY: happened.category_changed,
    ChangeKind.REMOVE_SHARED_METER: happened.shared_meter_removed,
    ChangeKind.CORRECT_INSTALLATION: corrected.installation_corrected,
    ChangeKind.WITHDRAW_INSTALLATION: corrected.installation_withdrawn,
    ChangeKind.CORRECT_MEMBERSHIP: corrected.membership_corrected,
    ChangeKind.WITHDRAW_MEMBERSHIP: corrected.membership_withdrawn,
    ChangeKind.CORRECT_CATEGORY: corrected.category_corrected,
    ChangeKind.WITHDRAW_CATEGORY: corrected.category_withdrawn,
    ChangeKind.CORRECT_METER: corrected.meter_corrected,
    ChangeKind.UNDO: corrected.undone,
}


def make(what: wanted.Change, known: Known) -> list[RowChange]:
    """Every row that a change makes, alters or takes away. Raises Contradiction when it cannot be."""
    after = _RULES[what.kind](what, known)
    check(after)
    found = differences(known.records, after)
    if not found:
        raise Contradiction("that is how it is stored already")
    _check_behind(after, found)
    _check_registers(found, known)
    _check_categories(after, found)
    return found


def _check_behind(after: Records, found: Sequence[RowChange]) -> None:
    """Whoever is supplied behind a shared usage point hangs on its area, all the while."""
    changed = {change.after for change in found if isinstance(change.after, MembershipRow)}
    moved = {change.row.usage_point for change in found if isinstance(change.row, MembershipRow)}
    for row in after.memberships:
        if row.behind is None or (row not in changed and row.behind not in moved):
            continue
        hangs = [one for one in after.memberships if one.usage_point == row.behind and one.area == row.area]
        reached = row.begins
        for one in sorted(hangs, key=lambda one: one.begins):
            if one.begins <= reached < one.ends:
                reached = one.ends
        if reached < row.ends:
            raise Contradiction(
                f"{row.usage_point} would be supplied behind {row.behind} on {row.area} from {reached.isoformat()}, "
                f"where {row.behind} does not hang: move {row.usage_point} first, or {row.behind} with those behind it",
                "behind",
            )


def _check_registers(found: Sequence[RowChange], known: Known) -> None:
    for change in found:
        if isinstance(change.after, InstallationRow):
            check_register(change.after, known.meter(change.after.meter))


def _check_categories(after: Records, found: Sequence[RowChange]) -> None:
    for point in {
        change.row.usage_point for change in found if change.table == "categories" and isinstance(change.row, Span)
    }:
        rows = sorted(of_point(after.categories, point), key=lambda row: row.begins)
        whole = (
            bool(rows) and rows[0].valid_from is None and rows[-1].valid_to is None
            and all(a.ends == b.begins for a, b in pairwise(rows))
        )  # fmt: skip
        if not whole:
            raise Contradiction(
                f"{point} would be without a category for a while: say what follows, or went before", "valid_to"
            )
        for one, next_one in pairwise(rows):
            if one.category == next_one.category:
                raise Contradiction(f"{next_one} says what it was before: {one}", "category")
