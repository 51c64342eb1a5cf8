"""A poller on a scripted bus with all that it gives away: readings, reports, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Literal

from prometheus_client import REGISTRY

from drivers.modbus.map_file import load_models
from headend.ingest.poll_bus import BusPoller, RoundRules
from headend.ingest.poll_grid import Grid
from headend.ingest.poll_outbox import Outbox
from headend.ingest.poll_round import RoundReport, RoundResult

MODELS = load_models()
URI = "modbus+tcp://10.0.0.1:502"


def metric(name: str, **labels: str) -> float:
    """What a counter of polling stands at."""
    return REGISTRY.get_sample_value(f"headend_modbus_{name}_total", labels) or 0.0


class Polling:
    """The poller of one bus."""

    def __init__(
        self,
        time: Any,
        bus: Any,
        targets: Sequence[Any],
        *,
        period_s: int = 900,
        area_period_s: int | None = None,
        offset_s: float = 0.0,
        hold: int = 1000,
        area_again_s: float = 1e9,
        missed_tick: Literal["skip", "at_once"] = "skip",
        limit: AbstractAsyncContextManager[object] | None = None,
    ) -> None:
        self.time = time
        self.rounds: list[RoundResult] = []
        self.reports: list[RoundReport] = []
        self.box: Outbox[RoundResult] = Outbox(self._write, hold=hold, sleep=time.sleep)
        self.poller = BusPoller(
            bus,
            URI,
            MODELS,
            self.box,
            grid=Grid(
                period_s=period_s, area_period_s=area_period_s or period_s, offset_us=round(offset_s * 1_000_000)
            ),
            rules=RoundRules(area_again_s=area_again_s, missed_tick=missed_tick),
            clock=time,
            sleep=time.sleep,
            on_round=self.reports.append,
            limit=limit,
        )
        self.poller.targets = tuple(targets)

    async def _write(self, items: Sequence[RoundResult]) -> None:
        self.rounds += items

    @property
    def serials(self) -> list[str]:
        """Of the readings that went out, in their order."""
        return [identity.serial for result in self.rounds for identity, _ in result.readings]

    def once(self) -> RoundReport:
        """One round of everybody; its report."""

        async def scenario() -> RoundReport:
            report = await self.poller.poll()
            await self.box.flush()
            assert report is not None
            return report

        return asyncio.run(scenario())

    def run(self, until: datetime) -> None:
        """Poll on the grid until the clock says so."""

        async def scenario() -> None:
            task = asyncio.create_task(self.poller.run())
            async with asyncio.timeout(10):
                while self.time.now < until:
                    await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.box.flush()

        asyncio.run(scenario())
