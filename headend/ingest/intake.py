"""From an MQTT message to an item: decoded, or kept whole with the reason why not. Pure."""

from __future__ import annotations

from drivers.errors import PayloadError
from drivers.mqtt.payload import ConcentratorState, MeterReadings, ProfileUpload, decode, seq_of
from headend.ingest.item import Item, Presence, QuarantineEntry, Upload


def item_of(topic: str, payload: bytes, *, prefix: str, received_us: int) -> Item:
    """What a message amounts to; never raises because of what is in it."""
    try:
        decoded = decode(topic, payload, prefix=prefix, received_us=received_us)
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
    batch, upload, presence = None, None, None
    match decoded:
        case MeterReadings():
            batch = decoded.batch
        case ProfileUpload():
            batch = decoded.batch
            upload = Upload(decoded.concentrator, decoded.seq, decoded.backlog)
        case ConcentratorState():
            presence = Presence(decoded.concentrator, decoded.online)
    return Item(
        channel="mqtt",
        origin=topic,
        received_us=received_us,
        payload=payload,
        batch=batch,
        upload=upload,
        presence=presence,
    )
