"""What an import would change: rows of the files against what is stored, every reference and every span checked. Pure.

The rule it keeps: history is not rewritten. A row that says otherwise than what is stored about an installation or a
membership is refused; only an open installation may be closed. What depends on a refused row is refused too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from drivers.modbus.endpoint import TcpEndpoint, parse_endpoint
from headend.domain.topology import (
    Area,
    Concentrator,
    Endpoint,
    Installation,
    Membership,
    Meter,
    MeterId,
    Premises,
    Station,
    Topology,
    TopologyChanges,
    UsagePoint,
)
from headend.ingest.topology_csv import Row, RowProblem, Table

_FROZEN: Final[Mapping[str, tuple[str, ...]]] = {
    "usage_point": ("kind", "category"),
    "premises": ("area", "shared_usage_point", "usage_point"),
}
"""Columns whose change would rewrite the past."""
_KEPT_WHEN_EMPTY: Final[Mapping[str, tuple[str, ...]]] = {"usage_point": ("name", "phase", "rated_current_a")}
"""Columns that crews fill in as well: an empty cell does not undo that."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, and what cannot be done."""

    changes: TopologyChanges
    problems: tuple[RowProblem, ...]
    unchanged: Mapping[str, int]
    """Rows by file that say what is stored already."""
    skipped: Mapping[str, int]
    """Rows by file that were refused."""


class _Refused(Exception):
    """A row that cannot be taken."""

    def __init__(self, column: str | None, reason: str) -> None:
        super().__init__(reason)
        self.column = column
        self.reason = reason


def plan(tables: Mapping[str, Table], stored: Topology, *, models: Collection[str] | None = None) -> Plan:
    """Compare all files with what is stored. `stored` is used up: it becomes what will be.

    `models`: ids of the register maps there are, to check Modbus meters against; None: not checked.
    """
    return _Planner(tables, stored, models).plan()


class _Planner:
    def __init__(self, tables: Mapping[str, Table], known: Topology, models: Collection[str] | None) -> None:
        self._tables = tables
        self._known = known
        self._models = models
        self._problems = [problem for table in tables.values() for problem in table.problems]
        self._added: defaultdict[str, list[Any]] = defaultdict(list)
        self._changed: defaultdict[str, list[Any]] = defaultdict(list)
        self._unchanged: Counter[str] = Counter()
        self._skipped = Counter({file: len(table.bad) for file, table in tables.items()})
        self._seen: dict[tuple[str, Hashable], int] = {}
        self._refused: dict[tuple[str, Hashable], tuple[str, int]] = {}
        self._of_point: defaultdict[str, list[Installation]] = defaultdict(list)
        self._of_meter: defaultdict[MeterId, list[Installation]] = defaultdict(list)
        for installation in known.installations.values():
            self._of_point[installation.usage_point].append(installation)
            self._of_meter[installation.key[1]].append(installation)
        self._area_point = {
            membership.area: code
            for code, point in known.usage_points.items()
            if point.kind == "area"
            for membership in known.memberships.get(code, ())
            if membership.valid_to is None
        }
        self._premises_of = {p.usage_point: p.premises for p in known.premises.values()}

    def plan(self) -> Plan:
        self._note_bad_rows()
        self._each("stations.csv", self._station)
        self._each("areas.csv", self._area)
        points = sorted(self._rows("usage_points.csv"), key=lambda row: row.values["behind"] is not None)
        self._each("usage_points.csv", self._usage_point, points)
        self._each("meters.csv", self._meter)
        installations = sorted(self._rows("installations.csv"), key=lambda row: not self._is_stored(row))
        self._each("installations.csv", self._installation, installations)
        self._each("concentrators.csv", self._concentrator)
        self._each("endpoints.csv", self._endpoint)
        self._refuse_shared_addresses()
        self._each("premises.csv", self._premises)
        order = {file: i for i, file in enumerate(self._tables)}
        problems = sorted(self._problems, key=lambda p: (order.get(p.file, -1), p.line or 0))
        return Plan(
            TopologyChanges(
                *({noun: rows for noun, rows in kept.items() if rows} for kept in (self._added, self._changed))
            ),
            tuple(problems),
            dict(self._unchanged),
            {file: n for file, n in self._skipped.items() if n},
        )

    # -- bookkeeping --

    def _rows(self, file: str) -> tuple[Row, ...]:
        table = self._tables.get(file)
        return table.rows if table else ()

    def _each(self, file: str, take: Any, rows: Iterable[Row] | None = None) -> None:
        for row in self._rows(file) if rows is None else rows:
            try:
                take(file, row)
            except _Refused as refused:
                self._refuse(file, row, refused.column, refused.reason)

    def _refuse(self, file: str, row: Row, column: str | None, reason: str) -> None:
        value = None if column is None else row.cells.get(column, "")
        self._problems.append(RowProblem(file, row.line, column, value, reason))
        self._skipped[file] += 1
        for noun, key in _keys(file, row.cells):
            if self._seen.get((noun, key), row.line) == row.line:
                self._refused.setdefault((noun, key), (file, row.line))

    def _note_bad_rows(self) -> None:
        for file, table in self._tables.items():
            for bad in table.bad:
                for noun, key in _keys(file, bad.cells):
                    self._refused.setdefault((noun, key), (file, bad.line))

    def _once(self, noun: str, key: Hashable, row: Row, column: str, what: str) -> None:
        first = self._seen.setdefault((noun, key), row.line)
        if first != row.line:
            raise _Refused(column, f"{what} stands on line {first} already")

    def _must_know(self, noun: str, key: Hashable, stored: Collection[Any], column: str, file: str) -> None:
        """The row refers to something: it has to be stored or in the files, and good."""
        if key in stored:
            return
        shown = "/".join(key) if isinstance(key, tuple) else key
        words = noun.replace("_", " ")
        if refused := self._refused.get((noun, key)):
            raise _Refused(column, f"depends on {words} {shown}, which is refused ({refused[0]}:{refused[1]})")
        raise _Refused(column, f"unknown {words}: {shown} is neither in {file} nor stored")

    def _take(self, file: str, noun: str, new: Any, stored: dict[Any, Any], key: Any) -> None:
        """Add or change something that has no history."""
        old = stored.get(key)
        if old is not None:
            kept = [name for name in _KEPT_WHEN_EMPTY.get(noun, ()) if not getattr(new, name)]
            new = replace(new, **{name: getattr(old, name) for name in kept})
        if old is None:
            self._added[noun].append(new)
        elif old == new:
            self._unchanged[file] += 1
        else:
            for name in _FROZEN.get(noun, ()):
                if getattr(old, name) != getattr(new, name):
                    raise _Refused(
                        name, f"is stored as {getattr(old, name)!r}; changing it would rewrite the past, so it stays"
                    )
            self._changed[noun].append(new)
        stored[key] = new

    # -- one method for each file --

    def _station(self, file: str, row: Row) -> None:
        new = Station(**row.values)
        self._once("station", new.station, row, "station", "duplicate code: the same station")
        self._take(file, "station", new, self._known.stations, new.station)

    def _area(self, file: str, row: Row) -> None:
        new = Area(**row.values)
        self._once("area", new.area, row, "area", "duplicate code: the same area")
        self._must_know("station", new.station, self._known.stations, "station", "stations.csv")
        self._take(file, "area", new, self._known.areas, new.area)

    def _usage_point(self, file: str, row: Row) -> None:
        own = {f.name: row.values[f.name] for f in fields(UsagePoint)}
        new = UsagePoint(**own)
        hangs = Membership(
            new.usage_point, row.values["area"], row.values["behind"], row.values["valid_from"], valid_to=None
        )
        self._once("usage_point", new.usage_point, row, "usage_point", "duplicate code: the same usage point")
        self._must_know("area", hangs.area, self._known.areas, "area", "areas.csv")
        if (new.kind == "area") != (new.category == "none"):
            raise _Refused("category", "kind area has category none, and no other kind has it")
        if new.kind == "area" and (taken := self._area_point.get(hangs.area, new.usage_point)) != new.usage_point:
            raise _Refused("area", f"has a usage point of kind area already: {taken}")
        past = self._known.memberships.get(new.usage_point, [])
        is_new = not past
        if is_new:
            self._check_behind(new, hangs)
        elif not any((m.area, m.behind, m.valid_from) == (hangs.area, hangs.behind, hangs.valid_from) for m in past):
            raise _other_membership(past, hangs)
        unchanged = self._unchanged[file]
        self._take(file, "usage_point", new, self._known.usage_points, new.usage_point)
        if is_new:
            self._unchanged[file] = unchanged
            self._added["membership"].append(hangs)
            self._known.memberships[new.usage_point] = [hangs]
        if new.kind == "area":
            self._area_point[hangs.area] = new.usage_point

    def _check_behind(self, new: UsagePoint, hangs: Membership) -> None:
        if hangs.behind is None:
            return
        if new.kind != "customer":
            raise _Refused("behind", f"only a customer can be supplied through a shared meter, this is kind {new.kind}")
        self._must_know("usage_point", hangs.behind, self._known.usage_points, "behind", "usage_points.csv")
        if self._known.usage_points[hangs.behind].kind != "shared":
            raise _Refused("behind", f"{hangs.behind} is no usage point of kind shared")
        if all(m.area != hangs.area for m in self._known.memberships[hangs.behind]):
            raise _Refused("behind", f"{hangs.behind} does not hang on area {hangs.area}")

    def _meter(self, file: str, row: Row) -> None:
        new = Meter(**row.values)
        self._once("meter", new.key, row, "serial", "duplicate serial: the same manufacturer and serial")
        self._take(file, "meter", new, self._known.meters, new.key)

    def _is_stored(self, row: Row) -> bool:
        return Installation(**row.values).key in self._known.installations

    def _installation(self, file: str, row: Row) -> None:
        new = Installation(**row.values)
        meter = new.key[1]
        self._once("installation", new.key, row, "serial", "duplicate: the same installation")
        if new.valid_to is not None and new.valid_to <= new.valid_from:
            raise _Refused("valid_to", "is not after valid_from")
        self._must_know("usage_point", new.usage_point, self._known.usage_points, "usage_point", "usage_points.csv")
        self._must_know("meter", meter, self._known.meters, "serial", "meters.csv")
        rollover_wh = self._known.meters[meter].rollover_wh
        for name in ("start_import_wh", "start_export_wh"):
            if (getattr(new, name) or 0) >= rollover_wh:
                raise _Refused(name, f"is more than the meter's register holds (it rolls over at {rollover_wh} Wh)")
        old = self._known.installations.get(new.key)
        if old is not None:
            self._stored_installation(file, old, new)
            return
        for others, whose in ((self._of_point[new.usage_point], "usage point"), (self._of_meter[meter], "meter")):
            for other in others:
                if new.overlaps(other):
                    raise _Refused("valid_from", f"overlaps another installation of this {whose}: {_told(other)}")
        self._added["installation"].append(new)
        self._keep(new)

    def _stored_installation(self, file: str, old: Installation, new: Installation) -> None:
        for name in ("multiplier", "sign", "start_import_wh", "start_export_wh", "seal"):
            given, kept = getattr(new, name), getattr(old, name)
            if given != kept and given is not None:
                raise _Refused(name, f"is stored as {kept}; an installation's history is not rewritten by an import")
        if new.valid_to is None or new.valid_to == old.valid_to:
            self._unchanged[file] += 1
            return
        if old.valid_to is not None:
            raise _Refused("valid_to", f"this installation ended at {old.valid_to.isoformat()} already")
        closed = replace(old, valid_to=new.valid_to)
        self._changed["installation"].append(closed)
        self._of_point[old.usage_point].remove(old)
        self._of_meter[old.key[1]].remove(old)
        self._keep(closed)

    def _keep(self, installation: Installation) -> None:
        self._known.installations[installation.key] = installation
        self._of_point[installation.usage_point].append(installation)
        self._of_meter[installation.key[1]].append(installation)

    def _concentrator(self, file: str, row: Row) -> None:
        new = Concentrator(**row.values)
        self._once("concentrator", new.concentrator, row, "concentrator", "duplicate code: the same concentrator")
        self._must_know("area", new.area, self._known.areas, "area", "areas.csv")
        self._take(file, "concentrator", new, self._known.concentrators, new.concentrator)

    def _endpoint(self, file: str, row: Row) -> None:
        own = {name: row.values[name] for name in ("manufacturer", "serial", "protocol", "unit", "concentrator")}
        new = Endpoint(bus=None, **own)
        self._once("endpoint", (new.meter, new.protocol), row, "serial", "duplicate: this meter's endpoint")
        self._must_know("meter", new.meter, self._known.meters, "serial", "meters.csv")
        if new.protocol == "modbus":
            new = replace(new, bus=_bus_of(row))
        for name in ("host", "port", "bus", "unit"):
            if new.protocol == "mqtt" and row.values[name] is not None:
                raise _Refused(name, "has no meaning: a meter on MQTT publishes to the broker of the settings")
        if new.concentrator is not None:
            known = self._known.concentrators
            self._must_know("concentrator", new.concentrator, known, "concentrator", "concentrators.csv")
        model = self._known.meters[new.meter].model
        if new.protocol == "modbus" and self._models is not None and model not in self._models:
            known_models = ", ".join(sorted(self._models))
            raise _Refused("protocol", f"meter model {model!r} has no register map; known are {known_models}")
        self._take(file, "endpoint", new, self._known.endpoints, (new.meter, new.protocol))

    def _refuse_shared_addresses(self) -> None:
        """Meters that serve now cannot share a unit on a bus, nor a line on which different protocols are spoken."""
        serving = {i.key[1] for i in self._known.installations.values() if i.valid_to is None}
        rows = {
            (row.values["manufacturer"], row.values["serial"]): row
            for row in self._rows("endpoints.csv")
            if row.values["protocol"] == "modbus"
        }
        new = {e.meter for kept in (self._added, self._changed) for e in kept["endpoint"] if e.protocol == "modbus"}
        withdrawn: set[MeterId] = set()
        on_line: dict[str, Endpoint] = {}
        on_unit: dict[tuple[str, int | None], Endpoint] = {}
        for (meter, protocol), endpoint in self._known.endpoints.items():
            if protocol != "modbus" or endpoint.bus is None or meter not in serving:
                continue
            first = on_line.setdefault(parse_endpoint(endpoint.bus).peer, endpoint)
            other = on_unit.setdefault((endpoint.bus, endpoint.unit), endpoint) if first.bus == endpoint.bus else first
            wrong, right = (endpoint, other) if meter in new else (other, endpoint)
            if other.meter == meter or wrong.meter not in new or wrong.meter in withdrawn:
                continue
            withdrawn.add(wrong.meter)
            row = rows[wrong.meter]
            column, says = "unit", "has the same bus and unit"
            if wrong.bus != right.bus:
                column, says = "bus" if row.cells.get("bus") else "host", f"is reached on the same line by {right.bus}"
            reason = f"meter {'/'.join(right.meter)} {says} and is installed too"
            self._refuse("endpoints.csv", row, column, reason)
        for kept in (self._added, self._changed):
            kept["endpoint"] = [e for e in kept["endpoint"] if e.protocol != "modbus" or e.meter not in withdrawn]

    def _premises(self, file: str, row: Row) -> None:
        new = Premises(**row.values)
        self._once("premises", new.premises, row, "premises", "duplicate code: the same premises")
        self._must_know("area", new.area, self._known.areas, "area", "areas.csv")
        for column, kind in (("shared_usage_point", "shared"), ("usage_point", "customer")):
            point = getattr(new, column)
            self._must_know("usage_point", point, self._known.usage_points, column, "usage_points.csv")
            if self._known.usage_points[point].kind != kind:
                raise _Refused(column, f"{point} is no usage point of kind {kind}")
            if all(m.area != new.area for m in self._known.memberships.get(point, ())):
                raise _Refused(column, f"{point} does not hang on area {new.area}")
        if (owner := self._premises_of.get(new.usage_point, new.premises)) != new.premises:
            raise _Refused("usage_point", f"belongs to premises {owner} already")
        self._take(file, "premises", new, self._known.premises, new.premises)
        self._premises_of[new.usage_point] = new.premises


def _keys(file: str, cells: Mapping[str, str]) -> list[tuple[str, Hashable]]:
    """What other rows may refer to this row by."""
    if file == "meters.csv":
        return [("meter", (cells.get("manufacturer", ""), cells.get("serial", "")))]
    column = {
        "stations.csv": "station",
        "areas.csv": "area",
        "usage_points.csv": "usage_point",
        "concentrators.csv": "concentrator",
    }.get(file)
    return [] if column is None else [(column, cells.get(column, ""))]


def _bus_of(row: Row) -> str:
    """The bus of a Modbus endpoint: by host and port, or by its URI. Raises _Refused."""
    host, port, bus = (row.values[name] for name in ("host", "port", "bus"))
    if row.values["unit"] is None:
        raise _Refused("unit", "is required: a Modbus endpoint has a unit")
    if bus is not None:
        if host is not None or port is not None:
            raise _Refused("bus", "is given beside host and port; wanted one of the two ways")
        return str(bus)
    for name, given in (("host", host), ("port", port)):
        if given is None:
            raise _Refused(name, "is required: a Modbus endpoint has host and port, or bus")
    return str(TcpEndpoint(host, port, rtu=False))


def _told(installation: Installation) -> str:
    end = "still" if installation.valid_to is None else f"until {installation.valid_to.isoformat()}"
    meter = f"{installation.manufacturer}/{installation.serial}"
    return f"{meter} at {installation.usage_point} from {installation.valid_from.isoformat()}, {end}"


def _other_membership(past: list[Membership], new: Membership) -> _Refused:
    """Why a usage point that hangs somewhere already cannot hang as the row says."""
    same_start = [m for m in past if m.valid_from == new.valid_from]
    if not same_start:
        begins = past[0].valid_from.isoformat()
        return _Refused("valid_from", f"its history begins at {begins}; a move is not made by an import")
    column = "area" if same_start[0].area != new.area else "behind"
    kept = getattr(same_start[0], column)
    return _Refused(column, f"is stored as {kept}; a membership's history is not rewritten by an import")
