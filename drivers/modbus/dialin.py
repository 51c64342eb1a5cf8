"""Receives modems that connect to us from behind NAT, learns who each is, and hands it to the bus that waits for it.

The rule it keeps: what has not said who it is costs little and is soon gone; of two connections with one id the newer
one is the living one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from drivers.errors import ConnectionFailed, DriverConfigError
from drivers.modbus.carrier import Carrier, Channel, host_port
from drivers.modbus.clock import Clock, SystemClock
from drivers.modbus.dialin_settings import DialInSettings
from drivers.modbus.endpoint import DialInEndpoint
from drivers.modbus.registration import NotRegistered, Registered, read_registration

_BACKLOG: Final = 1024
"""Connections that the system holds until we come to accept them: all modems call at once after a power cut."""
_SHOWN: Final = 32
"""Bytes of a packet that a message quotes."""


class Refusal(StrEnum):
    """Why a connection was turned away."""

    NO_REGISTRATION = "no_registration"
    """It said nothing that any rule takes for a registration."""
    TOO_SLOW = "too_slow"
    TOO_LONG = "too_long"
    HUNG_UP = "hung_up"
    """It left before it had registered."""
    CROWDED_OUT = "crowded_out"
    """Too many others were waiting to register, and it had waited longest."""
    UNKNOWN_ID = "unknown_id"
    FULL = "full"
    """As many modems are registered as may be."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A connection that was turned away."""

    peer: str
    """Its address, `10.1.2.3:40112`."""
    refusal: Refusal
    detail: str
    """For a person."""


@dataclass(frozen=True, slots=True)
class Modem:
    """A modem that has registered at least once."""

    id: str
    peer: str
    """The address that it last came from."""
    since_us: int
    """When it last registered [UTC µs]."""
    heard_us: int
    """When the last byte came from it [UTC µs]."""
    connected: bool
    in_use: bool
    """A bus has it."""
    registrations: int
    """How often it has registered; a number that runs away means two modems with one id, or a bad line."""


class DialInServer:
    """One listener and the modems that came to it."""

    def __init__(
        self,
        settings: DialInSettings,
        *,
        clock: Clock | None = None,
        on_registered: Callable[[Modem, str | None], None] | None = None,
        on_refused: Callable[[Refused], None] | None = None,
    ) -> None:
        """`on_registered` gets the modem and the address of an older connection that it replaced, if any."""
        self.settings = settings
        self.clock = clock or SystemClock()
        self._on_registered = on_registered
        self._on_refused = on_refused
        self._server: asyncio.Server | None = None
        self._unregistered: dict[_Caller, None] = {}  # in the order of arrival
        self._known: dict[str, _Caller] = {}  # by id, the last connection of each; longest unregistered first
        self._waiting: dict[str, list[asyncio.Future[_Caller]]] = {}

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server is not None else self.settings.port

    async def start(self) -> None:
        """Listen. Raises `DriverConfigError` where the address cannot be had."""
        where = host_port(self.settings.host, self.settings.port)
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Caller(self), self.settings.host, self.settings.port, backlog=_BACKLOG
            )
        except OSError as error:
            raise DriverConfigError(f"cannot listen on {where} for modems that dial in: {error}") from error

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is None:
            return
        self._server.close()
        callers = [*self._unregistered, *self._known.values()]
        self._unregistered.clear()  # closed by us is not refused
        for caller in callers:
            caller.drop("closed here")
        await self._server.wait_closed()
        self._server = None

    def modems(self) -> tuple[Modem, ...]:
        """Every modem that is registered or was, by id."""
        return tuple(self._known[i].modem() for i in sorted(self._known))

    @property
    def unregistered(self) -> int:
        """Connections that have not said yet who they are."""
        return len(self._unregistered)

    def carrier(self, modem_id: str) -> Carrier:
        """What waits for this modem."""
        return _ModemCarrier(self, modem_id)

    async def wait_for(self, modem_id: str, timeout_s: float) -> Channel:
        """The connection of this modem, once it is there and free. Raises `ConnectionFailed`."""
        caller = self._known.get(modem_id)
        if caller is None or not caller.connected:
            caller = await self._next(modem_id, timeout_s)
        if not caller.connected:
            raise ConnectionFailed(self._absence(modem_id), peer=_peer(modem_id))
        if caller.taken:
            raise ConnectionFailed("another bus has this modem", peer=_peer(modem_id))
        caller.taken = True
        return caller

    async def _next(self, modem_id: str, timeout_s: float) -> _Caller:
        coming: asyncio.Future[_Caller] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(modem_id, []).append(coming)
        try:
            async with asyncio.timeout(timeout_s):
                return await coming
        except TimeoutError as error:
            raise ConnectionFailed(self._absence(modem_id), peer=_peer(modem_id)) from error
        finally:
            self._waiting[modem_id].remove(coming)
            if not self._waiting[modem_id]:
                del self._waiting[modem_id]

    def _absence(self, modem_id: str) -> str:
        if self._server is None:
            return "nobody listens for modems that dial in"
        caller = self._known.get(modem_id)
        if caller is None:
            return "it has not dialled in"
        seen = datetime.fromtimestamp(caller.heard_us // 1_000_000, UTC)
        return f"it has not dialled in again; last heard at {seen:%Y-%m-%d %H:%M:%S} UTC from {caller.peer}"

    def arrived(self, caller: _Caller) -> None:
        """A connection came."""
        if len(self._unregistered) >= self.settings.most_unregistered:
            oldest = next(iter(self._unregistered))
            self.refuse(oldest, Refusal.CROWDED_OUT, f"{len(self._unregistered)} others have not registered either")
        self._unregistered[caller] = None

    def register(self, caller: _Caller, modem_id: str) -> None:
        """A connection said who it is."""
        if self.settings.ids is not None and modem_id not in self.settings.ids:
            self.refuse(caller, Refusal.UNKNOWN_ID, f"{modem_id!r} is not on the list")
            return
        older = self._known.get(modem_id)
        if older is None and not self._room():
            self.refuse(caller, Refusal.FULL, f"{len(self._known)} modems are registered")
            return
        del self._unregistered[caller]
        replaced = older.peer if older is not None and older.connected else None
        caller.registered(modem_id, 1 if older is None else older.registrations + 1)
        self._known.pop(modem_id, None)
        self._known[modem_id] = caller
        if older is not None:
            older.drop(f"replaced by a newer connection of this modem from {caller.peer}")
        caller.send(self.settings.answer)
        for waiting in self._waiting.get(modem_id, ()):
            if not waiting.done():
                waiting.set_result(caller)
        if self._on_registered is not None:
            self._on_registered(caller.modem(), replaced)

    def _room(self) -> bool:
        """Whether one more id can be remembered, at the price of one that is gone."""
        if len(self._known) >= self.settings.most_modems:
            gone = next((i for i, caller in self._known.items() if not caller.connected), None)
            if gone is None:
                return False
            del self._known[gone]
        return True

    def refuse(self, caller: _Caller, refusal: Refusal, detail: str) -> None:
        """Turn a connection away that has not registered."""
        if caller not in self._unregistered:
            return
        del self._unregistered[caller]
        caller.drop("refused")
        if self._on_refused is not None:
            self._on_refused(Refused(caller.peer, refusal, detail))


class _Caller(Channel):
    """A connection that came to us: first it says who it is, then a bus may have it."""

    def __init__(self, server: DialInServer) -> None:
        super().__init__()
        self._server = server
        self._said = b""
        self._timers: list[asyncio.TimerHandle] = []
        self._id: str | None = None
        self._since_us = 0
        self.peer = ""
        self.heard_us = 0
        self.registrations = 0
        self.taken = False

    def modem(self) -> Modem:
        """What a person may want to know; only for one that has registered."""
        assert self._id is not None
        return Modem(
            self._id, self.peer, self._since_us, self.heard_us, self.connected, self.connected and self.taken,
            self.registrations,
        )  # fmt: skip

    def registered(self, modem_id: str, registrations: int) -> None:
        """It is known from now on."""
        self._stop_timers()
        self._said = b""
        self._id, self.registrations = modem_id, registrations
        self._since_us = self._server.clock.now_us()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        super().connection_made(transport)
        host, port, *_ = transport.get_extra_info("peername") or ("?", 0)  # it may be gone already
        self.peer = host_port(host, port)
        self.heard_us = self._server.clock.now_us()
        limit_s = self._server.settings.registration_timeout_s
        self._timers = [asyncio.get_running_loop().call_later(limit_s, self._too_slow, limit_s)]
        self._server.arrived(self)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self.heard_us = self._server.clock.now_us()
        if self._id is not None:
            super().data_received(data)  # to the bus; without one it is a heartbeat, or nobody's
            return
        self._said += data
        self._look(paused=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop, also after `drop`."""
        super().connection_lost(exc)
        self._stop_timers()
        self._server.refuse(self, Refusal.HUNG_UP, f"after {len(self._said)} bytes{_quoted(self._said)}")

    def _look(self, paused: bool) -> None:
        """See whether what was said so far is a registration."""
        settings = self._server.settings
        for timer in self._timers[1:]:
            timer.cancel()
        del self._timers[1:]
        found = read_registration(self._said, settings.registration, settings.heartbeats, paused=paused)
        if isinstance(found, Registered):
            self._server.register(self, found.modem_id)
        elif isinstance(found, NotRegistered):
            self._server.refuse(self, Refusal.NO_REGISTRATION, f"no rule fits{_quoted(self._said)}")
        elif len(self._said) > settings.registration_bytes:
            detail = f"more than {settings.registration_bytes} bytes without a registration{_quoted(self._said)}"
            self._server.refuse(self, Refusal.TOO_LONG, detail)
        elif not paused:
            self._timers.append(asyncio.get_running_loop().call_later(settings.pause_s, self._look, True))

    def _too_slow(self, limit_s: float) -> None:
        detail = f"no registration within {limit_s:g} s{_quoted(self._said)}"
        self._server.refuse(self, Refusal.TOO_SLOW, detail)

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers = []


class _ModemCarrier:
    """One modem, whichever connection it comes over."""

    pace: Final = None

    def __init__(self, server: DialInServer, modem_id: str) -> None:
        self._server = server
        self._id = modem_id

    @property
    def peer(self) -> str:
        """See `Carrier.peer`."""
        return _peer(self._id)

    async def open(self, timeout_s: float) -> Channel:
        """See `Carrier.open`."""
        return await self._server.wait_for(self._id, timeout_s)


def _peer(modem_id: str) -> str:
    return DialInEndpoint(modem_id, rtu=True).peer


def _quoted(data: bytes) -> str:
    return f": {data[:_SHOWN]!r}{' …' if len(data) > _SHOWN else ''}" if data else ""
