"""Parts for tests of the command line: one call as a person types it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from click.testing import Result
from typer.testing import CliRunner

from headend.cli import app

Headend = Callable[..., Result]


@pytest.fixture
def headend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Headend]:
    """headend("migrate", "--check") → exit_code, stdout, stderr; nothing of this shell's settings gets in."""
    for name in [n for n in os.environ if n.startswith("HEADEND_") and "__" in n]:
        monkeypatch.delenv(name)
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    root, configure = logging.getLogger(), structlog.configure
    monkeypatch.setattr(structlog, "configure", lambda **kw: configure(**kw | {"cache_logger_on_first_use": False}))
    before = root.handlers[:], root.level
    yield lambda *words: runner.invoke(app, [str(word) for word in words])
    root.handlers[:], root.level = before  # a command's log goes to a stderr that is closed by now
    structlog.reset_defaults()


@pytest.fixture
def config(tmp_path: Path, dsn: str) -> Path:
    """A settings file for the test's database."""
    path = tmp_path / "headend.toml"
    path.write_text(f"[database]\ndsn = '{dsn}'\n", encoding="utf-8")
    return path
