"""The field, a process of its own that is never killed: meters and concentrators that publish numbered readings.

Arguments: a JSON file with host, port, version (of MQTT: 4 is 3.1.1, or 5), base_us, seed, book. Orders come on stdin,
a word a line: `go`, `pause` (nothing new; what is not acknowledged is still sent again), `stop`; each is answered by a
line of JSON with what is still open.

A concentrator keeps an upload until the head-end confirms it. A plain meter keeps a message until its PUBACK; a
*keeping* one sends again, after a broken line, what had its PUBACK within the last KEEP_S before: that covers what a
killed broker had not saved yet. A forgetting one does not. Where MQTT 5 says in the PUBACK that nobody subscribes, a
meter takes that for no acknowledgement.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from support.chaos.book import Entry, Writer
from support.chaos.numbers import CONCENTRATORS, KEEPING_METERS, MAKER, PLAIN_METERS, PREFIX, Numbers
from support.raw_mqtt import RawMqtt

KEEP_S: Final = 3.0
"""More than house.SAVED_WITHIN_S."""
RESEND_S: Final = 1.5
"""A concentrator asks again for what was not confirmed by then."""
_UNHEARD_S: Final = 0.3
SILENT_S: Final = 8.0
"""A device whose messages get no PUBACK for so long hangs up and connects again."""
_METER_PAUSE_S: Final = 0.12
_UPLOAD_PAUSE_S: Final = 0.5
_WINDOW: Final = 8
"""Messages of one device that may be open at once."""
_INSTANTS: Final = 6
"""Of one upload."""


@dataclass(slots=True)
class _Open:
    topic: str
    payload: bytes
    entry: Entry
    sent_s: float | None = None
    """Monotonic; None: not over this connection."""
    unheard: bool = False
    """The broker took it, and nobody subscribes."""


class Common:
    """What all devices share."""

    def __init__(self, host: str, port: int, version: Literal[4, 5], numbers: Numbers, book: Writer) -> None:
        self.host, self.port, self.version, self.numbers, self.book = host, port, version, numbers, book
        self.going = asyncio.Event()
        self.stopped = False
        self._messages = 0

    def next_message(self) -> int:
        self._messages += 1
        return self._messages


class Device:
    """One connection that comes back by itself, and the messages that are not acknowledged."""

    def __init__(self, common: Common, name: str, chance: random.Random, **mqtt: Any) -> None:
        self.common, self.name, self.chance = common, name, chance
        self.open: dict[int, _Open] = {}
        self.line = RawMqtt(
            f"field-{name}",
            on_puback=self._puback,
            on_unheard=self._unheard,
            on_message=self._heard,
            keepalive_s=10,
            version=common.version,
            **mqtt,
        )

    async def run(self) -> None:
        """Until stopped."""
        connecting = asyncio.create_task(self._connect())
        while not self.common.stopped:
            if self.common.going.is_set() and len(self.open) < _WINDOW:
                self.make()
            self.send_due(time.monotonic())
            await asyncio.sleep(self.pause_s() * self.chance.uniform(0.5, 1.5))
        connecting.cancel()

    async def _connect(self) -> None:
        while True:
            for message in self.open.values():
                message.sent_s, message.unheard = None, False
            await self.line.run(self.common.host, self.common.port)
            self.line_broke(time.monotonic())
            await asyncio.sleep(self.chance.uniform(0.05, 0.3))

    def send_due(self, now_s: float) -> None:
        """Send what was not sent over this connection, and what is to be asked again."""
        if not self.line.up:
            return
        for message in list(self.open.values()):
            again_s = _UNHEARD_S if message.unheard else self.again_s()
            if message.sent_s is None or now_s - message.sent_s > again_s:
                if not self.line.publish(message.topic, message.payload, message.entry.message):
                    return
                message.sent_s, message.unheard = now_s, False
        waited = [m.sent_s for m in self.open.values() if m.sent_s is not None]
        if self.line.on_the_way and waited and now_s - min(waited) > SILENT_S:
            self.line.hang_up()

    def post(self, entry: Entry, topic: str, payload: bytes) -> None:
        """Make a message: in the book first."""
        self.common.book.made(entry)
        self.open[entry.message] = _Open(topic, payload, entry)

    def make(self) -> None:
        """The next message."""
        raise NotImplementedError

    def pause_s(self) -> float:
        raise NotImplementedError

    def again_s(self) -> float:
        return float("inf")

    def line_broke(self, now_s: float) -> None:
        """Nothing."""

    def _puback(self, tag: object, at_ns: int) -> None:
        """Nothing."""

    def _unheard(self, tag: object) -> None:
        """To be sent again after a while."""
        assert isinstance(tag, int)
        if (message := self.open.get(tag)) is not None:
            message.unheard = True

    def _heard(self, topic: str, payload: bytes) -> None:
        """Nothing."""


class PlainMeter(Device):
    """Publishes for itself: singles and batches, some late, some twice, a few spoilt or of a stranger."""

    def __init__(self, common: Common, meter: int, chance: random.Random) -> None:
        super().__init__(common, f"meter-{meter}", chance)
        self._meter, self._number = meter, 0
        self._late: list[int] = []
        self._recent: deque[tuple[float, _Open]] = deque(maxlen=64)
        """PUBACKed lately, with when."""
        self._keeping = meter in KEEPING_METERS

    def pause_s(self) -> float:
        return _METER_PAUSE_S

    def make(self) -> None:
        dice = self.chance.random()
        if dice < 0.60:
            self._reading(self._next())
        elif dice < 0.72:
            self._batch([self._next() for _ in range(self.chance.randint(2, 12))])
        elif dice < 0.80:  # set aside, sent later
            self._late.append(self._next())
        elif dice < 0.88 and self._late:
            self.chance.shuffle(self._late)
            self._batch([self._late.pop() for _ in range(min(len(self._late), self.chance.randint(1, 5)))])
        elif dice < 0.93 and self._recent:  # the very same message once more
            message = self.chance.choice(self._recent)[1]
            self.open.setdefault(message.entry.message, _Open(message.topic, message.payload, message.entry))
        elif dice < 0.96 and self._recent:  # readings that were sent before, in other company
            readings = self.chance.choice(self._recent)[1].entry.readings
            if readings:
                self._batch([n for _, n in readings])
        elif dice < 0.98:
            self._spoilt()
        else:
            self._stranger()

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _reading(self, number: int) -> None:
        message = self.common.next_message()
        payload = {"ts": self.common.numbers.ts(number), "import_wh": Numbers.import_wh(self._meter, number)}
        entry = Entry(message, "reading", self.name, ((self._meter, number),))
        self.post(entry, f"{PREFIX}/meter/{MAKER}/{self._meter}/reading", json.dumps(payload).encode())

    def _batch(self, numbers: list[int]) -> None:
        message = self.common.next_message()
        readings = [
            {"ts": self.common.numbers.ts(n), "import_wh": Numbers.import_wh(self._meter, n)} for n in sorted(numbers)
        ]
        entry = Entry(message, "batch", self.name, tuple((self._meter, n) for n in sorted(numbers)))
        topic = f"{PREFIX}/meter/{MAKER}/{self._meter}/batch"
        self.post(entry, topic, json.dumps({"readings": readings}).encode())

    def _spoilt(self) -> None:
        message = self.common.next_message()
        topic = f"{PREFIX}/meter/{MAKER}/{self._meter}/reading"
        payload = f'{{"ts": "spoilt {message}", "import_wh": '
        self.post(Entry(message, "spoilt", self.name, (), topic, payload), topic, payload.encode())

    def _stranger(self) -> None:
        message = self.common.next_message()
        topic = f"{PREFIX}/meter/Nobody/{self._meter}/reading"
        payload = json.dumps({"ts": self.common.numbers.ts(message % 10_000), "import_wh": message})
        self.post(Entry(message, "stranger", self.name, (), topic, payload), topic, payload.encode())

    def line_broke(self, now_s: float) -> None:
        if self._keeping:
            for at_s, message in self._recent:
                if at_s >= now_s - KEEP_S:
                    self.open.setdefault(message.entry.message, message)

    def _puback(self, tag: object, at_ns: int) -> None:
        assert isinstance(tag, int)
        self.common.book.acknowledged(tag, at_ns)
        if (message := self.open.pop(tag, None)) is not None:
            self._recent.append((time.monotonic(), message))


class Concentrator(Device):
    """Uploads columns of its meters, each until it is confirmed; now and then another value for what is stored."""

    def __init__(self, common: Common, code: str, meters: range, chance: random.Random) -> None:
        self._topic = f"{PREFIX}/concentrator/{code}"
        super().__init__(
            common,
            code,
            chance,
            subscribe=f"{self._topic}/confirm",
            will=(f"{self._topic}/state", b"offline"),
        )
        self._meters, self._seq, self._number = meters, 0, 0
        self._of_seq: dict[int, int] = {}
        self._done: deque[Entry] = deque(maxlen=20)
        self._contradicted: set[tuple[int, int]] = set()

    def pause_s(self) -> float:
        return _UPLOAD_PAUSE_S if self.common.going.is_set() else 0.1

    def again_s(self) -> float:
        return RESEND_S

    def make(self) -> None:
        self._seq += 1
        if self._done and self.chance.random() < 0.05:
            meter, number = self.chance.choice(self.chance.choice(self._done).readings)
            if (meter, number) not in self._contradicted:
                self._contradicted.add((meter, number))
                self._upload("other", [meter], [number], more_wh=1)
                return
        numbers = list(range(self._number + 1, self._number + 1 + _INSTANTS))
        self._number += _INSTANTS
        if self._done and self.chance.random() < 0.1:  # with what was uploaded before
            numbers = sorted({*numbers, *(n for _, n in self.chance.choice(self._done).readings)})
        self._upload("profile", list(self._meters), numbers)

    def _upload(self, kind: str, meters: list[int], numbers: list[int], *, more_wh: int = 0) -> None:
        message = self.common.next_message()
        content = {
            "format": "headend.profile/1",
            "seq": self._seq,
            "backlog": len(self.open),
            "meters": [f"{MAKER}/{m}" for m in meters],
            "ts": [self.common.numbers.ts(n) for n in numbers],
            "import_wh": [[Numbers.import_wh(m, n) + more_wh for n in numbers] for m in meters],
        }
        readings = tuple((m, n) for m in meters for n in numbers)
        self._of_seq[self._seq] = message
        entry = Entry(message, kind, self.name, readings, seq=self._seq)
        self.post(entry, f"{self._topic}/profile", json.dumps(content).encode())

    def _heard(self, topic: str, payload: bytes) -> None:
        for seq in json.loads(payload)["confirmed"]:
            message = self._of_seq[seq]
            self.common.book.acknowledged(message, time.time_ns())
            if (found := self.open.pop(message, None)) is not None and found.entry.kind == "profile":
                self._done.append(found.entry)


async def main(options: dict[str, Any]) -> None:
    """Run all devices, obey, answer."""
    numbers, book = Numbers(options["base_us"]), Writer(Path(options["book"]))
    common = Common(options["host"], options["port"], options["version"], numbers, book)
    seed = options["seed"]
    devices: list[Device] = [
        *(PlainMeter(common, meter, random.Random(f"{seed} {meter}")) for meter in PLAIN_METERS),
        *(Concentrator(common, code, of, random.Random(f"{seed} {code}")) for code, of in CONCENTRATORS.items()),
    ]
    running = [asyncio.create_task(device.run()) for device in devices]
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while not common.stopped:
        match (await orders.readline()).strip():
            case b"go":
                common.going.set()
            case b"pause":
                common.going.clear()
            case b"" | b"stop":
                common.stopped = True
        for task in running:
            if task.done():
                task.result()  # raises what ended it
        answer = {"open": sum(len(device.open) for device in devices), "up": all(device.line.up for device in devices)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    await asyncio.gather(*running)


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
