"""How long things are kept and how they lie in the database, and when upkeep raises its voice."""

from __future__ import annotations

from pydantic import Field

from headend.settings.sections import Section


class Upkeep(Section):
    """The role that tends the store: one process does it, others wait for their turn."""

    check_s: float = Field(
        60.0, gt=0, le=3600, description="how often what is due is looked for; also the rest after a failure"
    )
