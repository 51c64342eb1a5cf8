"""What the supervisor of roles tells the heartbeat: running, failed with what and how often, stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from headend import bootstrap
from headend.bootstrap import keep_running
from headend.domain.clock import system_clock
from headend.domain.processes import Fact, RoleState
from headend.upkeep.heartbeat import Watched


class Failing:
    """Fails twice, ends once before its time, then works until it is stopped."""

    runs = 0

    def health(self) -> Mapping[str, Fact]:
        return {"runs": Failing.runs}

    async def run(self, stop: asyncio.Event) -> None:
        Failing.runs += 1
        if Failing.runs < 3:
            raise RuntimeError(f"bitten {Failing.runs}")
        if Failing.runs > 3:
            await stop.wait()


def test_failures_are_seen_with_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    Failing.runs = 0
    seen: list[tuple[RoleState, int, str | None, Mapping[str, Fact]]] = []

    async def scene() -> None:
        watched, stop = Watched(system_clock), asyncio.Event()

        def note() -> None:
            h = watched.health("r")
            if not seen or seen[-1] != (h.state, h.restarts, h.error, h.facts):
                seen.append((h.state, h.restarts, h.error, h.facts))

        async def at_once(waiting: object, timeout: float) -> None:
            note()
            waiting.close()  # type: ignore[attr-defined]
            await asyncio.sleep(0)
            raise TimeoutError

        monkeypatch.setattr(bootstrap.asyncio, "wait_for", at_once)
        task = asyncio.create_task(keep_running("r", Failing, stop, watched))
        note()
        while Failing.runs < 4:
            await asyncio.sleep(0)
            note()
        stop.set()
        await task
        note()

    asyncio.run(scene())
    assert [s[:3] for s in seen if s[0] is not RoleState.RUNNING] == [
        (RoleState.STARTING, 0, None),
        (RoleState.RESTARTING, 1, "RuntimeError: bitten 1"),
        (RoleState.RESTARTING, 2, "RuntimeError: bitten 2"),
        (RoleState.RESTARTING, 3, "ended before its time"),
        (RoleState.STOPPED, 3, "ended before its time"),
    ]
    assert (RoleState.RUNNING, 3, "ended before its time", {"runs": 4}) in seen
