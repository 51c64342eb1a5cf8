"""What meter models can do, as the process that reads their register maps told: others need no maps of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from headend.domain.commands import NOW, CommandKind
from headend.store.pool import Connection, row
from headend.store.queries import load


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFeatures:
    """What meters of one model can do."""

    model: str
    manufacturer: str
    name: str
    tells_serial: bool
    clock: Literal["none", "read", "set"]
    relay: tuple[str, ...]
    """States that it can be switched to; empty: it has none, or none that the map describes."""
    tariffs: tuple[str, ...]

    def can(self, kind: CommandKind) -> tuple[str, ...]:
        """The states that can be wanted of it."""
        match kind:
            case CommandKind.RELAY:
                return self.relay
            case CommandKind.TARIFF:
                return self.tariffs
            case CommandKind.CLOCK:
                return (NOW,) if self.clock == "set" else ()


def tell(connection: Connection, models: Iterable[ModelFeatures], *, now: datetime) -> None:
    """Put down what these models can do, in place of what was said of them before."""
    for model in sorted(models, key=lambda m: m.model):  # several processes in one order
        values = {
            "model": model.model,
            "manufacturer": model.manufacturer,
            "name": model.name,
            "tells_serial": model.tells_serial,
            "clock": model.clock,
            "relay": list(model.relay),
            "tariffs": list(model.tariffs),
            "now": now,
        }
        connection.execute(load("models")["tell"], values)


def find(connection: Connection, model: str) -> ModelFeatures | None:
    """What a model can do; None: nobody has said so yet."""
    found = row(connection, load("models")["find"], {"model": model})
    if found is None:
        return None
    del found["said_at"]
    return ModelFeatures(**found | {"relay": tuple(found["relay"]), "tariffs": tuple(found["tariffs"])})
