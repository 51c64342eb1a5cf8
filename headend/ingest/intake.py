"""From an MQTT message to an item: decoded, or kept whole with the reason why not. Pure."""

from __future__ import annotations

from drivers.errors import PayloadError
from drivers.mqtt.decoded import ConcentratorState, Events, Ignored, MeterReadings, ProfileUpload
from drivers.mqtt.payload import seq_of
from drivers.mqtt.router import Router
from headend.ingest.item import Item, Presence, QuarantineEntry, Told, Upload


def item_of(
    topic: str, payload: bytes, *, router: Router, prefix: str, received_us: int, retained: bool = False
) -> Item:
    """What a message amounts to; never raises because of what is in it."""
    try:
        decoded = router.decode(topic, payload, received_us, retained=retained)
    except PayloadError as error:
        number = seq_of(topic, payload, prefix=prefix)
        return Item(
            channel="mqtt",
            origin=topic,
            received_us=received_us,
            payload=payload,
            quarantine=(QuarantineEntry(error.reason, str(error)),),
            upload=None if number is None else Upload(*number, backlog=None),
        )
    batch, upload, presence, ignored = None, None, None, None
    told: tuple[Told, ...] = ()
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
    return Item(
        channel="mqtt",
        origin=topic,
        received_us=received_us,
        payload=payload,
        batch=batch,
        upload=upload,
        presence=presence,
        told=told,
        ignored=ignored,
    )
