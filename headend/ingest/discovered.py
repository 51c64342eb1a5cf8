"""Which devices of a batch of items nobody has imported: for the list that commissioning adopts them from. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from drivers.base import ABSENT, ABSENT_DV, MeterIdentity, ReadingBatch
from headend.domain.calendar import from_us
from headend.ingest.identity import Directory
from headend.ingest.item import Item
from headend.store.discovered import FirstMessage, Sighting

Device = MeterIdentity | str
"""A meter, or the code of a concentrator."""


@dataclass(slots=True)
class _Seen:
    """What a batch says of one device."""

    protocol: str
    concentrator: str | None = None
    model_guess: str | None = None
    phases_guess: int | None = None
    messages: list[FirstMessage] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Strangers:
    """The unknown devices of a batch."""

    sightings: tuple[Sighting, ...]
    of_item: dict[int, tuple[str, ...]]
    """Place of an item → the devices that it names, as the quarantine names them."""


NOBODY: Final = Strangers((), {})


def strangers(items: Sequence[Item], directory: Directory) -> Strangers:
    """Every device that an item speaks of and the directory does not know."""
    seen: dict[Device, _Seen] = {}
    of_item: dict[int, tuple[str, ...]] = {}
    for place, item in enumerate(items):
        unknown = _unknown(item, directory)
        if not unknown:
            continue
        message = FirstMessage(from_us(item.received_us), item.origin, item.payload)
        for device, (model_guess, phases_guess) in unknown.items():
            known = seen.setdefault(device, _Seen(item.channel))
            known.messages.append(message)
            known.model_guess = known.model_guess or model_guess
            known.phases_guess = max(known.phases_guess or 0, phases_guess or 0) or None
            if item.upload is not None and isinstance(device, MeterIdentity):
                known.concentrator = item.upload.concentrator
        of_item[place] = tuple(sorted(str(device) for device in unknown))
    return Strangers(tuple(_sighting(device, what) for device, what in seen.items()), of_item)


def _unknown(item: Item, directory: Directory) -> dict[Device, tuple[str | None, int | None]]:
    """Device → model and number of phases, where something hints at them."""
    speaker = item.upload or item.presence
    if speaker is not None and directory.concentrator(speaker.concentrator) is None:
        return {speaker.concentrator: (None, None)}  # whom it reads is asked once it is known itself
    found: dict[Device, tuple[str | None, int | None]] = {}
    for stranger in item.strangers:
        if directory.meter(stranger.meter) is None:
            found[stranger.meter] = (stranger.model_guess, None)
    for told in item.told:
        if isinstance(told.device, str):
            if directory.concentrator(told.device) is None:
                found[told.device] = (None, None)
        elif directory.meter(told.device) is None:
            found[told.device] = (None, None)
    if item.batch is not None:
        for index, meter in enumerate(item.batch.meters):
            if directory.meter(meter) is None and (phases := _phases(item.batch, index)) is not None:
                found[meter] = (None, phases)
    return found


def _phases(batch: ReadingBatch, index: int) -> int | None:
    """3 where the meter measures several phases, 1 where it does not; None: the batch has no reading of it."""
    if not (batch.rows["meter"] == index).any():
        return None
    own = batch.phases[batch.phases["meter"] == index]
    measured = [
        own["voltage_dv"] != ABSENT_DV,
        *(own[name] != ABSENT for name in ("import_wh", "export_wh", "current_ma")),
    ]
    return 3 if any((values.sum(axis=1) > 1).any() for values in measured) else 1


def _sighting(device: Device, what: _Seen) -> Sighting:
    meter = device if isinstance(device, MeterIdentity) else None
    return Sighting(
        kind="concentrator" if meter is None else "meter",
        manufacturer="" if meter is None else meter.manufacturer,
        serial=str(device) if meter is None else meter.serial,
        protocol="modbus" if what.protocol == "modbus" else "mqtt",
        concentrator=what.concentrator,
        model_guess=what.model_guess,
        phases_guess=what.phases_guess,
        messages=what.messages,
    )
