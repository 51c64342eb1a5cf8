"""A polling process of its own, to be killed by a test: `poll_process.py CONFIG`."""

from __future__ import annotations

import sys
from pathlib import Path

from headend.bootstrap import run_service
from headend.settings import load_settings

run_service(load_settings(Path(sys.argv[1])), ["poll"])
