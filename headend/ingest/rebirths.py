"""Asks Sparkplug edge nodes for their births where we have not heard them: until then their aliases say nothing.

The rule it keeps: a node is asked once so long, however much it sends meanwhile; one that ignores it is not flooded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from drivers.mqtt.sparkplug import rebirth_request
from headend.ingest.item import Item
from headend.log import get_logger

EVERY_S: Final = 60.0
_UNHEARD: Final = "unknown_alias"
_log = get_logger(__name__)


class Rebirths:
    """Remembers whom it has asked lately."""

    def __init__(self, publish: Callable[[str, bytes], bool]) -> None:
        """`publish` says whether the request went on its way."""
        self._publish = publish
        self._asked_s: dict[str, float] = {}

    def ask(self, items: Sequence[Item], *, now_s: float, now_us: int) -> None:
        """Ask the nodes of those that could not be understood for want of a birth; `now_s` is monotonic."""
        topics = [i.origin for i in items if any(entry.reason == _UNHEARD for entry in i.quarantine)]
        if not topics:
            return
        self._asked_s = {node: at for node, at in self._asked_s.items() if now_s - at < EVERY_S}
        for topic in topics:
            command, payload = rebirth_request(topic, now_us)
            if command not in self._asked_s and self._publish(command, payload):
                self._asked_s[command] = now_s
                _log.info("an edge node is asked for its birth", topic=command, because=topic)
