"""A field for half an hour: a steady load, and now and then all that can be taken; memory stays flat, nothing is lost.

Asked for by HEADEND_SOAK_MINUTES (`make soak`: 30). Publisher, Mosquitto, PostgreSQL that keeps what it commits and the
head-end (roles ingest and upkeep) share the machine. Nobody is killed here, so Mosquitto need not write down what it
has: with `autosave_on_changes` its disk would be the limit, and not the head-end.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from headend.store.pool import Store
from support.mosquitto import Mosquitto, needs_mosquitto
from support.raw_mqtt import RawMqtt
from support.workers import Running

MINUTES = float(os.environ.get("HEADEND_SOAK_MINUTES", "0"))

pytestmark = [
    pytest.mark.bench,
    needs_mosquitto,
    pytest.mark.skipif(MINUTES <= 0, reason="takes its time: make soak, or HEADEND_SOAK_MINUTES=10"),
    pytest.mark.timeout(MINUTES * 60 + 600),
]

PREFIX = "headend/v1"
METERS = 4_000
AREA = 100
CONCENTRATORS = 20
STEADY_S, LIMIT_S = 60.0, 20.0
"""A cycle: so long at a rate well below the limit, then so long as much as is taken."""
STEADY_RATE = 150.0
"""Messages a second; the mix is 7 readings each."""
BACKLOG = 20_000
"""At the limit: readings that were sent and have not been taken yet."""
UNACKED = 400
"""Messages of the publisher that the broker has not taken yet."""
SPOILT, REPLAYED, LATE = 0.01, 0.02, 0.02
"""Shares of the messages: broken, sent again, and kept back by their device for a while."""
KEPT_BACK_S = 30.0
SAMPLE_S = 2.0
WARM_UP_S = min(max(180.0, 0.2 * MINUTES * 60), 0.5 * MINUTES * 60)
"""So long is not judged: pools, caches and the allocator's own store fill."""
FLAT_MB_PER_10_MIN = 1.0
MOST_MB = 400.0
START = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(days=20)
"""Where the meters' time begins; each reading is a minute after the one before of its meter."""


@dataclass
class Book:
    """What the field has sent, as it knows it."""

    readings: int = 0
    """Different ones."""
    energy_wh: int = 0
    said: int = 0
    """Readings in all messages that can be understood, those sent again included."""
    messages: int = 0
    spoilt: int = 0
    history: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=100_000))
    """When how much had been said."""


class Field:
    """Meters and concentrators behind one connection."""

    def __init__(self, broker: Mosquitto, seed: int) -> None:
        self.book = Book()
        self.taken = 0.0
        """Readings that the head-end has taken, as its metrics say."""
        self.limit = False
        self._broker = broker
        self._chance = random.Random(seed)
        self._next = [0] * METERS
        # Everybody speaks once in each way first: who they are is remembered, and that is no growth.
        self._introductions = iter([(meter, kind) for kind in (0.0, 0.7) for meter in range(METERS)])
        self._uploads = [0] * CONCENTRATORS
        self._sent: deque[tuple[str, bytes, int]] = deque(maxlen=2_000)
        self._kept_back: deque[tuple[float, str, bytes, int]] = deque()
        self._stop = threading.Event()
        self._client = RawMqtt("field", on_puback=lambda *_: None)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.error: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Send what was kept back, wait for the broker to have everything."""
        self._stop.set()
        self._thread.join(120)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error

    async def _run(self) -> None:
        line = asyncio.create_task(self._client.run(self._broker.host, self._broker.port))
        try:
            while not self._client.up:
                await asyncio.sleep(0.01)
            began_s, due = time.monotonic(), 0.0
            while not self._stop.is_set():
                await asyncio.sleep(0.01)
                now_s = time.monotonic()
                due, began_s = due + (now_s - began_s) * STEADY_RATE, now_s
                while self._may_send() and (self.limit or due >= 1):
                    due = max(0.0, due - 1)
                    self._send(now_s)
                self.book.history.append((now_s, self.book.said))
            for _, topic, payload, count in self._kept_back:
                await self._room()
                self._publish(topic, payload, count)
            while self._client.on_the_way:
                await asyncio.sleep(0.01)
        except BaseException as error:  # noqa: BLE001 handed to the test
            self.error = error
        finally:
            line.cancel()

    def _may_send(self) -> bool:
        return len(self._client.on_the_way) < UNACKED and self.book.said - self.taken < BACKLOG

    async def _room(self) -> None:
        while len(self._client.on_the_way) >= UNACKED:
            await asyncio.sleep(0.001)

    def _send(self, now_s: float) -> None:
        """One message of the mix."""
        if self._kept_back and now_s >= self._kept_back[0][0]:
            _, topic, payload, count = self._kept_back.popleft()
            self._publish(topic, payload, count)
            return
        dice = self._chance.random()
        if dice < SPOILT:
            self.book.spoilt += 1
            meter = self._chance.randrange(1, METERS + 1)
            broken = f'{{"ts": "{START.isoformat()}", "import_wh": {self.book.spoilt}'.encode()
            self._publish(f"{PREFIX}/meter/Acme/{meter}/reading", broken, 0)
            return
        if dice < SPOILT + REPLAYED and self._sent:
            topic, payload, count = self._chance.choice(self._sent)
            self._publish(topic, payload, count)
            return
        topic, payload, count = self._new()
        if dice > 1 - LATE:
            self._kept_back.append((now_s + KEPT_BACK_S, topic, payload, count))
            return
        self._publish(topic, payload, count)
        self._sent.append((topic, payload, count))

    def _new(self) -> tuple[str, bytes, int]:
        """A message that nobody has sent before: 7 of 10 single readings, 2.5 batches of ten, 0.5 profiles of 80."""
        meter, kind = next(self._introductions, (self._chance.randrange(METERS), self._chance.random()))
        if kind < 0.7:
            return f"{PREFIX}/meter/Acme/{meter + 1}/reading", json.dumps(self._reading(meter)).encode(), 1
        if kind < 0.95:
            batch = {"readings": [self._reading(meter) for _ in range(10)]}
            return f"{PREFIX}/meter/Acme/{meter + 1}/batch", json.dumps(batch).encode(), 10
        return self._profile(self._chance.randrange(CONCENTRATORS))

    def _profile(self, concentrator: int) -> tuple[str, bytes, int]:
        """Four registers of twenty meters that stand at the same place."""
        first = self._chance.randrange(METERS // 20) * 20
        place = max(self._next[first : first + 20])
        rows = []
        for meter in range(first, first + 20):
            self._next[meter] = place
            rows.append([self._reading(meter)["import_wh"] for _ in range(4)])
        self._uploads[concentrator] += 1
        upload = {
            "format": "headend.profile/1",
            "seq": self._uploads[concentrator],
            "backlog": 0,
            "meters": [f"Acme/{meter + 1}" for meter in range(first, first + 20)],
            "ts": [_instant(place + k) for k in range(4)],
            "import_wh": rows,
        }
        return f"{PREFIX}/concentrator/C{concentrator + 1}/profile", json.dumps(upload).encode(), 80

    def _reading(self, meter: int) -> dict[str, Any]:
        place = self._next[meter]
        self._next[meter] = place + 1
        import_wh = 1_000_000 + 10 * place
        self.book.readings += 1
        self.book.energy_wh += import_wh
        return {"ts": _instant(place), "import_wh": import_wh, "export_wh": 0, "voltage_v": 230.0 + place % 7}

    def _publish(self, topic: str, payload: bytes, count: int) -> None:
        assert self._client.publish(topic, payload, True), "the broker hung up"
        self.book.messages += 1
        self.book.said += count


def _instant(place: int) -> str:
    return (START + timedelta(minutes=place)).isoformat()


@dataclass
class Samples:
    """What was seen of the head-end."""

    at_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    window: list[float] = field(default_factory=list)
    lag_s: list[float] = field(default_factory=list)


def memory_mb(pid: int) -> float:
    """What the process alone accounts for: its share of what it shares."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1]) / 1024


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def means_of_cycles(at_s: list[float], values: list[float]) -> list[tuple[float, float]]:
    """(when, mean) of each whole cycle: neither a peak nor the place within a cycle counts."""
    cycles: dict[int, list[tuple[float, float]]] = {}
    for at, value in zip(at_s, values, strict=True):
        cycles.setdefault(int(at // (STEADY_S + LIMIT_S)), []).append((at, value))
    most = max(len(cycle) for cycle in cycles.values())
    return [
        (statistics.fmean(at for at, _ in cycle), statistics.fmean(value for _, value in cycle))
        for cycle in cycles.values()
        if len(cycle) > 0.9 * most
    ]


def growth_per_10_min(means: list[tuple[float, float]]) -> float:
    """The median of the slopes between any two."""
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(means, 2)]
    return 600 * statistics.median(slopes) if slopes else 0.0


def watch(head_end: Running, site: Field, samples: Samples, until_s: float, began_s: float) -> None:
    """Take samples, and turn the load up and down, until then."""
    assert head_end.process is not None
    next_s = began_s
    while (now_s := time.monotonic()) < until_s:
        assert head_end.process.poll() is None, head_end.log()[-5000:]
        site.limit = (now_s - began_s) % (STEADY_S + LIMIT_S) >= STEADY_S
        seen = head_end.metrics()
        site.taken = sum(v for (name, *_), v in seen.items() if name == "headend_readings_received_total")
        if now_s >= next_s:
            next_s += SAMPLE_S
            samples.at_s.append(now_s - began_s)
            samples.memory_mb.append(memory_mb(head_end.process.pid))
            samples.window.append(sum(v for (name, *_), v in seen.items() if name == "headend_unacked_messages"))
            waits = next((at for at, said in site.book.history if said > site.taken), now_s)
            samples.lag_s.append(now_s - waits)
            while site.book.history and site.book.history[0][1] <= site.taken and len(site.book.history) > 1:
                site.book.history.popleft()
        time.sleep(0.2)


def test_memory_is_flat_and_nothing_is_lost(
    databases: Any, kit: Any, neighbourhood: Callable[..., None], tmp_path: Path
) -> None:
    broker = Mosquitto(tmp_path / "broker", ("allow_anonymous true", "max_inflight_messages 0"))
    samples = Samples()
    with databases.fresh("soak") as store:
        neighbourhood(store, areas=METERS // AREA, meters=AREA)
        with store.transaction() as connection:
            connection.execute(
                b"insert into concentrator (code, area_id) select 'C' || g, g from generate_series(1, %d) g"
                % CONCENTRATORS
            )
        sections = {"database": {"dsn": store.dsn}, "mqtt": {"port": broker.port}, "log": {"level": "warning"}}
        head_end = Running(tmp_path, "soak", sections, "--roles", "ingest,upkeep")
        site = Field(broker, kit.SEED)
        try:
            broker.start()
            head_end.start()
            assert head_end.process is not None
            pid = head_end.process.pid
            time.sleep(2.0)  # subscribed
            began_s = time.monotonic()
            site.start()
            watch(head_end, site, samples, began_s + MINUTES * 60, began_s)
            site.finish()
            kit.wait_for(lambda: stored(store) >= site.book.readings, "all that was sent", head_end.process)
            took_s, spent_s = time.monotonic() - began_s, cpu_s(pid)
            end_mb = memory_mb(pid)
            assert head_end.stop() == 0
        finally:
            head_end.end()
            broker.kill()
        (kept,) = store.rows(b"select count(*) as readings, sum(import_wh)::bigint as energy_wh from register_reading")
        (broken,) = store.rows(b"select count(*) as n from quarantine")
        book = site.book
        warm = next(k for k, at in enumerate(samples.at_s) if at >= WARM_UP_S)
        means = means_of_cycles(samples.at_s, samples.memory_mb)
        growth = growth_per_10_min([(at, mean) for at, mean in means if at >= WARM_UP_S])
        line = {
            "figure": "soak",
            "minutes": MINUTES,
            "readings": book.readings,
            "messages": book.messages,
            "rows_per_s": round(book.readings / took_s),
            "cpu_us_per_reading": round(1e6 * spent_s / book.said, 1),
            "memory_start_mb": round(samples.memory_mb[warm], 1),
            "memory_end_mb": round(end_mb, 1),
            "memory_max_mb": round(max(samples.memory_mb), 1),
            "memory_growth_mb_per_10_min": round(growth, 2),
            "memory_of_cycles_mb": [round(mean, 1) for _, mean in means],
            "lag_max_s": round(max(samples.lag_s), 2),
            "lag_median_s": round(statistics.median(samples.lag_s), 2),
            "window_max_messages": int(max(samples.window)),
            "lost": book.readings - kept["readings"],
            "energy_off_wh": book.energy_wh - (kept["energy_wh"] or 0),
            "quarantined": broken["n"],
        }
        print("\n" + json.dumps(line), flush=True)
        assert (line["lost"], line["energy_off_wh"]) == (0, 0), line
        assert broken["n"] == book.spoilt
        assert max(samples.memory_mb) <= MOST_MB, line
        assert growth < FLAT_MB_PER_10_MIN, line


def stored(store: Store) -> int:
    (found,) = store.rows(b"select coalesce(sum(readings), 0)::bigint as n from reading_count")
    return int(found["n"])
