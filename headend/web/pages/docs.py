"""The API's documentation, drawn here from OpenAPI: FastAPI's own page would load scripts from the internet."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from headend.web.render import page

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def docs(request: Request) -> Response:
    """Every operation with its parameters and answers."""
    schema: dict[str, Any] = request.app.openapi()
    operations = [
        {"path": path, "method": method.upper(), **operation}
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    return page(request, "docs.html", operations=operations, description=schema["info"]["description"])
