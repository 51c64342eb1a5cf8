"""Forms that came back: what stands in them, and the name of who sent one, which his browser keeps for the next."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import quote, unquote

from fastapi import Depends, Request, Response
from fastapi.responses import RedirectResponse

from headend.api.deps import invalid

CREW: Final = "headend_crew"
"""Cookie with the name of who works in the field; there is no login yet."""
OPERATOR: Final = "headend_operator"
"""Cookie with the name of who works at a desk."""
_KEPT_S: Final = 90 * 86400


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a sent form; files are ignored."""
    async with request.form(max_files=0, max_fields=50) as form:
        found = {key: value for key, value in form.items() if isinstance(value, str)}
    for key, value in found.items():
        if "\0" in value:
            raise invalid(key, "holds a NUL character")
    return found


FormDep = Annotated[dict[str, str], Depends(form_of)]


def name_of(request: Request, whose: str) -> str:
    """The name that was given last time; empty: none was."""
    return unquote(request.cookies.get(whose, ""))


def done(address: str, whose: str, name: str) -> Response:
    """On to the page that shows what was done; the name is kept."""
    answer = RedirectResponse(address, status_code=303)
    answer.set_cookie(whose, quote(name), max_age=_KEPT_S, httponly=True, samesite="lax")
    return answer
