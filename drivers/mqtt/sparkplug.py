"""Sparkplug B payloads (protobuf) to documents that a payload map can read; aliases are resolved by earlier births.

Message and field numbers are those of sparkplug_b.proto (Eclipse Sparkplug 3.0.0, sections 6.4 and 4.1; the file is in
eclipse-tahu/tahu, sparkplug_b/). Only what a meter's value needs is declared: protobuf skips the rest. A library for
Sparkplug is not used: pysparkplug wants paho-mqtt below 2, the others come with clients of their own or are not kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from drivers.errors import PayloadError
from drivers.mqtt.decoder_state import Births, DecoderState, Metric
from drivers.mqtt.document import Float32

NAMESPACE: Final = "spBv1.0"
MAX_METRICS: Final = 10_000
"""Of one message."""
_BIRTHS: Final = {"NBIRTH", "DBIRTH"}
_TYPES: Final = {*_BIRTHS, "NDATA", "DDATA", "NDEATH", "DDEATH"}
_SIGNED_BITS: Final = {1: 8, 2: 16, 3: 32, 4: 64}
"""Datatype Int8 … Int64 → its bits: the wire has them as two's complement in an unsigned field."""
_FIELDS: Final = {
    "Payload": (("timestamp", 1, "UINT64"), ("metrics", 2, "Metric"), ("seq", 3, "UINT64")),
    "Metric": (
        ("name", 1, "STRING"),
        ("alias", 2, "UINT64"),
        ("timestamp", 3, "UINT64"),
        ("datatype", 4, "UINT32"),
        ("is_historical", 5, "BOOL"),
        ("is_null", 7, "BOOL"),
        ("int_value", 10, "UINT32"),
        ("long_value", 11, "UINT64"),
        ("float_value", 12, "FLOAT"),
        ("double_value", 13, "DOUBLE"),
        ("boolean_value", 14, "BOOL"),
        ("string_value", 15, "STRING"),
    ),
}


@dataclass(frozen=True, slots=True)
class SparkplugTopic:
    """`spBv1.0/GROUP/TYPE/NODE[/DEVICE]`."""

    group: str
    type: str
    node: str
    device: str
    """Empty: the edge node itself."""


@dataclass(frozen=True, slots=True)
class Document:
    """One set of values of one instant."""

    value: Any
    historical: bool = False
    """Kept by the device while it was off line, and sent after the fact."""


def _message_class() -> Any:
    """The class that parses a payload, made from _FIELDS."""
    wire = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="headend/sparkplug_b.proto", package="headend.spb", syntax="proto2")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        if name == "Metric":
            message.oneof_decl.add(name="value")
        for field_name, number, kind in fields:
            field = message.field.add(name=field_name, number=number, label=wire.LABEL_OPTIONAL)
            if kind in _FIELDS:
                field.label, field.type, field.type_name = (
                    wire.LABEL_REPEATED,
                    wire.TYPE_MESSAGE,
                    f".headend.spb.{kind}",
                )
            else:
                field.type = getattr(wire, f"TYPE_{kind}")
            if field_name.endswith("_value"):
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("headend.spb.Payload"))


Payload: Final = _message_class()
"""The protobuf message, for whoever has to make one: the tests."""


def parse_topic(topic: str) -> SparkplugTopic:
    """Raises PayloadError `unknown_topic`."""
    match topic.split("/"):
        case [namespace, group, kind, node, *device] if namespace == NAMESPACE and kind in _TYPES:
            if len(device) == (kind[0] == "D"):
                return SparkplugTopic(group, kind, node, device[0] if device else "")
    raise PayloadError(
        f"wanted {NAMESPACE}/GROUP/NBIRTH|NDATA|NDEATH/NODE or {NAMESPACE}/GROUP/DBIRTH|DDATA|DDEATH/NODE/DEVICE",
        peer=topic,
        reason="unknown_topic",
    )


def documents(topic: str, payload: bytes, state: DecoderState) -> list[Document]:
    """The live document, always and first, and one per instant of what is historical; a birth is remembered in `state`.

    None at all: the death of a session that is over. The broker tells that it misses one, perhaps after the node has
    come back with the next (chapter 5, Edge Node Session Termination: only the bdSeq of the last birth counts).
    Raises PayloadError `not_sparkplug`, `unknown_alias`, `missing_key`, `duplicate_key`, `unknown_topic`.
    """
    where = parse_topic(topic)
    message = Payload()
    try:
        message.ParseFromString(payload)
        return _read(message, where, topic, state)
    except (DecodeError, UnicodeDecodeError) as error:
        raise PayloadError(f"not Sparkplug B: {error}", peer=topic, reason="not_sparkplug") from error


def _read(message: Any, where: SparkplugTopic, topic: str, state: DecoderState) -> list[Document]:
    node = (where.group, where.node)
    if len(message.metrics) > MAX_METRICS:
        raise PayloadError(
            f"{len(message.metrics)} metrics; at most {MAX_METRICS} are taken", peer=topic, reason="not_sparkplug"
        )
    for place, metric in enumerate(message.metrics):
        if isinstance(metric.name, bytes) or isinstance(metric.string_value, bytes):
            raise PayloadError(f"metrics[{place}]: a text is not UTF-8", peer=topic, reason="not_sparkplug")
    if where.type in _BIRTHS:
        session = _session(message.metrics)
        births = Births(session) if where.type == "NBIRTH" else state.births.get(node, Births())
        births.forget(where.device)
        _declare(births, where.device, message.metrics)
        state.keep_births(node, births)
    elif where.type == "NDEATH":
        session, born = _session(message.metrics), state.births.get(node, Births()).session
        if session is not None and born is not None and session != born:
            return []
        state.births.pop(node, None)
    return _documents(message, where, state.births.get(node, Births()), topic)


def _session(metrics: Iterable[Any]) -> int | None:
    return next((m.long_value or m.int_value for m in metrics if m.name == "bdSeq" and m.WhichOneof("value")), None)


def _declare(births: Births, device: str, metrics: Iterable[Any]) -> None:
    for metric in metrics:
        if metric.HasField("name"):
            births.datatypes[device, metric.name] = metric.datatype
            if metric.HasField("alias"):
                births.by_alias[device, metric.alias] = Metric(metric.name, metric.datatype)


def _documents(message: Any, where: SparkplugTopic, births: Births, topic: str) -> list[Document]:
    sent = message.timestamp if message.HasField("timestamp") else None
    live: dict[str, Any] = {"timestamp": sent, "metrics": {}, "stamps": {}}
    kept: dict[int | None, dict[str, Any]] = {}
    for place, metric in enumerate(message.metrics):
        declared = _declared(metric, where.device, births, f"metrics[{place}]", topic)
        stamp = metric.timestamp if metric.HasField("timestamp") else sent
        into = live
        if metric.is_historical:
            into = kept.setdefault(stamp, {"timestamp": stamp, "metrics": {}, "stamps": {}})
        if declared.name in into["metrics"]:
            raise PayloadError(f"metric {declared.name[:80]!r} stands twice", peer=topic, reason="duplicate_key")
        into["metrics"][declared.name] = _value(metric, declared.datatype)
        into["stamps"][declared.name] = stamp
    return [Document(live), *(Document(document, historical=True) for document in kept.values())]


def _declared(metric: Any, device: str, births: Births, where: str, topic: str) -> Metric:
    if metric.HasField("name"):
        return Metric(metric.name, metric.datatype or births.datatypes.get((device, metric.name), 0))
    if not metric.HasField("alias"):
        raise PayloadError(f"{where} has neither name nor alias", peer=topic, reason="missing_key")
    found = births.by_alias.get((device, metric.alias))
    if found is None:
        raise PayloadError(
            f"{where}: alias {metric.alias} was not declared by a birth that we heard; the next birth will, or ask the "
            "edge node for a rebirth",
            peer=topic,
            reason="unknown_alias",
        )
    return Metric(found.name, metric.datatype or found.datatype)


def _value(metric: Any, datatype: int) -> Any:
    """None where it is null, NaN, infinite, or of a kind that is no scalar."""
    kind = metric.WhichOneof("value")
    if kind is None or metric.is_null:
        return None
    value = getattr(metric, kind)
    if kind in {"int_value", "long_value"}:
        bits = _SIGNED_BITS.get(datatype)
        if bits is None:
            return value
        value &= (1 << bits) - 1
        return value - (1 << bits) if value >> (bits - 1) else value
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return Float32(value) if kind == "float_value" else value
    return value


def rebirth_request(topic: str, now_us: int) -> tuple[str, bytes]:
    """Topic and payload that ask the edge node behind `topic` to declare itself anew (chapter 5, Node Control/Rebirth).

    Raises PayloadError `unknown_topic`.
    """
    where = parse_topic(topic)
    command = Payload(timestamp=now_us // 1000)
    command.metrics.add(name="Node Control/Rebirth", datatype=11, boolean_value=True)
    return f"{NAMESPACE}/{where.group}/NCMD/{where.node}", command.SerializeToString()
