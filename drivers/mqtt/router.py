"""From a topic to the decoder that understands it: the own format below the prefix, then the payload maps in order.

Pure but for the DecoderState that it holds; it raises nothing but PayloadError.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Final

from drivers.errors import PayloadError
from drivers.mqtt import payload as own
from drivers.mqtt import topics
from drivers.mqtt.bulk import BulkDecoder
from drivers.mqtt.decoded import Decoded, Ignored
from drivers.mqtt.decoder_state import DecoderState
from drivers.mqtt.map_decode import Matched, decode_mapped
from drivers.mqtt.map_file import PayloadMapError, overlapping
from drivers.mqtt.payload_map import Encoding, PayloadMap

MAX_OWN_BYTES: Final = 16 * 1024 * 1024
"""Of the own format: four weeks of quarter-hours of 300 meters are 10 MB."""
MAX_MAPPED_BYTES: Final = 1024 * 1024
"""Of a payload map. Decoded, a message takes up to fifty times its length of memory: MQTT's longest, 256 MB, would be
the end of the process, which would get it again."""
BESIDE: Final = "a topic that a payload map's filter takes along without meaning it"


Heard = tuple[str, bytes, int, bool]
"""Topic, payload, when it arrived [µs UTC], and whether the broker had kept it: see Router.decode."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic filter to listen to, and how."""

    filter: str
    qos: int = 1
    """0: some of the messages bear no instant and are stamped when they arrive; a broker that kept them for us while we
    were away would make old registers new ones."""
    shareable: bool = True
    """False: the decoder remembers earlier messages, or they are retained: all must come to one worker, unshared."""


class Router:
    """Decodes every message that an ingest receives."""

    def __init__(
        self,
        prefix: str,
        maps: Sequence[PayloadMap] = (),
        *,
        site: tzinfo = UTC,
        state: DecoderState | None = None,
    ) -> None:
        """`site` is the zone of devices that stamp local time. Raises PayloadMapError when topics overlap."""
        if (twice := overlapping(maps)) is not None:
            one, first, other, second = twice
            raise PayloadMapError(
                f"topic {other.topic.text} of {second.map_id} overlaps {one.topic.text} of {first.map_id} "
                f"({first.file}:{one.line}): whose is a message?",
                file=second.file,
                line=other.line,
                key="topic",
            )
        for map_ in maps:
            for rule in map_.messages:
                if any(rule.topic.below(f"{prefix}/{kind}") for kind in ("meter", "concentrator")):
                    raise PayloadMapError(
                        f"topic {rule.topic.text} overlaps the own format's below {prefix}/",
                        file=map_.file,
                        line=rule.line,
                        key="topic",
                    )
        self._prefix = prefix
        self._maps = tuple(maps)
        self._site = site
        self._state = DecoderState() if state is None else state
        self._bulk = BulkDecoder(prefix)

    def subscriptions(self) -> tuple[Subscription, ...]:
        """What an ingest listens to."""
        # States are retained, and a broker sends nothing retained to who shares a subscription (MQTT 5.0 §3.3.1.3).
        found = {f: Subscription(f, shareable=not f.endswith("/state")) for f in topics.subscriptions(self._prefix)}
        for rule in (rule for map_ in self._maps for rule in map_.messages if rule.ignore is None):
            name = rule.topic.filter
            before = found.get(name, Subscription(name))
            found[name] = Subscription(
                name,
                qos=0 if rule.arrives else before.qos,
                shareable=before.shareable and not rule.events and rule.encoding is not Encoding.SPARKPLUG_B,
            )
        return tuple(found.values())

    def missed(self) -> None:
        """Messages may have passed by unheard, as while the connection was away: what only they told is forgotten."""
        self._state.forget_births()

    def decode(self, topic: str, payload: bytes, received_us: int, *, retained: bool = False) -> Decoded:
        """What a message says; `received_us` is when it arrived [µs UTC].

        `retained`: the broker had kept it and gave it to us because we subscribed (MQTT's retain flag); then nothing
        can be stamped with its arrival, and such a message is Ignored. Raises PayloadError.
        """
        ours = topic.startswith(f"{self._prefix}/")
        most = MAX_OWN_BYTES if ours else MAX_MAPPED_BYTES
        if len(payload) > most:
            raise PayloadError(f"{len(payload):,} bytes; at most {most:,} are read", peer=topic, reason="too_large")
        if ours:
            return own.decode(topic, payload, prefix=self._prefix, received_us=received_us)
        matched = self._matched(topic)
        if matched is None:
            if self._taken_along(topic):
                return Ignored(BESIDE)
            raise PayloadError(
                f"no topic of ours: neither below {self._prefix}/ nor of a payload map ("
                f"{', '.join(m.map_id for m in self._maps) or 'there is none'})",
                peer=topic,
                reason="unknown_topic",
            )
        return decode_mapped(
            matched, topic, payload, received_us, state=self._state, site=self._site, retained=retained
        )

    def decode_all(self, messages: Sequence[Heard], *, missed: Collection[int] = ()) -> list[Decoded | PayloadError]:
        """What each says, or why it is not understood: what `decode` says of one after the other, in much less time.

        `missed`: places before which messages may have passed by unheard.
        """
        found = self._bulk.decode(messages)
        said: list[Decoded | PayloadError] = []
        for place, (topic, payload, received_us, retained) in enumerate(messages):
            if place in missed:
                self.missed()
            decoded: Decoded | PayloadError | None = found.get(place)
            if decoded is None:
                try:
                    decoded = self.decode(topic, payload, received_us, retained=retained)
                except PayloadError as error:
                    decoded = error
            said.append(decoded)
        return said

    def _matched(self, topic: str) -> Matched | None:
        levels = topic.split("/")
        for map_ in self._maps:
            rules = [(rule, named) for rule in map_.messages if (named := rule.topic.match(levels)) is not None]
            if rules:
                return Matched(map_, rules)
        return None

    def _taken_along(self, topic: str) -> bool:
        levels = topic.split("/")
        return any(
            len(levels) == len(rule.topic.levels)
            and all(
                pattern.name is not None or pattern.before == text
                for pattern, text in zip(rule.topic.levels, levels, strict=True)
            )
            for map_ in self._maps
            for rule in map_.messages
        )
