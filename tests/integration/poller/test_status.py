"""Status registers over a real loopback gateway: a bit that changes between two rounds becomes one event."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from pathlib import Path
from typing import Any

from drivers.base import Quantity
from headend.ingest.poller import PollService
from headend.settings import Settings
from headend.store.pool import Store
from support.running import running, until

SDM120, OWN = "eastron-sdm120", "own-sdm120"
REGISTER = 0x1234
STATUS = f"""
[[status]]
table = "holding"
address = {REGISTER}
bits = [
  {{ bit = 0, set = "cover_opened", cleared = "cover_closed" }},
  {{ bit = 5, set = "magnet_detected" }},
]
"""
TOLD = b"""select e.kind, e.source, e.detail, e.uncertainty_ms >= 0 as known, m.serial
           from device_event e join meter m using (meter_id) where e.source = 'modbus' order by e.event_id"""


def with_status(directory: Path) -> Path:
    """A register map like the SDM120's, with a status register."""
    directory.mkdir()
    text = files("drivers.modbus").joinpath("maps", f"{SDM120}.toml").read_text(encoding="utf-8")
    text = text.replace(f'id = "{SDM120}"', f'id = "{OWN}"').replace("align = 2\n", "")
    (directory / f"{OWN}.toml").write_text(text + STATUS, encoding="utf-8")
    return directory


class StatusRegister:
    """What the gateway's meters answer for the status register; None: refused."""

    def __init__(self, gateway: Any) -> None:
        self.word: int | None = 0
        self.asked = 0
        self._refuses = gateway.refuses

    def __call__(self, question: bytes) -> bytes | None:
        if int.from_bytes(question[8:10], "big") != REGISTER:
            answer: bytes | None = self._refuses(question)
            return answer
        self.asked += 1
        if self.word is None:
            return question[:4] + bytes((0, 3, question[6], question[7] | 0x80, 2))
        return question[:4] + bytes((0, 5, question[6], question[7], 2)) + self.word.to_bytes(2, "big")


def test_bits_become_events_and_a_refused_register_spoils_no_reading(
    store: Store, settings: Settings, clock: Any, load: Any, serve: Any, meter_device: Any, planned: Any, tmp_path: Path
) -> None:
    settings = settings.model_copy(
        update={"poll": settings.poll.model_copy(update={"models_dir": with_status(tmp_path / "models")})}
    )

    async def scenario() -> None:
        async with serve([meter_device(2, SDM120, {Quantity.IMPORT_WH: 5_000, Quantity.SERIAL: "120002"})]) as gateway:
            load(planned("120002", SDM120, 2, "U2", gateway.port))
            with store.transaction() as connection:
                connection.execute(b"update meter set model = 'own-sdm120'")
            gateway.refuses = status = StatusRegister(gateway)

            async def rounds(word: int | None) -> None:
                status.word = word
                before = status.asked
                await until(lambda: status.asked >= before + 2, f"rounds with {word}")

            async with running(PollService(store, settings, clock)):
                for word in (0, 0b1, 0b1, None, 0b10_0001, 0b10_0000, 0):
                    await rounds(word)

    asyncio.run(scenario())
    assert [(row["kind"], row["detail"]) for row in store.rows(TOLD)] == [
        ("cover_opened", f"holding {REGISTER}: bit 0 set"),
        ("magnet_detected", f"holding {REGISTER}: bit 5 set"),
        ("cover_closed", f"holding {REGISTER}: bit 0 cleared"),
    ]
    assert {(row["source"], row["known"], row["serial"]) for row in store.rows(TOLD)} == {("modbus", True, "120002")}
    assert store.rows(b"select count(*) > 5 as enough from register_reading") == [{"enough": True}]
    assert store.rows(b"select word from status_word") == [{"word": 0}]
