"""Every error leaves as problem+json (RFC 9457), or as a page where a browser asked for one; nothing is swallowed.

An unforeseen exception is answered with 500 and goes on to the server's log with its traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from headend import metrics
from headend.log import get_logger
from headend.rollout.checklist import StepRefused, UnknownPremises
from headend.store.errors import StoreConflict, StoreError, StoreUnavailable

_log = get_logger(__name__)
RETRY_AFTER_S = 5
_REF = "#/components/schemas/{model}"


@dataclass(kw_only=True, eq=False)
class Problem(Exception):
    """An answer that is not what was asked for; raise it anywhere in a request."""

    status: int
    code: str
    """Machine word, stable: the tail of the problem's `type`."""
    detail: str
    """For a person: what, and which value."""
    errors: Sequence[Mapping[str, str]] = ()
    """Of a 422: one entry a fault, with `pointer` into the body or `parameter`, and `detail`."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The status in words."""
        return HTTPStatus(self.status).phrase

    def body(self, instance: str) -> dict[str, Any]:
        """The problem+json object."""
        body: dict[str, Any] = {
            "type": f"urn:headend:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }
        if self.errors:
            body["errors"] = [dict(error) for error in self.errors]
        return body | dict(self.extra)


class ProblemFault(BaseModel):
    """One fault of a request."""

    pointer: str | None = Field(None, description="JSON pointer into the request body", examples=["#/evidence/serial"])
    parameter: str | None = Field(None, description="name of a query or path parameter", examples=["limit"])
    detail: str


class ProblemBody(BaseModel):
    """RFC 9457 problem details; the media type is application/problem+json."""

    type: str = Field(examples=["urn:headend:problem:unknown-area"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no area 'A9'"])
    instance: str = Field(examples=["/api/v1/areas/A9"])
    errors: list[ProblemFault] | None = None
    missing: list[str] | None = Field(None, description="of a refused rollout step: what has to be there first")


def describe(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` of a route: which problems it can answer (422 and 503 always can be)."""
    content = {"application/problem+json": {"schema": {"$ref": _REF.format(model=ProblemBody.__name__)}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({*statuses, 422, 503})
    }


Renderer = Callable[[Request, Problem], Response]


def install(app: FastAPI, page: Renderer | None = None) -> None:
    """Answer every error of `app`; `page` draws it for browsers outside of /api."""

    def answer(request: Request, problem: Problem) -> Response:
        if page is not None and wants_page(request):
            return page(request, problem)
        return problem_json(request, problem)

    def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return answer(request, error)

    def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
        detail = f"there is nothing at {request.url.path}" if error.status_code == 404 else str(error.detail)
        return answer(
            request, Problem(status=error.status_code, code=code, detail=detail, headers=dict(error.headers or {}))
        )

    def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = [_fault(fault, error.body) for fault in error.errors()]
        detail = "; ".join(f"{f.get('pointer') or f.get('parameter')}: {f['detail']}" for f in faults)
        return answer(request, Problem(status=422, code="invalid-request", detail=detail, errors=faults))

    def on_refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, StepRefused)
        return answer(request, refused(error))

    def on_unknown_premises(request: Request, error: Exception) -> Response:
        return answer(request, Problem(status=404, code="unknown-premises", detail=str(error)))

    def on_store(request: Request, error: Exception) -> Response:
        return answer(request, of_store(request, error))

    def on_anything(request: Request, error: Exception) -> Response:
        detail = f"an unforeseen {type(error).__name__}; the log of the service has the traceback"
        return answer(request, Problem(status=500, code="internal", detail=detail))

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(StepRefused, on_refused)
    app.add_exception_handler(UnknownPremises, on_unknown_premises)
    app.add_exception_handler(StoreError, on_store)
    app.add_exception_handler(Exception, on_anything)
    _describe_problems(app)


def _describe_problems(app: FastAPI) -> None:
    """Give the OpenAPI document the components that `describe` refers to: FastAPI knows only its own routes' models."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for model in (ProblemBody, ProblemFault):
            own = model.model_json_schema(ref_template=_REF)
            schemas[model.__name__] = {key: value for key, value in own.items() if key != "$defs"}
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def problem_json(request: Request, problem: Problem) -> Response:
    """The problem as application/problem+json."""
    return JSONResponse(
        problem.body(request.url.path),
        status_code=problem.status,
        headers={"Cache-Control": "no-store", **problem.headers},
        media_type="application/problem+json",
    )


def refused(error: StepRefused) -> Problem:
    """A refused rollout step: 409, with what is missing."""
    return Problem(
        status=409,
        code="step-refused",
        detail=error.reason,
        extra={"missing": list(error.missing), "reason": error.code},
    )


def of_store(request: Request, error: Exception) -> Problem:
    """A failure of the store: 503 when it is away, 409 when rows contradict, else 500; logged and counted here."""
    kind = type(error).__name__
    metrics.STORE_ERRORS.labels(kind).inc()
    _log.warning("store failed during a request", kind=kind, error=str(error), path=request.url.path)
    if isinstance(error, StoreUnavailable):
        return Problem(
            status=503,
            code="store-unavailable",
            detail="the database cannot be reached now; nothing was changed, try again shortly",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )
    if isinstance(error, StoreConflict):
        return Problem(status=409, code="conflict", detail="somebody else changed the same thing; look again")
    return Problem(status=500, code="store-failed", detail=f"the database refused ({kind}); the service's log says why")


def wants_page(request: Request) -> bool:
    """Whether a browser asked, for something that is a page."""
    if request.url.path.startswith(("/api/", "/healthz", "/readyz", "/metrics")):
        return False
    return "text/html" in request.headers.get("accept", "")


def _fault(fault: Mapping[str, Any], body: object) -> dict[str, str]:
    where, *path = [str(part) for part in fault["loc"]]
    if where == "body":
        if isinstance(body, dict) and path and path[0] == body.get("kind") and path[0] not in body:
            del path[0]  # the kind by which one of several forms was chosen is no member of the body
        return {
            "pointer": "#/" + "/".join(p.replace("~", "~0").replace("/", "~1") for p in path),
            "detail": fault["msg"],
        }
    return {"parameter": ".".join(path) or where, "detail": fault["msg"]}
