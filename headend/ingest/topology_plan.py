"""What an import would change: rows of the files against what is stored, every reference and every span checked. Pure.

The rule it keeps: history is not rewritten. A row that says otherwise than what is stored about an installation or a
membership is refused; only an open installation may be closed. What depends on a refused row is refused too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace

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
from headend.ingest.topology_bookkeeping import Refused
from headend.ingest.topology_categories import category_change
from headend.ingest.topology_csv import Row, RowProblem, Table
from headend.ingest.topology_grid import GridPlanner


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, and what cannot be done."""

    changes: TopologyChanges
    problems: tuple[RowProblem, ...]
    unchanged: Mapping[str, int]
    """Rows by file that say what is stored already."""
    skipped: Mapping[str, int]
    """Rows by file that were refused."""


def plan(tables: Mapping[str, Table], stored: Topology, *, models: Collection[str] | None = None) -> Plan:
    """Compare all files with what is stored. `stored` is used up: it becomes what will be.

    `models`: ids of the register maps there are, to check Modbus meters against; None: not checked.
    """
    return _Planner(tables, stored, models).plan()


class _Planner(GridPlanner):
    def __init__(self, tables: Mapping[str, Table], known: Topology, models: Collection[str] | None) -> None:
        super().__init__(tables, known)
        self._models = models
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
        self.note_bad_rows()
        self.each("stations.csv", self._station)
        self.each("areas.csv", self._area)
        self.plan_grid()
        points = sorted(self.rows("usage_points.csv"), key=lambda row: row.values["behind"] is not None)
        self.each("usage_points.csv", self._usage_point, points)
        self.each("meters.csv", self._meter)
        installations = sorted(self.rows("installations.csv"), key=lambda row: not self._is_stored(row))
        self.each("installations.csv", self._installation, installations)
        self.each("concentrators.csv", self._concentrator)
        self.each("endpoints.csv", self._endpoint)
        self._refuse_shared_addresses()
        self.each("premises.csv", self._premises)
        order = {file: i for i, file in enumerate(self.tables)}
        problems = sorted(self.problems, key=lambda p: (order.get(p.file, -1), p.line or 0))
        return Plan(
            TopologyChanges(
                *({noun: rows for noun, rows in kept.items() if rows} for kept in (self.added, self.changed))
            ),
            tuple(problems),
            dict(self.unchanged),
            {file: n for file, n in self.skipped.items() if n},
        )

    # -- one method for each file --

    def _station(self, file: str, row: Row) -> None:
        new = Station(**row.values)
        self.once("station", new.station, row, "station", "duplicate code: the same station")
        self.take(file, "station", new, self.known.stations, new.station)

    def _area(self, file: str, row: Row) -> None:
        new = Area(**row.values)
        self.once("area", new.area, row, "area", "duplicate code: the same area")
        self.must_know("station", new.station, self.known.stations, "station", "stations.csv")
        self.take(file, "area", new, self.known.areas, new.area)

    def _usage_point(self, file: str, row: Row) -> None:
        own = {f.name: row.values[f.name] for f in fields(UsagePoint)}
        new = UsagePoint(**own)
        hangs = Membership(
            new.usage_point, row.values["area"], row.values["behind"], row.values["valid_from"], valid_to=None
        )
        self.once("usage_point", new.usage_point, row, "usage_point", "duplicate code: the same usage point")
        self.must_know("area", hangs.area, self.known.areas, "area", "areas.csv")
        if (new.kind == "area") != (new.category == "none"):
            raise Refused("category", "kind area has category none, and no other kind has it")
        if new.kind == "area" and (taken := self._area_point.get(hangs.area, new.usage_point)) != new.usage_point:
            raise Refused("area", f"has a usage point of kind area already: {taken}")
        past = self.known.memberships.get(new.usage_point, [])
        is_new = not past
        if is_new:
            self._check_behind(new, hangs)
        elif not any((m.area, m.behind, m.valid_from) == (hangs.area, hangs.behind, hangs.valid_from) for m in past):
            raise _other_membership(past, hangs)
        unchanged = self.unchanged[file]
        change = None
        if (stored := self.known.usage_points.get(new.usage_point)) is not None:
            change = category_change(stored, new, row.values["category_from"], hangs.valid_from, self.known)
            new = replace(new, category=stored.category)
        self.take(file, "usage_point", new, self.known.usage_points, new.usage_point)
        if change is not None:
            self.unchanged[file] = unchanged
            self.changed["category"].append(change)
        if is_new:
            self.unchanged[file] = unchanged
            self.added["membership"].append(hangs)
            self.known.memberships[new.usage_point] = [hangs]
        if new.kind == "area":
            self._area_point[hangs.area] = new.usage_point

    def _check_behind(self, new: UsagePoint, hangs: Membership) -> None:
        if hangs.behind is None:
            return
        if new.kind != "customer":
            raise Refused("behind", f"only a customer can be supplied through a shared meter, this is kind {new.kind}")
        self.must_know("usage_point", hangs.behind, self.known.usage_points, "behind", "usage_points.csv")
        if self.known.usage_points[hangs.behind].kind != "shared":
            raise Refused("behind", f"{hangs.behind} is no usage point of kind shared")
        if all(m.area != hangs.area for m in self.known.memberships[hangs.behind]):
            raise Refused("behind", f"{hangs.behind} does not hang on area {hangs.area}")

    def _meter(self, file: str, row: Row) -> None:
        new = Meter(**row.values)
        self.once("meter", new.key, row, "serial", "duplicate serial: the same manufacturer and serial")
        self.take(file, "meter", new, self.known.meters, new.key)

    def _is_stored(self, row: Row) -> bool:
        return Installation(**row.values).key in self.known.installations

    def _installation(self, file: str, row: Row) -> None:
        new = Installation(**row.values)
        meter = new.key[1]
        self.once("installation", new.key, row, "serial", "duplicate: the same installation")
        if new.valid_to is not None and new.valid_to <= new.valid_from:
            raise Refused("valid_to", "is not after valid_from")
        self.must_know("usage_point", new.usage_point, self.known.usage_points, "usage_point", "usage_points.csv")
        self.must_know("meter", meter, self.known.meters, "serial", "meters.csv")
        rollover_wh = self.known.meters[meter].rollover_wh
        for name in ("start_import_wh", "start_export_wh"):
            if (getattr(new, name) or 0) >= rollover_wh:
                raise Refused(name, f"is more than the meter's register holds (it rolls over at {rollover_wh} Wh)")
        old = self.known.installations.get(new.key)
        if old is not None:
            self._stored_installation(file, old, new)
            return
        for others, whose in ((self._of_point[new.usage_point], "usage point"), (self._of_meter[meter], "meter")):
            for other in others:
                if new.overlaps(other):
                    raise Refused("valid_from", f"overlaps another installation of this {whose}: {_told(other)}")
        self.added["installation"].append(new)
        self._keep(new)

    def _stored_installation(self, file: str, old: Installation, new: Installation) -> None:
        for name in ("multiplier", "sign", "start_import_wh", "start_export_wh", "seal"):
            given, kept = getattr(new, name), getattr(old, name)
            if given != kept and given is not None:
                raise Refused(name, f"is stored as {kept}; an installation's history is not rewritten by an import")
        if new.valid_to is None or new.valid_to == old.valid_to:
            self.unchanged[file] += 1
            return
        if old.valid_to is not None:
            raise Refused("valid_to", f"this installation ended at {old.valid_to.isoformat()} already")
        closed = replace(old, valid_to=new.valid_to)
        self.changed["installation"].append(closed)
        self._of_point[old.usage_point].remove(old)
        self._of_meter[old.key[1]].remove(old)
        self._keep(closed)

    def _keep(self, installation: Installation) -> None:
        self.known.installations[installation.key] = installation
        self._of_point[installation.usage_point].append(installation)
        self._of_meter[installation.key[1]].append(installation)

    def _concentrator(self, file: str, row: Row) -> None:
        new = Concentrator(**row.values)
        self.once("concentrator", new.concentrator, row, "concentrator", "duplicate code: the same concentrator")
        self.must_know("area", new.area, self.known.areas, "area", "areas.csv")
        self.take(file, "concentrator", new, self.known.concentrators, new.concentrator)

    def _endpoint(self, file: str, row: Row) -> None:
        own = {name: row.values[name] for name in ("manufacturer", "serial", "protocol", "unit", "concentrator")}
        new = Endpoint(bus=None, **own)
        self.once("endpoint", (new.meter, new.protocol), row, "serial", "duplicate: this meter's endpoint")
        self.must_know("meter", new.meter, self.known.meters, "serial", "meters.csv")
        if new.protocol == "modbus":
            new = replace(new, bus=_bus_of(row))
        for name in ("host", "port", "bus", "unit"):
            if new.protocol == "mqtt" and row.values[name] is not None:
                raise Refused(name, "has no meaning: a meter on MQTT publishes to the broker of the settings")
        if new.concentrator is not None:
            known = self.known.concentrators
            self.must_know("concentrator", new.concentrator, known, "concentrator", "concentrators.csv")
        model = self.known.meters[new.meter].model
        if new.protocol == "modbus" and self._models is not None and model not in self._models:
            known_models = ", ".join(sorted(self._models))
            raise Refused("protocol", f"meter model {model!r} has no register map; known are {known_models}")
        self.take(file, "endpoint", new, self.known.endpoints, (new.meter, new.protocol))

    def _refuse_shared_addresses(self) -> None:
        """Meters that serve now cannot share a unit on a bus, nor a line on which different protocols are spoken."""
        serving = {i.key[1] for i in self.known.installations.values() if i.valid_to is None}
        rows = {
            (row.values["manufacturer"], row.values["serial"]): row
            for row in self.rows("endpoints.csv")
            if row.values["protocol"] == "modbus"
        }
        new = {e.meter for kept in (self.added, self.changed) for e in kept["endpoint"] if e.protocol == "modbus"}
        withdrawn: set[MeterId] = set()
        on_line: dict[str, Endpoint] = {}
        on_unit: dict[tuple[str, int | None], Endpoint] = {}
        for (meter, protocol), endpoint in self.known.endpoints.items():
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
            self.refuse("endpoints.csv", row, column, reason)
        for kept in (self.added, self.changed):
            kept["endpoint"] = [e for e in kept["endpoint"] if e.protocol != "modbus" or e.meter not in withdrawn]

    def _premises(self, file: str, row: Row) -> None:
        new = Premises(**row.values)
        self.once("premises", new.premises, row, "premises", "duplicate code: the same premises")
        self.must_know("area", new.area, self.known.areas, "area", "areas.csv")
        for column, kind in (("shared_usage_point", "shared"), ("usage_point", "customer")):
            point = getattr(new, column)
            self.must_know("usage_point", point, self.known.usage_points, column, "usage_points.csv")
            if self.known.usage_points[point].kind != kind:
                raise Refused(column, f"{point} is no usage point of kind {kind}")
            if all(m.area != new.area for m in self.known.memberships.get(point, ())):
                raise Refused(column, f"{point} does not hang on area {new.area}")
        if (owner := self._premises_of.get(new.usage_point, new.premises)) != new.premises:
            raise Refused("usage_point", f"belongs to premises {owner} already")
        self.take(file, "premises", new, self.known.premises, new.premises)
        self._premises_of[new.usage_point] = new.premises


def _bus_of(row: Row) -> str:
    """The bus of a Modbus endpoint: by host and port, or by its URI. Raises Refused."""
    host, port, bus = (row.values[name] for name in ("host", "port", "bus"))
    if row.values["unit"] is None:
        raise Refused("unit", "is required: a Modbus endpoint has a unit")
    if bus is not None:
        if host is not None or port is not None:
            raise Refused("bus", "is given beside host and port; wanted one of the two ways")
        return str(bus)
    for name, given in (("host", host), ("port", port)):
        if given is None:
            raise Refused(name, "is required: a Modbus endpoint has host and port, or bus")
    return str(TcpEndpoint(host, port, rtu=False))


def _told(installation: Installation) -> str:
    end = "still" if installation.valid_to is None else f"until {installation.valid_to.isoformat()}"
    meter = f"{installation.manufacturer}/{installation.serial}"
    return f"{meter} at {installation.usage_point} from {installation.valid_from.isoformat()}, {end}"


def _other_membership(past: list[Membership], new: Membership) -> Refused:
    """Why a usage point that hangs somewhere already cannot hang as the row says."""
    same_start = [m for m in past if m.valid_from == new.valid_from]
    if not same_start:
        begins = past[0].valid_from.isoformat()
        return Refused("valid_from", f"its history begins at {begins}; a move is not made by an import")
    column = "area" if same_start[0].area != new.area else "behind"
    kept = getattr(same_start[0], column)
    return Refused(column, f"is stored as {kept}; a membership's history is not rewritten by an import")
