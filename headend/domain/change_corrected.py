"""What was recorded wrongly, as the records that should have been: corrections, withdrawals, and taking back. Pure.

The rule they keep: neighbours that touched what is corrected move along, and so do those who are supplied behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from headend.domain import changes as wanted
from headend.domain.change_known import Known, check_register, of_point, refuse_behind
from headend.domain.timeline import (
    TABLES,
    Contradiction,
    InstallationRow,
    MembershipRow,
    Records,
    RowChange,
    beginning,
    correct,
    touching,
    withdraw,
)

_ENDS: Final = ("end_import_wh", "end_export_wh")


def installation_corrected(what: wanted.CorrectInstallation, known: Known) -> Records:
    """An installation says something else; of a shared meter's removal all that came with it moves along."""
    records = known.records
    row = beginning(of_point(records.installations, what.usage_point), what.since, "installation")
    given = _without_end(row, what.given)
    known.meter((given.get("manufacturer", row.manufacturer), given.get("serial", row.serial)))
    made = tuple(correct(records.installations, row, given))
    memberships = records.memberships
    if "valid_to" in given and row.valid_to is not None and known.kinds[what.usage_point] == "shared":
        memberships = _removal_corrected(what.usage_point, row.valid_to, given["valid_to"], memberships)
    return replace(records, installations=made, memberships=memberships)


def _without_end(row: InstallationRow, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A meter that still serves has no end register: one that was noted goes with the end."""
    if given.get("valid_to", row.valid_to) is not None:
        return given
    for name in _ENDS:
        if given.get(name) is not None:
            raise Contradiction("the meter still serves: it has no end register", name)
    return {**given, **{name: None for name in _ENDS if getattr(row, name) is not None}}


def installation_withdrawn(what: wanted.WithdrawInstallation, known: Known) -> Records:
    """The meter never served there; whichever served before went on doing so."""
    installations = known.records.installations
    row = beginning(of_point(installations, what.usage_point), what.since, "installation")
    before = touching(installations, row)
    taken_over: dict[str, Any] = dict.fromkeys(_ENDS)
    if before is not None and before.meter == row.meter:
        taken_over = {name: getattr(row, name) for name in taken_over}
    return replace(known.records, installations=tuple(withdraw(installations, row, taken_over)))


def _removal_corrected(
    shared: str, was: datetime, then: datetime | None, memberships: Sequence[MembershipRow]
) -> tuple[MembershipRow, ...]:
    """A shared meter was removed at another instant, or not at all: who became direct then moves along."""
    made: Sequence[MembershipRow] = memberships
    for row in memberships:
        if row.valid_to != was or shared not in (row.usage_point, row.behind):
            continue
        next_row = next((one for one in made if one.usage_point == row.usage_point and one.valid_from == was), None)
        if then is None and next_row is not None:
            made = withdraw(made, next_row, {})
        else:
            current = next(one for one in made if one.row_id == row.row_id)
            made = correct(made, current, {"valid_to": then})
    return tuple(made)


def membership_corrected(what: wanted.CorrectMembership, known: Known) -> Records:
    """A membership says something else."""
    point, given, memberships = what.usage_point, what.given, known.records.memberships
    row = beginning(of_point(memberships, point), what.since, "membership")
    area = given.get("area", row.area)
    if known.kinds[point] == "area" and area != row.area:
        raise Contradiction(f"{point} is the transformer's own usage point: it does not move", "area")
    refuse_behind(point, given.get("behind", row.behind), known)
    made: Sequence[MembershipRow] = correct(memberships, row, given)
    if known.kinds[point] == "shared":
        made = _followers_corrected(row, given, memberships, made)
    return replace(known.records, memberships=tuple(made))


def membership_withdrawn(what: wanted.WithdrawMembership, known: Known) -> Records:
    """It never hung there."""
    memberships = known.records.memberships
    row = beginning(of_point(memberships, what.usage_point), what.since, "membership")
    return replace(known.records, memberships=tuple(withdraw(memberships, row, {})))


def category_corrected(what: wanted.CorrectCategory, known: Known) -> Records:
    """A category says something else."""
    categories = known.records.categories
    row = beginning(of_point(categories, what.usage_point), what.since, "category")
    return replace(known.records, categories=tuple(correct(categories, row, what.given)))


def category_withdrawn(what: wanted.WithdrawCategory, known: Known) -> Records:
    """It never was of that category: what went before goes on, or what follows was so before."""
    categories = known.records.categories
    row = beginning(of_point(categories, what.usage_point), what.since, "category")
    return replace(known.records, categories=tuple(withdraw(categories, row, {}, backwards=True)))


def _followers_corrected(
    row: MembershipRow, given: Mapping[str, Any], before: Sequence[MembershipRow], made: Sequence[MembershipRow]
) -> Sequence[MembershipRow]:
    """Who is supplied behind a shared usage point, and came or went with it, moves along with its correction."""
    for follower in before:
        if follower.behind != row.usage_point or not follower.overlaps(row):
            continue
        along: dict[str, Any] = {"area": given["area"]} if "area" in given and follower.area == row.area else {}
        for edge in ("valid_from", "valid_to"):
            if edge in given and getattr(follower, edge) == getattr(row, edge):
                along[edge] = given[edge]
        current = next(one for one in made if one.row_id == follower.row_id)
        made = correct(made, current, along)
    return made


def meter_corrected(what: wanted.CorrectMeter, known: Known) -> Records:
    """A device is something else than was recorded, whenever it served."""
    row = known.meter((what.manufacturer, what.serial))
    given = {name: getattr(what, name) for name in ("phases", "digits", "resolution_wh")}
    new = replace(row, **{name: value for name, value in given.items() if value is not None})
    for installed in known.records.installations:
        if installed.meter == row.meter:
            check_register(installed, new)
    return replace(known.records, meters=tuple(new if one is row else one for one in known.records.meters))


def undone(_what: wanted.Undo, known: Known) -> Records:
    """Every row is again as it was before; what is not as that change left it stands in the way."""
    records = known.records
    for table in TABLES:
        rows: list[Any] = list(getattr(records, table))
        for change in known.undone:
            if change.table == table:
                _put_back(rows, change)
        records = replace(records, **{table: tuple(rows)})
    return records


def _put_back(rows: list[Any], change: RowChange) -> None:
    if change.after is not None:
        now = next((row for row in rows if row.row_id == change.after.row_id), None)
        if now != change.after:
            says = "it is not stored any more" if now is None else f"it says now: {now}"
            raise Contradiction(f"it was changed since: that change left {change.after}; {says}", "undoes")
        rows.remove(now)
    if change.before is not None:
        rows.append(change.before)
