"""In a share group: the messages of a process that is gone are taken over by those that are still there.

A broker keeps what a process had not acknowledged in that process's session, and Mosquitto goes on giving it its share
of new messages, until the session expires and all of them are lost with it (seen with 2.0). So whoever finds another
member of its group offline for a while connects under that member's name, ends its share and handles what its session
still holds. What only the owner subscribed to goes on waiting there for it. Two that try at once are parted by the
broker, which lets one connection have a session; so is an heir from an owner that comes back. Handling a message twice
changes nothing.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from typing import Final

from drivers.mqtt.broker import Granted, Message
from drivers.mqtt.client import MqttClient
from drivers.mqtt.router import Router
from headend import metrics
from headend.ingest.mqtt_session import OFFLINE, broker_of, client_id_of, listening, state_topic
from headend.log import get_logger
from headend.settings import Mqtt

QUIET_S: Final = 5.0
"""A session that has sent nothing for so long, and has nothing un-acknowledged, is empty."""
GIVE_UP_S: Final = 300.0
"""An inheritance that is not empty by then is left for another try."""
_log = get_logger(__name__)


class Heir:
    """One session of somebody else, as long as it takes to empty it."""

    def __init__(
        self, mqtt: Mqtt, router: Router, owner: str, on_messages: Callable[[Sequence[Message]], None], *, now_s: float
    ) -> None:
        self.owner = owner
        self.lost = False
        """Its owner is back, another heir has it, or there is no connection."""
        self._lock = threading.Lock()
        self._began_s = self._heard_s = now_s
        self._unacked = 0
        self._emptying = False
        self._nothing_there = False
        self._moved = threading.Event()
        self._on_messages = on_messages
        self._of_members = state_topic(mqtt, "").removesuffix("/state")
        of_the_group = ("$share/", state_topic(mqtt, "+"))
        self._filters = [w.filter for w in listening(mqtt, router) if w.filter.startswith(of_the_group)]
        self.client = MqttClient(
            broker_of(mqtt, client_id=owner),
            [],
            self._arrived,
            on_connect=self._connected,
            on_disconnect=self._gone,
            on_problem=self._gone,
            on_unsubscribed=self._unsubscribed,
        )
        self.client.start()

    def acknowledged(self) -> None:
        """One of its messages was handled."""
        with self._lock:
            self._unacked -= 1

    def is_empty(self, now_s: float) -> bool:
        """Whether its session holds nothing any more."""
        with self._lock:
            if self._moved.is_set():
                self._moved.clear()
                self._heard_s = now_s
            quiet = self._emptying and self._unacked <= 0 and now_s - self._heard_s >= QUIET_S
            return not self.lost and (self._nothing_there or quiet)

    def is_late(self, now_s: float) -> bool:
        """Whether it takes too long."""
        return now_s - self._began_s >= GIVE_UP_S

    # In its client's network thread.

    def _connected(self, granted: Granted) -> None:
        if granted.session_present:
            self.client.unsubscribe(self._filters)
        else:
            self._nothing_there = True

    def _unsubscribed(self) -> None:
        self._moved.set()
        self._emptying = True

    def _arrived(self, messages: Sequence[Message]) -> None:
        self._moved.set()
        for message in messages:
            if message.topic.startswith(self._of_members):  # what was said of members while its owner was away: stale
                self.client.ack(message)
        inherited = [m for m in messages if not m.topic.startswith(self._of_members)]
        with self._lock:
            self._unacked += len(inherited)
        self._on_messages(inherited)

    def _gone(self, _reason: str) -> None:
        self.lost = True


class Heirs:
    """Watches the group; `heard` is called in a network thread, everything else in the service's."""

    def __init__(
        self,
        mqtt: Mqtt,
        router: Router,
        on_messages: Callable[[Sequence[Message]], None],
        *,
        chance: random.Random | None = None,
    ) -> None:
        self._mqtt, self._router, self._on_messages = mqtt, router, on_messages
        self._chance = chance or random.Random()
        self._own = client_id_of(mqtt)
        self._prefix = state_topic(mqtt, "")[: -len("/state")]
        self._gone: dict[str, float | None] = {}
        """Members that are offline → when to look after them (None: not decided yet)."""
        self._heirs: dict[str, Heir] = {}
        self._lock = threading.Lock()

    def heard(self, message: Message) -> bool:
        """Take a message about a head-end process. False: it is about something else."""
        owner, _, rest = message.topic.removeprefix(self._prefix).partition("/")
        if not message.topic.startswith(self._prefix) or rest != "state":
            return False
        state, _, group = message.payload.decode("utf-8", "replace").partition(" ")
        with self._lock:
            if owner != self._own and state == OFFLINE and group == self._mqtt.share_group:
                self._gone.setdefault(owner, None)
            else:
                self._gone.pop(owner, None)
        return True

    @property
    def idle(self) -> bool:
        """Whether everybody of the group is there, and nothing is inherited."""
        return not self._gone and not self._heirs

    def acknowledge(self, message: Message) -> bool:
        """Acknowledge a message that an heir took. False: it came over our own session.

        One whose session went back to its owner needs none: the owner is sent it again, and finds it stored.
        """
        if message.session == self._own:
            return False
        if (heir := self._heirs.get(message.session)) is not None:
            heir.client.ack(message)
            heir.acknowledged()
        return True

    async def look_after(self, now_s: float) -> list[tuple[str, bool]]:
        """Begin and end what is due; whose sessions were left, and whether they were empty."""
        for owner in self._due(now_s):
            _log.warning("taking over the messages of another process", owner=owner)
            self._heirs[owner] = Heir(self._mqtt, self._router, owner, self._on_messages, now_s=now_s)
        ended = []
        for owner, heir in list(self._heirs.items()):
            empty = heir.is_empty(now_s)
            if empty or heir.lost or heir.is_late(now_s):
                del self._heirs[owner]
                await asyncio.to_thread(self._finish, heir, empty)
                ended.append((owner, empty))
        return ended

    def _due(self, now_s: float) -> list[str]:
        """Who has been gone for long enough; when that is, is set when somebody is first seen to be gone."""
        found = []
        with self._lock:
            for owner, due_s in self._gone.items():
                if due_s is not None and now_s >= due_s and owner not in self._heirs:
                    found.append(owner)
                if due_s is None or owner in found:  # by chance, so that not all who are left try at the same instant
                    self._gone[owner] = now_s + self._mqtt.takeover_s * self._chance.uniform(1.0, 1.5)
        return found

    def stop(self) -> None:
        """Give everything back; the sessions stay as they are."""
        for heir in self._heirs.values():
            heir.client.stop()
        self._heirs.clear()

    def _finish(self, heir: Heir, empty: bool) -> None:
        heir.client.stop()
        metrics.MQTT_TAKEOVERS.labels("emptied" if empty else "left").inc()
        _log.info("done with the session of another process", owner=heir.owner, emptied=empty)
        if empty:
            with self._lock:
                self._gone.pop(heir.owner, None)
