"""What surrounds every answer: security headers, counted and timed requests, no forms from foreign pages."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headend import metrics
from headend.api.errors import Problem, problem_json

SECURITY_HEADERS: Final = {
    # Everything comes from here; nothing inline runs. Styles: the plot library sets them on elements it makes.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Surroundings:
    """Pure ASGI: streams pass through unbuffered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                add_security_headers(message)
            await send(message)

        try:
            if (refusal := _foreign(scope) or _nul(scope)) is not None:
                await problem_json(Request(scope), refusal)(scope, receive, sending)
                return
            await self._app(scope, receive, sending)
        finally:
            route = _route(scope)
            metrics.HTTP_REQUESTS.labels(route, str(status)).inc()
            metrics.HTTP_SECONDS.labels(route).observe(time.perf_counter() - started)


def add_security_headers(message: MutableMapping[str, Any]) -> None:
    """Add to a response's start whatever it has not set itself; what has no caching rule is not kept."""
    headers = MutableHeaders(raw=message["headers"])
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "no-store")
    message["headers"] = headers.raw


def _route(scope: Scope) -> str:
    """The route's pattern, so that a metric has few label values whatever paths are asked for."""
    route = scope.get("route")
    return getattr(route, "path_format", None) or getattr(route, "path", None) or "unmatched"


def _foreign(scope: Scope) -> Problem | None:
    """A refusal where another site's page sends a form or a request to us from the user's browser."""
    if scope["method"] in _SAFE_METHODS:
        return None
    headers = Headers(scope=scope)
    site = headers.get("sec-fetch-site")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != headers.get("host")
    if not foreign:
        return None
    return Problem(status=403, code="foreign-origin", detail="this request was sent by a page of another site")


def _nul(scope: Scope) -> Problem | None:
    """A refusal of the one character that no text of the database can hold."""
    if "\0" not in scope["path"] and b"%00" not in scope["query_string"]:
        return None
    return Problem(status=422, code="invalid-request", detail="the address holds a NUL character")
