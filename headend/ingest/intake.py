"""From MQTT messages to items: decoded, or kept whole with the reason why not."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from drivers.errors import PayloadError
from drivers.mqtt.decoded import ConcentratorState, Decoded, Events, Ignored, MeterReadings, ProfileUpload
from drivers.mqtt.payload import seq_of
from drivers.mqtt.router import Heard, Router
from headend.ingest.item import Item, Presence, QuarantineEntry, Told, Upload


def items_of(messages: Sequence[Heard], *, router: Router, prefix: str, missed: Collection[int] = ()) -> list[Item]:
    """What each message amounts to; never raises because of what is in one. `missed`: see Router.decode_all."""
    said = router.decode_all(messages, missed=missed)
    return [_item(heard, decoded, prefix) for heard, decoded in zip(messages, said, strict=True)]


def item_of(
    topic: str, payload: bytes, *, router: Router, prefix: str, received_us: int, retained: bool = False
) -> Item:
    """The same of a single one."""
    return items_of([(topic, payload, received_us, retained)], router=router, prefix=prefix)[0]


def _item(heard: Heard, decoded: Decoded | PayloadError, prefix: str) -> Item:
    topic, payload, received_us, retained = heard
    batch, upload, presence, ignored = None, None, None, None
    told: tuple[Told, ...] = ()
    quarantined: tuple[QuarantineEntry, ...] = ()
    match decoded:
        case MeterReadings():
            batch = decoded.batch
            told = (Told(batch.meters[0], decoded.events),) if decoded.events else ()
        case ProfileUpload():
            batch = decoded.batch
            upload = Upload(decoded.concentrator, decoded.seq, decoded.backlog)
        case ConcentratorState():
            presence = Presence(decoded.concentrator, decoded.online, kept=retained)
        case Events():
            told = (Told(decoded.device, decoded.events),)
        case Ignored():
            ignored = decoded.reason
        case PayloadError():
            number = seq_of(topic, payload, prefix=prefix)
            quarantined = (QuarantineEntry(decoded.reason, str(decoded)),)
            upload = None if number is None else Upload(*number, backlog=None)
    return Item(
        channel="mqtt",
        origin=topic,
        received_us=received_us,
        payload=payload,
        batch=batch,
        quarantine=quarantined,
        upload=upload,
        presence=presence,
        told=told,
        ignored=ignored,
    )
