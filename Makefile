# What a person types. Everything runs in .venv, made from requirements.lock; nothing outside this folder is touched.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
TESTS  ?= tests
SOAK_MINUTES ?= 30
ROUNDS ?= 200
SEED   ?= 20261125

.PHONY: help demo test check bench soak chaos lock clean picture
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## a simulated neighbourhood, read, balanced, explained and billed; Ctrl-C stops it
	$(BIN)/headend demo

test: $(STAMP) ## all tests
	$(BIN)/python -m pytest $(TESTS)

check: $(STAMP) ## lint, format, types, walls
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## measurements, one JSON line a figure
	$(BIN)/python -m pytest tests/bench -m bench -q -s

chaos: $(STAMP) ## kill, stop, freeze and cut everything for ROUNDS rounds; nothing acknowledged may be lost (needs mosquitto)
	PYTHONPATH=tests $(BIN)/python -m support.chaos --rounds $(ROUNDS) --seed $(SEED)

soak: $(STAMP) ## half an hour of load (SOAK_MINUTES): memory stays flat, nothing is lost
	HEADEND_SOAK_MINUTES=$(SOAK_MINUTES) $(BIN)/python -m pytest tests/bench/test_soak.py -m bench -q -s

lock: $(STAMP) ## pin every dependency with its hashes
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra scale --extra parquet --universal --generate-hashes --no-emit-index-url \
		--no-header --python-version 3.11 --upgrade -o requirements.lock

picture: $(STAMP) ## take the README's picture from a running demo (needs chromium)
	$(BIN)/python -m headend.web.screenshot --url http://127.0.0.1:8080/ --out headend/web/static/areas.png --width 1280

clean: ## remove what the targets made
	rm -rf $(VENV) .headend .pytest_cache .mypy_cache .ruff_cache build *.egg-info
