"""Files that pages load: our own and plotly's bundled script, compressed once, cached for long under their digest."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)
_COMPRESSIBLE = frozenset({".css", ".js", ".svg", ".json", ".webmanifest", ".html"})
_TYPES = {".js": "text/javascript", ".webmanifest": "application/manifest+json"}
_YEAR_S = 365 * 86400


@dataclass(frozen=True)
class Asset:
    """One file, read and compressed when first asked for."""

    name: str
    source: Traversable

    @cached_property
    def content(self) -> bytes:
        """As it is on disk."""
        return self.source.read_bytes()

    @cached_property
    def digest(self) -> str:
        """Changes when the file does."""
        return hashlib.sha256(self.content).hexdigest()[:16]

    @cached_property
    def compressed(self) -> bytes | None:
        """gzip, or None where it would not help."""
        return gzip.compress(self.content, 6, mtime=0) if self._suffix in _COMPRESSIBLE else None

    @property
    def media_type(self) -> str:
        """For Content-Type."""
        return _TYPES.get(self._suffix) or mimetypes.guess_type(self.name)[0] or "application/octet-stream"

    @property
    def _suffix(self) -> str:
        return "." + self.name.rpartition(".")[2]


@cache
def assets() -> Mapping[str, Asset]:
    """Every file under its name in /static/."""
    own = (entry for entry in files("headend.web").joinpath("static").iterdir() if entry.is_file())
    found = {entry.name: Asset(entry.name, entry) for entry in own}
    plotly = files("plotly").joinpath("package_data", "plotly.min.js")
    return found | {"plotly.min.js": Asset("plotly.min.js", plotly)}


def static_url(name: str) -> str:
    """The address of a file with its digest, which may be cached for ever. Raises KeyError when there is none."""
    return f"/static/{name}?v={assets()[name].digest}"


@router.get("/static/{name}")
def static(name: str, request: Request, v: str | None = None) -> Response:
    """A file; 304 where the browser has it."""
    asset = assets().get(name)
    if asset is None:
        raise HTTPException(404)
    etag = f'"{asset.digest}"'
    headers = {
        "ETag": etag,
        "Vary": "Accept-Encoding",
        "Cache-Control": f"public, max-age={_YEAR_S}, immutable" if v == asset.digest else "public, no-cache",
    }
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    body = asset.content
    if asset.compressed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        body = asset.compressed
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type=asset.media_type, headers=headers)
