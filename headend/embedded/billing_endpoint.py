"""The demo's billing import endpoint, a process of its own: checks, books and acknowledges batches, or fails on demand.

``python -m headend.embedded.billing_endpoint --port P --data DIR``; the shared secret comes from the environment
(HEADEND_BILLING_SECRET) or from ``--secret-file``. It listens on 127.0.0.1 only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from headend.domain.clock import Clock, system_clock
from headend.embedded.billing_ledger import Ledger
from headend.embedded.billing_process import SECRET_VARIABLE
from headend.embedded.billing_request import (
    IDEMPOTENCY_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    Refused,
    check_signature,
    read_batch,
)
from headend.embedded.ports import LOOPBACK
from headend.log import configure_logging, get_logger

MAX_BODY_BYTES = 64 * 1024 * 1024

Mode = Literal["ok", "error500", "hang", "hang_after", "reject", "exception"]

_log = get_logger(__name__)


class Failure(BaseModel):
    """What the endpoint does to the next ``count`` imports (all until told otherwise when absent).

    ``error500`` answers 500, ``reject`` answers 422, both before anything is booked; ``hang`` never answers and books
    nothing; ``hang_after`` books the batch and then never answers: the sender does not learn that it was accepted.
    ``exception`` accepts all but the first determinant and returns that one as an exception.
    """

    model_config = ConfigDict(extra="forbid")

    mode: Mode = "ok"
    count: Annotated[int, Field(ge=1)] | None = None


class _Switch:
    """The failure that is set, and how often it still happens."""

    def __init__(self) -> None:
        self.current = Failure()

    def next_mode(self) -> Mode:
        mode, count = self.current.mode, self.current.count
        if count is not None:
            self.current = Failure() if count == 1 else Failure(mode=mode, count=count - 1)
        return mode


def create_app(ledger: Ledger, secret: bytes, clock: Clock = system_clock) -> FastAPI:
    """The endpoint over ``ledger``, which it closes at the end; ``clock`` is for the signature's replay window."""
    switch = _Switch()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        ledger.close()

    app = FastAPI(title="Billing import (demo)", version="1", lifespan=lifespan)
    # A web page in somebody's browser reaches 127.0.0.1 too, under a name of its own.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])

    @app.exception_handler(Refused)
    async def answer_refused(_request: Request, refused: Refused) -> JSONResponse:
        _log.warning("import_refused", status=refused.status, kind=refused.kind, detail=refused.detail)
        return _problem(refused)

    @app.post("/import/batches")
    async def import_batch(request: Request) -> JSONResponse:
        """Book a signed batch: 201 with its receipt, 200 with the same receipt when it is sent again."""
        body = await _read_body(request)
        key = request.headers.get(IDEMPOTENCY_HEADER, "")
        check_signature(
            secret,
            timestamp=request.headers.get(TIMESTAMP_HEADER, ""),
            idempotency_key=key,
            given=request.headers.get(SIGNATURE_HEADER, ""),
            body=body,
            now_s=clock().timestamp(),
        )
        if not 1 <= len(key) <= 200:
            raise Refused(
                400, "idempotency-key", "Idempotency key needed", f"{IDEMPOTENCY_HEADER}: 1 to 200 characters"
            )
        mode = switch.next_mode()
        if mode == "error500":
            raise Refused(500, "told-to-fail", "Told to fail", "the endpoint was told to answer 500")
        if mode == "reject":
            raise Refused(422, "told-to-reject", "Told to reject", "the endpoint was told to reject")
        if mode == "hang":
            await _hang(request)
        batch = await run_in_threadpool(read_batch, body, key)
        receipt, new = await run_in_threadpool(ledger.accept, batch, int(mode == "exception"))
        _log.info("import_accepted", number=batch.number, new=new, count=receipt["accepted_count"])
        if mode == "hang_after":
            await _hang(request)
        return JSONResponse(receipt, 201 if new else 200)

    @app.get("/import/batches")
    def list_batches() -> dict[str, Any]:
        """What was accepted, oldest first."""
        return {"batches": ledger.batches()}

    @app.post("/control")
    async def control(failure: Failure) -> Failure:
        """Set how the next imports fail."""
        switch.current = failure
        return failure

    @app.get("/control")
    async def show_control() -> Failure:
        """How the next import fails."""
        return switch.current

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Alive."""
        return {"status": "ok"}

    return app


async def _read_body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise Refused(413, "too-large", "Body too large", f"the body exceeds {MAX_BODY_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


async def _hang(request: Request) -> None:
    """Keep the caller waiting until it gives up, then end the request without an answer that anyone reads."""
    while not await request.is_disconnected():
        await asyncio.sleep(0.05)
    raise Refused(503, "told-to-hang", "Told to hang", "the caller gave up, as it should")


def _problem(refused: Refused) -> JSONResponse:
    content = {
        "type": f"urn:headend:billing-import:{refused.kind}",
        "title": refused.title,
        "status": refused.status,
        "detail": refused.detail,
        **refused.members,
    }
    return JSONResponse(content, refused.status, media_type="application/problem+json")


def read_secret(secret_file: Path | None) -> bytes:
    """The shared secret from the file where one is given, else from the environment.

    Raises ValueError that says where it was looked for; the secret itself is never shown.
    """
    if secret_file is not None:
        try:
            secret = secret_file.read_bytes().strip()
        except OSError as error:
            raise ValueError(f"--secret-file {secret_file}: {error.strerror}") from error
        if not secret:
            raise ValueError(f"--secret-file {secret_file} is empty")
        return secret
    secret = os.environ.get(SECRET_VARIABLE, "").encode()
    if not secret:
        raise ValueError(f"set {SECRET_VARIABLE} in the environment, or give --secret-file")
    return secret


def main(arguments: list[str] | None = None) -> None:
    """Run the endpoint until SIGTERM or SIGINT; exits with status 2 when it is told nonsense."""
    parser = argparse.ArgumentParser(prog="python -m headend.embedded.billing_endpoint", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help=f"port on {LOOPBACK}")
    parser.add_argument("--data", type=Path, required=True, help="directory of the books (billing.sqlite)")
    parser.add_argument("--secret-file", type=Path, help=f"file with the shared secret, instead of {SECRET_VARIABLE}")
    options = parser.parse_args(arguments)
    configure_logging()
    try:
        secret = read_secret(options.secret_file)
    except ValueError as error:
        parser.error(str(error))
    app = create_app(Ledger(options.data), secret)
    config = uvicorn.Config(
        app, host=LOOPBACK, port=options.port, log_config=None, access_log=False, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    server.run()
    sys.exit(0 if server.started else 1)


if __name__ == "__main__":
    main()
