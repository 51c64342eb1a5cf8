"""Who is who: identities and codes from the field to the store's numbers; what is known is remembered."""

from __future__ import annotations

from collections.abc import Iterable

from drivers.base import MeterIdentity
from headend.store import concentrators, topology
from headend.store.pool import Connection


class Directory:
    """A cache of one process. Only what is known is kept, so that a meter imported later is found at once."""

    def __init__(self) -> None:
        self._meters: dict[MeterIdentity, int] = {}
        self._concentrators: dict[str, int] = {}

    def missing(self, meters: Iterable[MeterIdentity], codes: Iterable[str]) -> tuple[list[MeterIdentity], list[str]]:
        """What would have to be looked up."""
        unknown = dict.fromkeys(m for m in meters if m not in self._meters)
        return list(unknown), [c for c in dict.fromkeys(codes) if c not in self._concentrators]

    def learn(self, connection: Connection, meters: list[MeterIdentity], codes: list[str]) -> None:
        """Look these up."""
        if meters:
            found = topology.meter_ids(connection, [(m.manufacturer, m.serial) for m in meters])
            self._meters.update({MeterIdentity(*key): number for key, number in found.items()})
        if codes:
            self._concentrators.update(concentrators.ids(connection, codes))

    def meter(self, identity: MeterIdentity) -> int | None:
        """The meter's number, when it is known."""
        return self._meters.get(identity)

    def concentrator(self, code: str) -> int | None:
        """The concentrator's number, when it is known."""
        return self._concentrators.get(code)

    def forget(self) -> None:
        """Start over: the store contradicted what we remember."""
        self._meters.clear()
        self._concentrators.clear()
