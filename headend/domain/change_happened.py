"""What happened in the field, as the records that it makes: swaps, moves, exchanged transformers, removals. Pure.

The rule they keep: a change is told by the instant from which something holds, within the row that holds then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from headend.domain import changes as wanted
from headend.domain.change_known import Known, across, of_point, refuse_behind, supplied_behind
from headend.domain.timeline import (
    Contradiction,
    InstallationRow,
    MembershipRow,
    Records,
    at_instant,
    cut,
    just_before,
)


def swapped(what: wanted.SwapMeter, known: Known) -> Records:
    """One meter goes, another comes."""
    old = just_before(of_point(known.records.installations, what.usage_point), what.at)
    if old is None:
        raise Contradiction(f"no meter serves {what.usage_point} before {what.at.isoformat()}", "at")
    if old.valid_to is not None:
        raise Contradiction(
            f"the meter of {what.usage_point} is stored as serving until {old.valid_to.isoformat()}: {old}; "
            "correct that installation instead",
            "at",
        )
    new = known.meter((what.manufacturer, what.serial))
    if new.meter == old.meter:
        raise Contradiction(f"{'/'.join(new.meter)} serves {what.usage_point} already", "serial")
    comes = InstallationRow(
        row_id=None,
        usage_point=what.usage_point,
        manufacturer=what.manufacturer,
        serial=what.serial,
        valid_from=what.at,
        valid_to=None,
        multiplier=old.multiplier if what.multiplier is None else what.multiplier,
        sign=old.sign if what.sign is None else what.sign,
        start_import_wh=what.start_import_wh,
        start_export_wh=what.start_export_wh,
        end_import_wh=None,
        end_export_wh=None,
        seal=what.seal,
    )
    goes = replace(old, valid_to=what.at, end_import_wh=what.end_import_wh, end_export_wh=what.end_export_wh)
    stay = tuple(goes if row is old else row for row in known.records.installations)
    return replace(known.records, installations=(*stay, comes))


def multiplier_changed(what: wanted.ChangeMultiplier, known: Known) -> Records:
    """The same meter goes on with another multiplier."""
    return _goes_on(what, known, "multiplier", what.multiplier)


def sign_changed(what: wanted.ChangeSign, known: Known) -> Records:
    """The same meter goes on wired the other way round."""
    return _goes_on(what, known, "sign", what.sign)


def category_changed(what: wanted.ChangeCategory, known: Known) -> Records:
    """The usage point goes on as another category."""
    point, categories = what.usage_point, known.records.categories
    if known.kinds[point] == "area":
        raise Contradiction(f"{point} is the transformer's own usage point: it has no category", "usage_point")
    row = across(of_point(categories, point), what.at, f"category of {point}")
    made = cut(categories, row, what.at, {}, {"category": what.category})
    return replace(known.records, categories=tuple(made))


def _goes_on(what: wanted.ChangeMultiplier | wanted.ChangeSign, known: Known, name: str, value: object) -> Records:
    installations = known.records.installations
    row = across(of_point(installations, what.usage_point), what.at, f"installation at {what.usage_point}")
    if getattr(row, name) == value:
        raise Contradiction(f"the {name} is that already: {row}", name)
    first = {"end_import_wh": what.import_wh, "end_export_wh": what.export_wh}
    then = {"start_import_wh": what.import_wh, "start_export_wh": what.export_wh, name: value}
    return replace(known.records, installations=tuple(cut(installations, row, what.at, first, then)))


def moved(what: wanted.Move, known: Known) -> Records:
    """The usage point hangs elsewhere from then on, and who is supplied behind it, too."""
    point, kind = what.usage_point, known.kinds[what.usage_point]
    if kind == "area":
        raise Contradiction(f"{point} is the transformer's own usage point: it does not move", "usage_point")
    refuse_behind(point, what.behind, known)
    memberships = known.records.memberships
    row = across(of_point(memberships, point), what.at, f"membership of {point}")
    if (row.area, row.behind) == (what.area, what.behind):
        raise Contradiction(f"it hangs there already: {row}", "area")
    place = {"area": what.area, "behind": what.behind}
    made: Sequence[MembershipRow] = cut(memberships, row, what.at, {}, place)
    for follower in supplied_behind(memberships, point, what.at, row):
        if follower.begins < what.at:
            made = cut(made, follower, what.at, {}, {"area": what.area})
        else:
            made = [replace(one, area=what.area) if one is follower else one for one in made]
    return replace(known.records, memberships=tuple(made))


def shared_meter_removed(what: wanted.RemoveSharedMeter, known: Known) -> Records:
    """The shared meter goes, nobody hangs behind it any more, and its usage point supplies nobody."""
    point, at, records = what.usage_point, what.at, known.records
    if known.kinds[point] != "shared":
        raise Contradiction(f"{point} is no shared usage point", "usage_point")
    serves = just_before(of_point(records.installations, point), at)
    if serves is None:
        raise Contradiction(f"no meter serves {point} before {at.isoformat()}", "at")
    if serves.valid_to is not None:
        raise Contradiction(f"the meter of {point} is stored as serving until {serves.valid_to.isoformat()}", "at")
    hangs = just_before(of_point(records.memberships, point), at)
    if hangs is None or hangs.valid_to is not None:
        raise Contradiction(f"{point} hangs on no area without end before {at.isoformat()}", "at")
    behind = supplied_behind(records.memberships, point, at, hangs)
    _refuse_without_meter(behind, at, records.installations)
    goes = replace(serves, valid_to=at, end_import_wh=what.end_import_wh, end_export_wh=what.end_export_wh)
    made: Sequence[MembershipRow] = [replace(row, valid_to=at) if row is hangs else row for row in records.memberships]
    for follower in behind:
        if follower.begins < at:
            made = cut(made, follower, at, {}, {"behind": None})
        else:
            made = [replace(one, behind=None) if one is follower else one for one in made]
    return replace(
        records,
        installations=tuple(goes if row is serves else row for row in records.installations),
        memberships=tuple(made),
    )


def _refuse_without_meter(
    behind: Iterable[MembershipRow], at: datetime, installations: Sequence[InstallationRow]
) -> None:
    """From that instant on each counts for himself, or his energy would be counted by nobody."""
    missing = []
    for follower in behind:
        since = max(at, follower.begins)
        if at_instant(of_point(installations, follower.usage_point), since) is None:
            missing.append(follower.usage_point)
    if missing:
        raise Contradiction(
            f"the shared meter is still needed: no meter of their own serves at {at.isoformat()} at "
            f"{', '.join(sorted(missing))}",
            "at",
        )
