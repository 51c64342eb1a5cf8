"""The audit: all that people set or set aside, who, why, and how each of it stands now."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from headend.api import pagination
from headend.api.deps import ReadDep
from headend.store import edits
from headend.web import edit_words, text
from headend.web.render import page

router = APIRouter(include_in_schema=False)

ROWS_OF_A_PAGE: Final = 100


@router.get("/edits")
def audit(
    *,
    request: Request,
    connection: ReadDep,
    standing: bool = False,
    by: Annotated[str | None, Query(max_length=100)] = None,
    cursor: str | None = None,
) -> Response:
    """All that people set, newest first, undone ones too."""
    after = pagination.decode(cursor, pagination.instant, pagination.whole)
    found = edits.audit(
        connection,
        limit=ROWS_OF_A_PAGE + 1,
        standing=standing,
        made_by=by or None,
        before=(after[0], after[1]) if after else None,
    )
    rows, following = pagination.cut(found, ROWS_OF_A_PAGE, lambda row: (row["made_at"].isoformat(), row["number"]))
    return page(
        request,
        "edits.html",
        edits=rows,
        words=edit_words,
        chosen={"standing": standing, "by": by},
        following=following,
        register=text.register,
    )
