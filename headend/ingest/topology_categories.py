"""What a row of usage_points.csv says of a category: the stored one, a change from an instant on, or a contradiction.

The rule it keeps: an import never rewrites the past. A row says what was when its usage point began, or what holds from
`category_from` on; whatever else was told meanwhile, by a page or by another import, stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from headend.domain.topology import Category, Topology, UsagePoint
from headend.ingest.topology_bookkeeping import Refused

_EVER = datetime.min.replace(tzinfo=UTC)
_NEVER = datetime.max.replace(tzinfo=UTC)


def category_change(
    stored: UsagePoint, said: UsagePoint, since: datetime | None, begins: datetime, known: Topology
) -> Category | None:
    """The category that a row changes a usage point to, from an instant on; None: it is stored so.

    `since`: the row's category_from; `begins`: its valid_from. Raises Refused.
    """
    history = known.categories.get(said.usage_point) or [Category(said.usage_point, stored.category, None, None)]
    if since is None:
        if said.category in (_at(history, begins).category, stored.category):
            return None
        raise Refused(
            "category",
            f"is stored as {stored.category!r}; changing it would rewrite the past, so it stays: give category_from, "
            "the instant from which it holds",
        )
    if _at(history, since).category == said.category:
        return None
    if stored.kind == "area":
        raise Refused("category", f"is stored as {stored.category!r}: the transformer's own usage point has no other")
    last = history[-1]
    if since <= (last.valid_from or _EVER):
        raise Refused(
            "category_from",
            f"is stored as {last.category!r} from {(last.valid_from or begins).isoformat()} on; a category's history "
            "is not rewritten by an import",
        )
    return Category(said.usage_point, said.category, since, None)


def _at(history: Sequence[Category], at: datetime) -> Category:
    return next(c for c in history if (c.valid_from or _EVER) <= at < (c.valid_to or _NEVER))
