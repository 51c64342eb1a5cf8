"""What a Shelly Pro 3EM says over MQTT as it leaves its factory: pure.

Its messages are NotifyStatus notifications of the components EM and EMData (Shelly Gen2+ API documentation: EM#status,
EMData#status, General/Notifications): energies in Wh since it was mounted, with two decimals.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np

from drivers.base import Quantity
from drivers.simulator.days import US
from drivers.simulator.faults import Stranger
from drivers.simulator.live import PHASED, LiveMeters
from drivers.simulator.planted import beside
from drivers.simulator.world import World

MANUFACTURER: Final = "Shelly"
"""What its payload map calls the maker."""
_LETTERS: Final = "abc"
"""Of L1, L2, L3."""
_WANTED: Final = frozenset({Quantity.IMPORT_WH})


class StrangerDevice:
    """One device in the line of a meter that the head-end knows; mounted at the first start."""

    def __init__(self, world: World, live: LiveMeters, stranger: Stranger) -> None:
        self._world, self._live = world, live
        self.stranger = stranger
        self._meter = beside(world.fleet, [a.code for a in world.scenario.areas].index(stranger.area))
        self._at_first = self._true_wh(world.epoch_us)

    @property
    def online_topic(self) -> str:
        """Where it says `true`, retained, and its last will `false`."""
        return f"{self.stranger.device}/online"

    def messages(self, now_us: int) -> tuple[tuple[str, bytes], ...]:
        """Topics and payloads of one turn: the registers, then what it measures."""
        return self._notice("emdata:0", self._registers(now_us), now_us), self._notice(
            "em:0", self._measured(now_us), now_us
        )

    def _notice(self, component: str, status: dict[str, Any], now_us: int) -> tuple[str, bytes]:
        device = self.stranger.device
        body = {
            "src": device,
            "dst": f"{device}/events",
            "method": "NotifyStatus",
            "params": {"ts": round(now_us / US, 2), component: status},
        }
        return f"{device}/events/rpc", msgspec.json.encode(body)

    def _registers(self, now_us: int) -> dict[str, Any]:
        imported, exported = (
            np.maximum(now - first, 0.0) for now, first in zip(self._true_wh(now_us), self._at_first, strict=True)
        )
        status: dict[str, Any] = {"id": 0}
        for k, letter in enumerate(_LETTERS):
            status[f"{letter}_total_act_energy"] = round(float(imported[k]), 2)
            status[f"{letter}_total_act_ret_energy"] = round(float(exported[k]), 2)
        return status | {
            "total_act": round(sum(float(status[f"{x}_total_act_energy"]) for x in _LETTERS), 2),
            "total_act_ret": round(sum(float(status[f"{x}_total_act_ret_energy"]) for x in _LETTERS), 2),
        }

    def _measured(self, now_us: int) -> dict[str, Any]:
        values = self._live.values(self._meter, now_us, _WANTED)
        ratio = self._world.fleet.meters[self._meter].multiplier
        status: dict[str, Any] = {"id": 0}
        for k, letter in enumerate(_LETTERS):
            status[f"{letter}_voltage"] = round(float(values[PHASED["voltage"][k]]), 1)
            status[f"{letter}_current"] = round(float(values[PHASED["current"][k]]) * ratio, 3)
            status[f"{letter}_act_power"] = round(float(values[PHASED["power"][k]]) * ratio, 1)
        return status | {"total_act_power": round(float(values[Quantity.POWER_W]) * ratio, 3)}

    def _true_wh(self, at_us: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """By phase, import and export (3,) [Wh] that had flowed past its place."""
        ratio = self._world.fleet.meters[self._meter].multiplier
        imported, exported = self._world.true_phase_cumulative(self._meter, np.array([at_us]))
        return imported[:, 0] * ratio, exported[:, 0] * ratio
