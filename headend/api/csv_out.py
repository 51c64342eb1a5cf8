"""Lists as CSV, for who asks for `text/csv`, or by a path that ends in `.csv`: keys as in JSON, empty is null."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel

MEDIA_TYPE = "text/csv"
RESPONSES: dict[int | str, dict[str, Any]] = {200: {"content": {MEDIA_TYPE: {}}, "description": "JSON, or CSV"}}
"""For a route's description: either comes."""


def wanted(request: Request) -> bool:
    """Whether the request asks for CSV rather than JSON."""
    if request.url.path.endswith(".csv"):
        return True
    accepted = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    return MEDIA_TYPE in accepted and "application/json" not in accepted


def answer(items: Sequence[BaseModel], columns: Sequence[str], name: str) -> Response:
    """A header row and one row an item; what holds several values makes a column of each, `column_key`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    rows = [_flat(item.model_dump(mode="json", include=set(columns)), columns) for item in items]
    writer.writerow(rows[0] if rows else columns)
    writer.writerows(row.values() for row in rows)
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{name}.csv"}
    return Response(text.getvalue(), media_type=f"{MEDIA_TYPE}; charset=utf-8", headers=headers)


def _flat(values: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column in columns:
        value = values[column]
        if isinstance(value, dict):
            found |= {f"{column}_{key}": _cell(part) for key, part in value.items()}
        else:
            found[column] = _cell(value)
    return found


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return ("true" if value else "false") if isinstance(value, bool) else value
